"""How the tests of the sources ask, and what they expect of a refusal."""

import httpx
import pytest

from refresher.errors import RefreshFailed
from refresher.payload import NotModified, Payload, Spool
from refresher.protocols import Source
from refresher.sources import HttpRequest, HttpSource


async def payload(source: Source, since: str | None = None) -> Payload:
    found = await source.fetch(since)
    assert isinstance(found, Payload)
    assert isinstance(found.body, bytes)
    return found


async def spooled(source: Source) -> Payload:
    """A payload whose body is in a file; the caller closes it."""
    found = await source.fetch(None)
    assert isinstance(found, Payload)
    assert isinstance(found.body, Spool)
    return found


async def not_modified(source: Source, since: str | None) -> NotModified:
    found = await source.fetch(since)
    assert isinstance(found, NotModified)
    return found


async def refusal(source: Source, since: str | None = None) -> RefreshFailed:
    with pytest.raises(RefreshFailed) as caught:
        await source.fetch(since)
    return caught.value


def mocked(handler: "httpx.MockTransport", request: HttpRequest) -> HttpSource:
    return HttpSource(request, client=httpx.AsyncClient(transport=handler))
