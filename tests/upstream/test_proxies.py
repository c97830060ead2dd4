import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from refresher.upstream.client import open_client
from refresher.upstream.transport import AiohttpTransport
from tests.faults import FaultServer, answer
from tests.upstream.requests import from_public


class TestAProxy:
    @pytest.fixture
    async def proxied(self, upstream: FaultServer) -> AsyncIterator[httpx.AsyncClient]:
        proxies = {
            "http": upstream.url().replace("http://", "http://me:word@"),
            "https": upstream.url(),
            "no": "direct.example, localhost",
        }
        transport = AiohttpTransport(proxies=proxies)
        async with open_client(transport=transport) as client:
            yield client

    async def test_is_asked_for_what_is_not_exempt(
        self, upstream: FaultServer, proxied: httpx.AsyncClient
    ) -> None:
        upstream.script("http://api.example/x", answer(200, b"[]"))
        assert (await proxied.get("http://api.example/x")).status_code == 200
        assert upstream.requests[0].target == "http://api.example/x"
        login = base64.b64encode(b"me:word").decode()
        assert upstream.requests[0].header("proxy-authorization") == f"Basic {login}"

    async def test_is_passed_by_for_what_is_exempt(
        self, upstream: FaultServer, proxied: httpx.AsyncClient
    ) -> None:
        await proxied.get(upstream.url("/x", host="localhost"))
        assert upstream.requests[0].target == "/x"
        with pytest.raises(httpx.ConnectError):
            await proxied.get("http://sub.direct.example.invalid.direct.example/")

    async def test_may_stand_at_a_private_address(
        self, upstream: FaultServer, proxied: httpx.AsyncClient
    ) -> None:
        upstream.script("http://api.example/x", answer(200, b"[]"))
        assert (await proxied.send(from_public("http://api.example/x"))).status_code == 200

    async def test_that_opens_no_tunnel_is_a_failure_of_the_proxy(
        self, upstream: FaultServer, proxied: httpx.AsyncClient
    ) -> None:
        upstream.script("api.example:443", answer(407))
        with pytest.raises(httpx.ProxyError):
            await proxied.get("https://api.example/")
        assert upstream.requests[0].method == "CONNECT"

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1"])
    async def test_of_a_kind_that_is_not_spoken_is_named(self, proxy: str) -> None:
        transport = AiohttpTransport(proxies={"all": proxy})
        async with open_client(transport=transport) as client:
            with pytest.raises(httpx.UnsupportedProtocol, match="socks5"):
                await client.get("http://api.example/")
