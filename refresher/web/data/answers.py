"""Answers to reads of whole snapshots, prepared once a second however many ask."""

import itertools
import math

from refresher import freshness
from refresher.clock import Clock
from refresher.security.tokens import Access, Tokens
from refresher.state import Entry, StateStore
from refresher.web.answer import Answer, RawHeaders
from refresher.web.cors import Cors
from refresher.web.data.headers import Rendering, age_fields, render
from refresher.web.data.http1 import WireAnswer, to_wire
from refresher.web.data.variants import Variant
from refresher.web.problems import nothing_to_serve, unknown_job


class PreparedAnswers:
    """The answers to reads of one job, for as long as its entry and the tokens stay the same.

    Age, ttl and Date change every second. What has been made is kept for that long, and shared by
    all who ask meanwhile: it must not be changed.

    Args:
        entry: What the answers are made from, together with `rendering`.
        tokens: Those in force.
        rendering: The fields that stay the same for longer.
        edition: Another one whenever a request may be answered by another variant than before;
            what has been decided for one edition holds for it alone.
        cors: Gives the fields that depend on the request's Origin.
    """

    __slots__ = (
        "_answers",
        "_cors",
        "_until",
        "_wire",
        "age_fields",
        "edition",
        "entry",
        "rendering",
        "since",
        "tokens",
    )

    def __init__(
        self, entry: Entry, tokens: Tokens, rendering: Rendering, *, edition: int, cors: Cors
    ) -> None:
        self.entry = entry
        self.tokens = tokens
        self.rendering = rendering
        self.edition = edition
        self._cors = cors
        self.since = self._until = math.inf
        """The span of time for which what has been made is right."""
        self.age_fields: RawHeaders = []
        """The fields that tell the age in that span."""
        self._answers: dict[Variant, Answer] = {}
        self._wire: dict[Variant, WireAnswer] = {}

    def update(self, now: float) -> bool:
        """Drop what is no longer right `now`; False where there is nothing to serve then."""
        if self.since <= now < self._until:
            return True
        entry, snapshot = self.entry, self.rendering.snapshot
        state = freshness.state_of(entry.record, entry.policy, now)
        if not freshness.is_served(state, entry.policy):
            return False
        self.age_fields = age_fields(self.rendering, entry.record, state, now)
        self._answers, self._wire = {}, {}
        self.since = now
        next_second = snapshot.checked_at + math.floor(now - snapshot.checked_at) + 1
        last_moment = freshness.stands_until(snapshot, entry.policy, now)
        self._until = min(next_second, math.nextafter(last_moment, math.inf))
        return True

    def answer(self, variant: Variant) -> Answer:
        """The answer, as of the last `update`."""
        found = self._answers.get(variant)
        if found is None:
            found = made_answer(self.rendering, self.age_fields, variant)
            found.headers.extend(self._cors.read_fields(variant.origin))
            self._answers[variant] = found
        return found

    def wire_answer(self, variant: Variant) -> WireAnswer:
        """The same, as HTTP/1.1 has it on the wire."""
        found = self._wire.get(variant)
        if found is None:
            found = self._wire[variant] = to_wire(self.answer(variant), self.since)
        return found


def made_answer(rendering: Rendering, age: RawHeaders, variant: Variant) -> Answer:
    """An answer but for Vary and CORS; `age` are the fields that depend on the time."""
    coding = variant.coding
    fields = [*rendering.shared[coding], *age]
    if variant.not_modified:
        return Answer(304, fields, b"")
    fields += rendering.content[coding]
    return Answer(200, fields, b"" if variant.head else rendering.representation.body(coding))


class AnswerCache:
    """The prepared answers of all jobs that have been read."""

    def __init__(self, states: StateStore, *, access: Access, cors: Cors, clock: Clock) -> None:
        self.by_job: dict[str, PreparedAnswers] = {}
        """The latest of each job; as of now only after one of the methods has returned it."""
        self._states = states
        self._access = access
        self._cors = cors
        self._clock = clock
        self._editions = itertools.count()

    def of(self, job: str) -> PreparedAnswers | Answer:
        """A job's prepared answers as of now, or the problem that there is nothing to serve."""
        entry = self._states.get(job)
        if entry is None:
            return unknown_job(job)
        prepared, now = self._prepared(entry), self._clock.now()
        if prepared is None or not prepared.update(now):
            return nothing_to_serve(entry.record, now)
        return prepared

    def of_edition(self, job: str, edition: int) -> PreparedAnswers | None:
        """A job's prepared answers as of now; None where they are of another edition, or gone."""
        prepared, entry = self.by_job.get(job), self._states.get(job)
        if (
            prepared is None
            or prepared.entry is not entry
            or prepared.tokens is not self._access.tokens
        ):
            prepared = None if entry is None else self._prepared(entry)
        if (
            prepared is not None
            and prepared.edition == edition
            and prepared.update(self._clock.now())
        ):
            return prepared
        return None

    def _prepared(self, entry: Entry) -> PreparedAnswers | None:
        """Those of an entry; None while it has no snapshot.

        The rendering is used again where only the record around the snapshot has changed: to make
        it takes as long as three reads.
        """
        job, tokens = entry.record.job, self._access.tokens
        prepared = self.by_job.get(job)
        if prepared is not None and prepared.entry is entry and prepared.tokens is tokens:
            return prepared
        snapshot, ready = entry.record.snapshot, entry.representation
        if snapshot is None or ready is None:
            return None
        if prepared is not None and prepared.tokens is tokens and prepared.rendering.is_of(entry):
            rendering, edition = prepared.rendering, prepared.edition
        else:
            private = not self._access.reading_is_open
            rendering = render(snapshot, ready, entry.policy, private=private)
            edition = next(self._editions)
        prepared = PreparedAnswers(entry, tokens, rendering, edition=edition, cors=self._cors)
        self.by_job[job] = prepared
        return prepared
