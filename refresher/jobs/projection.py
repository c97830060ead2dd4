"""A job as this process shows it: what its ledger says, reflected into the state readers have."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from refresher.clock import Clock
from refresher.model import Confirmation, Content, Definition, Due, Record, Snapshot, Version
from refresher.offload.pool import WorkerPool
from refresher.pipeline.representation import Representation
from refresher.protocols import Observer
from refresher.state import StateStore
from refresher.store import ledger
from refresher.store.ledger import Ledger, Standing
from refresher.store.store import Store


@dataclass(frozen=True, slots=True)
class World:
    """What all jobs of a service share."""

    states: StateStore
    store: Store
    pool: WorkerPool
    clock: Clock
    observer: Observer
    redact: Callable[[str], str]
    """Takes the secrets out of a sentence before anybody can see it."""


@dataclass(frozen=True, slots=True)
class Reflection:
    """One job of the store's ledgers and of the readers' states; it holds nothing itself."""

    job: str
    definition: Definition
    world: World

    @property
    def ledger(self) -> Ledger:
        """What all processes have made of the job, as far as this one has heard."""
        return self.world.store.ledger(self.job)

    @property
    def standing(self) -> Standing:
        """How the job stands under the definition that it has here."""
        return self.world.store.standing(self.job)

    @property
    def record(self) -> Record:
        """All that readers may know of the job."""
        return self.world.states.known(self.job).record

    @property
    def served(self) -> int:
        """The highest version that this process has served; 0 before the first."""
        snapshot = self.record.snapshot
        return 0 if snapshot is None else snapshot.version

    @property
    def awaited(self) -> Version | None:
        """The version that is current in the store and yet to be served here."""
        standing, served = self.standing, self.record.snapshot
        if standing.current is None or (served and served.version >= standing.current):
            return None
        return self.ledger.version(standing.current)

    @property
    def confirmable(self) -> Snapshot | None:
        """What is served, if it is what is current, and made by the present rules."""
        snapshot = self.record.snapshot
        if snapshot is None or self.record.outdated or snapshot.version != self.standing.current:
            return None
        return snapshot

    async def read(self, version: Version) -> tuple[Content, Representation] | None:
        """A version's content, ready to be shown; None where the store has no whole body of it.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        body = await self.world.store.body(self.job, version.stored)
        if body is None:
            return None
        content = version.stored.with_bytes(body)
        ready = await self.world.pool.prepare(content)
        return (content, ready) if ready.identity_etag == version.stored.etag else None

    async def do_without(self, version: Version) -> bool:
        """Have a version fetched anew whose bytes are gone; False where it has been replaced.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        now = self.world.clock.now()
        lost = await self.world.store.adjust(
            self.job, lambda known, key: ledger.current_lost(known, key, version.version, now=now)
        )
        return lost is not None

    def show(
        self,
        due: Due,
        content: Content | None = None,
        ready: Representation | None = None,
    ) -> None:
        """Let readers see what the ledger says; `content` is of a version yet to be served."""
        standing, version = self.standing, self.awaited
        reflected = partial(
            _reflected,
            ledger=self.ledger,
            standing=standing,
            definition=self.definition,
            due=due,
        )
        if (
            version is None
            or content is None
            or ready is None
            or standing.confirmation is None
            or ready.identity_etag != version.stored.etag  # replaced again already
        ):
            self.update(reflected)
            return
        snapshot = _snapshot_of(
            self.job,
            version,
            standing.confirmation,
            content,
            change=self.world.store.published(self.job),
        )
        self.world.states.swap(self.job, partial(reflected, snapshot=snapshot), ready)

    def update(self, change: Callable[[Record], Record]) -> None:
        """Change what readers see, but for the snapshot."""
        self.world.states.update(self.job, change)


def _reflected(
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


def _snapshot_of(
    job: str, version: Version, confirmation: Confirmation, content: Content, *, change: int
) -> Snapshot:
    """A version with its bytes, as it is served."""
    return Snapshot(
        job=job,
        content=content,
        etag=version.stored.etag,
        version=version.version,
        change=change,
        changed_at=version.changed_at,
        dated=version.dated,
        confirmation=confirmation,
    )
