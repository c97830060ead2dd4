import asyncio
import logging
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from os import kill
from pathlib import Path

import anyio
import pytest
import trustme

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends.redis import RedisStore
from refresher.store.backends.redis_connections import Connections
from refresher.store.protocols import Change
from tests.valkey import Valkey, running

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy; nothing is measured by it."""
MIB = 1 << 20


def a_store(valkey: Valkey, prefix: str | None = None) -> RedisStore:
    return RedisStore(valkey.url, prefix=prefix or secrets.token_hex(4))


def keys(valkey: Valkey, prefix: str) -> set[str]:
    return {key.decode() for key in valkey.do("KEYS", f"{{{prefix}}}:*")}


async def once_up(call: Callable[[], Awaitable[object]]) -> None:
    """Call until the store answers."""
    with anyio.fail_after(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                await call()
                return
            await anyio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not holds():  # noqa: ASYNC110  no event says what a server makes of a connection
            await anyio.sleep(0.01)


async def sentence_of(call: Awaitable[object]) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await call
    return str(caught.value)


async def test_a_server_that_is_down_at_the_start_is_used_once_it_is_up(
    own_valkey: Valkey,
) -> None:
    own_valkey.stop()
    async with a_store(own_valkey) as store:
        said = await sentence_of(store.beat("a"))
        assert said.startswith(f"redis://127.0.0.1:{own_valkey.port}/0 cannot be reached: ")
        own_valkey.start()
        await once_up(partial(store.beat, "a"))
        assert await store.write("job/a", b"x", after=0) == 1
        with anyio.fail_after(PATIENCE):
            await store.changed()


async def test_a_server_that_stops_under_load_fails_writes_with_nothing_else_and_none_is_half_done(
    own_valkey: Valkey,
) -> None:
    endings: list[StoreUnavailable] = []

    async def write(job: int) -> None:
        number: int | None = 0
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    number = await store.write(f"job/{job}", b"x", after=number or 0)
                except StoreUnavailable as error:
                    endings.append(error)
                    return
                if number == 200:
                    own_valkey.stop()

    async with a_store(own_valkey) as store:
        async with anyio.create_task_group() as tasks:
            for job in range(20):
                tasks.start_soon(write, job)
        assert len(endings) == 20
        own_valkey.start()
        await once_up(partial(store.write, "job/a", b"y", after=0))
        assert [change.document for change in await store.changes(0)] == [b"y"]


async def test_a_flushed_server_is_another_store_that_begins_at_one(own_valkey: Valkey) -> None:
    async with a_store(own_valkey) as store:
        for after in range(5):
            await store.write("job/a", b"x", after=after)
        before = await store.beat("a")
        assert (await store.beat("a")).store == before.store
        own_valkey.do("FLUSHALL")
        after_it = await store.beat("a")
        assert after_it.store != before.store
        assert (before.last, after_it.last) == (5, 0)
        assert after_it.alive == {"a"}
        assert await store.changes(0) == []
        assert await store.write("job/a", b"x", after=5) is None
        assert await store.write("job/a", b"x", after=0) == 1


async def test_two_clients_that_count_up_one_document_lose_nothing(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)

    async def count_up(store: RedisStore) -> None:
        for _ in range(200):
            while True:
                [now] = await store.changes(0)
                counted = b"%d" % (int(now.document) + 1)
                if await store.write("count", counted, after=now.number) is not None:
                    break

    async with a_store(valkey, prefix) as one, a_store(valkey, prefix) as other:
        await one.write("count", b"0", after=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count_up, one)
            tasks.start_soon(count_up, other)
        assert [change.document for change in await other.changes(0)] == [b"400"]


async def test_changes_come_by_number_each_document_once_and_none_is_missed_while_others_write(
    valkey: Valkey,
) -> None:
    documents = 1_200  # more than two pages
    async with a_store(valkey) as store:

        async def write(job: int) -> None:
            await store.write(f"job/{job}", b"old", after=0, publishes=True)

        async with anyio.create_task_group() as tasks:
            for job in range(documents):
                tasks.start_soon(write, job)
        numbers = {change.key: change.number for change in await store.changes(0)}
        assert len(numbers) == documents
        seen: dict[str, bytes] = {}
        since = 0

        async def rewrite() -> None:
            for job in reversed(range(documents)):
                await store.write(f"job/{job}", b"new", after=numbers[f"job/{job}"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rewrite)
            with anyio.fail_after(PATIENCE):
                while any(document != b"new" for document in seen.values()) or not seen:
                    found = await store.changes(since)
                    assert [one.number for one in found] == sorted(one.number for one in found)
                    assert len({one.key for one in found}) == len(found)
                    since = max((one.number for one in found), default=since)
                    seen |= {one.key: one.document for one in found}
        assert len(seen) == documents


async def test_a_write_that_does_not_publish_keeps_the_number_of_the_one_that_did(
    valkey: Valkey,
) -> None:
    async with a_store(valkey) as store:
        await store.write("a", b"1", after=0)
        assert await store.changes(0) == [Change(key="a", number=1, published=0, document=b"1")]
        await store.write("a", b"2", after=1, publishes=True)
        await store.write("a", b"3", after=2)
        assert await store.changes(1) == [Change(key="a", number=3, published=2, document=b"3")]
        assert await store.changes(3) == []


async def test_a_write_of_any_process_ends_the_wait_for_a_change(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)
    async with a_store(valkey, prefix) as one, a_store(valkey, prefix) as other:
        with anyio.fail_after(PATIENCE):
            await one.changed()  # it has subscribed
            await other.write("job/a", b"x", after=0)
            await one.changed()
            with anyio.move_on_after(0) as given_up:
                await one.changed()
            assert given_up.cancelled_caught
            await one.write("job/a", b"y", after=1)
            await one.changed()


async def test_a_lost_connection_ends_the_wait_and_what_was_written_meanwhile_is_found(
    own_valkey: Valkey,
) -> None:
    async with a_store(own_valkey) as store:
        with anyio.fail_after(PATIENCE):
            await store.changed()
            assert own_valkey.do("CLIENT", "KILL", "TYPE", "pubsub") == 1
            await store.write("job/a", b"x", after=0)
            await store.changed()
            assert [change.key for change in await store.changes(0)] == ["job/a"]


async def test_a_body_of_50_mib_is_whole_and_holds_up_no_write(own_valkey: Valkey) -> None:
    content = secrets.token_bytes(MIB) * 50 + b"the end"
    async with a_store(own_valkey) as store:
        written: list[int | None] = []

        async def write() -> None:
            while True:
                written.append(await store.write("job/a", b"x", after=len(written)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await store.put("large", content)
            writes_during_put = len(written)
            found = await store.get(["large"])
            writes_during_get = len(written) - writes_during_put
            tasks.cancel_scope.cancel()
        assert found == {"large": content}
        assert writes_during_put
        assert writes_during_get


async def test_bodies_of_every_size_are_given_back_and_those_that_are_not_there_left_out(
    valkey: Valkey,
) -> None:
    sizes = (0, 1, 5_999, 6_001, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 1)
    bodies = {f"b{size}": secrets.token_bytes(size) for size in sizes}
    bodies |= {f"s{number}": b"%d" % number for number in range(2_000)}
    async with a_store(valkey) as store:
        async with anyio.create_task_group() as tasks:
            for body, content in bodies.items():
                tasks.start_soon(store.put, body, content)
        assert await store.get(["none", *bodies, "b", "1"]) == bodies
        assert await store.get([]) == {}
        assert await store.get(["none"]) == {}


async def test_a_body_is_deleted_in_the_end_unless_a_write_keeps_it(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)

    def lives(body: str) -> int:
        return int(valkey.do("PTTL", f"{{{prefix}}}:body:{body}"))

    async with a_store(valkey, prefix) as store:
        for body in ("a", "b", "c"):
            await store.put(body, b"x")
            assert 0 < lives(body) <= 600_000
        await store.write("job/a", b"x", after=0, keeps=["a", "b"])
        assert (lives("a"), lives("b")) == (-1, -1)
        assert lives("c") > 0
        await store.put("b", b"y")
        assert lives("b") == -1  # and if its writer ends now, the document still has its body
        await store.write("job/a", b"x", after=1, drops=["a", "c"])
        assert await store.get(["a", "b", "c"]) == {"b": b"y"}


async def test_a_write_that_comes_too_late_for_a_body_changes_nothing(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)
    async with a_store(valkey, prefix) as store:
        await store.put("old", b"x")
        await store.put("new", b"x")
        await store.write("job/a", b"old", after=0, keeps=["old"])
        before = await store.changes(0)
        late = store.write("job/a", b"new", after=1, keeps=["new", "gone"], drops=["old"])
        assert "has no body gone for job/a to keep" in await sentence_of(late)
        assert await store.changes(0) == before
        assert (await store.beat("a")).last == 1
        assert await store.get(["old"]) == {"old": b"x"}
        assert valkey.do("PTTL", f"{{{prefix}}}:body:new") > 0


async def test_a_write_that_was_overtaken_changes_nothing(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)
    async with a_store(valkey, prefix) as store:
        await store.write("job/a", b"1", after=0)
        await store.put("new", b"x")
        assert await store.write("job/a", b"2", after=0, keeps=["new"]) is None
        assert await store.write("job/b", b"2", after=1, drops=["new"]) is None
        assert [change.document for change in await store.changes(0)] == [b"1"]
        assert valkey.do("PTTL", f"{{{prefix}}}:body:new") > 0


async def test_all_that_is_kept_is_under_the_prefix_and_does_not_grow_with_writes(
    own_valkey: Valkey,
) -> None:
    async with a_store(own_valkey, "mine") as store:
        for number in range(50):
            await store.put(f"b{number}", b"x")
            drops = [f"b{number - 1}"] if number else []
            await store.write("job/a", b"x", after=number, keeps=[f"b{number}"], drops=drops)
            await store.beat(f"p{number}")
            await store.leave(f"p{number}")
    assert own_valkey.do("DBSIZE") == 5
    assert keys(own_valkey, "mine") == {
        "{mine}:store",
        "{mine}:number",
        "{mine}:numbers",
        "{mine}:document:job/a",
        "{mine}:body:b49",
    }


async def test_services_with_a_prefix_each_share_a_server_and_nothing_else(
    valkey: Valkey,
) -> None:
    async with a_store(valkey) as one, a_store(valkey) as other:
        await one.write("job/a", b"x", after=0)
        await one.put("body", b"x")
        assert await other.changes(0) == []
        assert await other.get(["body"]) == {}
        mine, others = await one.beat("a"), await other.beat("b")
        assert mine.alive == {"a"}
        assert others.alive == {"b"}
        assert mine.store != others.store


async def test_processes_are_alive_until_they_leave_or_their_beat_is_five_seconds_old(
    valkey: Valkey,
) -> None:
    prefix = secrets.token_hex(4)
    processes = f"{{{prefix}}}:processes"
    async with a_store(valkey, prefix) as store:
        await store.beat("a")
        await store.beat("b")
        assert (await store.beat("c")).alive == {"a", "b", "c"}
        await store.leave("b")
        valkey.do("ZINCRBY", processes, -5_000, "c")
        assert (await store.beat("a")).alive == {"a"}
        assert valkey.do("ZCARD", processes) == 1


async def test_a_clock_that_is_set_back_makes_no_dead_process_live_for_long(
    valkey: Valkey,
) -> None:
    prefix = secrets.token_hex(4)
    async with a_store(valkey, prefix) as store:
        now = (await store.beat("a")).now
        assert now is not None
        valkey.do("ZADD", f"{{{prefix}}}:processes", int(now * 1000) + 3_600_000, "dead")
        await store.beat("a")
        ahead = valkey.do("ZCOUNT", f"{{{prefix}}}:processes", int(now * 1000) + 1_800_000, "+inf")
        assert ahead == 0


async def test_the_time_is_the_servers(valkey: Valkey) -> None:
    async with a_store(valkey) as store:
        before = time.time()
        now = (await store.beat("a")).now
        after = time.time()
        assert now is not None
        assert before <= now <= after + (after - before)


async def test_a_policy_that_evicts_is_warned_about_once(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    own_valkey.do("CONFIG", "SET", "maxmemory", "100mb")
    own_valkey.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with a_store(own_valkey) as store:
        with anyio.fail_after(PATIENCE):
            await store.changed()
            own_valkey.do("CLIENT", "KILL", "TYPE", "pubsub")
            await store.changed()
    [record] = [record for record in caplog.records if record.name == "refresher"]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"the store redis://127.0.0.1:{own_valkey.port}/0 forgets what it was given once it is "
        "full (maxmemory-policy allkeys-lru), snapshots too; set its maxmemory-policy to noeviction"
    )


@pytest.mark.parametrize(("maxmemory", "policy"), [("100mb", "noeviction"), ("0", "allkeys-lru")])
async def test_one_that_does_not_is_not(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture, maxmemory: str, policy: str
) -> None:
    own_valkey.do("CONFIG", "SET", "maxmemory", maxmemory)
    own_valkey.do("CONFIG", "SET", "maxmemory-policy", policy)
    async with a_store(own_valkey) as store:
        with anyio.fail_after(PATIENCE):
            await store.changed()
    assert not caplog.records


async def test_what_the_server_refuses_is_explained_and_may_succeed_later(
    own_valkey: Valkey,
) -> None:
    async with a_store(own_valkey, "x") as store:
        write = partial(store.write, "job/a", b"x", after=0)
        own_valkey.do("REPLICAOF", "127.0.0.1", 1)
        assert "is a read-only replica; store.url must lead" in await sentence_of(write())
        assert "is a read-only replica; store.url must lead" in await sentence_of(store.beat("a"))
        own_valkey.do("CONFIG", "SET", "replica-serve-stale-data", "no")
        assert "has lost its cluster, or its primary" in await sentence_of(store.changes(0))
        own_valkey.do("REPLICAOF", "NO", "ONE")
        own_valkey.do("CONFIG", "SET", "maxmemory", 1)
        assert "is full; raise its maxmemory" in await sentence_of(write())
        assert "is full; raise its maxmemory" in await sentence_of(store.put("b", bytes(2 * MIB)))
        own_valkey.do("CONFIG", "SET", "maxmemory", 0)
        own_valkey.do("SET", "{x}:number", "not a number")
        assert "answered: " in await sentence_of(write())
        own_valkey.do("FLUSHALL")
        assert await write() == 1


async def test_a_body_above_the_servers_own_limit_is_told_from_an_outage(tmp_path: Path) -> None:
    with running(tmp_path, "--proto-max-bulk-len", "2mb") as server:
        async with a_store(server) as store:
            said = await sentence_of(store.put("large", bytes(8 * MIB)))
            assert "on sending a body of 8388608 bytes; its proto-max-bulk-len" in said
            await store.put("small", bytes(2 * MIB))
            assert await store.get(["large", "small"]) == {"small": bytes(2 * MIB)}


async def test_calls_and_subscriptions_to_a_server_that_goes_silent_fail(
    own_valkey: Valkey,
) -> None:
    connections = Connections(own_valkey.url, size=1)
    heard = anyio.Event()
    async with a_store(own_valkey) as store:
        await store.beat("a")
        listening = asyncio.ensure_future(connections.listen("notices", heard.set))
        await heard.wait()
        info = own_valkey.do("INFO", "server")
        kill(info["process_id"], signal.SIGSTOP)
        try:
            said = await sentence_of(store.beat("a")), await sentence_of(listening)
        finally:
            kill(info["process_id"], signal.SIGCONT)
        assert all(each.endswith("does not answer within 2 s") for each in said)
        await once_up(partial(store.beat, "a"))
    await connections.close()


async def test_a_call_that_is_cancelled_leaves_no_answer_to_the_next(valkey: Valkey) -> None:
    async with a_store(valkey) as store:
        await store.put("a", b"a")
        for _ in range(50):
            call = asyncio.ensure_future(store.get(["a"]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            assert await store.changes(0) == []
        assert await store.get(["a"]) == {"a": b"a"}


async def test_a_wrong_password_is_reported_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(tmp_path, password="the-right-one") as server:
        right, wrong = (
            server.url.replace("//", f"//{login}@")
            for login in (":the-right-one", "default:the-wrong%40one")
        )
        said = "refuses the user or the password; check those of store.url"
        for url in (wrong, server.url):
            async with RedisStore(url, prefix="x") as store:
                for call in (store.beat("a"), store.put("b", b"x"), store.changes(0)):
                    with pytest.raises(StoreUnavailable, match=said) as caught:
                        await call
                    assert "one" not in str(caught.value)
                    assert "the-wrong" not in repr(caught.value.__cause__)
        async with RedisStore(right, prefix="x") as store:
            assert await store.write("job/a", b"x", after=0) == 1
    assert "the-" not in caplog.text


async def test_a_user_without_info_is_enough_and_one_with_too_few_rights_is_reported(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    may = ("reset", "on", ">pw", "~{x}:*", "&{x}:*", "+@all", "-@admin", "-info", "-config")
    own_valkey.do("ACL", "SETUSER", "me", *may)
    url = own_valkey.url.replace("//", "//me:pw@")
    async with RedisStore(url, prefix="x") as store:
        assert await store.write("job/a", b"x", after=0) == 1
        with anyio.fail_after(PATIENCE):
            await store.changed()
        assert (await store.beat("a")).alive == {"a"}
        own_valkey.do("ACL", "SETUSER", "me", "-evalsha")
        said = await sentence_of(store.write("job/a", b"x", after=1))
        assert "does not let the user of store.url do that: " in said
    assert not caplog.records


async def test_it_works_in_a_cluster_whose_node_has_its_slot(tmp_path: Path) -> None:
    with running(tmp_path, "--cluster-enabled", "yes") as server:
        async with a_store(server) as store:
            said = await sentence_of(store.beat("a"))
            assert "has lost its cluster, or its primary: " in said
            server.do("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
            await once_up(partial(store.beat, "a"))
            for body in ("a", "b"):
                await store.put(body, body.encode())
            assert await store.write("job/a", b"x", after=0, keeps=["a"], drops=["b"]) == 1
            assert await store.get(["a", "b"]) == {"a": b"a"}
            assert [change.key for change in await store.changes(0)] == ["job/a"]
            with anyio.fail_after(PATIENCE):
                await store.changed()


@asynccontextmanager
async def tls_before(valkey: Valkey, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS, and leads to the server."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(MIB):
                writer.write(some)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in tasks if task is not None))


async def test_rediss_is_tls_and_trusts_the_authorities_that_are_configured(
    valkey: Valkey, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls_before(valkey, context) as port:
        url = f"rediss://localhost:{port}/0"
        async with RedisStore(url, prefix="x") as store:
            assert "cannot be reached: " in await sentence_of(store.beat("a"))
        url += f"?ssl_ca_certs={tmp_path / 'ca.pem'}"
        async with RedisStore(url, prefix=secrets.token_hex(4)) as store:
            await store.put("large", bytes(3 * MIB))
            assert await store.get(["large"]) == {"large": bytes(3 * MIB)}


@pytest.mark.parametrize(
    "url",
    ["unix:///run/redis.sock", "redis//h", "redis://:s3cr/t@h", "redis://me:s3cret@h:x/0", ""],
)
def test_a_url_of_nothing_is_refused_at_once_without_being_quoted(url: str) -> None:
    with pytest.raises(ServiceError, match=r"^store\.url is no URL of a Redis") as caught:
        RedisStore(url, prefix="x")
    assert "s3cr" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603


def test_without_the_extra_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["redis"] = None
from refresher.errors import ServiceError
from refresher.store.backends.redis import RedisStore
try:
    RedisStore("redis://localhost", prefix="x")
except ServiceError as error:
    print(error)
"""
    assert "install it with pip install 'refresher[redis]'" in run(code).stdout


def test_redis_py_is_not_imported_before_there_is_such_a_store() -> None:
    assert run(
        "import sys, refresher.store.backends.redis; print('redis' in sys.modules)"
    ).stdout == ("False\n")


async def test_it_can_be_opened_again_and_leaves_no_connection_behind(own_valkey: Valkey) -> None:
    store = a_store(own_valkey)
    for number in range(2):
        async with store:
            await store.write("job/a", b"x", after=number)
            await store.put("b", b"x")
            await store.beat("a")
    await until(lambda: own_valkey.do("INFO", "clients")["connected_clients"] == 1)


async def test_an_error_in_its_block_comes_out_as_it_is(valkey: Valkey) -> None:
    with pytest.raises(ZeroDivisionError):
        async with a_store(valkey):
            raise ZeroDivisionError


async def test_a_cancelled_block_leaves_no_connection_behind(own_valkey: Valkey) -> None:
    with anyio.CancelScope() as scope:
        async with a_store(own_valkey) as store:
            await store.beat("a")
            await store.changed()
            scope.cancel()
            await store.changes(0)
    assert scope.cancelled_caught
    await until(lambda: own_valkey.do("INFO", "clients")["connected_clients"] == 1)


async def test_an_answer_that_was_not_read_is_not_taken_for_the_next_one(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)
    valkey.do("RPUSH", f"{{{prefix}}}:body:list", "x")
    async with a_store(valkey, prefix) as store:
        await store.put("a", b"a")
        for _ in range(5):
            assert "answered: WRONGTYPE" in await sentence_of(store.get(["a", "list", "a", "a"]))
            assert await store.get(["none", "a"]) == {"a": b"a"}


async def test_a_body_that_is_deleted_while_it_is_read_is_not_there(valkey: Valkey) -> None:
    prefix = secrets.token_hex(4)
    connections = Connections(valkey.url, size=1)
    async with a_store(valkey, prefix) as store:
        await store.put("a", bytes(2 * MIB))
        assert await connections.read(f"{{{prefix}}}:body:a", 2 * MIB) == bytes(2 * MIB)
        assert await connections.read(f"{{{prefix}}}:body:a", 3 * MIB) is None
    await connections.close()
