"""Keeps secrets out of log lines, those of libraries included: httpx logs whole URLs at INFO."""

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
    "asyncio",
)
_FORMATTER = logging.Formatter()


class RedactingFilter(logging.Filter):
    """Lets every record pass, its message and its traceback without the secrets."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where it has a secret."""
        message = _message(record)
        redacted = self._redact(message)
        if redacted != message:
            record.msg, record.args = redacted, None
        if record.exc_info and not record.exc_text:
            trace = _FORMATTER.formatException(record.exc_info)
            redacted = self._redact(trace)
            if redacted != trace:  # no handler may format the exception itself
                record.exc_text, record.exc_info = redacted, None
        elif record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        return True


@contextmanager
def redacted(redact: Callable[[str], str]) -> Iterator[None]:
    """Redact what this package and its HTTP libraries log, whatever handlers there are."""
    guard = RedactingFilter(redact)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for one in loggers:
        one.addFilter(guard)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(guard)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  arguments that do not fit: the handler would print them
        record.msg, record.args = f"{record.msg} % {record.args!r}", None
        return str(record.msg)
