"""The Prometheus metrics: counters of this instance, and gauges written from the state store.

A registry of ten thousand gauge objects costs 9 KiB a job and 3 s a scrape; the same text written
from the records at the scrape costs a thirtieth of that. Counters are numbers in memory that the
workers of an instance share: prometheus_client has a file for each process instead, parsed at every
scrape, and an object for every counter.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from refresher import freshness
from refresher.model import Attempt, Outcome, Record, Snapshot, State
from refresher.observers.counters import CounterRow, SharedCounters
from refresher.observers.exposition import escaped, head
from refresher.observers.processes import process_lines, usages
from refresher.state import Entry
from refresher.store.protocols import StoreOperation
from refresher.version import VERSION

_OUTCOMES = (*Outcome, "skipped")
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BOUNDS = (*map(str, _BUCKETS), "+Inf")
_NANOSECONDS = 1_000_000_000
_CODES = 600


class Metrics:
    """Counts what this process does, and writes what all processes of its instance have counted.

    To count is for the event loop's thread; any thread may write.

    Args:
        upstreams: The upstream of every job, as metrics name it.
        row: The row of this process in the shared counters; None: it is the only process.
    """

    def __init__(self, upstreams: Mapping[str, str], row: CounterRow | None = None) -> None:
        slots: list[str] = []

        def place(name: str, parts: Iterable[object]) -> int:
            start = len(slots)
            slots.extend(f"{name} {part}" for part in parts)
            return start

        reads = place("reads", range(_CODES))
        self._errors = {each: place("store errors", [each]) for each in StoreOperation}
        self._attempts = {job: place(f"attempts {job}", _OUTCOMES) for job in sorted(upstreams)}
        self._histograms = {
            upstream: place(f"durations {upstream}", (*_BOUNDS, "sum"))
            for upstream in sorted(set(upstreams.values()))
        }
        self._pid = place("process", ["pid"])
        self._histogram_of = {job: self._histograms[each] for job, each in upstreams.items()}
        self._shared = SharedCounters(slots, row)
        self._own = self._shared.own
        self.reads: memoryview[int] = self._own[reads : reads + _CODES]
        """Answers of the read endpoint at the index of their status: `reads[200] += 1`."""
        if row is not None:
            self._own[self._pid] = os.getpid()

    def attempted(self, attempt: Attempt, before: Record) -> None:
        """Count an attempt."""
        del before
        self._own[self._attempts[attempt.job] + _OUTCOMES.index(attempt.outcome)] += 1
        histogram = self._histogram_of[attempt.job]
        duration = max(0.0, attempt.duration)  # a clock that was put back must not count down
        self._own[histogram + bisect_left(_BUCKETS, duration)] += 1
        self._own[histogram + len(_BOUNDS)] += round(duration * _NANOSECONDS)

    def skipped(self, job: str) -> None:
        """Count a due moment at which another process makes the attempt."""
        self._own[self._attempts[job] + _OUTCOMES.index("skipped")] += 1

    def store_failed(self, operation: StoreOperation) -> None:
        """Count an operation on the store that failed."""
        self._own[self._errors[operation]] += 1

    def crashed(self, job: str, error: Exception) -> None:
        """Count nothing: the attempt that broke is counted as failed."""

    def of_jobs(self, entries: Sequence[Entry], now: float) -> Iterator[str]:
        """The lines of what is counted and known of jobs, in the Prometheus text format."""
        yield from self._counters(self._shared.totals())
        yield from _gauges(entries, now)

    def of_processes(self) -> list[str]:
        """The lines of what the instance's processes use; blocks, from any thread."""
        return list(process_lines(usages(filter(None, self._shared.column(self._pid)))))

    def _counters(self, totals: "memoryview[int]") -> Iterator[str]:
        yield from head("refresher_attempts_total", "counter", "Attempts, by how they ended.")
        for job, at in self._attempts.items():
            # 0 too: a counter that appears at 1 has not increased.
            for outcome, count in zip(_OUTCOMES, totals[at : at + len(_OUTCOMES)], strict=True):
                yield f'refresher_attempts_total{{job="{job}",outcome="{outcome}"}} {count}'
        yield from self._durations(totals)
        yield from head("refresher_reads_total", "counter", "Reads of /data, by status code.")
        for code, count in enumerate(totals[:_CODES]):
            if count:
                yield f'refresher_reads_total{{code="{code}"}} {count}'
        yield from head(
            "refresher_store_errors_total", "counter", "Failed operations on the store."
        )
        for operation, at in self._errors.items():
            yield f'refresher_store_errors_total{{operation="{operation}"}} {totals[at]}'
        yield from head("refresher_build_info", "gauge", "The version that runs.")
        yield f'refresher_build_info{{version="{VERSION}"}} 1'

    def _durations(self, totals: "memoryview[int]") -> Iterator[str]:
        name = "refresher_attempt_duration_seconds"
        help_text = "How long attempts took, waiting for the upstream's turn not included."
        yield from head(name, "histogram", help_text)
        for upstream, at in self._histograms.items():
            label, end = f'upstream="{escaped(upstream)}"', at + len(_BOUNDS)
            counts = list(accumulate(totals[at:end]))
            for bound, count in zip(_BOUNDS, counts, strict=True):
                yield f'{name}_bucket{{{label},le="{bound}"}} {count}'
            yield f"{name}_sum{{{label}}} {totals[end] / _NANOSECONDS}"
            yield f"{name}_count{{{label}}} {counts[-1]}"


def _gauges(entries: Sequence[Entry], now: float) -> Iterator[str]:
    for name, help_text, value in _OF_SNAPSHOTS:
        yield from head(name, "gauge", help_text)
        for entry in entries:
            snapshot = entry.record.snapshot
            number = None if snapshot is None else value(entry, snapshot, now)
            if number is not None:
                yield f'{name}{{job="{entry.record.job}"}} {number}'
    for name, help_text, of_record in _OF_RECORDS:
        yield from head(name, "gauge", help_text)
        for entry in entries:
            number = of_record(entry.record)
            if number is not None:
                yield f'{name}{{job="{entry.record.job}"}} {number}'


def _next_due(record: Record) -> float | None:
    return None if record.snapshot is None else record.due.at


def _failures(record: Record) -> int | None:
    """Also while pending: a job that has never had data is the one that fails without an end."""
    is_attempted = record.snapshot is not None or record.last_attempt is not None
    return record.consecutive_failures if is_attempted else None


def _stale(entry: Entry, now: float) -> int:
    return int(freshness.state_of(entry.record, entry.policy, now) is not State.FRESH)


def _late(entry: Entry, snapshot: Snapshot, now: float) -> int | None:
    if entry.policy.changes_by is None:
        return None
    return int(freshness.is_late(snapshot, entry.policy, now))


_OF_SNAPSHOTS: tuple[tuple[str, str, Callable[[Entry, Snapshot, float], float | None]], ...] = (
    (
        "refresher_snapshot_checked_timestamp_seconds",
        "When the data was last known to be good.",
        lambda _, snapshot, __: snapshot.checked_at,
    ),
    (
        "refresher_snapshot_age_seconds",
        "How long ago the data was last known to be good.",
        lambda _, snapshot, now: freshness.age_of(snapshot, now),
    ),
    (
        "refresher_snapshot_stale",
        "1 where the data is stale or expired.",
        lambda entry, _, now: _stale(entry, now),
    ),
    (
        "refresher_snapshot_version",
        "The version that is served.",
        lambda _, snapshot, __: snapshot.version,
    ),
    (
        "refresher_snapshot_bytes",
        "Size of the data, uncompressed.",
        lambda _, snapshot, __: len(snapshot.content.body),
    ),
    (
        "refresher_content_timestamp_seconds",
        "When the data is from by its own word; only of jobs with content_time.",
        lambda _, snapshot, __: snapshot.content_time,
    ),
    (
        "refresher_change_late",
        "1 where the data has not changed by its moment; only of jobs with changes_by.",
        _late,
    ),
)

_OF_RECORDS: tuple[tuple[str, str, Callable[[Record], float | None]], ...] = (
    (
        "refresher_next_due_timestamp_seconds",
        "When the job is attempted next.",
        _next_due,
    ),
    (
        "refresher_consecutive_failures",
        "Attempts since the last success.",
        _failures,
    ),
)
