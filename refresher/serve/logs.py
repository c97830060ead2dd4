"""Logs of a process of the service: to standard error, without the secrets."""

import logging
import sys
import threading
from collections.abc import Callable

from refresher.security.logs import RedactingFilter

logger = logging.getLogger("refresher")

_PATIENCE = 20
"""Hundredths of a second that a line may take to be written."""


def log_to_stderr(redact: Callable[[str], str]) -> None:
    """Send every log line of the process to standard error, as `redact` leaves it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(redact))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # These log every start and every request at INFO; this package logs what matters of that.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def log_briefly(level: int, message: str, *values: object) -> None:
    """Log a line, but return after a fifth of a second even if it has not been written.

    For a process that has to end: standard error may be a pipe that nobody reads.
    """
    line = threading.Thread(target=logger.log, args=(level, message, *values), daemon=True)
    line.start()
    for _ in range(
        _PATIENCE
    ):  # of short waits: a machine that was suspended has spent only one of them
        line.join(0.01)
        if not line.is_alive():
            break
