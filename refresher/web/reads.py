"""The way of one read: from method, target and header fields to a finished answer.

Free of ASGI, so that whatever carries HTTP gives the same answers. A read takes one dict lookup; no
lock, no await and no store is on its way, but for a large body whose gzip form nobody has asked for
yet, and for a version that is asked for by its number: then the answer is awaited.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol
from urllib.parse import unquote

from refresher import conditional, freshness, negotiation, representation
from refresher.access import Access
from refresher.clock import Clock
from refresher.model import Record, Snapshot
from refresher.representation import Representation
from refresher.state import Entry, StateStore
from refresher.web.answer import Answer, not_allowed, problem, unauthorized, unknown_job
from refresher.web.cors import Cors
from refresher.web.rendering import Rendering, of_the_moment, render
from refresher.web.versions import Versions, asked_for

logger = logging.getLogger("refresher")

PREFIX = "/data/"

Fields = dict[bytes, bytes]
"""Those header fields of a request that a read looks at; several lines of one joined by commas."""

_ASK_AGAIN = 60
_LOOKED_AT = frozenset(
    {
        b"accept-encoding",
        b"access-control-request-method",
        b"authorization",
        b"if-modified-since",
        b"if-none-match",
        b"origin",
    }
)


class Tally(Protocol):
    """Counts answers by status: `tally[200] += 1`, on the way of every read."""

    def __getitem__(self, status: int, /) -> int: ...

    def __setitem__(self, status: int, count: int, /) -> None: ...


class Reads:
    """Answers `/data/…` from the state store, tokens, CORS and counting included.

    `compress` makes the gzip form of a body that is too large to have been compressed at the swap;
    it runs in a thread.
    """

    def __init__(
        self,
        states: StateStore,
        *,
        access: Access,
        cors: Cors,
        versions: Versions,
        clock: Clock,
        codes: Tally,
        compress: Callable[[bytes], bytes | None] = representation.compress,
    ) -> None:
        self._states = states
        self._access = access
        self._cors = cors
        self._versions = versions
        self._clock = clock
        self._codes = codes
        self._compress = compress
        self._compressing: dict[str, asyncio.Future[bytes | None]] = {}
        self._renderings: dict[str, Rendering] = {}
        self._vary = b"Accept-Encoding, " + cors.vary if cors.enabled else b"Accept-Encoding"

    def answer(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Answer | Awaitable[Answer]:
        """Answer a request whose raw target, without any root path, starts with `/data/`.

        `headers` has lower-case names, as ASGI has them.
        """
        fields: Fields = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                fields[name] = fields[name] + b", " + value if name in fields else value
        preflight = self._cors.preflight(
            method, fields.get(b"origin"), fields.get(b"access-control-request-method")
        )
        if preflight is not None:
            preflight.headers.append((b"vary", b"Accept-Encoding, " + self._cors.preflight_vary))
            self._codes[preflight.status] += 1
            return preflight
        answer = self._decide(method, target, fields)
        if isinstance(answer, Answer):
            return self._finish(answer, method, fields)
        return self._finish_later(answer, method, fields)

    def _decide(self, method: str, target: bytes, fields: Fields) -> Answer | Awaitable[Answer]:
        raw, _, query = target.partition(b"?")
        path = raw.decode("latin-1")
        if method not in {"GET", "HEAD"}:
            return not_allowed(path, method, "GET", "HEAD")
        if not self._access.may_read(fields.get(b"authorization")):
            return unauthorized("reading")
        # A `/` parts segments and a `%2F` is part of one, but no job's name has either.
        job = unquote(path.removeprefix(PREFIX))
        version = asked_for(query) if query else None
        if version is not None:
            return self._versions.read(job, version, fields)
        return self._read(job, fields)

    def _read(self, job: str, fields: Fields) -> Answer | Awaitable[Answer]:
        entry = self._states.get(job)
        if entry is None:
            return unknown_job(job)
        record, ready = entry.record, entry.representation
        now = self._clock.now()
        state = freshness.state_of(record, entry.policy, now)
        if record.snapshot is None or ready is None or not freshness.is_served(state, entry.policy):
            return _nothing_to_serve(record, now)
        accept = fields.get(b"accept-encoding")
        if ready.gzip_deferred and negotiation.choose(accept, ("gzip",)) == "gzip":
            return self._read_compressed(job, ready, fields)
        rendering = self._rendering(record.snapshot, ready, entry)
        coding = negotiation.choose(accept, ready.codings)
        headers = [*rendering.shared[coding], *of_the_moment(rendering, record, state, now)]
        if _is_known(rendering, coding, accept, fields):
            return Answer(304, headers, b"")
        return Answer(200, headers + rendering.content[coding], ready.body(coding))

    async def _read_compressed(self, job: str, ready: Representation, fields: Fields) -> Answer:
        """Compress a large body off the loop, once, however many ask meanwhile."""
        tag = ready.identity_etag
        compressing = self._compressing.get(tag)
        if compressing is None:
            loop = asyncio.get_running_loop()
            compressing = loop.run_in_executor(None, self._compressed, job, ready.identity)
            self._compressing[tag] = compressing
            compressing.add_done_callback(lambda _: self._compressing.pop(tag, None))
        compressed = await asyncio.shield(compressing)  # who leaves does not end it for the others
        self._states.prepare(job, ready.with_gzip(compressed))
        answer = self._read(job, fields)  # what is current now: no reader sees a version go back
        return answer if isinstance(answer, Answer) else await answer

    def _compressed(self, job: str, body: bytes) -> bytes | None:
        try:
            return self._compress(body)
        except MemoryError:
            logger.warning("%s: no memory to compress %d bytes; served as they are", job, len(body))
            return None

    def _rendering(self, snapshot: Snapshot, ready: Representation, entry: Entry) -> Rendering:
        """The snapshot's fields, written at its first read: that takes as long as three reads."""
        private = not self._access.reading_is_open
        kept = self._renderings.get(snapshot.job)
        if (
            kept is not None
            and kept.snapshot is snapshot
            and kept.representation is ready
            and kept.policy is entry.policy
            and kept.private is private
        ):
            return kept
        made = render(snapshot, ready, entry.policy, private=private)
        self._renderings[snapshot.job] = made
        return made

    async def _finish_later(self, answer: Awaitable[Answer], method: str, fields: Fields) -> Answer:
        return self._finish(await answer, method, fields)

    def _finish(self, answer: Answer, method: str, fields: Fields) -> Answer:
        self._codes[answer.status] += 1
        answer.headers.append((b"vary", self._vary))
        if self._cors.enabled:
            answer.headers.extend(self._cors.fields(fields.get(b"origin")))
        return answer.without_body() if method == "HEAD" else answer


def _is_known(rendering: Rendering, coding: str, accept: bytes | None, fields: Fields) -> bool:
    """Whether the request says that its sender has these bytes already."""
    match, since = fields.get(b"if-none-match"), fields.get(b"if-modified-since")
    if match is None and since is None:
        return False
    if match == rendering.etags[coding].encode():
        return True  # what nearly everybody sends, in a third of the time
    etags = [
        etag for coding, etag in rendering.etags.items() if negotiation.acceptable(accept, coding)
    ]
    snapshot = rendering.snapshot
    return conditional.not_modified(
        None if match is None else match.decode("latin-1"),
        None if since is None else since.decode("latin-1"),
        etags=etags,
        last_modified=math.floor(snapshot.changed_at) if snapshot.dated else None,
    )


def _nothing_to_serve(record: Record, now: float) -> Answer:
    if record.snapshot is None:
        kind, detail = "pending", f"{record.job} has no snapshot yet"
    else:
        kind, detail = "expired", f"the snapshot of {record.job} is too old to be served"
    if record.last_attempt is not None and record.last_attempt.failure is not None:
        detail += f"; the last attempt ended at {record.last_attempt.failure.stage}"
    return problem(503, kind, detail, headers={"retry-after": str(retry_after(record, now))})


def retry_after(record: Record, now: float) -> int:
    """In how many seconds a reader who got nothing had better ask again."""
    if record.running_since is not None:
        return 1
    if record.due.at is None or math.isinf(record.due.at):
        return _ASK_AGAIN
    return max(1, math.ceil(record.due.at - now))
