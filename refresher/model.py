"""The nouns: what a job has, does and has done, as immutable values."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Literal, TypeAlias


class Outcome(StrEnum):
    """How an attempt ended; see Outcomes in refresher/docs/http.md."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    REJECTED = "rejected"


class Stage(StrEnum):
    """Where an attempt failed (up to `source`) or its answer was refused (from `decode`)."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    AUTH = "auth"
    BODY = "body"
    SOURCE = "source"
    DECODE = "decode"
    SELECT = "select"
    SCHEMA = "schema"
    GUARD = "guard"

    @property
    def outcome(self) -> Outcome:
        """`rejected` where a complete answer's content was refused, else `failed`."""
        return Outcome.REJECTED if self in _REJECTING else Outcome.FAILED


_REJECTING = frozenset({Stage.DECODE, Stage.SELECT, Stage.SCHEMA, Stage.GUARD})


class State(StrEnum):
    """How fresh a job's snapshot is; see States in refresher/docs/http.md."""

    PENDING = "pending"
    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


class DueReason(StrEnum):
    """Why a job is due when it is."""

    STARTUP = "startup"
    SCHEDULE = "schedule"
    BACKOFF = "backoff"
    RETRY_AFTER = "retry_after"
    UPSTREAM_LIMIT = "upstream_limit"
    MANUAL = "manual"
    DEFINITION = "definition"
    PAUSED = "paused"
    DISABLED = "disabled"


class Format(StrEnum):
    """What kind of content an answer is; all but the last two hold a JSON value."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    XML = "xml"
    YAML = "yaml"
    TOML = "toml"
    TEXT = "text"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What content must be like to replace what is served; shares are fractions: 0.5 for 50 %.

    One class for what is configured, sent to worker processes and checked. `config.guard` says how
    its keys are written; an editor shows their docstrings.
    """

    min_items: int | None = None
    """The least number of items: of a root array, members of a root object, or rows."""
    max_items: int | None = None
    """The most items."""
    max_shrink: float | None = None
    """How much smaller than the served one it may be, in items, else in bytes."""
    max_growth: float | None = None
    """How much larger than the served one it may be, in items, else in bytes: 100% is twice it."""
    required: tuple[str, ...] = ()
    """Names that must be members."""
    allow_empty: bool = False
    """Whether an empty body is content, published as zero bytes."""
    duplicate_keys: Literal["accept", "reject"] = "accept"
    """Whether an object may have the same key twice."""
    accept_after: int | None = None
    """At how many scheduled due moments in a row the same refused content comes until it is taken;
    none: it waits for a person."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Two fingerprints of a job: of where its data comes from, and of what is done to it."""

    source: str
    rules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the pipeline made of a payload: the bytes to serve, and what is known about them."""

    body: bytes
    content_type: str
    format: Format
    items: int | None
    """Length of a root array, members of a root object; None where the content has no items."""
    raw: bool = False
    """Whether the body is as it came, where its format would otherwise be served as JSON."""
    content_time: float | None = None
    """When the content is from by its own word, where the job says where that stands in it."""

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON text, whatever it was made from."""
        return not self.raw and self.format not in {Format.TEXT, Format.BYTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What every successful attempt learns, whether the bytes changed or not."""

    checked_at: float
    """The last moment at which the data was good by the source's word.

    Before our check, where the answer came from a cache (RFC 9111, section 4.2.3).
    """
    lifetime: float
    """Seconds from `checked_at` to the next scheduled due moment."""
    revision: str | None
    definition: Definition
    age: float = 0.0
    """How old the data was when we checked it: seconds from `checked_at` to then."""
    stale_since: float | None = None
    """Since when the source says of its own answers that they are stale; None: it does not."""
    content_time: float | None = None
    """When the content is from by its own word, read as the definition says; the ledger adds it."""

    @property
    def came_at(self) -> float:
        """When we checked, whatever the age of what came."""
        return self.checked_at + self.age

    def of_known_bytes(self, earlier: "Confirmation") -> "Confirmation":
        """This confirmation with the later `checked_at` of the two; its bytes are the same.

        An answer from another cache may be older than what is known already. The lifetime still
        ends at the same moment. An earlier confirmation that lies in the future does not count: the
        clock has been set back.
        """
        gained = earlier.checked_at - self.checked_at
        if not 0.0 < gained <= self.age:
            return self
        return replace(
            self,
            checked_at=earlier.checked_at,
            lifetime=self.lifetime - gained,
            age=self.age - gained,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Content that a store keeps: what is known of it, and the name of its bytes there."""

    body: str
    """Under which name the store has the bytes."""
    size: int
    etag: str
    content_type: str
    format: Format
    items: int | None
    raw: bool = False
    content_time: float | None = None

    def with_bytes(self, body: bytes) -> Content:
        """The content whole again."""
        return Content(
            body=body,
            content_type=self.content_type,
            format=self.format,
            items=self.items,
            raw=self.raw,
            content_time=self.content_time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a job's data, as its history lists it."""

    version: int
    stored: Stored
    changed_at: float
    dated: bool
    """Whether `changed_at`, in whole seconds, tells this version from the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Content that the guard refused, kept until a person decides or it has come often enough."""

    stored: Stored
    confirmation: Confirmation
    """Of the last time that it came; has the validators to ask with."""
    reason: str
    at: float
    """When it was refused first."""
    seen: int
    """At how many scheduled due moments in a row it came; manual refreshes do not count."""
    next_moment: float
    """The scheduled due moment that counts next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job's current content, as a store committed it."""

    job: str
    content: Content
    etag: str
    """Strong validator of the uncoded bytes and media type, with quotes (RFC 9110, 8.8.3)."""
    version: int
    change: int
    """The store's number of this change, one counter over all jobs."""
    changed_at: float
    dated: bool
    """Whether `changed_at`, in whole seconds, tells this version from the one before it."""
    confirmation: Confirmation

    @property
    def checked_at(self) -> float:
        """The last moment at which the content was good by the source's word, as epoch seconds."""
        return self.confirmation.checked_at

    @property
    def content_time(self) -> float | None:
        """When the content is from by its own word; None where the job does not say."""
        return self.confirmation.content_time

    @property
    def lifetime(self) -> float:
        """Seconds the content counts as fresh after `checked_at`."""
        return self.confirmation.lifetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as a sentence to a person."""

    stage: Stage
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The result of an attempt that found content to publish."""

    outcome: ClassVar[Outcome] = Outcome.CHANGED
    failure: ClassVar[None] = None
    stored: Stored
    confirmation: Confirmation


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The result of an attempt that confirmed what is served."""

    outcome: ClassVar[Outcome] = Outcome.UNCHANGED
    failure: ClassVar[None] = None
    confirmation: Confirmation


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """The result of an attempt whose content the guard refused."""

    outcome: ClassVar[Outcome] = Outcome.REJECTED
    quarantine: Quarantine

    @property
    def failure(self) -> Failure:
        """The guard's reason."""
        return Failure(Stage.GUARD, self.quarantine.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The result of an attempt without a complete answer, or whose content another rule refused."""

    failure: Failure
    missed: bool = False
    """Whether a scheduled moment has passed without the candidate: its count begins anew."""
    since: str | None = None
    """The revision to ask with from now on; None: as it was."""

    @property
    def outcome(self) -> Outcome:
        """`rejected` where there was a complete answer, else `failed`."""
        return self.failure.stage.outcome


Result: TypeAlias = Changed | Unchanged | Quarantined | Failed
"""What an attempt comes to; settling the attempt writes it into the job's ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job, over."""

    job: str
    started_at: float
    duration: float
    """Seconds."""
    outcome: Outcome
    version: int | None
    """The version served after it; None while there is none."""
    http_status: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """When a job is attempted next; `at` is None for a job that waits for a person."""

    at: float | None
    reason: DueReason


@dataclass(frozen=True, slots=True)
class Counts:
    """How many attempts ended how."""

    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    rejected: int = 0

    def plus(self, outcome: Outcome) -> "Counts":
        """One more of `outcome`."""
        match outcome:
            case Outcome.CHANGED:
                return Counts(self.changed + 1, self.unchanged, self.failed, self.rejected)
            case Outcome.UNCHANGED:
                return Counts(self.changed, self.unchanged + 1, self.failed, self.rejected)
            case Outcome.FAILED:
                return Counts(self.changed, self.unchanged, self.failed + 1, self.rejected)
            case Outcome.REJECTED:
                return Counts(self.changed, self.unchanged, self.failed, self.rejected + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that is known of one job at one moment; the next event makes the next one."""

    job: str
    since: float
    """When the job became known here."""
    snapshot: Snapshot | None = None
    due: Due = field(default=Due(None, DueReason.STARTUP))
    running_since: float | None = None
    last_attempt: Attempt | None = None
    counts: Counts = field(default=Counts())
    consecutive_failures: int = 0
    failing_since: float | None = None
    """When the first attempt of the present run of failures ended."""
    fresh_since: float | None = None
    """When a success last ended a time without fresh data."""
    quarantine: Quarantine | None = None
    """What the guard refused last, unless good data has come since."""
    outdated: bool = False
    """Whether the snapshot was made by other rules than the job has now."""
    detached: bool = False
    """Whether the store is unavailable, so that this process works with its local copy."""
    paused: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` attempts in any `period` seconds."""

    count: int
    period: float
