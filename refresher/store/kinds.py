"""The two kinds of documents in a store: the ledgers of jobs, and the allowances of upstreams."""

from collections.abc import Callable, Mapping

from refresher.model import Definition
from refresher.store import ledger, limits, merge
from refresher.store.ledger import Ledger
from refresher.store.limits import Allowance


class Ledgers:
    """The documents of jobs.

    Args:
        process: Its name in leases.
        definitions: Of the jobs that this process has, by their names; they come after this.
        at_hand: Gives a body that the process has, by its job's name and its own.
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
        at_hand: Callable[[str, str], bytes | None],
        history: int,
    ) -> None:
        self._process = process
        self._definitions = definitions
        self._at_hand = at_hand
        self._history = history

    def bodies(self, document: Ledger) -> set[str]:
        """The names of the bodies that it refers to."""
        return document.bodies

    def publishes(self, before: Ledger, after: Ledger) -> bool:
        """Whether readers see another version after this change."""
        return after.issued != before.issued

    def reunited(
        self, name: str, theirs: Ledger | None, ours: Ledger, *, provisional: bool, lost: bool
    ) -> Ledger | None:
        """What store and process know of the job together; None where the process knows nothing."""
        if name not in self._definitions:
            return None
        key = ledger.key_of(self._definitions[name])
        if key not in ours.standings:
            return None  # nothing has been asked of it yet
        current = ours.version(ours.standings[key].current)
        return merge.reunited(
            theirs,
            ours,
            key,
            process=self._process,
            at_hand=bool(current and self._at_hand(name, current.stored.body) is not None),
            provisional=provisional,
            lost=lost,
            history=self._history,
        )


class Allowances:
    """The documents of upstreams, which refer to no bodies."""

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

    def reunited(
        self, name: str, theirs: Allowance | None, ours: Allowance, *, provisional: bool, lost: bool
    ) -> Allowance:
        """What store and process know of the upstream together."""
        del name, provisional, lost
        return limits.merged(theirs, ours)
