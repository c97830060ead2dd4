"""The tables of `paginate`: how an upstream cuts its data into pages."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from refresher.config import types as v


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pages:
    """What all ways to page have in common."""

    __pydantic_config__ = v.STRICT

    items: v.Expression = "@"
    """The array of items in a page, as a JMESPath expression."""
    max_pages: Annotated[v.Number, Field(ge=1, le=10_000)] = 100
    """The most pages to ask for; if more follow, the attempt fails."""
    end_status: tuple[v.EndStatus, ...] = ()
    """The statuses that are answered past the last page, beside 204."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkHeaderPages(_Pages):
    """A Link header leads from page to page (RFC 8288)."""

    type: Literal["link_header"] = "link_header"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextUrlPages(_Pages):
    """The URL of the next page stands in each page."""

    type: Literal["next_url"] = "next_url"
    path: v.Expression
    """Where it stands, as a JMESPath expression; nothing there: no more pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPages(_Pages):
    """Each page has the cursor that asks for the next one."""

    type: Literal["cursor"] = "cursor"
    path: v.Expression
    """Where it stands, as a JMESPath expression; nothing there: no more pages."""
    param: v.Word
    """The query parameter that it is sent as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetPages(_Pages):
    """Pages are asked for by the number of items before them, until one is empty."""

    type: Literal["offset"] = "offset"
    param: v.Word
    """The query parameter for that number."""
    limit_param: v.Word | None = None
    """The query parameter for `limit`."""
    limit: Annotated[v.Number, Field(ge=1, le=2**31)] | None = None
    """How many items to ask for in a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPages(_Pages):
    """Pages are asked for by their number, until one is empty."""

    type: Literal["page"] = "page"
    param: v.Word
    """The query parameter for the number."""
    start: Annotated[v.Number, Field(ge=0, le=2**31)] = 1
    """The first page's number."""


Paginate = Annotated[
    LinkHeaderPages | NextUrlPages | CursorPages | OffsetPages | NumberedPages,
    Discriminator("type"),
]
