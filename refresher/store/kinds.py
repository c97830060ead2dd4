"""The kinds of documents in a store: the ledgers of jobs, and the allowances of upstreams."""

from collections.abc import Callable, Mapping

from refresher.model import Definition
from refresher.store import ledger, limits, merge
from refresher.store.ledger import Ledger
from refresher.store.limits import Allowance


class Ledgers:
    """The documents of jobs: a `refresher.store.local.Kind`.

    Args:
        process: The name of this process in leases.
        definitions: Those of this process's jobs, by name; jobs may be added later.
        pending: Gives a body that this process has, by the name of its job and its own.
        history: How many versions of a job are kept.
    """

    prefix = "job/"
    empty = Ledger()
    encoded = staticmethod(ledger.encoded)
    decoded = staticmethod(ledger.decoded)

    def __init__(
        self,
        process: str,
        definitions: Mapping[str, Definition],
        pending: Callable[[str, str], bytes | None],
        history: int,
    ) -> None:
        self._process = process
        self._definitions = definitions
        self._pending = pending
        self._history = history

    def bodies(self, document: Ledger) -> set[str]:
        """The names of the bodies that it refers to."""
        return document.bodies

    def publishes(self, before: Ledger, after: Ledger) -> bool:
        """Whether readers see another version after this change."""
        return after.issued != before.issued

    def merged(
        self, name: str, theirs: Ledger | None, ours: Ledger, *, provisional: bool, lost: bool
    ) -> Ledger | None:
        """The store's ledger and the local one merged; None where the local one adds nothing."""
        if name not in self._definitions:
            return None
        key = ledger.key_of(self._definitions[name])
        if key not in ours.standings:
            return None  # nothing has been asked of it yet
        current = ours.version(ours.standings[key].current)
        return merge.merged(
            theirs,
            ours,
            key,
            process=self._process,
            has_body=bool(current and self._pending(name, current.stored.body) is not None),
            provisional=provisional,
            lost=lost,
            history=self._history,
        )


class Allowances:
    """The documents of upstreams, which refer to no bodies: a `refresher.store.local.Kind`."""

    prefix = "upstream/"
    empty = Allowance()
    encoded = staticmethod(limits.encoded)
    decoded = staticmethod(limits.decoded)

    def bodies(self, document: Allowance) -> set[str]:
        """The names of the bodies that it refers to."""
        del document
        return set()

    def publishes(self, before: Allowance, after: Allowance) -> bool:
        """Whether readers see another version after this change."""
        del before, after
        return False

    def merged(
        self, name: str, theirs: Allowance | None, ours: Allowance, *, provisional: bool, lost: bool
    ) -> Allowance:
        """The store's allowance and the local one merged."""
        del name, provisional, lost
        return limits.merged(theirs, ours)
