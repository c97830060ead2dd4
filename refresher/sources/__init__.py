"""Where data comes from: a module for each kind of source."""

from refresher.sources.callable import (
    UNCHANGED,
    CallableSource,
    check_signature,
    import_callable,
)
from refresher.sources.exchange import Exchange
from refresher.sources.file import FileSource
from refresher.sources.http import HttpRequest, HttpSource
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
