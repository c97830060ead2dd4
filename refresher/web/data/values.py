"""Reads of one value in a job's snapshot, `/data/{job}/{a}/{b}`, by JSON Pointer (RFC 6901)."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from refresher.fields.negotiation import IDENTITY
from refresher.jsontext.pointer import NotThere
from refresher.security.tokens import Access
from refresher.web.answer import Answer
from refresher.web.cors import Cors
from refresher.web.data.answers import AnswerCache, made_answer
from refresher.web.data.compression import Compression
from refresher.web.data.headers import render
from refresher.web.data.lookups import Found, LookupFailed, Lookups, resolve
from refresher.web.data.variants import Request, variant_for
from refresher.web.problems import no_lookup, no_value


class _Ready(NamedTuple):
    """What has been waited for: a value, and the ETag of the snapshot that it is in."""

    etag: str
    found: Found


class ValueReads:
    """Answers with a value as a representation of its own; Vary and CORS are left to the caller."""

    def __init__(
        self,
        answers: AnswerCache,
        *,
        access: Access,
        cors: Cors,
        lookups: Lookups,
        compression: Compression,
    ) -> None:
        self._answers = answers
        self._access = access
        self._cors = cors
        self._lookups = lookups
        self._compression = compression

    def read(
        self, job: str, pointer: bytes, request: Request, ready: _Ready | None = None
    ) -> Answer | Callable[[], Awaitable[Answer]]:
        """Answer at once, or return what gives the answer when it is awaited.

        `pointer` is such as `/a/b`. `ready` is what a call before has waited for; it counts if it
        is of the snapshot that is current still.
        """
        whole = self._answers.of(job)
        if isinstance(whole, Answer):
            return whole
        snapshot = whole.rendering.snapshot
        place = resolve(job, snapshot.content, snapshot.etag, pointer)
        if isinstance(place, Answer):
            return place
        text, path = place
        if ready is not None and ready.etag == snapshot.etag:
            found: Found | None = ready.found
        else:
            found = self._lookups.find_now(text, path)
        if isinstance(found, NotThere):
            return no_value(job, pointer, found.depth)
        coding = IDENTITY
        if found is not None:
            private = not self._access.reading_is_open
            rendering = render(snapshot, found, whole.entry.policy, private=private)
            variant = variant_for(request, rendering, self._cors)
            coding = variant.coding
            if variant.not_modified or coding not in found.deferred:
                return made_answer(rendering, whole.age_fields, variant)

        async def answer_later() -> Answer:
            if found is None:
                now_found = await self._lookups.find(text, path)
                if isinstance(now_found, LookupFailed):
                    return no_lookup(job, now_found.why)
            else:
                coded = await self._compression.of(job, found, coding)
                now_found = found.with_coding(coding, coded)
                self._lookups.keep(text, path, now_found)
            again = self.read(job, pointer, request, _Ready(text.etag, now_found))
            return again if isinstance(again, Answer) else await again()

        return answer_later
