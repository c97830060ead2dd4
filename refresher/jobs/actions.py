"""What a person decides of a job: its pause, a rollback, and what becomes of a candidate.

None of it is an attempt: nothing is fetched, and what is served was fetched before.
"""

from refresher.errors import GoneVersion, NotQuarantined, UnknownVersion
from refresher.jobs.job import Job
from refresher.model import (
    Attempt,
    Content,
    Failure,
    Outcome,
    Quarantine,
    Snapshot,
    Stage,
    Version,
)
from refresher.store import decisions
from refresher.store.ledger import Ledger


async def kept(job: Job, number: int) -> tuple[Version, Content]:
    """A version that is kept, and its content.

    Raises:
        UnknownVersion: the job has not come so far.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store does not answer.
    """
    if number > job.ledger.issued:
        await job.catch_up()
    known = job.ledger
    if number > max(known.issued, job.served):
        raise UnknownVersion(job.name, f"{job.name} has not come to version {number}")
    version = known.version(number)
    content = None if version is None else await job.content(version.stored)
    if version is None or content is None:
        raise _gone(job, number)
    return version, content


async def pause(job: Job) -> None:
    """Stop following the schedule; what is served grows stale like any other.

    Raises:
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    await job.decide(lambda known, *_: decisions.paused(known))


async def resume(job: Job) -> None:
    """Follow the schedule again; what became due meanwhile is attempted now.

    Raises:
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    await job.decide(lambda known, *_: decisions.resumed(known))


async def roll_back(job: Job, number: int) -> Snapshot:
    """Serve the content of a kept version again, as a new version, and pause the job.

    Raises:
        UnknownVersion: the job has not come so far.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    _, content = await kept(job, number)

    def rolled_back(
        known: Ledger, key: str, etag: str, /, *, served: int, now: float, history: int
    ) -> Ledger | None:
        del key, etag
        return decisions.rolled_back(
            known,
            job.plan.definition,
            number,
            discarded=_discarded(job, now),
            served=served,
            now=now,
            history=history,
        )

    snapshot = await job.publish(content, rolled_back)
    if snapshot is None:
        raise _gone(job, number)
    return snapshot


def quarantined(job: Job) -> Quarantine:
    """The candidate that the guard refused last.

    Raises:
        NotQuarantined: there is none.
    """
    held = job.standing.quarantine
    if held is None:
        message = f"no refused candidate of {job.name} is in quarantine"
        raise NotQuarantined(job.name, message)
    return held


async def candidate(job: Job) -> Content:
    """The content in quarantine.

    Raises:
        NotQuarantined: there is none.
        StoreUnavailable: the store does not answer.
    """
    content = await job.content(quarantined(job).stored)
    if content is None:
        raise NotQuarantined(job.name, f"the candidate of {job.name} is gone")
    return content


async def accept(job: Job) -> Snapshot:
    """Publish the candidate in quarantine as a new version; no attempt, and none is needed.

    Raises:
        NotQuarantined: there is none, or good data has come meanwhile.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    snapshot = await job.publish(await candidate(job), decisions.accepted)
    if snapshot is None:
        message = f"another candidate of {job.name} has come meanwhile; look at that first"
        raise NotQuarantined(job.name, message)
    return snapshot


async def reject(job: Job) -> None:
    """Drop the candidate in quarantine; the next request asks with what is served.

    Raises:
        NotQuarantined: there is none.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    quarantined(job)
    await job.decide(lambda known, key, now: decisions.rejected(known, key, now=now))


def _gone(job: Job, number: int) -> GoneVersion:
    return GoneVersion(job.name, f"version {number} of {job.name} is kept no longer")


def _discarded(job: Job, now: float) -> Attempt:
    """What those are told whose request a rollback has overtaken."""
    since = job.standing.running_since
    started = now if since is None else since
    return Attempt(
        job=job.name,
        started_at=started,
        duration=now - started,
        outcome=Outcome.FAILED,
        version=None,
        failure=Failure(Stage.SOURCE, "discarded: the job was rolled back meanwhile"),
    )
