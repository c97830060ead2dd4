import asyncio
from dataclasses import dataclass, field

import pytest

from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability
from refresher.store.local import LocalCopy
from tests.fakes import settled
from tests.store.shared import Handle, Place


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

    place: Place = field(default_factory=Place)
    kept: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handle: Handle = self.place.handle()
        self.availability = Availability(self.handle)
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
        for change in await self.handle.changes(self.last):
            self.copy.take(change)
            self.last = max(self.last, change.number)

    async def add(self, name: str, word: str) -> tuple[str, ...] | None:
        return await self.copy.change(name, lambda known: (*known, word))

    async def merge(self) -> list[str]:
        changed = await self.copy.merge(await self.handle.changes(0))
        if self.copy.is_merged:
            self.availability.attach()
        return changed

    def lines(self, name: str = "a") -> tuple[str, ...]:
        return self.copy.get(name).document


def stored(place: Place, name: str = "a") -> str:
    return place.documents[f"words/{name}"].document.decode()


async def test_a_change_is_written_with_the_bodies_that_it_needs() -> None:
    peer = Peer()
    assert await peer.add("a", "one") == ("one",)
    assert stored(peer.place) == "one"
    assert peer.place.bodies == {"one": b"one"}
    assert peer.place.orphans == set()
    assert peer.kept == [((), ("one",))]


async def test_bodies_that_nothing_refers_to_any_more_are_dropped() -> None:
    peer = Peer()
    await peer.add("a", "one")
    await peer.copy.change("a", lambda _: ("two",))
    assert peer.place.bodies == {"two": b"two"}


async def test_a_change_that_changes_nothing_is_not_written() -> None:
    peer = Peer()
    assert await peer.copy.change("a", lambda _: None) is None
    assert await peer.copy.change("a", lambda known: known) == ()
    assert peer.handle.asked == []


async def test_a_change_is_decided_again_when_another_was_quicker() -> None:
    place = Place()
    mine, theirs = Peer(place), Peer(place)
    await theirs.add("a", "theirs")
    assert await mine.add("a", "mine") == ("theirs", "mine")
    assert stored(place) == "theirs mine"
    assert mine.handle.asked.count("put") == 1, "a body is written once, however often it is tried"


async def test_of_many_changes_at_once_none_is_lost() -> None:
    place = Place()
    peers = [Peer(place) for _ in range(4)]
    words = [f"word{n}" for n in range(40)]
    await asyncio.gather(*(peers[n % 4].add("a", word) for n, word in enumerate(words)))
    assert sorted(stored(place).split()) == sorted(words)
    assert place.orphans == set()


async def test_what_has_published_keeps_the_number_of_that_write() -> None:
    peer = Peer()
    await peer.add("a", "ONE")
    await peer.add("a", "two")
    assert (peer.copy.get("a").number, peer.copy.get("a").published) == (2, 1)


async def test_while_the_store_is_away_changes_are_made_here() -> None:
    peer = Peer()
    await peer.add("a", "one")
    peer.handle.away = True
    assert await peer.add("a", "two") == ("one", "two")
    assert await peer.add("a", "three") == ("one", "two", "three")
    assert peer.availability.detached
    assert not peer.copy.is_merged
    assert stored(peer.place) == "one"


async def test_a_write_changes_nothing_while_the_store_is_away() -> None:
    peer = Peer()
    await peer.add("a", "one")
    for away in (True, False):  # at first it is found to be so; then it is known
        peer.handle.away = away
        with pytest.raises(StoreUnavailable):
            await peer.copy.write("a", lambda known: (*known, "two"))
        assert peer.lines() == ("one",)
    assert peer.copy.is_merged


async def test_whoever_waits_for_a_store_that_goes_away_does_not_ask_it_again() -> None:
    peer = Peer()
    peer.handle.away = True
    await asyncio.gather(*(peer.add("a", f"word{n}") for n in range(50)))
    assert peer.handle.asked == ["put"]
    assert len(peer.lines()) == 50


async def test_a_reunion_tells_the_store_and_learns_from_it() -> None:
    place = Place()
    mine, theirs = Peer(place), Peer(place)
    await mine.add("a", "one")
    mine.handle.away = True
    await mine.add("a", "mine")
    await theirs.add("a", "theirs")
    await theirs.add("b", "other")
    mine.handle.away = False
    assert sorted(await mine.merge()) == ["a", "b"]
    assert mine.lines() == ("one", "theirs", "mine")
    assert mine.lines("b") == ("other",)
    assert stored(place) == "one theirs mine"
    assert place.bodies.keys() == {"one", "theirs", "mine", "other"}
    assert mine.kind.merges == [("a", False, False)]


async def test_what_was_published_alone_is_called_provisional() -> None:
    peer = Peer()
    peer.handle.away = True
    await peer.add("a", "ALONE")
    await peer.add("b", "alone")
    peer.handle.away = False
    await peer.merge()
    assert sorted(peer.kind.merges) == [("a", True, False), ("b", False, False)]
    await peer.add("a", "LATER")
    peer.handle.away = True
    await peer.add("a", "later")
    peer.handle.away = False
    await peer.merge()
    assert peer.kind.merges[2:] == [("a", False, False)]


async def test_changes_that_the_store_has_lost_are_told_it_again() -> None:
    place = Place()
    peer = Peer(place)
    await peer.add("a", "one")
    await peer.add("b", "kept")
    then = place.copy()
    await peer.add("a", "two")
    place.go_back(then)
    peer.availability.detach("as was noticed")
    await peer.merge()
    assert peer.kind.merges == [("a", False, True)]
    assert stored(place) == "one two"
    assert await peer.add("b", "more") == ("kept", "more")


async def test_a_document_that_is_gone_is_found_out_by_the_write_of_it() -> None:
    place = Place()
    peer = Peer(place)
    await peer.add("a", "one")
    place.empty()
    assert await peer.add("a", "two") == ("one", "two")
    assert peer.availability.detached
    await peer.merge()
    assert stored(place) == "one two"
    assert place.orphans == set()


async def test_a_document_that_is_none_of_ours_is_as_the_store_has_it() -> None:
    place = Place()
    peer, other = Peer(place), Peer(place)
    for word in ("one", "two", "three"):
        await other.add("others", word)
    await peer.catch_up()
    assert peer.lines("others") == ("one", "two", "three")
    place.empty()
    peer.copy.mark_untrusted()
    peer.availability.detach("another one")
    await Peer(place).add("others", "new")
    await peer.merge()
    assert peer.lines("others") == ("new",)
    assert await peer.add("others", "more") == ("new", "more")
    assert not peer.availability.detached


async def test_what_is_changed_during_a_reunion_is_told_the_next_time() -> None:
    peer = Peer()
    peer.handle.away = True
    await peer.add("a", "one")
    peer.handle.away = False
    peer.handle.on_write = asyncio.Event()
    merging = asyncio.ensure_future(peer.merge())
    await peer.handle.on_write.wait()
    await peer.add("a", "two")
    await merging
    assert not peer.copy.is_merged
    await peer.merge()
    assert stored(peer.place) == "one two"
    assert peer.lines() == ("one", "two")


async def test_a_reunion_that_is_cut_short_is_made_again() -> None:
    peer = Peer()
    peer.handle.away = True
    for name in "abc":
        await peer.add(name, "one")
    peer.handle.away, peer.handle.broken = False, frozenset({"put"})
    with pytest.raises(StoreUnavailable):
        await peer.merge()
    peer.handle.broken = frozenset()
    assert sorted(await peer.merge()) == ["a", "b", "c"]
    assert [stored(peer.place, name) for name in "abc"] == ["one"] * 3


async def test_a_write_that_comes_through_unheard_is_no_trouble() -> None:
    peer = Peer()
    peer.handle.silent = frozenset({"write"})
    changing = asyncio.ensure_future(peer.add("a", "one"))
    await settled()
    assert stored(peer.place) == "one"
    await changing  # once its patience is over
    assert peer.availability.detached
    peer.handle.silent = frozenset()
    await peer.merge()
    assert stored(peer.place) == "one"
    assert await peer.add("a", "two") == ("one", "two")


async def test_what_cannot_be_read_counts_as_nothing_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = Place()
    await place.handle().write("words/a", b"\xff", after=0)
    peer = Peer(place)
    await peer.catch_up()
    assert peer.lines() == ()
    assert "words/a cannot be read" in caplog.text
    assert await peer.add("a", "one") == ("one",)


async def test_older_news_is_none() -> None:
    place = Place()
    peer, other = Peer(place), Peer(place)
    await other.add("a", "one")
    old = (await place.handle().changes(0))[0]
    await other.add("a", "two")
    await peer.catch_up()
    assert peer.copy.take(old) is None
    assert peer.lines() == ("one", "two")
