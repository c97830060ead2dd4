"""The quarantine endpoints: what the guard refused last, and what becomes of it."""

import logging
from dataclasses import asdict

import anyio.to_thread

from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.jsontext.difference import difference
from refresher.model import Content, Quarantine, Snapshot
from refresher.service.service import Service
from refresher.web.answer import Answer, json_answer
from refresher.web.data.headers import NEVER_RUN
from refresher.web.status import rfc3339

logger = logging.getLogger("refresher")


async def show(service: Service, name: str) -> Answer:
    """Answer `GET /admin/jobs/{job}/quarantine`."""
    job = await _up_to_date(service, name)
    held, candidate = actions.quarantined(job), await actions.candidate(job)
    served = job.record.snapshot
    # In a thread: hundreds of thousands of rows take a while to compare.
    summary = await anyio.to_thread.run_sync(_summary, candidate, served)
    return json_answer(
        {
            "job": name,
            "reason": held.reason,
            "at": rfc3339(held.at),
            "checked_at": rfc3339(held.confirmation.checked_at),
            "seen": held.seen,
            "accept_after": job.plan.rules.guard.accept_after,
            "etag": held.stored.etag,
            "content_type": held.stored.content_type,
            "served_version": served and served.version,
            "difference": summary,
        }
    )


async def show_body(service: Service, name: str) -> Answer:
    """Answer `GET /admin/jobs/{job}/quarantine?body=1`: the bytes that would be served."""
    job = await _up_to_date(service, name)
    return _body(actions.quarantined(job), await actions.candidate(job))


async def accept(service: Service, name: str) -> Answer:
    """Answer `POST /admin/jobs/{job}/quarantine/accept`."""
    snapshot = await actions.accept(await _up_to_date(service, name))
    logger.info("%s: accepted out of quarantine, serving version %s", name, snapshot.version)
    return json_answer({"job": name, "version": snapshot.version, "etag": snapshot.etag})


async def reject(service: Service, name: str) -> Answer:
    """Answer `POST /admin/jobs/{job}/quarantine/reject`."""
    await actions.reject(await _up_to_date(service, name))
    logger.info("%s: what was in quarantine has been dropped", name)
    return json_answer({"job": name, "quarantine": None})


async def _up_to_date(service: Service, name: str) -> Job:
    """The job, with all that other processes have stored of it until now."""
    job = service.jobs.known(name)
    await service.store.catch_up()
    return job


def _summary(after: Content, served: Snapshot | None) -> dict[str, object]:
    before = None if served is None else served.content
    found = None if before is None else difference(before, after)
    return {
        "bytes": {"before": before and len(before.body), "after": len(after.body)},
        "items": {"before": before and before.items, "after": after.items},
        **({} if found is None else asdict(found)),
    }


def _body(held: Quarantine, content: Content) -> Answer:
    headers = [
        (b"content-type", content.content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(content.body)),
        (b"etag", held.stored.etag.encode()),
        (b"cache-control", b"no-store"),
        *NEVER_RUN,
    ]
    return Answer(200, headers, content.body)
