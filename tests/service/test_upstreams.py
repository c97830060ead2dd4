"""The way to an upstream as configured: proxies and TLS over real sockets, keys and labels."""

import logging
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import httpx
import pytest
import trustme

from refresher import Refresher
from refresher.config import load
from refresher.config.models import TlsConfig
from refresher.errors import ConfigError
from refresher.model import Attempt, Stage
from refresher.payload import Payload
from refresher.service import build
from refresher.service.upstreams import tls_context, upstream_key, upstream_label
from refresher.upstream.client import open_client
from refresher.upstream.transport import AiohttpTransport
from tests.faults import FaultServer, json_answer, redirect, serving
from tests.faults.proxy import proxying
from tests.service.opened import opened
from tests.watching import record, until, until_attempted


@dataclass
class Pki:
    """Authorities, certificates and where their files are."""

    folder: Path
    authority: trustme.CA
    stranger: trustme.CA

    def server(self, *, wanting_clients: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1", "api.example").configure_cert(context)
        if wanting_clients:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    pki = Pki(folder, trustme.CA(), trustme.CA())
    for name, authority in (("ca", pki.authority), ("stranger", pki.stranger)):
        authority.cert_pem.write_to_path(str(folder / f"{name}.pem"))
        client = authority.issue_cert("client.example")
        client.cert_chain_pems[0].write_to_path(str(folder / f"{name}-client.pem"))
        client.private_key_pem.write_to_path(str(folder / f"{name}-client.key"))
        client.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}-both.pem"))
    return pki


async def attempt(folder: Path, upstream: FaultServer, table: str, url: str = "/x") -> Attempt:
    """The first attempt of a job under an upstream with these keys, paths relative to a folder."""
    config = folder / "config.toml"
    config.write_text(
        f'[upstreams.up]\nbase_url = "{upstream.url()}"\n{table}\n'
        f'[jobs.a]\nupstream = "up"\nurl = "{url}"\n'
    )
    async with Refresher.from_toml(config) as cache:
        await until_attempted(cache)
        last = record(cache).last_attempt
    assert last is not None
    return last


def said(last: Attempt) -> tuple[Stage, str]:
    assert last.failure is not None
    return last.failure.stage, last.failure.message


class TestTls:
    @pytest.fixture
    async def upstream(self, pki: Pki) -> AsyncIterator[FaultServer]:
        async with serving(tls=pki.server()) as server:
            server.script("/x", json_answer(b"[1]"))
            yield server

    @pytest.fixture
    async def strict(self, pki: Pki) -> AsyncIterator[FaultServer]:
        async with serving(tls=pki.server(wanting_clients=True)) as server:
            server.script("/x", json_answer(b"[1]"))
            yield server

    async def test_trusts_no_unknown_authority(self, pki: Pki, upstream: FaultServer) -> None:
        for table in ("", 'tls = { ca = "stranger.pem" }'):
            stage, message = said(await attempt(pki.folder, upstream, table))
            assert stage is Stage.TLS
            assert "is not trusted" in message

    async def test_trusts_the_authority_it_is_given(self, pki: Pki, upstream: FaultServer) -> None:
        found = await attempt(pki.folder, upstream, 'tls = { ca = "ca.pem" }')
        assert found.outcome == "changed"

    def test_trusts_nobody_else_then(self, pki: Pki) -> None:
        context = tls_context(TlsConfig(ca=pki.folder / "ca.pem"))
        assert context is not None
        assert len(context.get_ca_certs()) == 1
        assert tls_context(TlsConfig()) is None

    async def test_still_wants_the_right_name(self, pki: Pki, upstream: FaultServer) -> None:
        url = upstream.url("/x", host="localhost")
        stage, message = said(await attempt(pki.folder, upstream, 'tls = { ca = "ca.pem" }', url))
        assert stage is Stage.TLS
        assert "localhost" in message

    async def test_verifies_nothing_if_told_so_and_says_so_at_the_start(
        self, pki: Pki, upstream: FaultServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "refresher"):
            found = await attempt(pki.folder, upstream, "tls = { verify = false }")
        assert found.outcome == "changed"
        [line] = caplog.messages
        assert line.startswith("upstreams.up: tls.verify = false: ")

    @pytest.mark.parametrize(
        "shown", ['cert = "ca-client.pem", key = "ca-client.key"', 'cert = "ca-both.pem"']
    )
    async def test_shows_the_certificate_that_the_upstream_wants(
        self, pki: Pki, strict: FaultServer, shown: str
    ) -> None:
        found = await attempt(pki.folder, strict, f'tls = {{ ca = "ca.pem", {shown} }}')
        assert found.outcome == "changed"

    @pytest.mark.parametrize("shown", ["", ', cert = "stranger-both.pem"'])
    async def test_is_refused_without_it(self, pki: Pki, strict: FaultServer, shown: str) -> None:
        found = await attempt(pki.folder, strict, f'tls = {{ ca = "ca.pem"{shown} }}')
        assert said(found)[0] in {Stage.TLS, Stage.CONNECT}
        assert strict.requests == []

    async def test_shows_a_renewed_certificate_on_new_connections_at_once(
        self, pki: Pki, strict: FaultServer, tmp_path: Path
    ) -> None:
        for name in ("ca.pem", "stranger-client.pem", "stranger-client.key"):
            shutil.copy(pki.folder / name, tmp_path / name.replace("stranger-", ""))
        config = tmp_path / "config.toml"
        config.write_text(
            f'[upstreams.up]\nbase_url = "{strict.url()}"\n'
            'tls = { ca = "ca.pem", cert = "client.pem", key = "client.key" }\n'
            '[jobs.a]\nupstream = "up"\nurl = "/x"\ninterval = "1h"\nbackoff = "1h"\n'
        )
        async with Refresher.from_toml(config) as cache:
            await until_attempted(cache)
            assert record(cache).snapshot is None
            for name in ("client.pem", "client.key"):  # for a moment they do not belong together
                shutil.copy(pki.folder / f"ca-{name}", tmp_path / name)
            await until(cache, lambda: record(cache).snapshot is not None)

    async def test_goes_on_with_the_old_certificate_while_the_new_one_is_unfit(
        self, pki: Pki, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        shutil.copy(pki.folder / "ca.pem", tmp_path)
        async with serving(tls=pki.server()) as upstream:
            upstream.script("/x", json_answer(b"[1]"))
            config = tmp_path / "config.toml"
            config.write_text(
                f'[upstreams.up]\nbase_url = "{upstream.url()}"\ntls = {{ ca = "ca.pem" }}\n'
                '[jobs.a]\nupstream = "up"\nurl = "/x"\ninterval = "100ms"\n'
            )
            async with Refresher.from_toml(config) as cache:
                await until_attempted(cache)
                (tmp_path / "ca.pem").write_text("half of it")
                await until(cache, lambda: "has no certificate in PEM form" in caplog.text)
                before = record(cache).counts.unchanged
                await until(cache, lambda: record(cache).counts.unchanged > before)

    async def test_a_file_that_vanished_since_the_start_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"tls.ca: cannot be read \(No such file"):
            async with Refresher({"upstreams": {"up": {"tls": {"ca": str(tmp_path / "no")}}}}):
                pass


class TestAProxy:
    @pytest.fixture
    async def upstream(self) -> AsyncIterator[FaultServer]:
        async with serving() as server:
            server.script("/x", json_answer(b"[1]"))
            yield server

    async def test_passes_plain_requests_on(self, tmp_path: Path, upstream: FaultServer) -> None:
        async with proxying(upstream.port) as proxy:
            table = f'proxy = "{proxy.url()}"'
            found = await attempt(tmp_path, upstream, table, "http://api.example/x")
        assert found.outcome == "changed"
        assert proxy.asked == ["GET http://api.example/x"]

    async def test_tunnels_to_a_verified_upstream(self, pki: Pki) -> None:
        async with (
            serving(tls=pki.server(wanting_clients=True)) as upstream,
            proxying(upstream.port) as proxy,
        ):
            upstream.script("/x", json_answer(b"[1]"))
            tls = 'tls = { ca = "ca.pem", cert = "ca-both.pem" }'
            table = f'proxy = "{proxy.url()}"\n{tls}'
            good = await attempt(pki.folder, upstream, table, "https://api.example/x")
            bad = await attempt(pki.folder, upstream, table, "https://other.example/x")
        assert good.outcome == "changed"
        assert said(bad)[0] is Stage.TLS
        assert proxy.asked == ["CONNECT api.example:443", "CONNECT other.example:443"]

    async def test_gets_its_password_and_the_upstream_does_not(
        self, tmp_path: Path, upstream: FaultServer
    ) -> None:
        async with proxying(upstream.port, login="me:p@ss") as proxy:
            table = f'proxy = "{proxy.url("me:p%40ss")}"'
            good = await attempt(tmp_path, upstream, table, "http://api.example/x")
            bad = await attempt(
                tmp_path, upstream, f'proxy = "{proxy.url("me:no")}"', "http://api.example/x"
            )
        assert good.outcome == "changed"
        assert (bad.http_status, said(bad)[0]) == (407, Stage.STATUS)
        assert (len(upstream.requests), proxy.refused) == (1, 1)

    async def test_that_wants_a_password_opens_no_tunnel_without(self, pki: Pki) -> None:
        async with (
            serving(tls=pki.server()) as upstream,
            proxying(upstream.port, login="me:pass") as proxy,
        ):
            table = f'proxy = "{proxy.url()}"\ntls = {{ ca = "ca.pem" }}'
            found = await attempt(pki.folder, upstream, table, "https://api.example/x")
        assert said(found)[0] is Stage.CONNECT
        assert upstream.connections == 0

    async def test_of_the_environment_is_passed_by_if_told_so(
        self, tmp_path: Path, upstream: FaultServer
    ) -> None:
        found = await attempt(tmp_path, upstream, 'proxy = "none"')
        assert found.outcome == "changed"
        async with open_client(transport=AiohttpTransport(proxies={})) as client:
            assert (await client.get(upstream.url("/x"))).status_code == 200

    async def test_whose_password_is_rotated_is_asked_with_the_new_one_at_once(
        self, tmp_path: Path, upstream: FaultServer
    ) -> None:
        (tmp_path / "password").write_text("0ld-word")
        async with proxying(upstream.port, login="me:n3w-word") as proxy:
            config = tmp_path / "config.toml"
            config.write_text(f"""
                [upstreams.up]
                proxy = "http://me:${{file:password}}@127.0.0.1:{proxy.port}"
                [jobs.a]
                upstream = "up"
                url = "http://api.example/x"
                interval = "1h"
            """)
            async with Refresher.from_toml(config) as cache:
                await until_attempted(cache)
                assert (proxy.refused, record(cache).snapshot) == (1, None)
                (tmp_path / "password").write_text("n3w-word")
                await until(cache, lambda: record(cache).snapshot is not None)
                assert cache.redact("0ld-word n3w-word") == "*** ***"


async def test_connections_end_with_the_service() -> None:
    async with serving() as upstream:
        upstream.script("/x", json_answer(b"[1]"))
        async with Refresher({"jobs": {"a": {"url": upstream.url("/x")}}}) as cache:
            await until_attempted(cache)
            assert len(upstream.tasks) == 1
        await upstream.until_left()


def test_no_table_can_be_mistaken_for_a_host_or_a_job(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    tables = {name: {"rate": "1/1h"} for name in ("local", "localhost", "disk")}
    jobs = {
        "web": {"url": "http://localhost/x"},
        "disk": {"file": str(tmp_path / "a.json")},
        "drive": {"file": str(tmp_path / "a.json")},
    }
    config = load({"upstreams": tables, "jobs": jobs}, environ={})
    keys = {upstream_key(plan) for plan in config.jobs.values()}
    assert len(keys) == 3
    assert keys.isdisjoint(tables)
    labels = [upstream_label(plan) for plan in config.jobs.values()]
    assert labels == ["localhost", "local", "local"]


async def test_what_a_function_s_client_is_configured_with_stays_at_home() -> None:
    async with serving() as home, serving() as abroad:
        elsewhere = abroad.script("/there", json_answer(b"[1]"))
        home.script("/api/names", redirect(elsewhere))
        upstreams = {
            "api": {
                "base_url": home.url("/api"),
                "headers": {"X-Key": "hush-hush"},
                "auth": {"type": "header", "name": "X-Auth", "value": "s3cret-value"},
            }
        }

        async def names(client: httpx.AsyncClient) -> object:
            return (await client.get("/names", follow_redirects=True)).json()

        jobs = {"names": {"upstream": "api", "python": names}}
        read = partial(load, {"upstreams": upstreams}, environ={}, jobs=jobs)
        config = await anyio.to_thread.run_sync(read)
        plan = config.jobs["names"]
        upstream = opened("api", config)
        try:
            found = await build.source_of(plan, upstream, config, now=lambda: 0.0).fetch(None)
        finally:
            await upstream.transport.aclose()
    assert isinstance(found, Payload)
    assert found.body == b"[1]"
    assert home.requests[0].header("x-key") == "hush-hush"
    assert home.requests[0].header("x-auth") == "s3cret-value"
    there = abroad.requests[0]
    assert [there.header(name) for name in ("x-key", "x-auth", "transfer-encoding")] == [None] * 3
