"""Content that the guard refused, on its way into quarantine, or out of it by `accept_after`."""

from dataclasses import dataclass

from refresher.errors import RefreshFailed, StoreUnavailable
from refresher.jobs import quarantine
from refresher.jobs.context import Context
from refresher.jobs.environment import Environment
from refresher.jobs.plan import Plan
from refresher.model import Changed, Confirmation, Content, Quarantine, Quarantined, Stage, Stored
from refresher.offload.tasks import RefusedByGuard
from refresher.pipeline.representation import Servable


@dataclass(frozen=True, slots=True)
class SameAsCandidate:
    """The source says that the candidate in quarantine is still its content (304)."""

    candidate: Quarantine


async def refused(
    verdict: RefusedByGuard | SameAsCandidate,
    confirmation: Confirmation,
    context: Context,
    plan: Plan,
    environment: Environment,
    *,
    now: float,
) -> tuple[Changed | Quarantined, Servable | None]:
    """Put the content, which came `now`, into quarantine, or publish it once it came often enough.

    Raises:
        RefreshFailed: it is to be published, but its body cannot be read from the store.
    """
    match verdict:
        case SameAsCandidate(candidate):
            stored, reason, content = candidate.stored, candidate.reason, None
        case RefusedByGuard(content, etag, reason):
            stored = _stored(content, etag, context, plan, environment)
            reason = environment.redact(reason)
    lease = context.lease
    counted = quarantine.after_refusal(
        context.candidate,
        stored,
        confirmation,
        reason,
        started=lease.started,
        on_schedule=lease.on_schedule,
        next_moment=plan.due_after(lease.started, now, seed=environment.seed()),
        now=now,
    )
    if not quarantine.is_accepted(counted, plan.rules.guard.accept_after):
        return Quarantined(quarantine=counted), None
    if content is None:
        content = await _content(stored, plan, environment)
    servable = Servable(content, await environment.pool.prepare(content))
    return Changed(stored=stored, confirmation=confirmation), servable


def _stored(
    content: Content, etag: str, context: Context, plan: Plan, environment: Environment
) -> Stored:
    """How the store has the content, which may be in quarantine already."""
    known = context.candidate
    if known is not None and known.stored.etag == etag:
        return known.stored
    return environment.store.stage(plan.name, content, etag)


async def _content(stored: Stored, plan: Plan, environment: Environment) -> Content:
    try:
        body = await environment.store.body(plan.name, stored)
    except StoreUnavailable as error:
        message = f"the candidate that has come often enough cannot be read: {error}"
        raise RefreshFailed(Stage.SOURCE, message, transient=True) from error
    if body is None:
        message = "the store has lost the candidate that has come often enough to be taken"
        raise RefreshFailed(Stage.SOURCE, message)
    return stored.with_bytes(body)
