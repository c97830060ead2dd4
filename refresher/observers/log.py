"""What an operator reads: the first failure and the recovery, not every repetition."""

import logging

from refresher.model import Attempt, Record

logger = logging.getLogger("refresher")


class LogObserver:
    """Writes the edges of each job's health to the `refresher` logger."""

    def attempted(self, attempt: Attempt, before: Record) -> None:
        """Log a failure that is new, or new in kind, and the success that ends a run of them."""
        last = before.last_attempt
        failure = attempt.failure
        if failure is None:
            if last is None or last.failure is not None:
                logger.info("%s: %s", attempt.job, _served(attempt, recovered=last is not None))
            return
        known = last is not None and last.failure is not None and last.failure.stage
        if known != failure.stage:
            serving = (
                "nothing to serve yet"
                if attempt.version is None
                else (f"still serving version {attempt.version}")
            )
            logger.warning(
                "%s: %s at stage %s: %s; %s",
                attempt.job,
                attempt.outcome,
                failure.stage,
                failure.message,
                serving,
            )

    def crashed(self, job: str, error: Exception) -> None:
        """Log an error that nobody foresaw, with its traceback: it is ours to mend."""
        logger.error("%s: the refresh broke and goes on", job, exc_info=error)


def _served(attempt: Attempt, *, recovered: bool) -> str:
    verb = "recovered, serving" if recovered else "serving"
    return f"{verb} version {attempt.version} after {attempt.duration * 1000:.0f} ms"
