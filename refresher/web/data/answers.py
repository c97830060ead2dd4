"""What readers of one job get at this moment: answers written once a second, however many ask."""

import math
from collections.abc import Callable
from typing import NamedTuple

from refresher import freshness
from refresher.security.tokens import Tokens
from refresher.state import Entry
from refresher.web.answer import Answer, RawHeaders
from refresher.web.data.headers import Rendering, of_the_moment
from refresher.web.data.http1 import Written, write


class Choice(NamedTuple):
    """Which of the answers that there are to reads of one snapshot."""

    coding: str
    is_known: bool
    """The reader has these bytes: 304."""
    head: bool
    """Without its body."""
    origin: bytes | None
    """The one that the reader's page is of, where it is let in by name."""


class Page:
    """The answers to reads of one job, as long as its entry and the tokens are those.

    Of what it says Age, ttl and Date move on by the second. What is made of them is kept while it
    is right: one object for all who read meanwhile, that nobody may change.

    Args:
        entry: What the answers are made from, together with `rendering`.
        tokens: Those in force.
        rendering: The fields that stay the same for longer.
        edition: A number that another page of the job has only where the same request is answered
            by the same choice.
        closing: The fields that depend on the origin of the reader's page, let in by name or None.
    """

    __slots__ = (
        "_answers",
        "_closing",
        "_moment",
        "_until",
        "_written",
        "edition",
        "entry",
        "rendering",
        "since",
        "tokens",
    )

    def __init__(
        self,
        entry: Entry,
        tokens: Tokens,
        rendering: Rendering,
        *,
        edition: int,
        closing: Callable[[bytes | None], RawHeaders],
    ) -> None:
        self.entry = entry
        self.tokens = tokens
        self.rendering = rendering
        self.edition = edition
        self._closing = closing
        self.since = self._until = math.inf
        """From when until when what it says is right."""
        self._answers: dict[Choice, Answer] = {}
        self._written: dict[Choice, Written] = {}

    def turn(self, now: float) -> bool:
        """Have it say what is right `now`; False where there is nothing to serve then."""
        if self.since <= now < self._until:
            return True
        entry, snapshot = self.entry, self.rendering.snapshot
        state = freshness.state_of(entry.record, entry.policy, now)
        if not freshness.is_served(state, entry.policy):
            return False
        self._moment = of_the_moment(self.rendering, entry.record, state, now)
        self._answers, self._written = {}, {}
        self.since = now
        next_second = snapshot.checked_at + math.floor(now - snapshot.checked_at) + 1
        last_moment = freshness.stands_until(snapshot, entry.policy, now)
        self._until = min(next_second, math.nextafter(last_moment, math.inf))
        return True

    def answer(self, choice: Choice) -> Answer:
        """The answer of the moment it was turned to."""
        found = self._answers.get(choice)
        if found is None:
            found = self._answers[choice] = self._made(choice)
        return found

    def written(self, choice: Choice) -> Written:
        """The same, ready for the wire."""
        found = self._written.get(choice)
        if found is None:
            found = self._written[choice] = write(self.answer(choice), self.since)
        return found

    def _made(self, choice: Choice) -> Answer:
        rendering, coding = self.rendering, choice.coding
        fields = [*rendering.shared[coding], *self._moment]
        if not choice.is_known:
            fields += rendering.content[coding]
        fields += self._closing(choice.origin)
        if choice.is_known:
            return Answer(304, fields, b"")
        return Answer(200, fields, b"" if choice.head else rendering.representation.body(coding))
