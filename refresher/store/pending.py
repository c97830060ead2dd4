"""Bodies that this process has and its store does not have yet."""

from collections.abc import Collection, Mapping
from uuid import uuid4


class PendingBodies:
    """The bodies of attempts that are under way, and of those that ended while detached."""

    def __init__(self) -> None:
        self._staged: dict[str, dict[str, bytes]] = {}
        """Of attempts under way, by job and name."""
        self._detached: dict[str, dict[str, bytes]] = {}
        """Those that are to be written when the store is available again, likewise."""

    def stage(self, job: str, content: bytes) -> str:
        """Hold a body until the attempt is settled; returns the name that it is to have."""
        name = uuid4().hex
        self._staged.setdefault(job, {})[name] = content
        return name

    def of(self, job: str) -> Mapping[str, bytes]:
        """The bodies of a job, by name."""
        return self._detached.get(job, {}) | self._staged.get(job, {})

    def keep_only(self, job: str, names: Collection[str] = ()) -> None:
        """An attempt is over: of the job's bodies hold these, until the store is available."""
        kept = {name: body for name, body in self.of(job).items() if name in names}
        self._staged.pop(job, None)
        self._detached.pop(job, None)
        if kept:
            self._detached[job] = kept

    def clear(self) -> None:
        """Forget what was held until the store is available: it has been written."""
        self._detached.clear()
