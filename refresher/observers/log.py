"""The log of attempts: the first failure and the recovery, not every repetition."""

import logging

from refresher.model import Attempt, Failure, Record, Stage

logger = logging.getLogger("refresher")


class LogObserver:
    """Logs to `refresher` where the health of a job changes."""

    def attempted(self, attempt: Attempt, before: Record) -> None:
        """Log a failure that is new or of another stage, and the success that ends failures."""
        last = before.last_attempt
        known = None if last is None else last.failure
        if attempt.failure is not None:
            if known is None or known.stage is not attempt.failure.stage:
                _warn(attempt, attempt.failure, kept=before.quarantine is not None)
        elif last is None or known is not None:
            verb = "serving" if last is None else "recovered, serving"
            ms = attempt.duration * 1000
            logger.info("%s: %s version %s after %.0f ms", attempt.job, verb, attempt.version, ms)

    def skipped(self, job: str) -> None:
        """Log nothing: the process that makes the attempt does."""

    def crashed(self, job: str, error: Exception) -> None:
        """Log an unexpected error with its traceback: it is a bug of this package."""
        logger.error("%s: the refresh broke and goes on", job, exc_info=error)


def _warn(attempt: Attempt, failure: Failure, *, kept: bool) -> None:
    served = attempt.version
    serving = "nothing to serve yet" if served is None else f"still serving version {served}"
    if failure.stage is Stage.GUARD and kept:
        serving += "; the answer is in quarantine, to be accepted or rejected"
    logger.warning(
        "%s: %s at stage %s: %s; %s",
        attempt.job,
        attempt.outcome,
        failure.stage,
        failure.message,
        serving,
    )
