"""Reads of one version by its number: what a job served then, the one read that asks the store."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import assert_never
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread

from refresher.errors import GoneVersion, StoreUnavailable, UnknownVersion
from refresher.fields import conditional, negotiation
from refresher.fields.dates import http_date
from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.jsontext.pointer import NotThere
from refresher.model import Content, Version
from refresher.pipeline import representation
from refresher.pipeline.representation import Representation
from refresher.security.tokens import Access
from refresher.web.answer import Answer
from refresher.web.data.headers import HARMLESS, content_fields
from refresher.web.data.lookups import Lookups, Unread, pointed_at
from refresher.web.problems import no_lookup, no_value, no_version, problem, unknown_job

_FOR_EVER = "max-age=31536000, immutable"
_COMPRESSED_AT_A_TIME = 2
_NUMBER = re.compile(r"0*([1-9][0-9]*)")
_DIGITS_OF_A_NUMBER = 18


class Versions:
    """Answers `/data/{job}?version=…`, and `/data/{job}/{a}/{b}?version=…` with a value in it.

    `find` gives a job by its name. `lasting` says that a version keeps its number for ever; in
    memory, where a restart counts anew, no cache may rely on it.
    """

    def __init__(
        self,
        find: Callable[[str], Job | None],
        *,
        access: Access,
        lookups: Lookups,
        lasting: bool,
    ) -> None:
        self._find = find
        self._access = access
        self._lookups = lookups
        self._lasting = lasting
        self._compressing = anyio.CapacityLimiter(_COMPRESSED_AT_A_TIME)

    async def read(
        self, name: str, written: str, pointer: bytes, fields: Mapping[bytes, bytes]
    ) -> Answer:
        """Answer a request for the version whose number is `written` in the query.

        With a `pointer`, such as `/a/b`, for the value in it at that JSON Pointer.
        """
        number = number_of(written)
        if number is None:
            detail = "version: is no positive integer; write one, as in ?version=41"
            return problem(400, "invalid-version", detail)
        job = self._find(name)
        if job is None:
            return unknown_job(name)
        try:
            version, content = await kept(job, number)
        except (UnknownVersion, GoneVersion, StoreUnavailable) as error:
            return no_version(error)
        if pointer:
            ready = await self._value(name, content, version.stored.etag, pointer)
        else:
            ready = representation.restored(content.body, version.stored)
        return ready if isinstance(ready, Answer) else await self._answer(version, ready, fields)

    async def _value(
        self, job: str, content: Content, etag: str, pointer: bytes
    ) -> Representation | Answer:
        """A value in a version, ready to be sent."""
        place = pointed_at(job, content, etag, pointer)
        if isinstance(place, Answer):
            return place
        text, path = place
        found = self._lookups.at_once(text, path) or await self._lookups.later(text, path)
        match found:
            case Unread(why):
                return no_lookup(job, why)
            case NotThere(depth):
                return no_value(job, pointer, depth)
            case Representation():
                return found
            case _:
                assert_never(found)

    async def _answer(
        self, version: Version, ready: Representation, fields: Mapping[bytes, bytes]
    ) -> Answer:
        accept = fields.get(b"accept-encoding")
        is_known = _is_known(version, ready, accept, fields)
        coding = negotiation.choose(accept, ready.codings)
        while coding in ready.deferred and not is_known:  # a 304 has no use for the bytes
            coded = await anyio.to_thread.run_sync(
                representation.compress, ready.identity, coding, limiter=self._compressing
            )
            ready = ready.with_coding(coding, coded)
            coding = negotiation.choose(accept, ready.codings)
        headers = [
            (b"etag", ready.etag(coding).encode()),
            (b"cache-control", self._cache_control().encode()),
            (b"refresher-version", b"%d" % version.version),
            *HARMLESS,
        ]
        if version.dated:
            headers.append((b"last-modified", http_date(version.changed_at).encode()))
        if is_known:
            return Answer(304, headers, b"")
        return Answer(200, headers + content_fields(ready, coding), ready.body(coding))

    def _cache_control(self) -> str:
        is_open = self._access.reading_is_open
        if not self._lasting:
            return "no-cache" if is_open else "private, no-cache"
        return f"{'public' if is_open else 'private'}, {_FOR_EVER}"


def asked_for(query: bytes) -> str | None:
    """What the query of a read says as `version`; None where it asks for none."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = [value for name, value in pairs if name == "version"]
    return ",".join(values) if values else None


async def kept(job: Job, number: int) -> tuple[Version, Content]:
    """A version that the store keeps, and its content.

    Raises:
        UnknownVersion: the job has not come so far.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store does not answer. While it is away there is no version to be had,
            not even the current one: numbers that a process counts alone are nobody else's.
    """
    if job.record.detached:
        raise StoreUnavailable("the store is away")
    return await actions.kept(job, number)


def number_of(written: str) -> int | None:
    """The number of a version as somebody writes it; None where that is no positive integer."""
    found = _NUMBER.fullmatch(written)
    if found is None:
        return None
    return int(found[1]) if len(found[1]) <= _DIGITS_OF_A_NUMBER else sys.maxsize


def _is_known(
    version: Version, ready: Representation, accept: bytes | None, fields: Mapping[bytes, bytes]
) -> bool:
    match, since = fields.get(b"if-none-match"), fields.get(b"if-modified-since")
    codings = (negotiation.IDENTITY, *ready.codings)
    return conditional.not_modified(
        None if match is None else match.decode("latin-1"),
        None if since is None else since.decode("latin-1"),
        etags=[ready.etag(coding) for coding in codings if negotiation.acceptable(accept, coding)],
        last_modified=math.floor(version.changed_at) if version.dated else None,
    )
