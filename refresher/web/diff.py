"""The difference between two versions of a job: `GET /jobs/{job}/diff?from=41&to=42`."""

from urllib.parse import parse_qsl

from refresher.errors import GoneVersion, RefreshFailed, StoreUnavailable, UnknownVersion
from refresher.jobs.job import Job
from refresher.model import Content
from refresher.service.service import Service
from refresher.web.answer import Answer
from refresher.web.data.versions import kept_version, version_number
from refresher.web.problems import no_version, problem, unknown_job

_LARGEST = 8 * 1024 * 1024
"""Bytes of a version up to which it is compared."""


async def diff(service: Service, name: str, query: bytes) -> Answer:
    """Answer with what turns the one version into the other, as a JSON Patch (RFC 6902)."""
    job = service.jobs.get(name)
    if job is None:
        return unknown_job(name)
    numbers = _numbers(query)
    if isinstance(numbers, Answer):
        return numbers
    contents: list[Content] = []
    for number in numbers:
        found = await _comparable(job, number)
        if isinstance(found, Answer):
            return found
        contents.append(found)
    before, after = contents
    try:
        patch = await service.pool.compare(before.body, after.body)
    except RefreshFailed as failure:
        return problem(503, "diff-failed", f"{failure}; ask again", headers={"retry-after": "1"})
    headers = [
        (b"content-type", b"application/json-patch+json"),
        (b"content-length", b"%d" % len(patch)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(200, headers, patch)


def _numbers(query: bytes) -> tuple[int, int] | Answer:
    asked: dict[str, list[str]] = {"from": [], "to": []}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        asked.get(name, []).append(value)
    before, after = (version_number(",".join(values)) for values in asked.values())
    if before is None or after is None:
        wrong = " and ".join(
            name for name, number in (("from", before), ("to", after)) if number is None
        )
        detail = f"{wrong}: no positive integer; write both versions, as in ?from=41&to=42"
        return problem(400, "invalid-version", detail)
    return before, after


async def _comparable(job: Job, number: int) -> Content | Answer:
    """A version's content, or why it cannot be compared."""
    known = job.ledger.version(number)
    if known is not None and known.stored.size > _LARGEST:
        detail = (
            f"version {number} of {job.name} has {known.stored.size} bytes, and no version above "
            f"{_LARGEST // 1024**2} MiB is compared; GET /data/{job.name}?version={number} has it"
        )
        return problem(413, "too-large-to-compare", detail)
    try:
        _, content = await kept_version(job, number)
    except (UnknownVersion, GoneVersion, StoreUnavailable) as error:
        return no_version(error)
    if not content.is_json or not content.body:
        what = content.content_type if content.body else "empty"
        detail = f"version {number} of {job.name} is {what}, and only JSON can be compared"
        return problem(422, "not-json", detail)
    return content
