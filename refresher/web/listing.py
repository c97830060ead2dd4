"""`GET /jobs`: the jobs that a query asks for, a page at a time."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from refresher import freshness
from refresher.config import Config, JobPlan
from refresher.model import State
from refresher.offload.cooperative import cooperatively
from refresher.state import Entry
from refresher.web.answer import Answer, json_body_answer, json_bytes
from refresher.web.problems import problem, shortened
from refresher.web.status import job_status

_DIGITS = 9
"""Of a limit; more than there can be jobs."""

LISTED = [
    {"name": name, "in": "query", "schema": schema}
    for name, schema in (
        ("limit", {"type": "integer", "minimum": 1, "maximum": 10**_DIGITS - 1}),
        ("after", {"type": "string"}),
        ("state", {"type": "array", "items": {"type": "string", "enum": list(State)}}),
        ("tag", {"type": "array", "items": {"type": "string"}}),
    )
]
"""The parameters of the query, as OpenAPI has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a query asks for; an empty one, every job."""

    limit: int | None = None
    after: str | None = None
    """The last job of the page before this one."""
    states: frozenset[str] = frozenset()
    """A job is listed in any of these; empty: in any state."""
    tags: frozenset[str] = frozenset()
    """A job is listed with any of these; empty: whatever its tags."""


def read_listing(params: Iterable[tuple[str, str]]) -> Listing | Answer:
    """What the parameters of a query ask for, or what is wrong with them."""
    given: dict[str, list[str]] = {}
    for name, value in params:
        given.setdefault(name, []).append(value)
    limit, after = (given.get(name, [None])[-1] for name in ("limit", "after"))
    if limit is not None and not _is_count(limit):
        return _bad("limit", limit, "write how many jobs to list, 1 or more")
    unknown = [state for state in given.get("state", ()) if state not in set(State)]
    if unknown:
        return _bad("state", unknown[0], f"there are {', '.join(State)}")
    return Listing(
        limit=None if limit is None else int(limit),
        after=after,
        states=frozenset(given.get("state", ())),
        tags=frozenset(given.get("tag", ())),
    )


async def list_jobs(
    listing: Listing, entries: Sequence[Entry], config: Config, now: float
) -> Answer:
    """The page that was asked for, in the order of the configuration, as of `now`."""
    start = 0
    if listing.after is not None:
        names = [entry.record.job for entry in entries]
        if listing.after not in names:
            return _bad("after", listing.after, "no job is called so, or no longer: begin anew")
        start = names.index(listing.after) + 1
    body = io.BytesIO(b'{"jobs":[')  # to copy megabytes would hold up the loop for milliseconds
    body.seek(0, io.SEEK_END)
    count, last, following = 0, None, None
    async for entry in cooperatively(entries[start:]):
        plan = config.jobs[entry.record.job]
        if not _is_wanted(entry, plan, listing, now):
            continue
        if count == listing.limit:
            following = last
            break
        body.write(b"," if count else b"")
        body.write(json_bytes(job_status(entry, plan, now)))
        count, last = count + 1, entry.record.job
    body.write(b'],"next":%b}' % json_bytes(following))
    return json_body_answer(body.getvalue())


def _is_wanted(entry: Entry, plan: JobPlan, listing: Listing, now: float) -> bool:
    if listing.tags and listing.tags.isdisjoint(plan.config.tags):
        return False
    state = freshness.state_of(entry.record, entry.policy, now)
    return not listing.states or state in listing.states


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) > 0


def _bad(name: str, value: str, advice: str) -> Answer:
    return problem(400, "invalid-query", f"{name}: got {shortened(value)!r}, {advice}")
