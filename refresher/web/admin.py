"""The admin endpoints: asking jobs to refresh, and telling them to pause or to go on."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from refresher.config import duration
from refresher.errors import (
    RefreshRefused,
    StoreUnavailable,
    TooSoon,
)
from refresher.jobs import actions
from refresher.jobs.job import Job
from refresher.service.service import Service
from refresher.web.answer import Answer, json_answer
from refresher.web.problems import problem, unknown_job
from refresher.web.status import attempt_result
from refresher.web.waiting import ended

logger = logging.getLogger("refresher")

LARGEST_BODY = 64 * 1024
"""Bytes of a request body that an admin endpoint reads."""

_LONGEST_WAIT = 60.0

_Request = TypeVar("_Request", bound=BaseModel)


def _wait(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError('is not a string, write a duration with its unit, as "10s"')  # noqa: TRY004  pydantic's way
    return min(duration(value), _LONGEST_WAIT)


class RefreshRequest(BaseModel):
    """What `POST /admin/refresh` is asked; nothing at all means every job."""

    model_config = ConfigDict(extra="forbid", strict=True)

    jobs: list[str] | None = None
    tags: list[str] | None = None
    wait: Annotated[
        float | None,
        PlainValidator(_wait),
        WithJsonSchema({"type": "string", "examples": ["10s"]}),
    ] = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class _Selection:
    """The jobs that a request is for, and those that it reaches but that cannot be refreshed."""

    chosen: list[Job]
    skipped: list[RefreshRefused]


class RollbackRequest(BaseModel):
    """What `POST /admin/jobs/{job}/rollback` is asked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int = Field(ge=1, examples=[41])
    """The one whose content is to be served again."""


async def refresh(service: Service, body: bytes) -> Answer:
    """Answer `POST /admin/refresh`."""
    asked = _read(RefreshRequest, body.strip() or b"{}")
    if isinstance(asked, Answer):
        return asked
    await service.store.catch_up()
    selected = _select(service, asked)
    if isinstance(selected, Answer):
        return selected
    chosen, numbers, late = [], [], []
    for job in selected.chosen:
        try:
            numbers.append(await job.request(force=asked.force))
            chosen.append(job)
        except RefreshRefused as refusal:  # another process has been quicker
            late.append(refusal)
    if not chosen and any(refusal.job in (asked.jobs or ()) for refusal in late):
        return _refused(late)
    skipped = [_skipped(refusal) for refusal in (*selected.skipped, *late)]
    accepted = [job.name for job in chosen]
    if asked.wait is None:
        return json_answer({"accepted": accepted, "skipped": skipped}, 202)
    answers = [job.answer_to(number) for job, number in zip(chosen, numbers, strict=True)]
    attempts = await ended(answers, service.closing, within=asked.wait)
    results = [attempt_result(attempt) for attempt in attempts]
    if len(attempts) == len(answers):
        return json_answer({"results": results, "skipped": skipped})
    return json_answer({"accepted": accepted, "results": results, "skipped": skipped}, 202)


async def set_paused(service: Service, name: str, *, paused: bool) -> Answer:
    """Answer `POST /admin/jobs/{job}/pause` and `/resume`."""
    job = service.jobs.known(name)
    if paused:
        await job.pause()
    else:
        await job.resume()
    return json_answer({"job": name, "paused": paused})


async def roll_back(service: Service, name: str, body: bytes) -> Answer:
    """Answer `POST /admin/jobs/{job}/rollback`."""
    job = service.jobs.known(name)
    asked = _read(RollbackRequest, body)
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


def too_large() -> Answer:
    """The answer to a body that is not read to its end."""
    return problem(413, None, f"the body is larger than {LARGEST_BODY // 1024} KiB")


def _read(kind: type[_Request], body: bytes) -> _Request | Answer:
    """What a body asks, or what is wrong with it."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = [_problem(each, kind) for each in error.errors(include_url=False)]
        return problem(422, "invalid-request", "; ".join(problems), errors=problems)


def _problem(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """What is wrong with one key of a request, as a sentence."""
    where = ".".join(map(str, error["loc"])) or "the body"
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: is no key; there are {', '.join(kind.model_fields)}"
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case _:
            return f"{where}: {error['msg']}"


def _select(service: Service, asked: RefreshRequest) -> _Selection | Answer:
    """Named jobs are all or nothing; of those reached otherwise, some may be left out."""
    names = list(dict.fromkeys(asked.jobs or ()))
    named = {name: service.jobs.get(name) for name in names}
    if unknown := [name for name, job in named.items() if job is None]:
        return unknown_job(*unknown)
    chosen = [job for job in named.values() if job is not None]
    refused = [refusal for job in chosen if (refusal := job.refusal(force=asked.force))]
    if refused:
        return _refused(refused)
    skipped = []
    for job in _reached(service, asked):
        if job.name in named:
            continue
        if refusal := job.refusal(force=asked.force):
            skipped.append(refusal)
        else:
            chosen.append(job)
    return _Selection(chosen, skipped)


def _reached(service: Service, asked: RefreshRequest) -> Iterator[Job]:
    """The jobs that are not named one by one: those with a tag, or all where nothing is said."""
    everything = asked.jobs is None and asked.tags is None
    wanted = set(asked.tags or ())
    for job in service.jobs:
        if everything or wanted.intersection(service.config.jobs[job.name].config.tags):
            yield job


def _refused(refusals: list[RefreshRefused]) -> Answer:
    detail = "; ".join(map(str, refusals))
    names = [refusal.job for refusal in refusals]
    # A job that waits for a person is not helped by waiting, so it decides the status.
    resting = [refusal for refusal in refusals if not isinstance(refusal, TooSoon)]
    if resting:
        return problem(409, resting[0].reason, detail, jobs=names)
    longest = max(refusal.retry_after for refusal in refusals if isinstance(refusal, TooSoon))
    headers = {"retry-after": str(math.ceil(longest))}
    return problem(429, "too-soon", detail, headers=headers, jobs=names)


def _skipped(refusal: RefreshRefused) -> dict[str, object]:
    seconds = math.ceil(refusal.retry_after) if isinstance(refusal, TooSoon) else None
    return {"job": refusal.job, "reason": refusal.reason, "retry_after": seconds}
