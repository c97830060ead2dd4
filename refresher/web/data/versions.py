"""Reads of a version by its number, `/data/{job}?version=41`: the only reads that ask the store."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import assert_never
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread

from refresher.errors import GoneVersion, StoreUnavailable, UnknownVersion
from refresher.fields import negotiation
from refresher.fields.dates import http_date
from refresher.fields.negotiation import IDENTITY
from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.jsontext.pointer import NotThere
from refresher.model import Content, Version
from refresher.pipeline import representation
from refresher.pipeline.representation import Representation
from refresher.security.tokens import Access
from refresher.web.answer import Answer
from refresher.web.data.headers import NEVER_RUN, content_fields
from refresher.web.data.lookups import LookupFailed, Lookups, resolve
from refresher.web.data.variants import is_not_modified
from refresher.web.problems import no_lookup, no_value, no_version, problem, unknown_job

_CONCURRENT_COMPRESSIONS = 2
_NUMBER = re.compile(r"0*([1-9][0-9]*)")
_MOST_DIGITS = 18


class VersionReads:
    """Answers `/data/{job}?version=…`, and `/data/{job}/{a}/{b}?version=…` with a value in it.

    Vary and CORS are left to the caller.

    Args:
        find: Gives a job by its name.
        access: Says whether caches may share the answers.
        lookups: Finds the values.
    """

    def __init__(
        self,
        find: Callable[[str], Job | None],
        *,
        access: Access,
        lookups: Lookups,
    ) -> None:
        self._find = find
        self._access = access
        self._lookups = lookups
        self._compressing = anyio.CapacityLimiter(_CONCURRENT_COMPRESSIONS)

    async def read(
        self, name: str, written: str, pointer: bytes, fields: Mapping[bytes, bytes]
    ) -> Answer:
        """Answer with a version, or with a value in it.

        Args:
            name: The job's.
            written: The number of the version as the query has it.
            pointer: A JSON Pointer to the value, such as `/a/b`; empty: the whole version.
            fields: The header fields of the request that a read looks at.
        """
        number = version_number(written)
        if number is None:
            detail = "version: is no positive integer; write one, as in ?version=41"
            return problem(400, "invalid-version", detail)
        job = self._find(name)
        if job is None:
            return unknown_job(name)
        try:
            version, content = await kept_version(job, number)
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
        place = resolve(job, content, etag, pointer)
        if isinstance(place, Answer):
            return place
        text, path = place
        found = self._lookups.find_now(text, path) or await self._lookups.find(text, path)
        match found:
            case LookupFailed(why):
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
        last_modified = math.floor(version.changed_at) if version.dated else None
        etags = {coding: ready.etag(coding) for coding in (IDENTITY, *ready.codings)}
        not_modified = is_not_modified(fields, etags, last_modified)
        coding = negotiation.choose(accept, ready.codings)
        while coding in ready.deferred and not not_modified:  # a 304 needs no bytes
            coded = await anyio.to_thread.run_sync(
                representation.compress, ready.identity, coding, limiter=self._compressing
            )
            ready = ready.with_coding(coding, coded)
            coding = negotiation.choose(accept, ready.codings)
        headers = [
            (b"etag", ready.etag(coding).encode()),
            (b"cache-control", self._cache_control().encode()),
            (b"refresher-version", b"%d" % version.version),
            *NEVER_RUN,
        ]
        if version.dated:
            headers.append((b"last-modified", http_date(version.changed_at).encode()))
        if not_modified:
            return Answer(304, headers, b"")
        return Answer(200, headers + content_fields(ready, coding), ready.body(coding))

    def _cache_control(self) -> str:
        # A store that was lost counts from 1 again: the ETag is the identity of the bytes, and the
        # number is not.
        return "no-cache" if self._access.reading_is_open else "private, no-cache"


def requested_version(query: bytes) -> str | None:
    """What the query of a read has as `version`, as it is written; None where it has none."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = [value for name, value in pairs if name == "version"]
    return ",".join(values) if values else None


async def kept_version(job: Job, number: int) -> tuple[Version, Content]:
    """A version that the store keeps, and its content.

    Raises:
        UnknownVersion: the job has had no such version yet.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store does not answer. Then there is not even the current version:
            without the store, a process numbers versions that no other process knows.
    """
    if job.record.detached:
        raise StoreUnavailable("the store is away")
    return await actions.kept(job, number)


def version_number(written: str) -> int | None:
    """The number of a version in a query; None where that is no positive integer."""
    found = _NUMBER.fullmatch(written)
    if found is None:
        return None
    return int(found[1]) if len(found[1]) <= _MOST_DIGITS else sys.maxsize
