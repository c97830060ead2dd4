"""What can go wrong, as one tree.

::

    RefresherError
    ├── ConfigError            the configuration cannot be used: every problem, one a line
    ├── ServiceError           the service cannot start or go on: port in use, entered twice
    ├── StoreUnavailable       the store does not answer, or cannot be written
    ├── RefreshFailed          an attempt ended without new data, at a stage
    │   └── GuardRefused       its content is well-formed, and may be published all the same
    └── ReadError
        ├── UnknownJob         no job has that name
        ├── NoSnapshot         pending, or expired under `on_expired = "fail"`
        ├── NotQuarantined     no refused candidate of the job is kept
        ├── UnknownVersion     the job has not come to that version
        ├── GoneVersion        that version is kept no longer
        └── RefreshRefused     a manual refresh cannot be taken now
            ├── NotRefreshable paused or disabled
            └── TooSoon        under cooldown or Retry-After
"""

from typing import NoReturn

from refresher.model import Content, Failure, Stage


class RefresherError(Exception):
    """Base of all errors that this package raises; each can be pickled, whatever it takes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _revived, (type(self), self.args, self.__dict__)


def _revived(
    kind: type[RefresherError], args: tuple[object, ...], facts: dict[str, object]
) -> RefresherError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class ConfigError(RefresherError):
    """The configuration cannot be used; `problems` has every reason, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ServiceError(RefresherError):
    """The service cannot start, or was used in a way it cannot serve."""


class StoreUnavailable(RefresherError):
    """The store does not answer, or cannot be written; it may heal. Says what was tried and why."""


class RefreshFailed(RefresherError):
    """An attempt ended without new data; the last good snapshot stays.

    `transient` says that the same request may succeed soon, so backoff applies. `retry_after` is
    the upstream's own lower bound for the next attempt, in seconds; `upstream_wide` says that it
    holds for every job of the upstream (429), not for this one alone (503). `since` is what the
    source is to be asked with from now on in place of the revision of content that stays; None: as
    it was.
    """

    def __init__(
        self,
        stage: Stage,
        message: str,
        *,
        transient: bool = False,
        http_status: int | None = None,
        retry_after: float | None = None,
        upstream_wide: bool = False,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(stage, message)
        self.transient = transient
        self.http_status = http_status
        self.retry_after = retry_after
        self.upstream_wide = upstream_wide
        self.since: str | None = None


class GuardRefused(RefreshFailed):
    """The guard refused `content`, which is otherwise fit to serve."""

    def __init__(self, message: str, content: Content) -> None:
        super().__init__(Stage.GUARD, message)
        self.content = content


class ReadError(RefresherError):
    """A question about a job has no answer; `job` is its name."""

    def __init__(self, job: str, message: str) -> None:
        super().__init__(message)
        self.job = job


class UnknownJob(ReadError):
    """No job has that name."""


class NoSnapshot(ReadError):
    """There is nothing to serve; `retry_after` says in how many seconds to ask again."""

    def __init__(self, job: str, message: str, *, retry_after: float) -> None:
        super().__init__(job, message)
        self.retry_after = retry_after


class NotQuarantined(ReadError):
    """No candidate of the job is in quarantine, or no longer."""


class UnknownVersion(ReadError):
    """The job has not come to that version."""


class GoneVersion(ReadError):
    """That version of the job is kept no longer."""


class RefreshRefused(ReadError):
    """A manual refresh cannot be taken now; `reason` is one of those in refresher/docs/http.md."""

    def __init__(self, job: str, reason: str, message: str) -> None:
        super().__init__(job, message)
        self.reason = reason


class NotRefreshable(RefreshRefused):
    """The job is paused or disabled."""


class TooSoon(RefreshRefused):
    """The job is under its cooldown or its upstream's Retry-After, for `retry_after` seconds."""

    def __init__(self, job: str, reason: str, message: str, *, retry_after: float) -> None:
        super().__init__(job, reason, message)
        self.retry_after = retry_after


def refuse(message: str) -> NoReturn:
    """Refuse an answer for good, with a sentence.

    Raises:
        RefreshFailed: always, at stage `decode`.
    """
    raise RefreshFailed(Stage.DECODE, message)
