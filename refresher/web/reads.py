"""The way of one read: from method, target and header fields to a finished answer.

Free of ASGI, so that whatever carries HTTP gives the same answers. A read takes one dict lookup; no
lock, no await and no store is on its way, but for a large body that nobody has asked for in this
content coding yet: then the answer is awaited.
"""

import asyncio
import itertools
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote

from refresher import conditional, negotiation, representation
from refresher.access import Access
from refresher.clock import Clock
from refresher.model import Record
from refresher.representation import Representation
from refresher.state import Entry, StateStore
from refresher.web.answer import Answer, RawHeaders, not_allowed, problem, unauthorized, unknown_job
from refresher.web.cors import Cors
from refresher.web.memo import Memo
from refresher.web.page import Choice, Page
from refresher.web.rendering import Rendering, render
from refresher.web.written import Written

logger = logging.getLogger("refresher")

PREFIX = "/data/"

Fields = dict[bytes, bytes]
"""Those header fields of a request that a read looks at; several lines of one joined by commas."""

_ASK_AGAIN = 60
_READING = frozenset({"GET", "HEAD"})
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


class Decision(NamedTuple):
    """What a request was found to read.

    The same request reads the same until the job's page is of another edition.
    """

    job: str
    edition: int
    choice: Choice


Later = Callable[[], Awaitable[Answer]]
"""Begins what has to be waited for before there is an answer."""


class Reads:
    """Answers `/data/…` from the state store, tokens, CORS and counting included.

    `compress` makes the form in a content coding of a body that was too large to be compressed at
    the swap; it runs in a thread.
    """

    def __init__(
        self,
        states: StateStore,
        *,
        access: Access,
        cors: Cors,
        clock: Clock,
        codes: Counter[int],
        compress: Callable[[bytes, str], bytes | None] = representation.compress,
    ) -> None:
        self._states = states
        self._access = access
        self._cors = cors
        self._clock = clock
        self._codes = codes
        self._compress = compress
        self._compressing: dict[tuple[str, str], asyncio.Future[bytes | None]] = {}
        self._pages: dict[str, Page] = {}
        self._editions = itertools.count()
        self._memo: Memo[Decision] = Memo()
        self._vary = b"Accept-Encoding, " + cors.vary if cors.enabled else b"Accept-Encoding"

    def answer(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Answer | Awaitable[Answer]:
        """Answer a request whose raw target, without any root path, starts with `/data/`.

        `headers` has lower-case names, as ASGI has them. An answer may be shared with other
        requests: it is not to be changed.
        """
        found = self.decide(method, target, headers)
        if isinstance(found, Decision):
            return self._counted(self._pages[found.job].answer(found.choice))
        if isinstance(found, Answer):
            return self._counted(found)
        return self._counted_later(found())

    def decide(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Decision | Answer | Later:
        """Find what a request reads, as `answer` does, and give and count nothing yet."""
        fields: Fields = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                fields[name] = fields[name] + b", " + value if name in fields else value
        preflight = self._cors.preflight(
            method, fields.get(b"origin"), fields.get(b"access-control-request-method")
        )
        if preflight is not None:
            preflight.headers.append((b"vary", b"Accept-Encoding, " + self._cors.preflight_vary))
            return preflight
        found = self._found(method, target, fields)
        if isinstance(found, Answer):
            return self._closed(found, method, fields)
        return found

    def write(self, decision: Decision) -> Written:
        """The answer to a request that has just been decided, ready for the wire."""
        written = self._pages[decision.job].written(decision.choice)
        self._count(written.status)
        return written

    def remember(self, request: bytes, decision: Decision) -> None:
        """Keep what has been decided for a whole request, from its first byte to its last."""
        self._memo[request] = decision

    def recall(self, request: bytes) -> Written | None:
        """What is answered now to a request that is remembered; None where it is to be decided."""
        decision = self._memo.get(request)
        entry = None if decision is None else self._states.get(decision.job)
        if decision is None or entry is None:
            return None
        page = self._page(entry)
        if page is None or page.edition != decision.edition or not page.turn(self._clock.now()):
            return None
        return self.write(decision)

    def _found(self, method: str, target: bytes, fields: Fields) -> Decision | Answer | Later:
        path = target.partition(b"?")[0].decode("latin-1")
        if method not in _READING:
            return not_allowed(path, method, "GET", "HEAD")
        if not self._access.may_read(fields.get(b"authorization")):
            return unauthorized("reading")
        # A `/` parts segments and a `%2F` is part of one, but no job's name has either.
        return self._read(unquote(path.removeprefix(PREFIX)), method, fields)

    def _read(self, job: str, method: str, fields: Fields) -> Decision | Answer | Later:
        entry = self._states.get(job)
        if entry is None:
            return unknown_job(job)
        page, now = self._page(entry), self._clock.now()
        if page is None or not page.turn(now):
            return _nothing_to_serve(entry.record, now)
        rendering = page.rendering
        ready, accept = rendering.representation, fields.get(b"accept-encoding")
        coding = negotiation.choose(accept, ready.codings)
        if coding in ready.deferred:
            return lambda: self._read_compressed(job, ready, coding, method, fields)
        choice = Choice(
            coding,
            is_known=_is_known(rendering, coding, accept, fields),
            head=method == "HEAD",
            origin=self._cors.named(fields.get(b"origin")),
        )
        return Decision(job, page.edition, choice)

    async def _read_compressed(
        self, job: str, ready: Representation, coding: str, method: str, fields: Fields
    ) -> Answer:
        """Compress a large body off the loop, once, however many ask meanwhile."""
        key = ready.identity_etag, coding
        compressing = self._compressing.get(key)
        if compressing is None:
            loop = asyncio.get_running_loop()
            compressing = loop.run_in_executor(None, self._compressed, job, ready.identity, coding)
            self._compressing[key] = compressing
            compressing.add_done_callback(lambda _: self._compressing.pop(key, None))
        compressed = await asyncio.shield(compressing)  # who leaves does not end it for the others
        self._keep(job, ready.identity_etag, coding, compressed)
        # What is current now: no reader sees a version go back.
        found = self._read(job, method, fields)
        if isinstance(found, Decision):
            return self._pages[job].answer(found.choice)
        return self._closed(found, method, fields) if isinstance(found, Answer) else await found()

    def _compressed(self, job: str, body: bytes, coding: str) -> bytes | None:
        try:
            return self._compress(body, coding)
        except MemoryError:
            logger.warning("%s: no memory to compress %d bytes; served as they are", job, len(body))
            return None

    def _keep(self, job: str, etag: str, coding: str, compressed: bytes | None) -> None:
        """Put a coded form beside those that were made meanwhile of the same bytes."""
        entry = self._states.get(job)
        ready = None if entry is None else entry.representation
        if ready is not None and ready.identity_etag == etag and coding in ready.deferred:
            self._states.prepare(job, ready.with_coding(coding, compressed))

    def _page(self, entry: Entry) -> Page | None:
        """The job's page, which stands as long as the entry and the tokens do; None while pending.

        The fields in it stand longer, and take as long to write as three reads.
        """
        job, tokens = entry.record.job, self._access.tokens
        page = self._pages.get(job)
        if page is not None and page.entry is entry and page.tokens is tokens:
            return page
        snapshot, ready = entry.record.snapshot, entry.representation
        if snapshot is None or ready is None:
            return None
        same = page is not None and page.tokens is tokens and page.rendering.is_of(entry)
        if page is not None and same:
            rendering, edition = page.rendering, page.edition
        else:
            private = not self._access.reading_is_open
            rendering = render(snapshot, ready, entry.policy, private=private)
            edition = next(self._editions)
        page = Page(entry, tokens, rendering, edition=edition, closing=self._closing)
        self._pages[job] = page
        return page

    def _closing(self, origin: bytes | None) -> RawHeaders:
        """The fields that every answer has, whatever it says."""
        vary: RawHeaders = [(b"vary", self._vary)]
        return vary + self._cors.fields(origin) if self._cors.enabled else vary

    def _closed(self, answer: Answer, method: str, fields: Fields) -> Answer:
        answer.headers.extend(self._closing(fields.get(b"origin")))
        return answer.without_body() if method == "HEAD" else answer

    def _count(self, status: int) -> None:
        self._codes[status] += 1

    def _counted(self, answer: Answer) -> Answer:
        self._count(answer.status)
        return answer

    async def _counted_later(self, answer: Awaitable[Answer]) -> Answer:
        return self._counted(await answer)


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
