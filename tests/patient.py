"""An event loop whose time stands still while the machine does, so that no stall is a timeout.

What a deadline bounds in the package is bounded in the tests too, and yet it is the code alone that
can miss it: a machine that does nothing for ten seconds costs one turn of the loop, as it does the
thread, the socket or the process that the loop waits for.
"""

import asyncio
import selectors

from starlette.testclient import TestClient
from starlette.types import ASGIApp

_TURN = 0.1
"""The seconds that one turn counts for at the most."""


class _Selector(selectors.DefaultSelector):
    """Waits for a turn and no longer: a stall may come in the middle of a long wait too."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(_TURN / 2 if timeout is None else min(timeout, _TURN / 2))


class PatientLoop(asyncio.SelectorEventLoop):
    """Counts the time of its turns."""

    def __init__(self) -> None:
        super().__init__(_Selector())
        self._now = self._looked_at = super().time()

    def time(self) -> float:
        now = super().time()
        self._now += min(now - self._looked_at, _TURN)
        self._looked_at = now
        return self._now


OPTIONS = {"loop_factory": PatientLoop}
"""As anyio is told of it, for its backend that is asyncio."""


def client_of(app: ASGIApp) -> TestClient:
    """Starlette's client, which runs the application in a thread of its own, lifespan and all."""
    return TestClient(app, backend_options=OPTIONS)
