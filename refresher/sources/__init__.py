"""Where data comes from: one room for each kind of source."""

from refresher.sources.callable import (
    UNCHANGED,
    CallableSource,
    check_signature,
    import_callable,
)
from refresher.sources.file import FileSource
from refresher.sources.http import Exchange, HttpRequest, HttpSource
from refresher.sources.pages import PagedSource, PageRead

__all__ = [
    "UNCHANGED",
    "CallableSource",
    "Exchange",
    "FileSource",
    "HttpRequest",
    "HttpSource",
    "PageRead",
    "PagedSource",
    "check_signature",
    "import_callable",
]
