"""What a person decides of a job's data: to serve an older version, to take or drop a candidate.

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
from refresher.store import ledger


async def kept(job: Job, number: int) -> tuple[Version, Content]:
    """A version that is kept, and its content.

    Raises:
        UnknownVersion: the job has not come so far.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store does not answer.
    """
    shown, store = job.reflection, job.world.store
    if number > shown.ledger.issued:
        await store.catch_up()
    known = shown.ledger
    if number > max(known.issued, shown.served):
        raise UnknownVersion(job.name, f"{job.name} has not come to version {number}")
    version = known.version(number)
    body = None if version is None else await store.body(job.name, version.stored)
    if version is None or body is None:
        raise _gone(job, number)
    return version, version.stored.with_bytes(body)


async def roll_back(job: Job, number: int) -> Snapshot:
    """Serve the content of a kept version again, as a new version, and pause the job.

    Raises:
        UnknownVersion: the job has not come so far.
        GoneVersion: it is kept no longer.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    _, content = await kept(job, number)
    world = job.world
    ready = await world.pool.prepare(content)
    done = await job.decide(
        lambda known, _: ledger.rolled_back(
            known,
            job.plan.definition,
            number,
            discarded=_discarded(job),
            served=job.reflection.served,
            now=world.clock.now(),
            history=world.store.history,
        ),
        content,
        ready,
    )
    if done is None:
        raise _gone(job, number)
    return _served(job)


def quarantined(job: Job) -> Quarantine:
    """The candidate that the guard refused last.

    Raises:
        NotQuarantined: there is none.
    """
    held = job.reflection.standing.quarantine
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
    stored = quarantined(job).stored
    body = await job.world.store.body(job.name, stored)
    if body is None:
        raise NotQuarantined(job.name, f"the candidate of {job.name} is gone")
    return stored.with_bytes(body)


async def accept(job: Job) -> Snapshot:
    """Publish the candidate in quarantine as a new version; no attempt, and none is needed.

    Raises:
        NotQuarantined: there is none, or good data has come meanwhile.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    content = await candidate(job)
    world = job.world
    ready = await world.pool.prepare(content)
    done = await job.decide(
        lambda known, key: ledger.accepted(
            known,
            key,
            ready.identity_etag,
            served=job.reflection.served,
            now=world.clock.now(),
            history=world.store.history,
        ),
        content,
        ready,
    )
    if done is None:
        message = f"another candidate of {job.name} has come meanwhile; look at that first"
        raise NotQuarantined(job.name, message)
    return _served(job)


async def reject(job: Job) -> None:
    """Drop the candidate in quarantine; the next request asks with what is served.

    Raises:
        NotQuarantined: there is none.
        StoreUnavailable: the store cannot be told, and nothing has changed.
    """
    quarantined(job)
    now = job.world.clock.now()
    await job.decide(lambda known, key: ledger.rejected(known, key, now=now))


def _served(job: Job) -> Snapshot:
    snapshot = job.record.snapshot
    assert snapshot is not None  # noqa: S101  asked for where one has just been swapped in
    return snapshot


def _gone(job: Job, number: int) -> GoneVersion:
    return GoneVersion(job.name, f"version {number} of {job.name} is kept no longer")


def _discarded(job: Job) -> Attempt:
    """What those are told whose request a rollback has overtaken."""
    now, since = job.world.clock.now(), job.reflection.standing.running_since
    started = now if since is None else since
    return Attempt(
        job=job.name,
        started_at=started,
        duration=now - started,
        outcome=Outcome.FAILED,
        version=None,
        failure=Failure(Stage.SOURCE, "discarded: the job was rolled back meanwhile"),
    )
