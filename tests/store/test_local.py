import asyncio
from dataclasses import dataclass, field

import pytest

from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability
from refresher.store.local import LocalCopy
from tests.fakes import settled
from tests.store.fake_backend import FakeBackend, FakeStorage


class Words:
    """Documents that are words, a body for each of them; capitals publish."""

    prefix = "words/"
    empty: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.merges: list[tuple[str, bool, bool]] = []

    def encoded(self, document: tuple[str, ...]) -> bytes:
        return " ".join(document).encode()

    def decoded(self, document: bytes) -> tuple[str, ...]:
        return tuple(document.decode().split())

    def bodies(self, document: tuple[str, ...]) -> set[str]:
        return set(document)

    def publishes(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        return any(word.isupper() for word in set(after) - set(before))

    def merged(
        self,
        name: str,
        theirs: tuple[str, ...] | None,
        ours: tuple[str, ...],
        *,
        provisional: bool,
        lost: bool,
    ) -> tuple[str, ...] | None:
        self.merges.append((name, provisional, lost))
        if name == "others":
            return None
        return (*(theirs or ()), *(word for word in ours if word not in (theirs or ())))


@dataclass
class Peer:
    """A process with a local copy, which it brings up to date as a store does."""

    storage: FakeStorage = field(default_factory=FakeStorage)
    kept: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend: FakeBackend = self.storage.backend()
        self.availability = Availability(self.backend)
        self.kind = Words()
        self.last = 0
        self.copy = LocalCopy(
            self.kind,
            self.availability,
            catch_up=self.catch_up,
            pending=lambda _, body: body.encode(),
            changed=lambda _, before, after: self.kept.append((before, after)),
        )

    async def catch_up(self) -> None:
        for change in await self.backend.changes(self.last):
            self.copy.take(change)
            self.last = max(self.last, change.number)

    async def add(self, name: str, word: str) -> tuple[str, ...] | None:
        return await self.copy.change(name, lambda known: (*known, word))

    async def merge(self) -> list[str]:
        changed = await self.copy.merge(await self.backend.changes(0))
        if self.copy.is_merged:
            self.availability.attach()
        return changed

    def lines(self, name: str = "a") -> tuple[str, ...]:
        return self.copy.get(name).document


def stored(storage: FakeStorage, name: str = "a") -> str:
    return storage.documents[f"words/{name}"].document.decode()


async def test_a_change_is_written_with_the_bodies_that_it_needs() -> None:
    peer = Peer()
    assert await peer.add("a", "one") == ("one",)
    assert stored(peer.storage) == "one"
    assert peer.storage.bodies == {"one": b"one"}
    assert peer.storage.orphans == set()
    assert peer.kept == [((), ("one",))]


async def test_bodies_that_nothing_refers_to_any_more_are_dropped() -> None:
    peer = Peer()
    await peer.add("a", "one")
    await peer.copy.change("a", lambda _: ("two",))
    assert peer.storage.bodies == {"two": b"two"}


async def test_a_change_that_changes_nothing_is_not_written() -> None:
    peer = Peer()
    assert await peer.copy.change("a", lambda _: None) is None
    assert await peer.copy.change("a", lambda known: known) == ()
    assert peer.backend.asked == []


async def test_a_change_is_decided_again_when_another_process_came_first() -> None:
    storage = FakeStorage()
    mine, theirs = Peer(storage), Peer(storage)
    await theirs.add("a", "theirs")
    assert await mine.add("a", "mine") == ("theirs", "mine")
    assert stored(storage) == "theirs mine"
    assert mine.backend.asked.count("put") == 1, "a body is written once, however often it is tried"


async def test_of_many_changes_at_once_none_is_lost() -> None:
    storage = FakeStorage()
    peers = [Peer(storage) for _ in range(4)]
    words = [f"word{n}" for n in range(40)]
    await asyncio.gather(*(peers[n % 4].add("a", word) for n, word in enumerate(words)))
    assert sorted(stored(storage).split()) == sorted(words)
    assert storage.orphans == set()


async def test_what_has_published_keeps_the_number_of_that_write() -> None:
    peer = Peer()
    await peer.add("a", "ONE")
    await peer.add("a", "two")
    assert (peer.copy.get("a").number, peer.copy.get("a").published) == (2, 1)


async def test_while_the_store_is_away_changes_are_made_here() -> None:
    peer = Peer()
    await peer.add("a", "one")
    peer.backend.away = True
    assert await peer.add("a", "two") == ("one", "two")
    assert await peer.add("a", "three") == ("one", "two", "three")
    assert peer.availability.detached
    assert not peer.copy.is_merged
    assert stored(peer.storage) == "one"


async def test_a_write_changes_nothing_while_the_store_is_away() -> None:
    peer = Peer()
    await peer.add("a", "one")
    for away in (True, False):  # at first it is found to be so; then it is known
        peer.backend.away = away
        with pytest.raises(StoreUnavailable):
            await peer.copy.write("a", lambda known: (*known, "two"))
        assert peer.lines() == ("one",)
    assert peer.copy.is_merged


async def test_of_changes_that_wait_for_a_store_that_goes_away_one_asks_it() -> None:
    peer = Peer()
    peer.backend.away = True
    await asyncio.gather(*(peer.add("a", f"word{n}") for n in range(50)))
    assert peer.backend.asked == ["put"]
    assert len(peer.lines()) == 50


async def test_a_merge_writes_to_the_store_and_reads_from_it() -> None:
    storage = FakeStorage()
    mine, theirs = Peer(storage), Peer(storage)
    await mine.add("a", "one")
    mine.backend.away = True
    await mine.add("a", "mine")
    await theirs.add("a", "theirs")
    await theirs.add("b", "other")
    mine.backend.away = False
    assert sorted(await mine.merge()) == ["a", "b"]
    assert mine.lines() == ("one", "theirs", "mine")
    assert mine.lines("b") == ("other",)
    assert stored(storage) == "one theirs mine"
    assert storage.bodies.keys() == {"one", "theirs", "mine", "other"}
    assert mine.kind.merges == [("a", False, False)]


async def test_what_was_published_while_detached_is_provisional() -> None:
    peer = Peer()
    peer.backend.away = True
    await peer.add("a", "PUBLISHED")
    await peer.add("b", "word")
    peer.backend.away = False
    await peer.merge()
    assert sorted(peer.kind.merges) == [("a", True, False), ("b", False, False)]
    await peer.add("a", "LATER")
    peer.backend.away = True
    await peer.add("a", "later")
    peer.backend.away = False
    await peer.merge()
    assert peer.kind.merges[2:] == [("a", False, False)]


async def test_changes_that_the_store_has_lost_are_written_again() -> None:
    storage = FakeStorage()
    peer = Peer(storage)
    await peer.add("a", "one")
    await peer.add("b", "kept")
    then = storage.copy()
    await peer.add("a", "two")
    storage.go_back(then)
    peer.availability.detach("as was noticed")
    await peer.merge()
    assert peer.kind.merges == [("a", False, True)]
    assert stored(storage) == "one two"
    assert await peer.add("b", "more") == ("kept", "more")


async def test_writing_a_document_that_is_lost_detaches() -> None:
    storage = FakeStorage()
    peer = Peer(storage)
    await peer.add("a", "one")
    storage.empty()
    assert await peer.add("a", "two") == ("one", "two")
    assert peer.availability.detached
    await peer.merge()
    assert stored(storage) == "one two"
    assert storage.orphans == set()


async def test_a_document_that_is_none_of_ours_is_as_the_store_has_it() -> None:
    storage = FakeStorage()
    peer, other = Peer(storage), Peer(storage)
    for word in ("one", "two", "three"):
        await other.add("others", word)
    await peer.catch_up()
    assert peer.lines("others") == ("one", "two", "three")
    storage.empty()
    peer.copy.mark_untrusted()
    peer.availability.detach("another one")
    await Peer(storage).add("others", "new")
    await peer.merge()
    assert peer.lines("others") == ("new",)
    assert await peer.add("others", "more") == ("new", "more")
    assert not peer.availability.detached


async def test_what_is_changed_during_a_merge_is_left_for_the_next() -> None:
    peer = Peer()
    peer.backend.away = True
    await peer.add("a", "one")
    peer.backend.away = False
    peer.backend.on_write = asyncio.Event()
    merging = asyncio.ensure_future(peer.merge())
    await peer.backend.on_write.wait()
    await peer.add("a", "two")
    await merging
    assert not peer.copy.is_merged
    await peer.merge()
    assert stored(peer.storage) == "one two"
    assert peer.lines() == ("one", "two")


async def test_a_merge_that_fails_half_way_is_made_again() -> None:
    peer = Peer()
    peer.backend.away = True
    for name in "abc":
        await peer.add(name, "one")
    peer.backend.away, peer.backend.broken = False, frozenset({"put"})
    with pytest.raises(StoreUnavailable):
        await peer.merge()
    peer.backend.broken = frozenset()
    assert sorted(await peer.merge()) == ["a", "b", "c"]
    assert [stored(peer.storage, name) for name in "abc"] == ["one"] * 3


async def test_a_write_that_succeeds_without_an_answer_is_merged() -> None:
    peer = Peer()
    peer.backend.silent = frozenset({"write"})
    changing = asyncio.ensure_future(peer.add("a", "one"))
    await settled()
    assert stored(peer.storage) == "one"
    await changing  # once its patience is over
    assert peer.availability.detached
    peer.backend.silent = frozenset()
    await peer.merge()
    assert stored(peer.storage) == "one"
    assert await peer.add("a", "two") == ("one", "two")


async def test_what_cannot_be_read_counts_as_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = FakeStorage()
    await storage.backend().write("words/a", b"\xff", after=0)
    peer = Peer(storage)
    await peer.catch_up()
    assert peer.lines() == ()
    assert "words/a cannot be read" in caplog.text
    assert await peer.add("a", "one") == ("one",)


async def test_a_change_that_is_older_than_what_is_known_is_ignored() -> None:
    storage = FakeStorage()
    peer, other = Peer(storage), Peer(storage)
    await other.add("a", "one")
    old = (await storage.backend().changes(0))[0]
    await other.add("a", "two")
    await peer.catch_up()
    assert peer.copy.take(old) is None
    assert peer.lines() == ("one", "two")
