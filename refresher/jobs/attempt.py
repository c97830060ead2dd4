"""One attempt: ask the source, refine its answer, and say what came of it."""

import asyncio
from dataclasses import dataclass, field
from typing import assert_never

from refresher.errors import RefreshFailed
from refresher.jobs import candidate, typed
from refresher.jobs.context import Context
from refresher.jobs.environment import Environment
from refresher.jobs.plan import Plan
from refresher.model import Changed, Confirmation, Quarantined, Snapshot, Stage, Unchanged
from refresher.offload.tasks import RefusedByGuard, SameAsServed, Verdict
from refresher.payload import NotModified, Payload
from refresher.pipeline import content_time
from refresher.pipeline.representation import Servable
from refresher.protocols import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How an attempt ended whose answer passed every rule, or was refused by the guard alone."""

    result: Changed | Unchanged | Quarantined
    http_status: int | None
    servable: Servable | None = field(default=None, repr=False)
    """What `Changed` publishes; None with the other results."""


async def attempt(
    source: Source, context: Context, plan: Plan, environment: Environment
) -> Answered | RefreshFailed:
    """Ask the source, and make of its answer what a store can keep; within the plan's timeout.

    The error says that there was no complete answer, or that a rule refused its content.
    """
    try:
        async with asyncio.timeout(plan.timeout) as deadline:
            return await _answered(source, context, plan, environment)
    except TimeoutError:
        if not deadline.expired():
            raise
        message = f"no complete answer within the timeout of {plan.timeout:g} s"
        return RefreshFailed(Stage.TIMEOUT, message, transient=True)
    except RefreshFailed as trouble:
        return trouble


async def _answered(
    source: Source, context: Context, plan: Plan, environment: Environment
) -> Answered:
    known = context.candidate or context.served
    answer = await source.fetch(known.confirmation.revision if known else None)
    now = environment.clock.now()
    due = plan.due_after(context.lease.started, now, answer.fresh_for, seed=environment.seed())
    checked_at = now if answer.as_of is None else min(answer.as_of, now)
    confirmation = Confirmation(
        checked_at=checked_at,
        lifetime=due - checked_at,
        revision=answer.revision,
        definition=plan.definition,
        age=now - checked_at,
        stale_since=now if answer.overdue > plan.timeout else None,
    )
    result: Changed | Unchanged | Quarantined
    servable: Servable | None = None
    try:
        verdict = await _verdict(answer, context, plan, environment)
        if plan.types:
            sent_as = answer.content_type if isinstance(answer, Payload) else None
            await typed.check(verdict, sent_as, context, plan, environment)
        match verdict:
            case SameAsServed():
                result = Unchanged(confirmation=confirmation)
            case Servable(content, representation) as servable:
                etag = representation.identity_etag
                stored = environment.store.stage(plan.name, content, etag)
                result = Changed(stored=stored, confirmation=confirmation)
            case refused:
                result, servable = await candidate.refused(
                    refused, confirmation, context, plan, environment, now=now
                )
    except RefreshFailed as trouble:
        trouble.http_status = answer.http_status
        trouble.since = answer.since if isinstance(answer, Payload) else None
        raise
    return Answered(result=result, http_status=answer.http_status, servable=servable)


async def _verdict(
    answer: Payload | NotModified, context: Context, plan: Plan, environment: Environment
) -> Verdict | candidate.SameAsCandidate:
    """What the rules say of the answer, whose body is released."""
    match answer:
        case NotModified():
            return _not_modified(context)
        case Payload():
            try:
                verdict = await environment.pool.refine(answer, plan.rules, context.served)
            finally:
                answer.close()
            return _dated(verdict, context.served, environment.clock.now())
        case _:
            assert_never(answer)


def _dated(verdict: Verdict, served: Snapshot | None, now: float) -> Verdict:
    """The verdict, or a refusal where the content says that it is older than what is served."""
    if not isinstance(verdict, Servable):
        return verdict
    content, known = verdict.content, None if served is None else served.content_time
    refusal = content_time.refusal(content.content_time, known, now)
    if refusal is None:
        return verdict
    return RefusedByGuard(content, verdict.representation.identity_etag, refusal)


def _not_modified(context: Context) -> SameAsServed | candidate.SameAsCandidate:
    if context.candidate is not None:
        return candidate.SameAsCandidate(context.candidate)
    if context.served is None:
        message = "the source says that nothing changed, but there is nothing yet"
        raise RefreshFailed(Stage.STATUS, message)
    return SameAsServed()
