"""The way of one read: from method, target and header fields to a finished answer.

Free of ASGI, so that whatever carries HTTP gives the same answers. A read takes one dict lookup; no
lock, no await and no store is on its way, but for a large body whose gzip form nobody has asked for
yet: then the answer is awaited.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Iterable
from urllib.parse import unquote

from refresher import conditional, freshness, negotiation, representation
from refresher.access import Access
from refresher.clock import Clock
from refresher.httpdate import http_date
from refresher.model import Record, Snapshot, State
from refresher.representation import Representation
from refresher.state import Entry, StateStore
from refresher.web.answer import UNAUTHORIZED, Answer, RawHeaders, problem
from refresher.web.cors import PREFLIGHT_VARY, Cors

PREFIX = "/data/"

_ASK_AGAIN = 60
# Upstream bytes never run as a page of ours, whatever media type they claim.
_HARMLESS: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
]


class Reads:
    """Answers `/data/…` from the state store, tokens, CORS and counting included."""

    def __init__(
        self, states: StateStore, *, access: Access, cors: Cors, clock: Clock, codes: Counter[int]
    ) -> None:
        self._states = states
        self._access = access
        self._cors = cors
        self._clock = clock
        self._codes = codes
        self._vary = b"Accept-Encoding, Origin" if cors.enabled else b"Accept-Encoding"
        self._coding: dict[str, asyncio.Future[bytes | None]] = {}

    def answer(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Answer | Awaitable[Answer]:
        """Answer a request whose raw target, without any root path, starts with `/data/`.

        `headers` has lower-case names, as ASGI has them.
        """
        fields: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                fields[name] = fields[name] + b", " + value if name in fields else value
        answer = self._decide(method, target, fields)
        if isinstance(answer, Answer):
            return self._finish(answer, method, fields)
        return self._await(answer, method, fields)

    async def _await(
        self, answer: Awaitable[Answer], method: str, fields: dict[bytes, bytes]
    ) -> Answer:
        return self._finish(await answer, method, fields)

    def _finish(self, answer: Answer, method: str, fields: dict[bytes, bytes]) -> Answer:
        self._codes[answer.status] += 1
        if answer.status != 204:  # noqa: PLR2004  a preflight's Vary is its own
            answer.headers.append((b"vary", self._vary))
            if self._cors.enabled:
                answer.headers.extend(self._cors.fields(fields.get(b"origin")))
        return Answer(answer.status, answer.headers, b"") if method == "HEAD" else answer

    def _decide(
        self, method: str, target: bytes, fields: dict[bytes, bytes]
    ) -> Answer | Awaitable[Answer]:
        if method not in {"GET", "HEAD"}:
            return self._other_method(method, fields)
        if not self._access.may_read(fields.get(b"authorization")):
            detail = "reading needs a token: Authorization: Bearer …"
            return problem(401, "unauthorized", detail, headers=UNAUTHORIZED)
        path = target.partition(b"?")[0].decode("latin-1").removeprefix(PREFIX)
        name, slash, _ = path.partition("/")
        entry = None if slash else self._states.get(unquote(name))
        if entry is None:
            return problem(404, "unknown-job", f"no job {unquote(path)!r} here; GET /jobs has all")
        now = self._clock.now()
        if entry.representation is None or not freshness.servable(entry.record, entry.policy, now):
            return _nothing_to_serve(entry, now)
        accept = fields.get(b"accept-encoding")
        prepared = entry.representation
        if prepared.gzip_deferred and negotiation.choose(accept, ("gzip",)) == "gzip":
            return self._with_gzip(entry, prepared, fields)
        return self._snapshot(entry, prepared, fields, now)

    def _other_method(self, method: str, fields: dict[bytes, bytes]) -> Answer:
        origin = fields.get(b"origin")
        if (
            self._cors.enabled
            and method == "OPTIONS"
            and origin is not None
            and b"access-control-request-method" in fields
        ):
            return Answer(204, [*self._cors.preflight(origin), (b"vary", PREFLIGHT_VARY)], b"")
        detail = f"snapshots are read with GET or HEAD, not {method}"
        return problem(405, None, detail, headers={"allow": "GET, HEAD"})

    def _snapshot(
        self, entry: Entry, prepared: Representation, fields: dict[bytes, bytes], now: float
    ) -> Answer:
        snapshot = entry.record.snapshot
        assert snapshot is not None  # noqa: S101  it came with its representation
        accept = fields.get(b"accept-encoding")
        coding = negotiation.choose(accept, prepared.codings)
        visibility = "public" if self._access.reading_is_open else "private"
        headers = _head(snapshot, prepared.etag(coding), entry, visibility=visibility, now=now)
        headers += _HARMLESS
        since = fields.get(b"if-modified-since")
        match = fields.get(b"if-none-match")
        if match is not None or since is not None:
            etags = [
                prepared.etag(one)
                for one in ("identity", *prepared.codings)
                if negotiation.acceptable(accept, one)
            ]
            if conditional.not_modified(
                _text(match),
                _text(since),
                etags=etags,
                last_modified=math.floor(snapshot.changed_at) if snapshot.dated else None,
            ):
                return Answer(304, headers, b"")
        body = prepared.body(coding)
        headers.append((b"content-type", snapshot.content.content_type.encode("latin-1")))
        headers.append((b"content-length", b"%d" % len(body)))
        if coding != "identity":
            headers.append((b"content-encoding", coding.encode()))
        return Answer(200, headers, body)

    async def _with_gzip(
        self, entry: Entry, prepared: Representation, fields: dict[bytes, bytes]
    ) -> Answer:
        """Compress a large body off the loop, once, however many ask meanwhile."""
        job, tag = entry.record.job, prepared.etag("identity")
        pending = self._coding.get(tag)
        if pending is None:
            loop = asyncio.get_running_loop()
            pending = loop.run_in_executor(None, representation.compress, prepared.body("identity"))
            self._coding[tag] = pending
            pending.add_done_callback(lambda _: self._coding.pop(tag, None))
        ready = prepared.with_gzip(await asyncio.shield(pending))
        self._states.prepare(job, ready)
        return self._snapshot(entry, ready, fields, self._clock.now())


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


def _head(
    snapshot: Snapshot, etag: str, entry: Entry, *, visibility: str, now: float
) -> RawHeaders:
    """The fields that a 200 and a 304 share, as of now."""
    policy = entry.policy
    max_age = freshness.max_age_of(snapshot, policy)
    age = math.floor(freshness.age_of(snapshot, now))
    cache_control = f"{visibility}, max-age={max_age}"
    if policy.max_stale is not None:
        cache_control += f", stale-if-error={math.floor(policy.max_stale)}"
    status = f"refresher; hit; ttl={max_age - age}"
    state = freshness.state_of(entry.record, policy, now)
    if state is not State.FRESH or age > max_age:
        status += f"; detail={freshness.detail_of(entry.record, policy, now)}"
    headers = [
        (b"etag", etag.encode()),
        (b"cache-control", cache_control.encode()),
        (b"age", b"%d" % age),
        (b"cache-status", status.encode()),
        (b"refresher-version", b"%d" % snapshot.version),
    ]
    if snapshot.dated:
        headers.append((b"last-modified", http_date(snapshot.changed_at).encode()))
    return headers


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _nothing_to_serve(entry: Entry, now: float) -> Answer:
    record = entry.record
    if record.snapshot is None:
        kind, detail = "pending", f"{record.job} has no snapshot yet"
    else:
        kind, detail = "expired", f"the snapshot of {record.job} is too old to be served"
    if record.last_attempt is not None and record.last_attempt.failure is not None:
        failure = record.last_attempt.failure
        detail += f"; the last attempt ended at {failure.stage}"
    headers = {"retry-after": str(retry_after(record, now))}
    return problem(503, kind, detail, headers=headers)


def retry_after(record: Record, now: float) -> int:
    """In how many seconds a reader who got nothing had better ask again."""
    if record.running_since is not None:
        return 1
    if record.due.at is None or math.isinf(record.due.at):
        return _ASK_AGAIN
    return max(1, math.ceil(record.due.at - now))
