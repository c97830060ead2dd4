"""`refresher status` and `refresher refresh`: what a running service answers, for a person."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import msgspec

from refresher.cli.remote import RunningService
from refresher.cli.table import table
from refresher.config import written_duration

_GOOD = frozenset({"changed", "unchanged"})
_HEAD = ("JOB", "STATE", "VERSION", "AGE", "NEXT DUE", "LAST ATTEMPT")
_NOTHING = "-"


class _Error(msgspec.Struct):
    stage: str
    message: str


class _LastAttempt(msgspec.Struct):
    outcome: str
    error: _Error | None


class _Quarantine(msgspec.Struct):
    reason: str


class _Job(msgspec.Struct):
    """What the table shows of a job's status (`refresher/docs/http.md`)."""

    name: str
    state: str
    enabled: bool
    paused: bool
    version: int | None
    age_seconds: float | None
    due_at: datetime | None
    due_reason: str
    last_attempt: _LastAttempt | None
    quarantine: _Quarantine | None = None


class _Jobs(msgspec.Struct):
    jobs: list[_Job]


class _Result(msgspec.Struct):
    job: str
    outcome: str
    version: int | None
    duration_ms: int
    error: _Error | None


class _Skipped(msgspec.Struct):
    job: str
    reason: str
    retry_after: int | None


class _Refreshed(msgspec.Struct):
    """What `POST /admin/refresh` answers, with `wait` and without (`refresher/docs/http.md`)."""

    skipped: list[_Skipped]
    accepted: list[str] = []
    results: list[_Result] = []


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How a refresh ended, as text; `good` if nothing failed and nothing still runs."""

    text: str
    good: bool


def status_json(service: RunningService, job: str | None) -> bytes:
    """The status of one job or of all, as the service answers it."""
    return service.get("/jobs" if job is None else f"/jobs/{quote(job, safe='')}")


def status_text(service: RunningService, job: str | None) -> str:
    """The same as a table."""
    answer = status_json(service, job)
    jobs = service.read(answer, _Jobs).jobs if job is None else [service.read(answer, _Job)]
    now = time.time()
    return table(_HEAD, (_row(each, now) for each in jobs)) if jobs else "no jobs"


def refreshed(service: RunningService, jobs: Sequence[str], wait: float) -> Refreshed:
    """Have jobs refreshed (none named: all), and wait that many seconds for the outcomes."""
    asked = {"jobs": list(jobs)} if jobs else {}
    body = {**asked, "wait": written_duration(wait)}
    answer = service.read(service.post("/admin/refresh", body, patience=wait), _Refreshed)
    done = {result.job for result in answer.results}
    left = [job for job in answer.accepted if job not in done]
    rows = [
        *(_result_row(result) for result in answer.results),
        *((job, "still running" if wait else "asked for", "") for job in left),
        *((each.job, f"skipped: {_reason(each)}", "") for each in answer.skipped),
    ]
    good = all(result.outcome in _GOOD for result in answer.results) and not (wait and left)
    return Refreshed(table(("JOB", "OUTCOME", "DETAIL"), rows) if rows else "no jobs", good)


def _row(job: _Job, now: float) -> tuple[str, ...]:
    flags = {
        "disabled": not job.enabled,
        "paused": job.paused,
        "quarantine": job.quarantine is not None,
    }
    return (
        job.name,
        ", ".join([job.state, *(word for word, applies in flags.items() if applies)]),
        _NOTHING if job.version is None else str(job.version),
        _NOTHING if job.age_seconds is None else written_duration(int(job.age_seconds)),
        _due(job, now),
        _NOTHING if job.last_attempt is None else _last(job.last_attempt),
    )


def _due(job: _Job, now: float) -> str:
    if job.due_at is None:
        return _NOTHING
    left = round(job.due_at.timestamp() - now)
    when = f"in {written_duration(left)}" if left > 0 else "now"
    return when if job.due_reason == "schedule" else f"{when} ({job.due_reason})"


def _last(attempt: _LastAttempt) -> str:
    error = attempt.error
    return attempt.outcome + ("" if error is None else f", {error.stage}: {error.message}")


def _result_row(result: _Result) -> tuple[str, str, str]:
    if result.error is not None:
        detail = f"{result.error.stage}: {result.error.message}"
    else:
        detail = f"version {result.version}"
    return result.job, result.outcome, f"{detail}, in {result.duration_ms:,} ms"


def _reason(skipped: _Skipped) -> str:
    after = "" if skipped.retry_after is None else f" for another {skipped.retry_after} s"
    return skipped.reason + after
