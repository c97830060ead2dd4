import threading
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from refresher.clock import Moments
from refresher.freshness import Policy
from refresher.model import Attempt, Due, DueReason, Outcome
from refresher.observers.counters import CounterRow
from refresher.observers.exposition import CONTENT_TYPE
from refresher.observers.metrics import Metrics
from refresher.store.protocols import StoreOperation
from refresher.version import VERSION
from tests.fakes import START
from tests.shelf import BODY, Shelf, failed, snapshot

COUNTERS = {"refresher_attempts", "refresher_reads", "refresher_store_errors"}
GAUGES = {
    "refresher_snapshot_checked_timestamp_seconds",
    "refresher_snapshot_age_seconds",
    "refresher_snapshot_stale",
    "refresher_snapshot_version",
    "refresher_snapshot_bytes",
    "refresher_next_due_timestamp_seconds",
    "refresher_consecutive_failures",
}


class Scrape:
    """What a scrape finds."""

    def __init__(self, metrics: Metrics, shelf: Shelf) -> None:
        of_jobs = metrics.of_jobs(list(shelf.states), shelf.clock.now())
        self.text = "".join(f"{line}\n" for line in (*of_jobs, *metrics.of_processes()))
        families = list(text_string_to_metric_families(self.text))
        self.families: dict[str, Metric] = {family.name: family for family in families}
        assert len(self.families) == len(families), "a family stands in one place"

    def value(self, name: str, **labels: str) -> float | None:
        """The sample of exactly these labels; None where there is none."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1, f"{name}{labels} is said twice"
        return found[0] if found else None


def attempt(job: str, outcome: Outcome, duration: float = 0.2) -> Attempt:
    return Attempt(job=job, started_at=START, duration=duration, outcome=outcome, version=1)


def observed(
    shelf: Shelf, *attempts: Attempt, upstream: str = "up", row: CounterRow | None = None
) -> Metrics:
    metrics = Metrics({entry.record.job: upstream for entry in shelf.states}, row)
    for each in attempts:
        entry = shelf.states.get(each.job)
        assert entry is not None
        metrics.attempted(each, entry.record)
    return metrics


def test_every_family_of_the_contract_is_there_with_its_kind_and_help() -> None:
    shelf = Shelf()
    shelf.put()
    scrape = Scrape(observed(shelf, attempt("rates", Outcome.CHANGED)), shelf)
    kinds = {name: family.type for name, family in scrape.families.items()}
    assert {kinds[name] for name in COUNTERS} == {"counter"}
    assert {kinds[name] for name in GAUGES} == {"gauge"}
    assert kinds["refresher_attempt_duration_seconds"] == "histogram"
    assert "process_cpu_seconds" in kinds, "and the usual process metrics"
    for name, family in scrape.families.items():
        if name.startswith("refresher"):
            assert family.documentation
    heads = [line for line in scrape.text.splitlines() if line.startswith("#")]
    assert len(heads) == len(set(heads)), "HELP and TYPE once a family"
    assert scrape.text.endswith("\n")
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_build_info_has_the_version() -> None:
    scrape = Scrape(Metrics({}), Shelf())
    assert scrape.value("refresher_build_info", version=VERSION) == 1


def test_attempts_are_counted_by_job_and_outcome_from_zero() -> None:
    shelf = Shelf()
    shelf.put()
    shelf.put_pending("other-job")
    history = [Outcome.CHANGED, Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.FAILED]
    scrape = Scrape(observed(shelf, *(attempt("rates", each) for each in history)), shelf)
    counted = Counter(history)
    for outcome in Outcome:
        name = "refresher_attempts_total"
        assert scrape.value(name, job="rates", outcome=outcome) == counted[outcome]
        assert scrape.value(name, job="other-job", outcome=outcome) == 0


def test_durations_are_a_histogram_by_upstream() -> None:
    shelf = Shelf()
    shelf.put()
    metrics = observed(
        shelf,
        attempt("rates", Outcome.CHANGED, 0.03),
        attempt("rates", Outcome.FAILED, 7.0),
        upstream="api.example:8443",
    )
    scrape = Scrape(metrics, shelf)
    name, labels = "refresher_attempt_duration_seconds", {"upstream": "api.example:8443"}
    assert scrape.value(f"{name}_count", **labels) == 2
    assert scrape.value(f"{name}_sum", **labels) == pytest.approx(7.03)
    assert scrape.value(f"{name}_bucket", le="0.05", **labels) == 1
    assert scrape.value(f"{name}_bucket", le="+Inf", **labels) == 2


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "new\nline", "{}", "grüße"])
def test_whatever_an_upstream_is_called_can_be_read_back(name: str) -> None:
    shelf = Shelf()
    shelf.put()
    scrape = Scrape(observed(shelf, attempt("rates", Outcome.CHANGED), upstream=name), shelf)
    assert scrape.value("refresher_attempt_duration_seconds_count", upstream=name) == 1


def test_reads_are_counted_by_code() -> None:
    metrics = Metrics({})
    for code in (200, 200, 304, 200):
        metrics.reads[code] += 1
    scrape = Scrape(metrics, Shelf())
    assert scrape.value("refresher_reads_total", code="200") == 3
    assert scrape.value("refresher_reads_total", code="304") == 1
    assert scrape.value("refresher_reads_total", code="404") is None


def test_gauges_tell_of_the_snapshot_that_is_served() -> None:
    shelf = Shelf()
    due = Due(START + 42.5, DueReason.SCHEDULE)
    shelf.put(snapshot(checked_at=START - 7.5, version=3), due=due, consecutive_failures=2)
    scrape = Scrape(Metrics({}), shelf)
    found = {name: scrape.value(name, job="rates") for name in GAUGES}
    assert found == {
        "refresher_snapshot_checked_timestamp_seconds": START - 7.5,
        "refresher_snapshot_age_seconds": 7.5,
        "refresher_snapshot_stale": 0,
        "refresher_snapshot_version": 3,
        "refresher_snapshot_bytes": len(BODY),
        "refresher_next_due_timestamp_seconds": START + 42.5,
        "refresher_consecutive_failures": 2,
    }


def test_gauges_of_old_content_are_there_where_the_job_asks_for_them() -> None:
    shelf = Shelf()
    shelf.put(snapshot(job="plain"))
    dated = snapshot(job="dated", content_time=START - 99.5)
    shelf.put(dated, Policy(max_content_age=60.0))
    daily = Policy(changes_by=Moments("0 0 * * *"))
    shelf.put(snapshot(job="late", changed_at=START - 3 * 86_400), daily)
    shelf.put(snapshot(job="prompt"), daily)
    scrape = Scrape(Metrics({}), shelf)
    jobs = ("plain", "dated", "late", "prompt")
    times = {job: scrape.value("refresher_content_timestamp_seconds", job=job) for job in jobs}
    assert times == {**dict.fromkeys(jobs), "dated": START - 99.5}
    late = {job: scrape.value("refresher_change_late", job=job) for job in jobs}
    assert late == {**dict.fromkeys(jobs), "late": 1, "prompt": 0}
    assert scrape.value("refresher_snapshot_stale", job="dated") == 1


def test_gauges_are_absent_while_pending_but_for_the_failures() -> None:
    shelf = Shelf()
    due = Due(START, DueReason.STARTUP)
    shelf.put_pending(due=due, consecutive_failures=5, last_attempt=failed())
    scrape = Scrape(Metrics({}), shelf)
    found = {name: scrape.value(name, job="rates") for name in GAUGES}
    assert found == dict.fromkeys(GAUGES) | {"refresher_consecutive_failures": 5}


def test_no_failure_is_told_of_before_the_first_attempt() -> None:
    shelf = Shelf()
    shelf.put_pending(due=Due(START, DueReason.STARTUP))
    scrape = Scrape(Metrics({}), shelf)
    assert scrape.value("refresher_consecutive_failures", job="rates") is None


def test_a_job_that_waits_for_a_person_is_due_at_no_time() -> None:
    shelf = Shelf()
    shelf.put(due=Due(None, DueReason.PAUSED))
    scrape = Scrape(Metrics({}), shelf)
    assert scrape.value("refresher_next_due_timestamp_seconds", job="rates") is None
    assert scrape.value("refresher_consecutive_failures", job="rates") == 0


@pytest.mark.parametrize(
    ("age", "failing", "stale"), [(0, False, 0), (0, True, 1), (111, False, 1), (500, False, 1)]
)
def test_stale_is_whatever_is_not_fresh(age: float, *, failing: bool, stale: int) -> None:
    shelf = Shelf()
    policy = Policy(timeout=10.0, max_stale=300.0)
    shelf.put(snapshot(checked_at=START - age), policy, failing_since=START if failing else None)
    assert Scrape(Metrics({}), shelf).value("refresher_snapshot_stale", job="rates") == stale


def test_a_scrape_does_not_mind_that_reads_go_on() -> None:
    metrics, shelf, ended = Metrics({}), Shelf(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            for code in range(100, 600):
                metrics.reads[code] += 1

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for _ in range(20):
            Scrape(metrics, shelf)
    finally:
        ended.set()
        reader.join()


def test_two_instances_count_each_for_itself() -> None:
    shelf = Shelf()
    shelf.put()
    busy, idle = observed(shelf, attempt("rates", Outcome.CHANGED)), observed(shelf)
    name, labels = "refresher_attempts_total", {"job": "rates", "outcome": "changed"}
    assert Scrape(busy, shelf).value(name, **labels) == 1
    assert Scrape(idle, shelf).value(name, **labels) == 0


def test_moments_that_another_process_has_are_counted_apart() -> None:
    shelf = Shelf()
    shelf.put()
    metrics = observed(shelf, attempt("rates", Outcome.CHANGED))
    metrics.skipped("rates")
    metrics.skipped("rates")
    scrape = Scrape(metrics, shelf)
    name = "refresher_attempts_total"
    assert scrape.value(name, job="rates", outcome="skipped") == 2
    assert scrape.value(name, job="rates", outcome="changed") == 1


def test_failed_operations_on_the_store_are_counted_from_zero() -> None:
    metrics = Metrics({})
    metrics.store_failed(StoreOperation.WRITE)
    scrape = Scrape(metrics, Shelf())
    for each in StoreOperation:
        counted = scrape.value("refresher_store_errors_total", operation=each)
        assert counted == (each is StoreOperation.WRITE)


def test_durations_are_there_before_the_first_attempt() -> None:
    shelf = Shelf()
    shelf.put()
    name = "refresher_attempt_duration_seconds"
    scrape = Scrape(observed(shelf), shelf)
    assert scrape.value(f"{name}_count", upstream="up") == 0
    assert scrape.value(f"{name}_sum", upstream="up") == 0


@pytest.mark.parametrize(
    ("duration", "bound"), [(-3.0, "0.01"), (0.01, "0.01"), (60.0, "60.0"), (60.1, "+Inf")]
)
def test_a_bound_belongs_to_its_bucket(duration: float, bound: str) -> None:
    shelf = Shelf()
    shelf.put()
    scrape = Scrape(observed(shelf, attempt("rates", Outcome.CHANGED, duration)), shelf)
    family = scrape.families["refresher_attempt_duration_seconds"]
    full = [each.labels["le"] for each in family.samples if "le" in each.labels and each.value]
    assert full[0] == bound
    assert full[-1] == "+Inf"
    name = "refresher_attempt_duration_seconds_sum"
    assert scrape.value(name, upstream="up") == max(0.0, duration)


def test_every_worker_shows_what_all_of_them_have_counted(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put()
    one, other = (
        observed(
            shelf,
            attempt("rates", Outcome.CHANGED, 0.3),
            row=CounterRow(number=number, workers=3, directory=tmp_path),
        )
        for number in (0, 2)
    )
    one.reads[200] += 2
    other.reads[200] += 1
    other.reads[404] += 1
    other.skipped("rates")
    one.store_failed(StoreOperation.BEAT)
    for scrape in (Scrape(one, shelf), Scrape(other, shelf)):
        assert scrape.value("refresher_attempts_total", job="rates", outcome="changed") == 2
        assert scrape.value("refresher_attempts_total", job="rates", outcome="skipped") == 1
        assert scrape.value("refresher_reads_total", code="200") == 3
        assert scrape.value("refresher_reads_total", code="404") == 1
        assert scrape.value("refresher_store_errors_total", operation="beat") == 1
        name = "refresher_attempt_duration_seconds"
        assert scrape.value(f"{name}_count", upstream="up") == 2
        assert scrape.value(f"{name}_sum", upstream="up") == pytest.approx(0.6)


def test_a_worker_that_takes_the_place_of_another_counts_on(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.put()
    row = CounterRow(number=1, workers=2, directory=tmp_path)
    for _ in range(2):
        metrics = observed(shelf, attempt("rates", Outcome.FAILED), row=row)
    scrape = Scrape(metrics, shelf)
    assert scrape.value("refresher_attempts_total", job="rates", outcome="failed") == 2
