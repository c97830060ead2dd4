"""How much history is kept: so many versions of a job, and so many bytes of all jobs together."""

import asyncio
from dataclasses import dataclass
from functools import partial

from refresher.store import ledger
from refresher.store.availability import Availability
from refresher.store.ledger import Ledger
from refresher.store.local import LocalCopy

_EVICT_TO = 0.95
"""The part of its bytes that history is cut to once it is larger, so that it is cut seldom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much history is kept."""

    versions: int = 10
    """Of each job, the current one included."""
    bytes: int = 256 * 1024 * 1024
    """Of all jobs together; the current versions are kept in any case."""


class Eviction:
    """Removes the oldest versions of all jobs once their bodies have more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        """Bytes of all versions of all jobs."""
        self._with_history: set[str] = set()
        """The jobs that have more than one version."""
        self._exceeded = asyncio.Event()

    def count(self, job: str, before: Ledger, after: Ledger) -> None:
        """Take the change of a ledger into account."""
        if before.versions is not after.versions:
            (self._with_history.add if len(after.versions) > 1 else self._with_history.discard)(job)
            self._size += _size_of(after) - _size_of(before)
            if self._size > self._limit and self._with_history:
                self._exceeded.set()

    async def run(self, jobs: LocalCopy[Ledger], availability: Availability) -> None:
        """Evict whenever the limit is exceeded, for ever."""
        while True:
            await self._exceeded.wait()
            self._exceeded.clear()
            with (
                availability.surviving()
            ):  # where it fails, the next change exceeds the limit again
                await self.evict(jobs)

    async def evict(self, jobs: LocalCopy[Ledger]) -> None:
        """Remove versions that are not current, the oldest first, until the rest is well within.

        Raises:
            StoreUnavailable: a ledger cannot be written.
        """
        oldest = sorted(
            (version.changed_at, job, version.version)
            for job in self._with_history
            for version in ledger.evictable(jobs.get(job).document)
        )
        for _, job, number in oldest:
            if self._size <= self._limit * _EVICT_TO:
                return
            await jobs.write(job, partial(ledger.without, number=number))


def _size_of(known: Ledger) -> int:
    """Bytes of all versions, a body that several of them have counted once."""
    return sum({each.stored.body: each.stored.size for each in known.versions}.values())
