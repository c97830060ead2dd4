"""The documents of one kind as this process knows them, and how they are changed.

A change is made by compare-and-set on what is known here; where another process was quicker, the
store is read and the change decided again. While the store is away changes are made to what is
known here, and both are reunited when it is back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from refresher.errors import StoreUnavailable
from refresher.store.availability import Link
from refresher.store.protocols import Change, StoreOperation

logger = logging.getLogger("refresher")

LOSS = "the store has lost what it had"

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Kept(Generic[D]):
    """A document as it is known here; the numbers are those of a `Change`."""

    document: D
    number: int = 0
    published: int = 0


class Kind(Protocol[D]):
    """What a kind of document is like."""

    prefix: str
    empty: D

    def encoded(self, document: D) -> bytes:
        """The document as stores keep it."""
        ...

    def decoded(self, document: bytes) -> D:
        """The document that a store has kept.

        Raises:
            ValueError: it is none.
        """
        ...

    def bodies(self, document: D) -> set[str]:
        """The names of the bodies that it refers to."""
        ...

    def publishes(self, before: D, after: D) -> bool:
        """Whether readers see another version after this change."""
        ...

    def reunited(
        self, name: str, theirs: D | None, ours: D, *, provisional: bool, lost: bool
    ) -> D | None:
        """The store's document, if it has one, and ours, after they have gone separate ways.

        `provisional` says that what we publish has been published here alone, `lost` that the store
        has lost changes to it. None where it need not have the document from us.
        """
        ...


class Mirror(Generic[D]):
    """All documents of a kind.

    `catch_up` reads what others have changed; `staged` gives a body that is yet to be written, by
    its document's name and its own; `kept` is told of each document that changes here, whoever
    changed it, by its name and as it was and is.
    """

    def __init__(
        self,
        kind: Kind[D],
        link: Link,
        *,
        catch_up: Callable[[], Awaitable[None]],
        staged: Callable[[str, str], bytes | None] = lambda *_: None,
        kept: Callable[[str, D, D], object] = lambda *_: None,
    ) -> None:
        self._kind = kind
        self._link = link
        self._catch_up = catch_up
        self._staged = staged
        self._on_kept = kept
        self._documents: dict[str, Kept[D]] = {}
        self._none = Kept(kind.empty)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One change of a document at a time: fifty at once would each undo the others' reading."""
        self._alone: set[str] = set()
        """Those that have been changed here and not in the store."""
        self._provisional: set[str] = set()
        """Those of them that have published."""
        self._lost: set[str] = set()
        """Those of them of which the store has lost changes."""

    def __iter__(self) -> Iterator[tuple[str, D]]:
        return iter([(name, kept.document) for name, kept in self._documents.items()])

    def __contains__(self, name: str) -> bool:
        return name in self._documents

    def get(self, name: str) -> Kept[D]:
        """What is known of a document; an empty one where nothing is."""
        return self._documents.get(name, self._none)

    @property
    def is_reunited(self) -> bool:
        """Whether the store has been told of every change."""
        return not self._alone

    async def change(self, name: str, change: Callable[[D], D | None]) -> D | None:
        """Change a document, if need be here alone; None where it is not to be changed."""
        if not self._link.detached:
            with suppress(StoreUnavailable):  # detached then
                return await self.write(name, change)
        before = self.get(name)
        after = change(before.document)
        if after is not None and after is not before.document:
            self._keep(name, replace(before, document=after))
            self._alone.add(name)
            if self._kind.publishes(before.document, after):
                self._provisional.add(name)
        return after

    async def write(self, name: str, change: Callable[[D], D | None]) -> D | None:
        """Change a document in the store; None where it is not to be changed.

        Raises:
            StoreUnavailable: it cannot be written, and nothing has changed.
        """
        put: set[str] = set()
        async with self._turns.setdefault(name, asyncio.Lock()):
            while True:
                if self._link.detached:  # found by whoever had the turn before
                    raise StoreUnavailable("the store is away; nothing has been changed")
                before = self.get(name)
                after = change(before.document)
                if after is None or after is before.document:
                    return after
                written = await self._commit(name, before, after, put)
                if written is not None:
                    if written.number > self.get(name).number:
                        self._keep(name, written)
                    return after
                await self._catch_up()
                if self.get(name).number == before.number:  # nobody was quicker, then
                    self._link.lose(LOSS)

    def take(self, change: Change) -> str | None:
        """Note what the store has; the document's name, where it is of this kind and news."""
        name = self._name_of(change)
        if name is None or change.number <= self.get(name).number:
            return None
        self._keep(name, self._read(change))
        return name

    def mistrust(self) -> None:
        """The store is another, or has lost changes: it is to be told of everything again."""
        self._lost.update(self._documents)

    async def reunite(self, theirs: list[Change]) -> list[str]:
        """Tell the store what is known here, and learn what it knows; names of what has changed.

        What somebody else changes meanwhile, here or there, is left for the next time.

        Raises:
            StoreUnavailable: it went away again.
        """
        known = {name: change for change in theirs if (name := self._name_of(change)) is not None}
        for name, kept in self._documents.items():
            if kept.number > (known[name].number if name in known else 0):
                self._lost.add(name)
        self._alone |= self._lost
        changed = [name for name in known if name not in self._alone and self.take(known[name])]
        for name in list(self._alone):
            ours, change = self.get(name), known.get(name)
            before = self._none if change is None else self._read(change)
            after = self._kind.reunited(
                name,
                None if change is None else before.document,
                ours.document,
                provisional=name in self._provisional,
                lost=name in self._lost,
            )
            reunited = before if after is None else await self._commit(name, before, after, set())
            if reunited is None or self.get(name) is not ours:
                continue
            for names in (self._alone, self._provisional, self._lost):
                names.discard(name)
            self._keep(name, reunited)
            changed.append(name)
        return changed

    async def _commit(self, name: str, before: Kept[D], after: D, put: set[str]) -> Kept[D] | None:
        """Write a document and the bodies that it needs; None where somebody was quicker."""
        had, has = self._kind.bodies(before.document), self._kind.bodies(after)
        for body in sorted(has - had - put):
            content = self._staged(name, body)
            if content is not None:
                writing = self._link.backend.put(body, content)
                await self._link.ask(StoreOperation.WRITE, writing, carrying=len(content))
                put.add(body)
        publishes = self._kind.publishes(before.document, after)
        writing_document = self._link.backend.write(
            self._kind.prefix + name,
            self._kind.encoded(after),
            after=before.number,
            publishes=publishes,
            keeps=sorted(has - had),
            drops=sorted(had - has),
        )
        number = await self._link.ask(StoreOperation.WRITE, writing_document)
        if number is None:
            return None
        return Kept(after, number, number if publishes else before.published)

    def _name_of(self, change: Change) -> str | None:
        name = change.key.removeprefix(self._kind.prefix)
        return None if name == change.key else name

    def _read(self, change: Change) -> Kept[D]:
        try:
            document = self._kind.decoded(change.document)
        except ValueError as error:
            logger.error("what the store has as %s cannot be read: %s", change.key, error)  # noqa: TRY400
            document = self._kind.empty
        return Kept(document, change.number, change.published)

    def _keep(self, name: str, kept: Kept[D]) -> None:
        before = self.get(name).document
        self._documents[name] = kept
        self._on_kept(name, before, kept.document)
