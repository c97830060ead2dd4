"""The store on a Redis or Valkey server, for processes on any number of machines.

Every key begins with the prefix in braces, so that all of them are in one slot of a cluster:

    {prefix}:store         string   which store this is
    {prefix}:number        string   the number of the last change
    {prefix}:numbers       zset     the documents' keys, by the number of their last change
    {prefix}:document:KEY  hash     document, number, published
    {prefix}:body:NAME     string   a body, with a time to live until a document keeps it
    {prefix}:draft:ID      string   a body that is being written
    {prefix}:processes     zset     those alive, by their last beat in milliseconds
    {prefix}:changes       channel  a message `NUMBER KEY` for every change
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from refresher.errors import ServiceError, StoreUnavailable
from refresher.store.backends import redis_scripts as scripts
from refresher.store.protocols import ALIVE, Beat, Change

if TYPE_CHECKING:  # redis-py is an extra, and takes 0.1 s to import
    from refresher.store.backends.redis_connections import Connections

logger = logging.getLogger("refresher")

_PROVISIONAL_MS = 600_000
"""Milliseconds for which a body is there that no document keeps: 512 MiB take less to write."""
_BATCH = 500
"""Documents that are read at a time."""
_MOST_AT_ONCE = 1 << 20
"""Bytes of bodies that are read by one command; a larger body is read in pieces."""
_LEAST_LIMIT = 1 << 20
"""The lowest proto-max-bulk-len that a server can have."""
_RECONNECT = 0.5
"""Seconds before the next attempt to subscribe to changes."""


class RedisStore:
    """Implements `Backend` on the server that `url` names, under keys that begin with `prefix`.

    Documents, bodies, heartbeats and notices have connections of their own: a body of 512 MiB
    delays no lease, and a thousand leases delay no heartbeat.

    Raises:
        ServiceError: redis-py is not installed, or the URL is not that of a server.
    """

    persistent = True

    def __init__(self, url: str, *, prefix: str) -> None:
        try:
            from refresher.store.backends import redis_connections  # noqa: PLC0415  an extra, and slow to import
        except ImportError as error:
            raise ServiceError(
                "store.url is that of a Redis or Valkey server, and redis-py is not installed; "
                "install it with pip install 'refresher[redis]'"
            ) from error
        self._url = url
        self._server = redis_connections.server_of(url)
        self._prefix = prefix
        self._policy_is_known = False
        self._changed: asyncio.Event
        self._documents: Connections
        self._bodies: Connections
        self._presence: Connections
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from refresher.store.backends.redis_connections import Connections  # noqa: PLC0415

        def connect(size: int) -> Connections:
            opened = Connections(self._url, size=size)
            self._open.push_async_callback(opened.close)
            return opened

        self._documents, self._bodies, self._presence = connect(4), connect(2), connect(1)
        self._changed = asyncio.Event()
        notices = connect(1)
        tasks = await self._open.enter_async_context(anyio.create_task_group())
        self._open.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._follow, notices)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Without the error: the task group would wrap it in an exception group.
        await self._open.aclose()

    async def changes(self, since: int) -> list[Change]:
        """The documents written after the change of that number (0: all), by number."""
        found: dict[str, Change] = {}
        moved = True
        while moved:
            batch = await self._documents.ask(
                *("ZRANGEBYSCORE", self._key("numbers"), f"({since}", "+inf"),
                *("WITHSCORES", "LIMIT", 0, _BATCH),
            )
            pairs = zip(batch[::2], batch[1::2], strict=True)
            numbers = {key.decode(): int(number) for key, number in pairs}
            read = await self._read(numbers)
            for change in read:
                found.pop(change.key, None)  # it was written again between two batches
                found[change.key] = change
            # What was written between the two commands has a higher number by now, and comes later.
            moved = len(read) < len(numbers) or len(numbers) == _BATCH
            since = max(numbers.values(), default=since)
        return list(found.values())

    async def _read(self, numbers: dict[str, int]) -> list[Change]:
        fields = await self._documents.ask_all(
            [
                ("HMGET", self._key("document", key), "number", "published", "document")
                for key in numbers
            ]
        )
        return [
            Change(key=key, number=int(number), published=int(published), document=document)
            for key, (number, published, document) in zip(numbers, fields, strict=True)
            if number is not None and int(number) == numbers[key]
        ]

    async def write(
        self,
        key: str,
        document: bytes,
        *,
        after: int,
        publishes: bool = False,
        keeps: Sequence[str] = (),
        drops: Sequence[str] = (),
    ) -> int | None:
        """Replace a document, if `after` is still the number of its last write (0: there is none).

        Raises:
            StoreUnavailable: also where a body to keep is there no longer.
        """
        keys = [
            *(self._key("document", key), self._key("number"), self._key("numbers")),
            *(self._key("body", body) for body in (*keeps, *drops)),
        ]
        reply = await self._documents.run(
            *(scripts.WRITE, keys, key, document, after, int(publishes), len(keeps)),
            self._key("changes"),
        )
        match reply.value:
            case None:
                return None
            case int(number) if number > 0:
                return number
            case missing:
                raise StoreUnavailable(
                    f"{self._server} has no body {keeps[-missing - 1]} for {key} to keep; it was "
                    "written over ten minutes ago, or the server was flushed or evicts what it has"
                )

    async def changed(self) -> None:
        """Wait until a document may have been written since the last call."""
        await self._changed.wait()
        self._changed.clear()

    async def put(self, body: str, content: bytes) -> None:
        """Write a body; one that is not kept within ten minutes is removed."""
        draft = self._key("draft", secrets.token_hex(8))
        try:
            await self._bodies.ask("SET", draft, content, "PX", _PROVISIONAL_MS)
        except StoreUnavailable as error:
            if len(content) <= _LEAST_LIMIT:
                raise
            # A server whose limit is lower says so and disconnects, before its answer is read.
            raise StoreUnavailable(
                f"{error} (on sending a body of {len(content)} bytes; its proto-max-bulk-len must "
                "not be lower)"
            ) from error
        reply = await self._bodies.run(scripts.FINISH_DRAFT, [draft, self._key("body", body)])
        if not reply.value:
            raise StoreUnavailable(f"{self._server} has lost a body at once; it evicts what it has")

    async def get(self, bodies: Sequence[str]) -> dict[str, bytes]:
        """Those of the bodies that are there, whole."""
        keys = [self._key("body", body) for body in bodies]
        lengths = await self._bodies.ask_all([("STRLEN", key) for key in keys])
        found: dict[str, bytes] = {}
        for batch in _batches(list(zip(bodies, lengths, strict=True))):
            keys = [self._key("body", body) for body in batch]
            if sum(batch.values()) > _MOST_AT_ONCE:
                contents = [await self._bodies.read(keys[0], sum(batch.values()))]
            else:
                contents = await self._bodies.ask("MGET", *keys)
            read = zip(batch, contents, strict=True)
            found |= {body: content for body, content in read if content is not None}
        return found

    async def beat(self, process: str) -> Beat:
        """Say that a process is alive; once a second."""
        reply = await self._presence.run(
            scripts.BEAT,
            [self._key("processes"), self._key("store"), self._key("number")],
            *(process, secrets.token_hex(8), int(ALIVE * 1000)),
        )
        store, now, last, *alive = reply.value
        return Beat(
            store=store.decode(),
            now=float(now) + reply.seconds / 2,
            alive=frozenset(process.decode() for process in alive),
            last=int(last),
        )

    async def leave(self, process: str) -> None:
        """Say that a process has ended, so that its leases are free at once."""
        await self._presence.ask("ZREM", self._key("processes"), process)

    async def _follow(self, notices: "Connections") -> None:
        """Subscribe to changes for as long as the store is open, anew after each failure."""
        while True:
            with suppress(StoreUnavailable):  # INFO may be forbidden
                await self._check_eviction_policy(notices)
            with suppress(StoreUnavailable):  # the next heartbeat reports it
                await notices.listen(self._key("changes"), self._changed.set)
            await anyio.sleep(_RECONNECT)

    async def _check_eviction_policy(self, notices: "Connections") -> None:
        """Warn, once, where the server is configured to evict keys when it is full."""
        if self._policy_is_known:
            return
        memory = (await notices.ask("INFO", "memory")).decode()
        self._policy_is_known = True
        facts = dict(fact.split(":", 1) for fact in memory.splitlines() if ":" in fact)
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
            logger.warning(
                "the store %s forgets what it was given once it is full (maxmemory-policy %s), "
                "snapshots too; set its maxmemory-policy to noeviction",
                self._server,
                policy,
            )

    def _key(self, *parts: str) -> str:
        return ":".join((f"{{{self._prefix}}}", *parts))


def _batches(lengths: Sequence[tuple[str, int]]) -> Iterator[dict[str, int]]:
    """The bodies and their lengths in batches, each small enough for one command if it can be."""
    batch: dict[str, int] = {}
    total = 0
    for body, length in lengths:
        if batch and total + length > _MOST_AT_ONCE:
            yield batch
            batch, total = {}, 0
        batch[body] = length
        total += length
    if batch:
        yield batch
