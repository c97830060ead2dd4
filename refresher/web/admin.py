"""The admin endpoints that decide what a job does from now on: pause, resume, rollback."""

import logging
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from refresher.errors import StoreUnavailable
from refresher.jobs import actions
from refresher.service.service import Service
from refresher.web.answer import Answer, json_answer
from refresher.web.bodies import parse_body

logger = logging.getLogger("refresher")


def _whole(value: object) -> object:
    """What JSON Schema calls an integer: 41.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RollbackRequest(BaseModel):
    """The body of `POST /admin/jobs/{job}/rollback`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[int, BeforeValidator(_whole)] = Field(ge=1, examples=[41])
    """The one whose content is to be served again."""


async def set_paused(service: Service, name: str, *, paused: bool) -> Answer:
    """Answer `POST /admin/jobs/{job}/pause` and `/resume`."""
    job = service.jobs.known(name)
    if paused:
        await actions.pause(job)
    else:
        await actions.resume(job)
    return json_answer({"job": name, "paused": paused})


async def roll_back(service: Service, name: str, body: bytes) -> Answer:
    """Answer `POST /admin/jobs/{job}/rollback`."""
    job = service.jobs.known(name)
    asked = parse_body(RollbackRequest, body)
    if isinstance(asked, Answer):
        return asked
    if job.record.detached:
        raise StoreUnavailable("the store is away, and nobody knows what is kept there")
    await service.store.catch_up()
    snapshot = await actions.roll_back(job, asked.version)
    logger.info(
        "%s: rolled back to version %s, served as version %s; paused until somebody resumes it",
        name,
        asked.version,
        snapshot.version,
    )
    found = {"job": name, "version": snapshot.version, "etag": snapshot.etag, "paused": True}
    return json_answer(found)
