"""The store of a single process: nothing outlives it, and nobody else has to be asked."""

import math
from dataclasses import replace

from refresher.model import Candidate, Confirmation, Quarantine, Snapshot
from refresher.protocols import Grant


class MemoryStore:
    """All in dicts; implements `SnapshotStore`, `QuarantineStore` and `Lease`."""

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self._quarantined: dict[str, Quarantine] = {}
        self._requests: dict[str, int] = {}
        self._fence = 0
        self._change = 0

    async def request(self, job: str) -> int:
        """Take the next request number of a job."""
        number = self._requests.get(job, 0) + 1
        self._requests[job] = number
        return number

    async def acquire(self, job: str) -> Grant:
        """Start an attempt; it answers every request taken until now."""
        self._fence += 1
        return Grant(job, self._fence, self._requests.get(job, 0))

    async def commit(
        self, grant: Grant, candidate: Candidate, *, at: float | None = None
    ) -> Snapshot:
        """Save the candidate as the next version and return it, numbered."""
        before = self._snapshots.get(grant.job)
        changed_at = candidate.confirmation.checked_at if at is None else at
        self._change += 1
        snapshot = Snapshot(
            job=grant.job,
            content=candidate.content,
            etag=candidate.etag,
            version=1 if before is None else before.version + 1,
            change=self._change,
            changed_at=changed_at,
            dated=before is None or math.floor(before.changed_at) < math.floor(changed_at),
            confirmation=candidate.confirmation,
        )
        self._snapshots[grant.job] = snapshot
        self._quarantined.pop(grant.job, None)
        return snapshot

    async def confirm(self, grant: Grant, confirmation: Confirmation) -> Snapshot:
        """Move the times, the revision and the definition of the current snapshot."""
        snapshot = replace(self._snapshots[grant.job], confirmation=confirmation)
        self._snapshots[grant.job] = snapshot
        self._quarantined.pop(grant.job, None)
        return snapshot

    async def set_aside(self, grant: Grant, quarantine: Quarantine) -> None:
        """Keep a candidate, in place of the one that was kept before."""
        self._quarantined[grant.job] = quarantine

    async def quarantined(self, job: str) -> Quarantine | None:
        """The candidate that is kept of a job."""
        return self._quarantined.get(job)

    async def release(self, job: str) -> None:
        """Forget the candidate that is kept of a job."""
        self._quarantined.pop(job, None)
