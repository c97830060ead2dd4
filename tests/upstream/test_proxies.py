import base64
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.upstream.client import open_client
from refresher.upstream.proxies import proxy_for
from refresher.upstream.transport import AiohttpTransport
from tests.faults import FaultServer, answer
from tests.upstream.requests import from_public


def is_exempt(host: str, no_proxy: str) -> bool:
    proxies = {"all": "http://proxy.example:3128", "no": no_proxy}
    return proxy_for(httpx.URL(f"http://{host}/x"), proxies) is None


class TestAnExemption:
    @pytest.mark.parametrize(
        ("no_proxy", "exempt", "others"),
        [
            ("a.example", ["a.example", "x.a.example", "A.EXAMPLE"], ["ba.example", "example"]),
            (".a.example", ["a.example", "x.a.example"], ["ba.example"]),
            ("*.a.example", ["x.a.example", "y.x.a.example"], ["a.example", "ba.example"]),
            ("a.example.", ["a.example"], ["b.example"]),
            ("a.example", ["a.example."], ["b.example."]),
            ("A.Example", ["a.example"], ["b.example"]),
            ("*", ["a.example", "10.0.0.1", "[::1]"], []),
            ("a.example, *", ["b.example"], []),
            ("", [], ["a.example"]),
            (" , ,", [], ["a.example"]),
            (".", [], ["a.example"]),
            ("a.example b.example", ["a.example", "b.example"], ["c.example"]),
            (" a.example ,\tb.example,c.example ", ["a.example", "b.example", "c.example"], ["d"]),
            (
                "a.example:8080",
                ["a.example:8080", "x.a.example:8080"],
                ["a.example", "a.example:81"],
            ),
            ("a.example:80", ["a.example", "a.example:80"], ["a.example:81"]),
            ("*.a.example:81", ["x.a.example:81"], ["a.example:81", "x.a.example"]),
            ("*:81", ["a.example:81", "10.0.0.1:81"], ["a.example"]),
            ("10.0.0.0/8", ["10.1.2.3", "10.1.2.3:81"], ["11.0.0.1", "10.example"]),
            ("10.1.2.3/8", ["10.200.0.1"], ["11.0.0.1"]),
            ("192.168.1.7", ["192.168.1.7"], ["192.168.1.70", "1.192.168.1.7.example"]),
            ("192.168.1.7:81", ["192.168.1.7:81"], ["192.168.1.7"]),
            ("168.1.7", [], ["192.168.1.7"]),
            ("::1", ["[::1]", "[0:0:0:0:0:0:0:1]", "[::1]:81"], ["[::2]"]),
            ("[::1]", ["[::1]", "[::1]:81"], ["[::2]"]),
            ("[::1]:81", ["[::1]:81"], ["[::1]", "[::1]:82"]),
            ("fd00::/8", ["[fd12::1]"], ["[fe80::1]"]),
            ("[fd00::]/8", ["[fd12::1]"], ["[fe80::1]"]),
            ("10.0.0.0/8", ["[::ffff:10.0.0.1]"], ["[::ffff:11.0.0.1]"]),
            ("münchen.example", ["xn--mnchen-3ya.example"], ["munchen.example"]),
            ("xn--mnchen-3ya.example", ["münchen.example"], ["munchen.example"]),
            ("10.0.0.0/99, a.example", ["a.example"], ["10.0.0.1"]),
            ("a.example:http", [], ["a.example"]),
        ],
    )
    def test_is_read_as_curl_and_go_read_it(
        self, no_proxy: str, exempt: list[str], others: list[str]
    ) -> None:
        assert [host for host in exempt if not is_exempt(host, no_proxy)] == []
        assert [host for host in others if is_exempt(host, no_proxy)] == []

    def test_for_port_443_is_for_https(self) -> None:
        proxies = {"all": "http://proxy.example", "no": "a.example:443"}
        assert proxy_for(httpx.URL("https://a.example/"), proxies) is None
        assert proxy_for(httpx.URL("http://a.example/"), proxies) is not None

    @given(st.text())
    def test_may_be_any_text(self, no_proxy: str) -> None:
        is_exempt("a.example", no_proxy)
        is_exempt("10.0.0.1", no_proxy)

    @given(st.ip_addresses(), st.integers(0, 32))
    def test_of_a_network_is_for_its_addresses(
        self, address: IPv4Address | IPv6Address, prefix: int
    ) -> None:
        host = f"[{address}]" if address.version == 6 else str(address)
        assert is_exempt(host, f"a.example,{address}/{prefix + 96 * (address.version == 6)}")


class TestAPassword:
    @pytest.mark.parametrize(
        ("userinfo", "login"),
        [
            ("me:p%C3%A4ss", "me:päss".encode()),
            ("me:päss", "me:päss".encode()),
            ("m%C3%A9:%E2%82%AC", "mé:€".encode()),
            ("me:p%E4ss", b"me:p\xe4ss"),
            ("me:a%3Ab%40c", b"me:a:b@c"),
            ("me:a@b", b"me:a@b"),
            ("me", b"me:"),
        ],
    )
    async def test_is_sent_as_utf8_with_every_request_and_tunnel(
        self, userinfo: str, login: bytes, upstream: FaultServer
    ) -> None:
        proxy = upstream.url().replace("http://", f"http://{userinfo}@")
        upstream.script("http://api.example/x", answer(200, b"[]"), answer(200, b"[]"))
        upstream.script("api.example:443", answer(407))
        async with open_client(transport=AiohttpTransport(proxies={"all": proxy})) as client:
            for _ in range(2):
                assert (await client.get("http://api.example/x")).status_code == 200
            with pytest.raises(httpx.ProxyError):
                await client.get("https://api.example/")
        sent = [request.header("proxy-authorization") for request in upstream.requests]
        assert sent == [f"Basic {base64.b64encode(login).decode()}"] * 3

    def test_is_not_shown(self) -> None:
        proxy = proxy_for(httpx.URL("http://a/"), {"all": "http://me:word@proxy.example:3128"})
        assert proxy is not None
        assert repr(proxy) == "Proxy(url='http://proxy.example:3128')"


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
