import base64

import httpx
import pytest

from refresher.model import Stage
from refresher.upstream.client import open_client
from refresher.upstream.failures import call_failure
from refresher.upstream.redirects import AmbiguousLocation
from tests.faults import FaultServer, answer


async def test_a_client_has_its_upstreams_base_url_headers_and_no_cookies(
    upstream: FaultServer,
) -> None:
    upstream.script("/v1/x", answer(200, b"[]", {"Set-Cookie": "a=1"}))
    async with open_client(base_url=upstream.url("/v1"), headers={"X-Key": "ä"}) as client:
        await client.get("/x")
        await client.get("/x")
    assert "X-Key: ä\r\n".encode() in upstream.requests[1].raw
    assert upstream.requests[1].header("cookie") is None


async def test_a_url_with_userinfo_is_a_request_with_basic_auth(
    upstream: FaultServer, client: httpx.AsyncClient
) -> None:
    await client.get(upstream.script("/", answer(200)).replace("http://", "http://me:word@"))
    login = base64.b64encode(b"me:word").decode()
    assert upstream.requests[0].header("authorization") == f"Basic {login}"


async def test_no_redirect_is_followed(upstream: FaultServer, client: httpx.AsyncClient) -> None:
    url = upstream.script("/", answer(302, headers={"Location": "/y"}))
    assert (await client.get(url)).status_code == 302


async def test_a_transport_handed_in_is_the_only_one_used() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.host))
    async with open_client(transport=transport) as client:
        assert (await client.get("http://api.example/")).text == "api.example"


async def test_a_cookie_is_sent_where_it_was_set_and_in_no_other_client() -> None:
    transport = httpx.MockTransport(
        lambda request: httpx.Response(
            200, headers={"Set-Cookie": "b=2"}, text=request.headers.get("cookie", "none")
        )
    )
    async with open_client(transport=transport) as one, open_client(transport=transport) as other:
        for _ in range(2):
            one.cookies.set("a", "1")
            assert (await one.get("http://api.example/")).text == "a=1"
            assert (await other.get("http://api.example/")).text == "none"
        other.cookies = {"c": "3"}
        assert (await other.get("http://api.example/")).text == "c=3"


async def test_a_place_that_a_redirect_names_twice_is_one_and_two_are_none() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        places = {"/same": ["/x", "/x"], "/other": ["/x", "/y"]}.get(request.url.path, [])
        headers = [("Location", place) for place in places]
        return httpx.Response(302 if places else 200, headers=headers, text=request.url.path)

    async with open_client(transport=httpx.MockTransport(reply)) as client:
        answered = await client.get("http://api.example/same", follow_redirects=True)
        assert answered.text == "/x"
        with pytest.raises(AmbiguousLocation) as caught:
            await client.get("http://api.example/other", follow_redirects=True)
    assert call_failure(caught.value, now=0).failure.stage is Stage.REDIRECT
