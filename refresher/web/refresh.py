"""`POST /admin/refresh`: which jobs a request is for, and the attempts that it makes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema

from refresher.config import duration
from refresher.errors import RefreshRefused, TooSoon
from refresher.jobs.job import Job
from refresher.service.service import Service
from refresher.web.answer import Answer, json_answer
from refresher.web.bodies import parse_body
from refresher.web.problems import problem, unknown_job
from refresher.web.status import attempt_result
from refresher.web.waiting import ended

_MAX_WAIT = 60.0
"""Seconds; what a request's `wait` is capped at."""

_WAIT = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^(?=[0-9])([0-9]{1,3}d)?([0-9]{1,4}h)?"
            r"([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,10}ms)?$",
        },
        {"type": "null"},
    ],
    "examples": ["10s"],
}
"""A duration; one with so few digits is never too long."""


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError('is not a string, write a duration with its unit, as "10s"')  # noqa: TRY004  pydantic's way
    return min(duration(value), _MAX_WAIT)


class RefreshRequest(BaseModel):
    """The body of `POST /admin/refresh`; an empty one means every job."""

    model_config = ConfigDict(extra="forbid", strict=True)

    jobs: list[str] | None = None
    tags: list[str] | None = None
    wait: Annotated[
        float | None,
        PlainValidator(_seconds),
        WithJsonSchema(_WAIT),
    ] = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class _Selection:
    """The jobs to refresh, and those that match a request but cannot be refreshed."""

    chosen: list[Job]
    skipped: list[RefreshRefused]


async def refresh_jobs(service: Service, body: bytes) -> Answer:
    """Answer `POST /admin/refresh`."""
    asked = parse_body(RefreshRequest, body.strip() or b"{}")
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
        except RefreshRefused as refusal:  # another process has made an attempt meanwhile
            late.append(refusal)
    if not chosen and any(refusal.job in (asked.jobs or ()) for refusal in late):
        return _refusal(late)
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


def _select(service: Service, asked: RefreshRequest) -> _Selection | Answer:
    """Refuse if any named job cannot be refreshed; skip those of the others that cannot."""
    names = list(dict.fromkeys(asked.jobs or ()))
    named = {name: service.jobs.get(name) for name in names}
    if unknown := [name for name, job in named.items() if job is None]:
        return unknown_job(*unknown)
    chosen = [job for job in named.values() if job is not None]
    refused = [refusal for job in chosen if (refusal := job.refusal(force=asked.force))]
    if refused:
        return _refusal(refused)
    skipped = []
    for job in _matching(service, asked):
        if job.name in named:
            continue
        if refusal := job.refusal(force=asked.force):
            skipped.append(refusal)
        else:
            chosen.append(job)
    return _Selection(chosen, skipped)


def _matching(service: Service, asked: RefreshRequest) -> Iterator[Job]:
    """The jobs with one of the tags; all jobs where neither jobs nor tags are given."""
    everything = asked.jobs is None and asked.tags is None
    wanted = set(asked.tags or ())
    for job in service.jobs:
        if everything or wanted.intersection(service.config.jobs[job.name].config.tags):
            yield job


def _refusal(refusals: list[RefreshRefused]) -> Answer:
    detail = "; ".join(map(str, refusals))
    names = [refusal.job for refusal in refusals]
    # Waiting does not help a job that is paused or disabled, so that decides the status.
    not_refreshable = [refusal for refusal in refusals if not isinstance(refusal, TooSoon)]
    if not_refreshable:
        return problem(409, not_refreshable[0].reason, detail, jobs=names)
    longest = max(refusal.retry_after for refusal in refusals if isinstance(refusal, TooSoon))
    headers = {"retry-after": str(math.ceil(longest))}
    return problem(429, "too-soon", detail, headers=headers, jobs=names)


def _skipped(refusal: RefreshRefused) -> dict[str, object]:
    seconds = math.ceil(refusal.retry_after) if isinstance(refusal, TooSoon) else None
    return {"job": refusal.job, "reason": refusal.reason, "retry_after": seconds}
