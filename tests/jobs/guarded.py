"""Jobs whose guard refuses what shrinks, for the tests of what becomes of it."""

from dataclasses import replace

from refresher.jobs.job import Job
from refresher.model import Quarantine
from refresher.offload.pool import LARGE
from refresher.payload import NotModified
from refresher.pipeline import GuardRules, Rules
from tests.fakes import FakeSource, payload
from tests.jobs.builder import Scene

RULES = Rules(guard=GuardRules(max_shrink=0.5))
FULL = payload(b"[1,2,3,4]", "full")
SMALL = payload(b"[1]", "small")
OTHER = payload(b"[2]", "other")
GOOD = payload(b"[1,2,3,5]", "good")
SAME = NotModified(revision="small", http_status=304)
LARGE_ITEM = b'["' + b"x" * LARGE + b'"]'


def guarded(
    scene: Scene, *answers: object, accept_after: int | None = None
) -> tuple[Job, FakeSource]:
    return scene.job(FULL, *answers, rules=accepting(RULES, accept_after))  # type: ignore[arg-type]


def accepting(rules: Rules, accept_after: int | None) -> Rules:
    """The rules, and content that they refuse is published after so many due moments."""
    return replace(rules, guard=replace(rules.guard, accept_after=accept_after))


def held(scene: Scene) -> Quarantine:
    found = scene.record().quarantine
    assert found is not None
    return found


async def until_due(scene: Scene) -> None:
    """Let time pass until the job's next attempt is over."""
    due = scene.record().due.at
    assert due is not None
    await scene.clock.advance(due - scene.clock.now())
