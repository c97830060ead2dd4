"""Ledgers as attempts leave them, for the tests of what may happen to them."""

import math

from refresher.model import (
    Attempt,
    Changed,
    Confirmation,
    Definition,
    Due,
    DueReason,
    Failed,
    Failure,
    Format,
    Quarantine,
    Quarantined,
    Result,
    Stage,
    Stored,
)
from refresher.store import decisions, ledger
from refresher.store.ledger import (
    Ledger,
    Settlement,
    key_of,
)

FAILED = Failed(failure=Failure(Stage.CONNECT, "refused"))

ONE = Definition("source", "rules")
OTHER_RULES = Definition("source", "other rules")
OTHER_SOURCE = Definition("other source", "rules")
KEY = key_of(ONE)


def stored(content: str, body: str | None = None) -> Stored:
    return Stored(
        body=body or f"body of {content}",
        size=len(content),
        etag=f'"{content}"',
        content_type="application/json",
        format=Format.JSON,
        items=1,
    )


def confirmation(at: float, definition: Definition = ONE) -> Confirmation:
    return Confirmation(checked_at=at, lifetime=100.0, revision=f"r{at}", definition=definition)


def settlement(
    result: Result,
    *,
    at: float,
    answers: int = 0,
) -> Settlement:
    return Settlement(
        result=result,
        attempt=Attempt(job="a", started_at=at, duration=0.0, outcome=result.outcome, version=None),
        due=Due(at + 100.0, DueReason.SCHEDULE),
        held_until=0.0,
        answers=answers,
        ended=at,
        fresh_since=at,
    )


def published(content: str, at: float, definition: Definition = ONE) -> Changed:
    return Changed(stored=stored(content), confirmation=confirmation(at, definition))


def aside(content: str, at: float) -> Quarantined:
    return Quarantined(
        quarantine=Quarantine(
            stored=stored(content),
            confirmation=confirmation(at),
            reason="too small",
            at=at,
            seen=1,
            next_moment=at + 100,
        )
    )


def began(
    known: Ledger, *, by: str = "me", alive: frozenset[str] = frozenset({"me"}), at: float = 0.0
) -> Ledger | None:
    return ledger.acquired(known, KEY, process=by, alive=alive, due_now_since=at, now=at)


def attempted(
    known: Ledger,
    result: Result,
    *,
    at: float,
    definition: Definition = ONE,
    served: int = 0,
    history: int = 10,
) -> Ledger:
    """A whole attempt by the only process."""
    key = key_of(definition)
    known = ledger.with_definition(known, definition, now=at)
    granted = ledger.acquired(
        known, key, process="me", alive={"me"}, due_now_since=math.inf, now=at
    )
    assert granted is not None
    fence = granted.standings[key].fence
    after = ledger.settled(
        granted,
        key,
        fence,
        settlement(result, at=at, answers=granted.standings[key].requested),
        process="me",
        served=served,
        history=history,
    )
    assert after is not None
    return after


def grown(*contents: str, history: int = 10) -> Ledger:
    known = Ledger()
    for at, content in enumerate(contents, 1):
        known = attempted(known, published(content, at), at=at, history=history)
    return known


def numbers(known: Ledger) -> list[int]:
    return [each.version for each in known.versions]


def rolled_back(known: Ledger, number: int) -> Ledger | None:
    discarded = settlement(FAILED, at=50).attempt
    return decisions.rolled_back(
        known, ONE, number, discarded=discarded, served=0, now=50, history=10
    )
