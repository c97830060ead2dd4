"""The paged HTTP source: one payload of all pages, or a failure.

Every page is requested with the method, headers and body of the first; the address rule and
`max_bytes` hold for all pages together.

Requests are conditional where a 304 confirms all that is served: where there was one page, whose
own body says that no other follows. With Link headers they are not: validators are of the body, and
a 304 need not repeat a Link that has been added since (RFC 9110, section 15.4.5).
"""

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, assert_never

import anyio.to_thread
import httpx

from refresher.config.paging import (
    CursorPages,
    LinkHeaderPages,
    NextUrlPages,
    NumberedPages,
    OffsetPages,
    Paginate,
)
from refresher.errors import RefreshFailed
from refresher.fields.links import next_link
from refresher.model import Failure, Stage
from refresher.payload import BodyBuffer, NotModified, Payload
from refresher.pipeline import Reading
from refresher.pipeline.charsets import is_empty
from refresher.pipeline.pages import Page, PageRule, read_page
from refresher.sources.http import Fetched, HttpSource
from refresher.upstream.addresses import AddressRule
from refresher.upstream.redirects import Hop
from refresher.upstream.urls import Origin, origin_of, resolved, shown, shown_origin, with_param

_JSON = "application/json"
_NO_CONTENT = 204
_NO_PAGE = Page(b"", 0, None)
_SMALL = 64 * 1024
"""Bytes of a page that are read, or copied, in the event loop: a thread would take longer."""

PageReader: TypeAlias = Callable[[Payload, PageRule], Awaitable[Page]]
"""Reads the items of a page and what leads to the next; raises `RefreshFailed`, closes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRead:
    """One page of an attempt, as a trial of a job shows it."""

    number: int
    size: int
    """Bytes."""
    items: int
    following: str | None
    """The next page's URL, without its query; None where this is the last one."""


async def read_here(payload: Payload, rule: PageRule) -> Page:
    """Read a page in this process; a large one in a thread."""
    if isinstance(payload.body, bytes) and len(payload.body) <= _SMALL:
        return read_page(payload.body, payload.content_type, rule)

    def read() -> Page:
        return read_page(payload.loaded(), payload.content_type, rule)

    return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)


class PagedSource:
    """Fetches page after page, and makes one JSON array of their items, in order.

    Pages are read by `reading` and `duplicate_keys`, as of the job and its guard. An array of
    `spool_from` bytes and more is put into a file.
    """

    def __init__(
        self,
        source: HttpSource,
        paginate: Paginate,
        *,
        reading: Reading = Reading(),  # noqa: B008  it is immutable
        duplicate_keys: Literal["accept", "reject"] = "accept",
        read: PageReader = read_here,
        on_page: Callable[[PageRead], None] | None = None,
        spool_from: int | None = None,
    ) -> None:
        self._source = source
        self._paginate = paginate
        self._read = read
        self._on_page = on_page
        self._spool_from = spool_from
        self._end = frozenset({_NO_CONTENT, *paginate.end_status})
        self._rule = PageRule(
            reading=reading,
            items=paginate.items,
            path=paginate.path if isinstance(paginate, NextUrlPages | CursorPages) else None,
            duplicate_keys=duplicate_keys,
        )

    async def fetch(self, since: str | None) -> Payload | NotModified:
        """Ask for all pages.

        Raises:
            RefreshFailed: one of them did not come, was refused, or names a next one that must not
                be requested.
        """
        array = BodyBuffer(self._spool_from)
        try:
            return await self._gathered(array, since)
        except BaseException:
            array.discard()
            raise

    async def _gathered(self, array: BodyBuffer, since: str | None) -> Payload | NotModified:
        rule = self._source.address_rule()
        hop = self._first()
        asked = {hop.url}
        since = since if self._conditional else None
        array.write(b"[")
        home = asked_with = None
        was_empty = False
        taken = items = 0
        fresh = as_of = math.inf
        overdue = 0.0
        for number in range(1, self._paginate.max_pages + 1):
            with _on_page(number, asked_with):
                answer = await self._sent(number, hop, since, rule, taken=taken)
                if isinstance(answer, NotModified):
                    return answer
                if answer is None:
                    self._report(number, 0, _NO_PAGE, None)
                    break
                payload, since = answer.payload, None
                asked_with = asked_with or payload.since
                size = len(payload.body)
                fresh = min(fresh, payload.fresh_for or 0.0)
                as_of = min(as_of, math.inf if payload.as_of is None else payload.as_of)
                overdue = max(overdue, payload.overdue)
                if number == 1 and isinstance(payload.body, bytes) and is_empty(payload.body):
                    # an empty body is no page: guard.allow_empty decides
                    return payload if self._conditional else replace(payload, revision=None)
                page = await self._page(answer, home)
                home = origin_of(answer.hop.url)
                await _join(array, page, first=not items)
                taken, items = taken + size, items + page.count
                following = self._following(answer, page, number, items)
                if following and not page.count and self._is_named:
                    itself = following.url in {hop.url, answer.hop.url}
                    following = None if was_empty or itself else following
                was_empty = not page.count
                self._report(number, size, page, following)
                if following is None:
                    break
                if following.url in asked:
                    raise _failed(f"the next page has come before: {shown(following.url)}, a loop")
            hop = following
            asked.add(hop.url)
        else:
            raise _failed(
                f"more follow after {number} pages, and max_pages = {number}; raise it, and count "
                "the empty page in where only that is the end"
            )
        array.write(b"]")
        return Payload(
            body=array.body(),
            content_type=_JSON,
            # validators of one page stand for that page alone
            revision=payload.revision if self._conditional and number == 1 else None,
            since=asked_with,
            http_status=payload.http_status,
            # fresh for as long as every one of the pages is, and as old as the oldest
            fresh_for=fresh or None,
            as_of=as_of,
            overdue=overdue,
        )

    async def _sent(
        self, number: int, hop: Hop, since: str | None, rule: AddressRule, *, taken: int
    ) -> Fetched | NotModified | None:
        """Ask for a page; None where the answer's status says that the one before was the last.

        On the first page it says no such thing: what was there is gone.
        """
        try:
            answer = await self._source.send(hop, since, rule, taken=taken)
        except RefreshFailed as failure:
            is_end = failure.failure.stage is Stage.STATUS and failure.http_status in self._end
            if number > 1 and is_end:
                return None
            raise
        if number > 1 and isinstance(answer, Fetched) and answer.payload.http_status in self._end:
            answer.payload.close()
            return None
        return answer

    async def _page(self, answer: Fetched, home: Origin | None) -> Page:
        """The items of a page; `home` is the origin of those before it."""
        payload = answer.payload
        try:
            if home not in {None, origin_of(answer.hop.url)}:
                where = shown_origin(answer.hop.url)
                raise _failed(f"it was redirected to {where}, which is another origin")
            return await self._read(payload, self._rule)
        finally:
            payload.close()

    @property
    def _is_named(self) -> bool:
        """Whether a page names the next one in its body, which some do without an end."""
        return isinstance(self._paginate, NextUrlPages | CursorPages)

    @property
    def _conditional(self) -> bool:
        return not isinstance(self._paginate, LinkHeaderPages)

    def _first(self) -> Hop:
        """The request for the first page."""
        match self._paginate:
            case OffsetPages() as offset:
                return self._with({**_limit(offset), offset.param: 0})
            case NumberedPages(param=param, start=start):
                return self._with({param: start})
            case _:
                return self._source.start

    def _following(self, answer: Fetched, page: Page, number: int, items: int) -> Hop | None:
        """The request for the page after this one; None where this is the last."""
        match self._paginate:
            case LinkHeaderPages():
                return _onward(answer.hop, _linked(answer))
            case NextUrlPages():
                return _onward(answer.hop, page.following)
            case CursorPages(param=param):
                return None if page.following is None else self._with({param: page.following})
            case OffsetPages() as offset:
                return self._with({**_limit(offset), offset.param: items}) if page.count else None
            case NumberedPages(param=param, start=start):
                return self._with({param: start + number}) if page.count else None
            case _:
                assert_never(self._paginate)

    def _with(self, params: Mapping[str, str | int]) -> Hop:
        """The configured request with these parameters in place of those of the same names."""
        url = self._source.start.url
        for name, given in params.items():
            try:
                url = with_param(url, name, str(given))
            except httpx.InvalidURL as error:
                message = f"no URL can have what asks for the next page as {name}: {error}"
                raise _failed(message) from error
        return replace(self._source.start, url=url)

    def _report(self, number: int, size: int, page: Page, following: Hop | None) -> None:
        if self._on_page is not None:
            onward = shown(following.url) if following else None
            read = PageRead(number=number, size=size, items=page.count, following=onward)
            self._on_page(read)


async def _join(array: BodyBuffer, page: Page, *, first: bool) -> None:
    """Append a page's items."""
    if page.count and not first:
        array.write(b",")
    if len(page.items) <= _SMALL:
        array.write(page.items)
    else:
        await anyio.to_thread.run_sync(array.write, page.items)


def _limit(offset: OffsetPages) -> dict[str, str | int]:
    """The parameter for the number of items a page, where one is configured."""
    match offset:
        case OffsetPages(limit_param=str(name), limit=int(count)):
            return {name: count}
        case _:
            return {}


def _linked(answer: Fetched) -> str | None:
    try:
        return next_link(answer.link, lambda reference: _is_url_of(answer.hop, reference))
    except ValueError as error:
        raise _failed(str(error)) from error


def _is_url_of(hop: Hop, reference: str) -> bool:
    """Whether a reference in the answer to `hop` leads to its own URL, or one that led there."""
    if reference.partition("#")[2]:  # a part of it
        return False
    url = resolved(hop.url, reference)
    return any(
        (origin_of(each), each.raw_path) == (origin_of(url), url.raw_path)
        for each in (hop.url, *(passed for _, passed, _ in hop.passed))
    )


def _onward(hop: Hop, reference: str | None) -> Hop | None:
    """The request that a page names as the next one, which must be of the page's own origin.

    Where a redirect led to another origin, paging goes on there, without credentials as before.
    """
    if reference is None:
        return None
    try:
        url = resolved(hop.url, reference)
    except ValueError as error:
        raise _failed(f"the next page is named by something that is not a URL: {error}") from error
    if origin_of(url) != origin_of(hop.url):
        raise _failed(
            f"the next page is of another origin, {shown_origin(url)}: only pages of "
            f"{shown_origin(hop.url)} are fetched"
        )
    return replace(hop, url=url, passed=())


@contextmanager
def _on_page(number: int, asked_with: str | None) -> Iterator[None]:
    """Put the number of the page before a failure's message, from the second page on.

    What the first one has told about the revision that is asked with, it tells too.
    """
    try:
        yield
    except RefreshFailed as error:
        error.since = error.since or asked_with
        if number > 1:
            message = f"page {number}: {error}"
            error.args, error.failure = (message,), Failure(error.failure.stage, message)
        raise


def _failed(message: str) -> RefreshFailed:
    """A failure that the next try would meet again."""
    return RefreshFailed(Stage.BODY, message)
