"""The way of one read: from method, target and header fields to a finished answer.

Free of ASGI, so that whatever carries HTTP gives the same answers. A read of a whole snapshot takes
a few dict lookups; no lock, no await and no store is on its way. An answer is awaited where making
it would hold up the loop (a large body in a content coding that nobody has asked for yet, or a
value in a large body), and where a version is asked for by its number, which the store has.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from refresher.clock import Clock
from refresher.security.tokens import Access
from refresher.state import StateStore
from refresher.web.answer import Answer
from refresher.web.cors import Cors
from refresher.web.data.answers import AnswerCache
from refresher.web.data.compression import Compression
from refresher.web.data.http1 import WireAnswer
from refresher.web.data.lookups import Lookups
from refresher.web.data.memo import Memo
from refresher.web.data.values import ValueReads
from refresher.web.data.variants import Fields, Request, Variant, variant_for
from refresher.web.data.versions import VersionReads, requested_version
from refresher.web.problems import not_allowed, unauthorized

PREFIX = "/data/"

_CACHEABLE_REQUEST_SIZE = 2048
"""Bytes; clients repeat short requests, and long ones would fill the memory."""
_METHODS = frozenset({"GET", "HEAD"})
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


class StatusCounts(Protocol):
    """Counts answers by status: `counts[200] += 1`, at every read."""

    def __getitem__(self, status: int, /) -> int: ...

    def __setitem__(self, status: int, count: int, /) -> None: ...


class Decision(NamedTuple):
    """What answers a request for a snapshot: one of the job's prepared answers.

    The same request is decided the same while the job's prepared answers are of that edition.
    """

    job: str
    edition: int
    variant: Variant


Later = Callable[[], Awaitable[Answer]]
"""Begins what has to be awaited before there is an answer."""


class Reads:
    """Answers `/data/…` from the state store, tokens, CORS and counting included."""

    def __init__(
        self,
        states: StateStore,
        *,
        access: Access,
        cors: Cors,
        versions: VersionReads,
        clock: Clock,
        codes: StatusCounts,
        lookups: Lookups,
        compression: Compression,
    ) -> None:
        self._states = states
        self._access = access
        self._cors = cors
        self._codes = codes
        self._compression = compression
        self._answers = AnswerCache(states, access=access, cors=cors, clock=clock)
        self._values = ValueReads(
            self._answers, access=access, cors=cors, lookups=lookups, compression=compression
        )
        self._versions = versions
        self._by_bytes: Memo[bytes, Decision] = Memo()
        self._by_fields: Memo[tuple[object, ...], Decision] = Memo()

    def answer(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Answer | Awaitable[Answer]:
        """Answer a request whose raw target, without any root path, starts with `/data/`.

        `headers` has lower-case names, as ASGI has them. An answer may be shared with other
        requests: it must not be changed.
        """
        found = self.decide(method, target, headers)
        if isinstance(found, Decision):
            found = self._answers.by_job[found.job].answer(found.variant)
        if isinstance(found, Answer):
            self._codes[found.status] += 1
            return found
        return self._counted(found())

    def decide(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Decision | Answer | Later:
        """Find the answer to a request, as `answer` does, but make and count nothing yet."""
        fields: Fields = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                fields[name] = fields[name] + b", " + value if name in fields else value
        key = method, target, *fields.items()
        decision = self._by_fields[key]
        if decision is not None and self._answers.of_edition(decision.job, decision.edition):
            return decision
        found = self._decide(target, Request(method, fields))
        if isinstance(found, Decision) and _is_cacheable(target, fields):
            self._by_fields[key] = found
        return found

    def wire_answer(self, decision: Decision) -> WireAnswer:
        """The answer to a request that has just been decided, counted, as bytes for the wire."""
        found = self._answers.by_job[decision.job].wire_answer(decision.variant)
        self._codes[found.status] += 1
        return found

    def cache(self, request: bytes, decision: Decision) -> None:
        """Keep what has been decided for a whole request, from its first byte to its last."""
        if len(request) <= _CACHEABLE_REQUEST_SIZE:
            self._by_bytes[request] = decision

    def cached(self, request: bytes) -> WireAnswer | None:
        """The answer now to a request that is cached, counted; None where it must be decided."""
        decision = self._by_bytes[request]
        if decision is None:
            return None
        prepared = self._answers.of_edition(decision.job, decision.edition)
        if prepared is None:
            return None
        found = prepared.wire_answer(decision.variant)
        self._codes[found.status] += 1
        return found

    def _decide(self, target: bytes, request: Request) -> Decision | Answer | Later:
        method, fields = request
        preflight = self._cors.preflight(
            method, fields.get(b"origin"), fields.get(b"access-control-request-method")
        )
        if preflight is not None:
            preflight.headers.append((b"vary", b"Accept-Encoding, " + self._cors.preflight_vary))
            return preflight
        path, _, query = target.partition(b"?")
        if method not in _METHODS:
            refusal = not_allowed(path.decode("latin-1"), method, "GET", "HEAD")
            return self._finished(refusal, request)
        if not self._access.may_read(fields.get(b"authorization")):
            return self._finished(unauthorized("reading"), request)
        return self._find(path, query, request)

    def _find(self, path: bytes, query: bytes, request: Request) -> Decision | Answer | Later:
        """Read what a path names: a snapshot, a value in it, or either of an earlier version."""
        # A `/` separates segments and a `%2F` is part of one, but no job's name has either.
        name, slash, rest = path[len(PREFIX) :].partition(b"/")
        job, pointer = unquote(name.decode("latin-1")), slash + rest
        version = requested_version(query) if query else None
        if version is not None:
            return lambda: self._finished_later(
                self._versions.read(job, version, pointer, request.fields), request
            )
        if not pointer:
            return self._read(job, request)
        found = self._values.read(job, pointer, request)
        if isinstance(found, Answer):
            return self._finished(found, request)
        return lambda: self._finished_later(found(), request)

    def _read(self, job: str, request: Request) -> Decision | Answer | Later:
        """Answer with the whole snapshot."""
        prepared = self._answers.of(job)
        if isinstance(prepared, Answer):
            return self._finished(prepared, request)
        variant = variant_for(request, prepared.rendering, self._cors)
        ready = prepared.rendering.representation
        if variant.not_modified or variant.coding not in ready.deferred:
            return Decision(job, prepared.edition, variant)

        async def compressed() -> Answer:
            coded = await self._compression.of(job, ready, variant.coding)
            self._keep(job, ready.identity_etag, variant.coding, coded)
            # What is current now: no client sees a version go back.
            found = self._read(job, request)
            if isinstance(found, Decision):
                return self._answers.by_job[job].answer(found.variant)
            return found if isinstance(found, Answer) else await found()

        return compressed

    def _keep(self, job: str, etag: str, coding: str, coded: bytes | None) -> None:
        """Put a coded form beside those that were made meanwhile of the same bytes."""
        entry = self._states.get(job)
        ready = None if entry is None else entry.representation
        if ready is not None and ready.identity_etag == etag and coding in ready.deferred:
            self._states.prepare(job, ready.with_coding(coding, coded))

    def _finished(self, answer: Answer, request: Request) -> Answer:
        """An answer that no other request shares, with Vary and CORS; to HEAD without its body."""
        answer.headers.extend(self._cors.read_fields(request.fields.get(b"origin")))
        return answer.without_body() if request.method == "HEAD" else answer

    async def _finished_later(self, answer: Awaitable[Answer], request: Request) -> Answer:
        return self._finished(await answer, request)

    async def _counted(self, answer: Awaitable[Answer]) -> Answer:
        found = await answer
        self._codes[found.status] += 1
        return found


def _is_cacheable(target: bytes, fields: Fields) -> bool:
    return len(target) + sum(map(len, fields.values())) <= _CACHEABLE_REQUEST_SIZE
