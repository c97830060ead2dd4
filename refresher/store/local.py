"""The local copy of the documents of one kind, and how they are changed.

A change is a compare-and-set against the local copy: where another process has written the document
meanwhile, the copy is brought up to date and the change decided again. Detached from the store, a
process changes its local copy alone, and merges it with the store once that is available again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from refresher.errors import StoreUnavailable
from refresher.store.availability import Availability
from refresher.store.protocols import Change, StoreOperation

logger = logging.getLogger("refresher")

LOSS = "the store has lost what it had"
"""Why the process is detached when that is found out."""

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Known(Generic[D]):
    """A document as this process knows it; the numbers are those of a `Change`."""

    document: D
    number: int = 0
    published: int = 0


class Kind(Protocol[D]):
    """What the local copy has to know of a kind of document."""

    prefix: str
    empty: D

    def encoded(self, document: D) -> bytes:
        """The bytes that stores keep."""
        ...

    def decoded(self, document: bytes) -> D:
        """The document of bytes that a store has kept.

        Raises:
            ValueError: they are not a document of this kind.
        """
        ...

    def bodies(self, document: D) -> set[str]:
        """The names of the bodies that it refers to."""
        ...

    def publishes(self, before: D, after: D) -> bool:
        """Whether readers see another version after this change."""
        ...

    def merged(
        self, name: str, theirs: D | None, ours: D, *, provisional: bool, lost: bool
    ) -> D | None:
        """One document of the store's (`theirs`, None: it has none) and the local one (`ours`).

        `provisional` says that this process has published while it was detached, `lost` that the
        store has lost changes of the document. None: the store's is to be taken as it is.
        """
        ...


class LocalCopy(Generic[D]):
    """All documents of a kind, as far as this process knows them.

    `catch_up` brings the copy up to date with the store. `pending` gives a body that the store does
    not have yet, by the document's name and its own. `changed` is called as (name, before, after)
    after every change of a document, whichever process made it.
    """

    def __init__(
        self,
        kind: Kind[D],
        availability: Availability,
        *,
        catch_up: Callable[[], Awaitable[None]],
        pending: Callable[[str, str], bytes | None] = lambda *_: None,
        changed: Callable[[str, D, D], object] = lambda *_: None,
    ) -> None:
        self._kind = kind
        self._availability = availability
        self._catch_up = catch_up
        self._pending = pending
        self._changed = changed
        self._documents: dict[str, Known[D]] = {}
        self._none = Known(kind.empty)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One change of a document at a time: of many at once all but one would fail."""
        self._diverged: set[str] = set()
        """The documents with changes here that the store does not have."""
        self._provisional: set[str] = set()
        """Those of them that publish a version by such a change."""
        self._lost: set[str] = set()
        """Those of them of which the store has lost changes."""

    def __iter__(self) -> Iterator[tuple[str, D]]:
        return iter([(name, kept.document) for name, kept in self._documents.items()])

    def __contains__(self, name: str) -> bool:
        return name in self._documents

    def get(self, name: str) -> Known[D]:
        """What is known of a document; an empty one where nothing is."""
        return self._documents.get(name, self._none)

    @property
    def is_merged(self) -> bool:
        """Whether the store has every change that was made here."""
        return not self._diverged

    async def change(self, name: str, change: Callable[[D], D | None]) -> D | None:
        """Change a document, detached in the local copy alone; None: it is not to be changed."""
        if not self._availability.detached:
            with suppress(StoreUnavailable):  # then it is detached
                return await self.write(name, change)
        before = self.get(name)
        after = change(before.document)
        if after is not None and after is not before.document:
            self._update(name, replace(before, document=after))
            self._diverged.add(name)
            if self._kind.publishes(before.document, after):
                self._provisional.add(name)
        return after

    async def write(self, name: str, change: Callable[[D], D | None]) -> D | None:
        """Change a document in the store; None: it is not to be changed.

        Raises:
            StoreUnavailable: it cannot be written, and nothing has changed.
        """
        put: set[str] = set()
        async with self._locks.setdefault(name, asyncio.Lock()):
            while True:
                if self._availability.detached:  # since the change before this one
                    raise StoreUnavailable("the store is away; nothing has been changed")
                before = self.get(name)
                after = change(before.document)
                if after is None or after is before.document:
                    return after
                written = await self._commit(name, before, after, put)
                if written is not None:
                    if written.number > self.get(name).number:
                        self._update(name, written)
                    return after
                await self._catch_up()
                if self.get(name).number == before.number:  # then no other process has written it
                    self._availability.detach(LOSS)

    def take(self, change: Change) -> str | None:
        """Take over a change in the store; the document's name, None: of another kind, or known."""
        name = self._name_of(change)
        if name is None or change.number <= self.get(name).number:
            return None
        self._update(name, self._read(change))
        return name

    def mark_untrusted(self) -> None:
        """The store is another one, or has lost changes: every document is to be merged."""
        self._lost.update(self._documents)

    async def merge(self, theirs: list[Change]) -> list[str]:
        """Merge the local copy with all that the store has; returns the names of what has changed.

        A document that is changed meanwhile, here or there, is left for the next call.

        Raises:
            StoreUnavailable: the store is not available again.
        """
        known = {name: change for change in theirs if (name := self._name_of(change)) is not None}
        for name, kept in self._documents.items():
            if kept.number > (known[name].number if name in known else 0):
                self._lost.add(name)
        self._diverged |= self._lost
        changed = [name for name in known if name not in self._diverged and self.take(known[name])]
        for name in list(self._diverged):
            ours, change = self.get(name), known.get(name)
            before = self._none if change is None else self._read(change)
            after = self._kind.merged(
                name,
                None if change is None else before.document,
                ours.document,
                provisional=name in self._provisional,
                lost=name in self._lost,
            )
            merged = before if after is None else await self._commit(name, before, after, set())
            if merged is None or self.get(name) is not ours:
                continue
            for names in (self._diverged, self._provisional, self._lost):
                names.discard(name)
            self._update(name, merged)
            changed.append(name)
        return changed

    async def _commit(
        self, name: str, before: Known[D], after: D, put: set[str]
    ) -> Known[D] | None:
        """Write a document and the bodies that it refers to; None: `before` is no longer current.

        `put` has the bodies that are written already, and gets those that are written here.
        """
        had, has = self._kind.bodies(before.document), self._kind.bodies(after)
        for body in sorted(has - had - put):
            content = self._pending(name, body)
            if content is not None:
                writing = self._availability.backend.put(body, content)
                await self._availability.ask(StoreOperation.WRITE, writing, size=len(content))
                put.add(body)
        publishes = self._kind.publishes(before.document, after)
        writing_document = self._availability.backend.write(
            self._kind.prefix + name,
            self._kind.encoded(after),
            after=before.number,
            publishes=publishes,
            keeps=sorted(has - had),
            drops=sorted(had - has),
        )
        number = await self._availability.ask(StoreOperation.WRITE, writing_document)
        if number is None:
            return None
        return Known(after, number, number if publishes else before.published)

    def _name_of(self, change: Change) -> str | None:
        name = change.key.removeprefix(self._kind.prefix)
        return None if name == change.key else name

    def _read(self, change: Change) -> Known[D]:
        try:
            document = self._kind.decoded(change.document)
        except ValueError as error:
            logger.error("what the store has as %s cannot be read: %s", change.key, error)  # noqa: TRY400  no traceback: the message says all
            document = self._kind.empty
        return Known(document, change.number, change.published)

    def _update(self, name: str, kept: Known[D]) -> None:
        before = self.get(name).document
        self._documents[name] = kept
        self._changed(name, before, kept.document)
