"""The admin endpoints: asking jobs to refresh, and telling them to pause or to go on."""

import asyncio
import math
from collections.abc import Iterable
from typing import Annotated

import anyio
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from refresher.config.units import duration
from refresher.errors import RefreshRefused, TooSoon
from refresher.job import Job
from refresher.model import Attempt
from refresher.service import Service
from refresher.web.answer import Answer, json_answer, problem
from refresher.web.status import attempt_result

LARGEST_BODY = 64 * 1024
"""Bytes of a request body that an admin endpoint reads."""

_LONGEST_WAIT = 60.0


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError('write a duration with its unit, as "10s"')  # noqa: TRY004  pydantic's way
    return min(duration(value), _LONGEST_WAIT)


class RefreshRequest(BaseModel):
    """What `POST /admin/refresh` is asked; nothing at all means every job."""

    model_config = ConfigDict(extra="forbid", strict=True)

    jobs: list[str] | None = None
    tags: list[str] | None = None
    wait: Annotated[float, BeforeValidator(_seconds, json_schema_input_type=str)] | None = None
    force: bool = False


async def refresh(service: Service, body: bytes) -> Answer:
    """Answer `POST /admin/refresh`."""
    if len(body) > LARGEST_BODY:
        return too_large()
    try:
        asked = RefreshRequest.model_validate_json(body) if body.strip() else RefreshRequest()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors()
        ]
        return problem(422, "invalid-request", "; ".join(problems), errors=problems)
    named = list(dict.fromkeys(asked.jobs or ()))
    if unknown := [name for name in named if service.jobs.get(name) is None]:
        detail = f"no job is called {', '.join(map(repr, unknown))}; GET /jobs has all names"
        return problem(404, "unknown-job", detail, jobs=unknown)
    chosen = [job for name in named if (job := service.jobs.get(name))]
    refused = [refusal for job in chosen if (refusal := job.refusal(force=asked.force))]
    if refused:
        return _refused(refused)
    skipped = []
    for job in _by_selection(service, asked):
        if job in chosen:
            continue
        refusal = job.refusal(force=asked.force)
        if refusal is None:
            chosen.append(job)
        else:
            skipped.append(_skipped(refusal))
    numbers = [await job.request(force=asked.force) for job in chosen]
    accepted = [job.name for job in chosen]
    if asked.wait is None:
        return json_answer({"accepted": accepted, "skipped": skipped}, 202)
    answers = [job.answer_to(number) for job, number in zip(chosen, numbers, strict=True)]
    done = await _wait(service, answers, asked.wait)
    results = [attempt_result(attempt) for attempt in done]
    if len(done) == len(answers):
        return json_answer({"results": results, "skipped": skipped})
    return json_answer({"accepted": accepted, "results": results, "skipped": skipped}, 202)


async def set_paused(service: Service, name: str, *, paused: bool) -> Answer:
    """Answer `POST /admin/jobs/{job}/pause` and `/resume`."""
    job = service.jobs.get(name)
    if job is None:
        return problem(404, "unknown-job", f"no job is called {name!r}; GET /jobs has all names")
    if paused:
        job.pause()
    else:
        job.resume()
    return json_answer({"job": name, "paused": paused})


def too_large() -> Answer:
    """The answer to a body that is not read to its end."""
    detail = f"the body is larger than {LARGEST_BODY // 1024} KiB"
    return problem(413, None, detail)


def _by_selection(service: Service, asked: RefreshRequest) -> Iterable[Job]:
    if asked.jobs is None and asked.tags is None:
        return service.jobs
    wanted = set(asked.tags or ())
    return (
        job
        for job in service.jobs
        if wanted.intersection(service.config.jobs[job.name].config.tags)
    )


async def _wait(
    service: Service, answers: list[asyncio.Future[Attempt]], seconds: float
) -> list[Attempt]:
    """Those attempts that end in time, or before the service does."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_at, service.closing, tasks.cancel_scope)
            if answers:
                await asyncio.wait(answers)
            tasks.cancel_scope.cancel()
    return [answer.result() for answer in answers if answer.done()]


async def _cancel_at(moment: asyncio.Event, scope: anyio.CancelScope) -> None:
    await moment.wait()
    scope.cancel()


def _refused(refusals: list[RefreshRefused]) -> Answer:
    detail = "; ".join(map(str, refusals))
    names = [refusal.job for refusal in refusals]
    # A job that waits for a person is not helped by waiting, so it decides the status.
    waiting = [refusal for refusal in refusals if not isinstance(refusal, TooSoon)]
    if waiting:
        return problem(409, waiting[0].reason, detail, jobs=names)
    soonest = max(refusal.retry_after for refusal in refusals if isinstance(refusal, TooSoon))
    headers = {"retry-after": str(math.ceil(soonest))}
    return problem(429, "too-soon", detail, headers=headers, jobs=names)


def _skipped(refusal: RefreshRefused) -> dict[str, object]:
    seconds = math.ceil(refusal.retry_after) if isinstance(refusal, TooSoon) else None
    return {"job": refusal.job, "reason": refusal.reason, "retry_after": seconds}
