"""What a process of the service writes to standard error: all of it, without the secrets."""

import logging
import sys
import threading
from collections.abc import Callable

from refresher.security.logs import RedactingFilter

logger = logging.getLogger("refresher")

_LAST_WORDS = 20
"""Hundredths of a second that a line may take to be written."""


def log_to_stderr(redact: Callable[[str], str]) -> None:
    """Send every log line of the process to standard error, as `redact` leaves it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(redact))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # These speak at INFO of every start and every request; what matters of that we say ourselves.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def say(level: int, message: str, *values: object) -> None:
    """Log a line, and wait for it no longer than a line takes where a log can be written.

    For whoever has to end the process, and must not wait for a pipe that nobody reads.
    """
    line = threading.Thread(target=logger.log, args=(level, message, *values), daemon=True)
    line.start()
    for _ in range(_LAST_WORDS):  # of which a machine that stands still takes but one
        line.join(0.01)
        if not line.is_alive():
            break
