"""What readers of this process get of a job: its ledger, projected onto a record and a snapshot."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from refresher.jobs.environment import Environment
from refresher.model import Content, Definition, Due, Record, Snapshot, Stored, Version
from refresher.pipeline.representation import Servable
from refresher.store import ledger
from refresher.store.ledger import Ledger, Standing


@dataclass(frozen=True, slots=True)
class Projection:
    """One job, between the store's ledgers and the readers' states; it holds nothing itself."""

    job: str
    definition: Definition
    environment: Environment

    @property
    def record(self) -> Record:
        """All that readers may know of the job."""
        return self.environment.states.known(self.job).record

    @property
    def served(self) -> int:
        """The highest version that this process has served; 0 before the first."""
        snapshot = self.record.snapshot
        return 0 if snapshot is None else snapshot.version

    @property
    def awaited(self) -> Version | None:
        """The version that is current in the store and yet to be served here."""
        return _awaited(*self.environment.store.known(self.job), self.record.snapshot)

    @property
    def confirmable(self) -> Snapshot | None:
        """What is served, if it is what is current, and made by the present rules."""
        record = self.record
        if record.snapshot is None or record.outdated:
            return None
        current = self.environment.store.standing(self.job).current
        return record.snapshot if record.snapshot.version == current else None

    async def content(self, stored: Stored) -> Content | None:
        """The content that the store keeps under that description; None where it is gone.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        body = await self.environment.store.body(self.job, stored)
        return None if body is None else stored.with_bytes(body)

    async def read(self, version: Version) -> Servable | None:
        """A version ready to be served; None where the store has no whole body of it.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        content = await self.content(version.stored)
        if content is None:
            return None
        representation = await self.environment.pool.prepare(content)
        if representation.identity_etag != version.stored.etag:
            return None
        return Servable(content, representation)

    async def forget(self, version: Version) -> bool:
        """Have a version fetched anew whose bytes are gone; False where it has been replaced.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        now = self.environment.clock.now()
        lost = await self.environment.store.adjust(
            self.job, lambda known, key: ledger.current_lost(known, key, version.version, now=now)
        )
        return lost is not None

    def show(self, due: Due, servable: Servable | None = None) -> None:
        """Let readers see what the ledger says; `servable` is of a version yet to be served."""
        known, standing = self.environment.store.known(self.job)
        version = _awaited(known, standing, self.record.snapshot)
        projected = partial(
            _projected,
            ledger=known,
            standing=standing,
            definition=self.definition,
            due=due,
        )
        if (
            version is None
            or servable is None
            or standing.confirmation is None
            or servable.representation.identity_etag
            != version.stored.etag  # replaced again already
        ):
            self.update(projected)
            return
        snapshot = Snapshot(
            job=self.job,
            content=servable.content,
            etag=version.stored.etag,
            version=version.version,
            change=self.environment.store.published(self.job),
            changed_at=version.changed_at,
            dated=version.dated,
            confirmation=standing.confirmation,
        )
        self.environment.states.swap(
            self.job, partial(projected, snapshot=snapshot), servable.representation
        )

    def update(self, change: Callable[[Record], Record]) -> None:
        """Change what readers see, but for the snapshot."""
        self.environment.states.update(self.job, change)


def _awaited(known: Ledger, standing: Standing, served: Snapshot | None) -> Version | None:
    """The version that is current and newer than the one that is served."""
    if standing.current is None or (served and served.version >= standing.current):
        return None
    return known.version(standing.current)


def _projected(
    record: Record,
    *,
    ledger: Ledger,
    standing: Standing,
    definition: Definition,
    due: Due,
    snapshot: Snapshot | None = None,
) -> Record:
    """The record with all that the ledger says; `snapshot` is of a version yet to be served."""
    snapshot, confirmation = snapshot or record.snapshot, standing.confirmation
    if (
        snapshot is not None
        and confirmation is not None
        and confirmation != snapshot.confirmation  # else the same object: answers are kept by it
        and snapshot.version == standing.current
    ):
        snapshot = replace(snapshot, confirmation=confirmation)
    return Record(
        job=record.job,
        since=standing.since,
        snapshot=snapshot,
        due=due,
        running_since=standing.running_since,
        last_attempt=standing.last_attempt,
        counts=ledger.counts,
        consecutive_failures=standing.consecutive_failures,
        failing_since=standing.failing_since,
        fresh_since=standing.fresh_since,
        quarantine=standing.quarantine,
        outdated=confirmation is not None and confirmation.definition.rules != definition.rules,
        detached=record.detached,
        paused=ledger.paused,
        enabled=record.enabled,
    )
