"""The way of one read: from method, target and header fields to a finished answer.

Free of ASGI, so that whatever carries HTTP gives the same answers. A read takes one dict lookup; no
lock, no await and no store is on its way. An answer is awaited where it takes longer than the loop
may be held up, a large body in a content coding that nobody has asked for yet, or a value in one;
and where a version is asked for by its number, which the store has.
"""

import itertools
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from refresher.clock import Clock
from refresher.fields import conditional, negotiation
from refresher.fields.negotiation import IDENTITY
from refresher.freshness import Policy
from refresher.jsontext.pointer import NotThere
from refresher.model import Record, Snapshot
from refresher.pipeline.representation import Representation
from refresher.security.tokens import Access
from refresher.state import Entry, StateStore
from refresher.web.answer import Answer, RawHeaders
from refresher.web.cors import Cors
from refresher.web.data.answers import Choice, Page
from refresher.web.data.compression import Compression
from refresher.web.data.headers import Rendering, render
from refresher.web.data.http1 import Written
from refresher.web.data.lookups import Found, Lookups, Unread, pointed_at
from refresher.web.data.memo import Memo
from refresher.web.data.versions import Versions, asked_for
from refresher.web.problems import (
    no_lookup,
    no_value,
    not_allowed,
    problem,
    unauthorized,
    unknown_job,
)

PREFIX = "/data/"

Fields = dict[bytes, bytes]
"""Those header fields of a request that a read looks at; several lines of one joined by commas."""

_ASK_AGAIN = 60
_HABITUAL = 2048
"""Bytes of a request; what is longer is nobody's habit, and not remembered."""
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


class Tally(Protocol):
    """Counts answers by status: `tally[200] += 1`, on the way of every read."""

    def __getitem__(self, status: int, /) -> int: ...

    def __setitem__(self, status: int, count: int, /) -> None: ...


class Decision(NamedTuple):
    """What a request was found to read.

    The same request reads the same until the job's page is of another edition.
    """

    job: str
    edition: int
    choice: Choice


Later = Callable[[], Awaitable[Answer]]
"""Begins what has to be waited for before there is an answer."""


class _Request(NamedTuple):
    """What a read needs to know of a request, but for its target."""

    method: str
    fields: Fields


class _Known(NamedTuple):
    """A value that had to be waited for, and the ETag of the snapshot that it is from."""

    etag: str
    found: Found


class Reads:
    """Answers `/data/…` from the state store, tokens, CORS and counting included."""

    def __init__(
        self,
        states: StateStore,
        *,
        access: Access,
        cors: Cors,
        versions: Versions,
        clock: Clock,
        codes: Tally,
        lookups: Lookups,
        compression: Compression,
    ) -> None:
        self._states = states
        self._access = access
        self._cors = cors
        self._versions = versions
        self._clock = clock
        self._codes = codes
        self._lookups = lookups
        self._compression = compression
        self._pages: dict[str, Page] = {}
        self._editions = itertools.count()
        self._requests: Memo[bytes, Decision] = Memo()
        self._decisions: Memo[tuple[object, ...], Decision] = Memo()
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
            found = self._pages[found.job].answer(found.choice)
        if isinstance(found, Answer):
            self._codes[found.status] += 1
            return found
        return self._counted_later(found())

    def decide(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Decision | Answer | Later:
        """Find what a request reads, as `answer` does, and give and count nothing yet."""
        fields: Fields = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                fields[name] = fields[name] + b", " + value if name in fields else value
        key = method, target, *fields.items()
        decision = self._decisions[key]
        if decision is not None and self._stands(decision):
            return decision
        found = self._decide(method, target, fields)
        if isinstance(found, Decision) and _is_habitual(target, fields):
            self._decisions[key] = found
        return found

    def _decide(self, method: str, target: bytes, fields: Fields) -> Decision | Answer | Later:
        preflight = self._cors.preflight(
            method, fields.get(b"origin"), fields.get(b"access-control-request-method")
        )
        if preflight is not None:
            preflight.headers.append((b"vary", b"Accept-Encoding, " + self._cors.preflight_vary))
            return preflight
        return self._find(target, _Request(method, fields))

    def write(self, decision: Decision) -> Written:
        """The answer to a request that has just been decided, ready for the wire."""
        written = self._pages[decision.job].written(decision.choice)
        self._codes[written.status] += 1
        return written

    def remember(self, request: bytes, decision: Decision) -> None:
        """Keep what has been decided for a whole request, from its first byte to its last."""
        if len(request) <= _HABITUAL:
            self._requests[request] = decision

    def recall(self, request: bytes) -> Written | None:
        """What is answered now to a request that is remembered; None where it is to be decided."""
        decision = self._requests[request]
        return self.write(decision) if decision is not None and self._stands(decision) else None

    def _stands(self, decision: Decision) -> bool:
        """Whether it would be decided the same now; then its page is turned to now."""
        page, entry = self._pages.get(decision.job), self._states.get(decision.job)
        if page is None or page.entry is not entry or page.tokens is not self._access.tokens:
            page = None if entry is None else self._page(entry)
        return (
            page is not None and page.edition == decision.edition and page.turn(self._clock.now())
        )

    def _find(self, target: bytes, request: _Request) -> Decision | Answer | Later:
        path, _, query = target.partition(b"?")
        if request.method not in _READING:
            refusal = not_allowed(path.decode("latin-1"), request.method, "GET", "HEAD")
            return self._finished(refusal, request)
        if not self._access.may_read(request.fields.get(b"authorization")):
            return self._finished(unauthorized("reading"), request)
        # A `/` parts segments and a `%2F` is part of one, but no job's name has either.
        name, slash, pointer = path[len(PREFIX) :].partition(b"/")
        job, place = unquote(name.decode("latin-1")), slash + pointer
        version = asked_for(query) if query else None
        if version is not None:
            return lambda: self._read_version(job, version, place, request)
        return self._read_value(job, place, request) if place else self._read(job, request)

    async def _read_version(
        self, job: str, version: str, pointer: bytes, request: _Request
    ) -> Answer:
        found = await self._versions.read(job, version, pointer, request.fields)
        return self._finished(found, request)

    def _read(self, job: str, request: _Request) -> Decision | Answer | Later:
        page = self._served(job)
        if isinstance(page, Answer):
            return self._finished(page, request)
        choice = self._choice(page.rendering, request)
        ready = page.rendering.representation
        if choice.is_known or choice.coding not in ready.deferred:
            return Decision(job, page.edition, choice)

        async def compressed() -> Answer:
            coded = await self._compression.of(job, ready, choice.coding)
            self._keep(job, ready.identity_etag, choice.coding, coded)
            # What is current now: no reader sees a version go back.
            found = self._read(job, request)
            if isinstance(found, Decision):
                return self._pages[job].answer(found.choice)
            return found if isinstance(found, Answer) else await found()

        return compressed

    def _read_value(
        self, job: str, pointer: bytes, request: _Request, known: _Known | None = None
    ) -> Answer | Later:
        """Answer with the value at a JSON Pointer, as a representation of its own.

        `known` is what has been waited for; it counts if that is still what is current.
        """
        page = self._served(job)
        if isinstance(page, Answer):
            return self._finished(page, request)
        snapshot = page.rendering.snapshot
        place = pointed_at(job, snapshot.content, snapshot.etag, pointer)
        if isinstance(place, Answer):
            return self._finished(place, request)
        text, path = place
        if known is not None and known.etag == snapshot.etag:
            found: Found | None = known.found
        else:
            found = self._lookups.at_once(text, path)
        if isinstance(found, NotThere):
            return self._finished(no_value(job, pointer, found.depth), request)
        coding = IDENTITY
        if found is not None:
            value = self._value_page(page, found)
            choice = self._choice(value.rendering, request)
            if choice.is_known or choice.coding not in found.deferred:
                return value.answer(choice)
            coding = choice.coding

        async def waited_for() -> Answer:
            if found is None:
                now_known = await self._lookups.later(text, path)
                if isinstance(now_known, Unread):
                    return self._finished(no_lookup(job, now_known.why), request)
            else:
                coded = await self._compression.of(job, found, coding)
                now_known = found.with_coding(coding, coded)
                self._lookups.keep(text, path, now_known)
            again = self._read_value(job, pointer, request, _Known(text.etag, now_known))
            return again if isinstance(again, Answer) else await again()

        return waited_for

    def _served(self, job: str) -> Page | Answer:
        """The job's page as of now, or why there is none."""
        entry = self._states.get(job)
        if entry is None:
            return unknown_job(job)
        page, now = self._page(entry), self._clock.now()
        if page is None or not page.turn(now):
            return _nothing_to_serve(entry.record, now)
        return page

    def _choice(self, rendering: Rendering, request: _Request) -> Choice:
        accept = request.fields.get(b"accept-encoding")
        coding = negotiation.choose(accept, rendering.representation.codings)
        return Choice(
            coding,
            is_known=_is_known(rendering, coding, accept, request.fields),
            head=request.method == "HEAD",
            origin=self._cors.named(request.fields.get(b"origin")),
        )

    def _keep(self, job: str, etag: str, coding: str, coded: bytes | None) -> None:
        """Put a coded form beside those that were made meanwhile of the same bytes."""
        entry = self._states.get(job)
        ready = None if entry is None else entry.representation
        if ready is not None and ready.identity_etag == etag and coding in ready.deferred:
            self._states.prepare(job, ready.with_coding(coding, coded))

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
        if page is not None and page.tokens is tokens and page.rendering.is_of(entry):
            rendering, edition = page.rendering, page.edition
        else:
            rendering = self._rendered(snapshot, ready, entry.policy)
            edition = next(self._editions)
        page = Page(entry, tokens, rendering, edition=edition, closing=self._closing)
        self._pages[job] = page
        return page

    def _value_page(self, whole: Page, found: Representation) -> Page:
        """A page for a part of a job's snapshot, good for one answer."""
        rendering = self._rendered(whole.rendering.snapshot, found, whole.entry.policy)
        page = Page(whole.entry, whole.tokens, rendering, edition=-1, closing=self._closing)
        page.turn(whole.since)  # at which there was something to serve
        return page

    def _rendered(self, snapshot: Snapshot, ready: Representation, policy: Policy) -> Rendering:
        return render(snapshot, ready, policy, private=not self._access.reading_is_open)

    def _closing(self, origin: bytes | None) -> RawHeaders:
        """The fields that every answer has, whatever it says."""
        vary: RawHeaders = [(b"vary", self._vary)]
        return vary + self._cors.fields(origin) if self._cors.enabled else vary

    def _finished(self, answer: Answer, request: _Request) -> Answer:
        """An answer that is this request's alone, with those."""
        answer.headers.extend(self._closing(request.fields.get(b"origin")))
        return answer.without_body() if request.method == "HEAD" else answer

    async def _counted_later(self, answer: Awaitable[Answer]) -> Answer:
        found = await answer
        self._codes[found.status] += 1
        return found


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


def _is_habitual(target: bytes, fields: Fields) -> bool:
    return len(target) + sum(map(len, fields.values())) <= _HABITUAL


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
