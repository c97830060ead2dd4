"""The locked state store: what readers see, swapped whole, one job at a time."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from refresher.errors import UnknownJob
from refresher.freshness import Policy
from refresher.model import Record
from refresher.pipeline.representation import Representation


@dataclass(frozen=True, slots=True)
class Entry:
    """A job as readers see it: what is known of it, what it promises, and its bytes made ready."""

    record: Record
    policy: Policy
    representation: Representation | None = None
    """Made from `record.snapshot`; None exactly while that is."""


Listener = Callable[[Entry, Entry], object]
"""Called after a swap with the entry before and the one now current."""


class StateStore:
    """One immutable entry a job, replaced under a lock and read without one.

    Reading is a dict lookup: atomic in CPython, so a reader in any thread sees the entry before a
    swap or the one after it, whole. Writers pass a function from the old record to the new one, so
    that none overwrites what another just wrote.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.get = self._entries.get
        """The entry of a job; None where no job has that name. It is that lookup, and no more."""
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def known(self, job: str) -> Entry:
        """The job's entry.

        Raises:
            UnknownJob: no job has that name.
        """
        entry = self._entries.get(job)
        if entry is None:
            raise UnknownJob(job, f"no job is called {job!r}")
        return entry

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in the order in which the jobs were added."""
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Make a job known."""
        with self._lock:
            self._entries[entry.record.job] = entry

    def update(self, job: str, change: Callable[[Record], Record]) -> Entry:
        """Change what is known of a job, its snapshot's bytes excepted."""
        return self._replace(job, lambda entry: replace(entry, record=change(entry.record)))

    def swap(
        self, job: str, change: Callable[[Record], Record], representation: Representation
    ) -> Entry:
        """Change a job's record together with the bytes that readers get, at once."""
        return self._replace(
            job,
            lambda entry: Entry(change(entry.record), entry.policy, representation),
        )

    def prepare(self, job: str, representation: Representation) -> None:
        """Put a fuller form of the current bytes in place, unless they have changed meanwhile."""

        def fuller(entry: Entry) -> Entry:
            current = entry.representation
            same = current is not None and current.identity_etag == representation.identity_etag
            return replace(entry, representation=representation) if same else entry

        with self._lock:
            if job in self._entries:
                self._entries[job] = fuller(self._entries[job])

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every replacement from now on, in the thread that makes it."""
        self._listeners.append(listener)

    def _replace(self, job: str, change: Callable[[Entry], Entry]) -> Entry:
        with self._lock:
            before = self._entries[job]
            after = self._entries[job] = change(before)
        for listener in self._listeners:
            listener(before, after)
        return after
