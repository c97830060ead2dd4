"""Keeps secrets out of log lines, whoever writes them: httpx logs whole URLs at INFO."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A logger's filter sees what is logged on that very logger, not on its children.
_LOGGERS = (
    "refresher",
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
    "aiohttp.client",
    "aiohttp.internal",
)
_FORMATTER = logging.Formatter()


class RedactingFilter(logging.Filter):
    """Lets every record pass, its message and its traceback without the secrets."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where it has to be."""
        message = record.getMessage()
        redacted = self._redact(message)
        if redacted != message:
            record.msg, record.args = redacted, None
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        return True


@contextmanager
def redacted(redact: Callable[[str], str]) -> Iterator[None]:
    """Redact what this package and its HTTP libraries log, wherever the application sends it."""
    guard = RedactingFilter(redact)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for one in loggers:
        one.addFilter(guard)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(guard)
