"""What the endpoints answer with JSON, as OpenAPI shows it; `docs/http.md` says what it means."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, RootModel

from refresher.model import DueReason, Outcome, Stage, State


class Attempts(BaseModel):
    """How many attempts of a job ended so."""

    changed: int
    unchanged: int
    failed: int
    rejected: int


class AttemptError(BaseModel):
    """What went wrong in an attempt, and at which stage."""

    stage: Stage
    message: str


class LastAttempt(BaseModel):
    """The attempt that ended last."""

    at: datetime
    outcome: Outcome
    duration_ms: int
    http_status: int | None
    error: AttemptError | None


class JobSource(BaseModel):
    """Where a job's data comes from; secrets are `***`."""

    kind: str
    url: str


class Refused(BaseModel):
    """Why the guard refused what is in quarantine, and when."""

    reason: str
    at: datetime


class Job(BaseModel):
    """How fresh a job is, when it is due, and how its last attempt ended."""

    name: str
    state: State
    state_since: datetime | None
    enabled: bool
    paused: bool
    version: int | None
    etag: str | None
    content_type: str | None
    bytes: int | None
    items: int | None
    checked_at: datetime | None
    changed_at: datetime | None
    age_seconds: float | None
    lifetime_seconds: float | None
    expires_at: datetime | None
    due_at: datetime | None
    due_reason: DueReason
    consecutive_failures: int
    attempts: Attempts
    last_attempt: LastAttempt | None
    source: JobSource
    tags: list[str]
    quarantine: Refused | None
    content_time: datetime | None
    late: bool | None


class JobList(BaseModel):
    """A page of jobs."""

    jobs: list[Job]
    next: str | None = Field(description="What to send as `after`; null where nothing follows.")


class KeptVersion(BaseModel):
    """A version that the store keeps."""

    version: int
    etag: str
    bytes: int
    items: int | None
    changed_at: datetime


class History(BaseModel):
    """The versions of a job that are kept, the newest first."""

    versions: list[KeptVersion]


class Live(BaseModel):
    """That the process works; what is not so well in it is named to who may read."""

    status: Literal["ok"]
    crashed: dict[str, str] | None = None
    store: Literal["detached"] | None = None


class Ready(BaseModel):
    """That every required job has had data."""

    status: Literal["ready"]


class Fresh(BaseModel):
    """That every required job is fresh, and none is late."""

    status: Literal["fresh"]


class RefreshResult(BaseModel):
    """How an attempt that was asked for ended."""

    job: str
    outcome: Outcome
    version: int | None
    duration_ms: int
    error: AttemptError | None


class Skipped(BaseModel):
    """A job that was not named, and cannot be refreshed now."""

    job: str
    reason: str
    retry_after: int | None


class RefreshDone(BaseModel):
    """How all the attempts ended."""

    results: list[RefreshResult]
    skipped: list[Skipped]


class RefreshAccepted(BaseModel):
    """What will be refreshed, and what is done of it."""

    accepted: list[str]
    skipped: list[Skipped]
    results: list[RefreshResult] | None = None


class JobPaused(BaseModel):
    """Whether a job follows its schedule."""

    job: str
    paused: bool


class Published(BaseModel):
    """What is served from now on."""

    job: str
    version: int
    etag: str


class RolledBack(Published):
    """The same, and that the job follows its schedule no longer."""

    paused: bool


class Sizes(BaseModel):
    """A size of what is served, and of the candidate."""

    before: int | None
    after: int | None


class CandidateDifference(BaseModel):
    """How the candidate differs from what is served; counts where both are objects or arrays."""

    bytes: Sizes
    items: Sizes
    of: str | None = None
    added: int | None = None
    removed: int | None = None
    changed: int | None = None
    names: dict[str, list[str]] | None = None


class InQuarantine(BaseModel):
    """What the guard refused last."""

    job: str
    reason: str
    at: datetime
    checked_at: datetime
    seen: int
    accept_after: int | None
    etag: str
    content_type: str
    served_version: int | None
    difference: CandidateDifference


class Candidate(RootModel[InQuarantine | Any]):
    """What the guard refused last; with `body=1` the bytes of that, which may be any JSON."""


class QuarantineDropped(BaseModel):
    """That nothing is in quarantine any more."""

    job: str
    quarantine: None


class RefresherProblem(BaseModel):
    """What went wrong (RFC 9457).

    It is referred to by its name, which no model of an application around the router may have.
    """

    type: str = Field(examples=["about:blank", "urn:refresher:unknown-job"])
    title: str
    status: int
    detail: str
    errors: list[str] | None = Field(None, description="Each problem with a body.")
    jobs: list[str] | dict[str, str] | None = Field(
        None, description="The jobs concerned; of `/freshz` with the reason of each."
    )
    missing: list[str] | None = Field(None, description="The jobs that have no data yet.")
