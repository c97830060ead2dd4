"""The way to a store: asked with patience, and known to be there or away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from refresher.errors import StoreUnavailable
from refresher.store.protocols import Backend, StoreOperation

logger = logging.getLogger("refresher")

_PATIENCE = 2.0
"""Seconds of silence after which a store counts as away."""
_BYTES_A_SECOND = 20_000_000
"""How fast bodies are carried at the least, beyond that."""

T = TypeVar("T")


class StoreSilent(StoreUnavailable):
    """The store has not answered in time, and who asks again waits again."""


class Link:
    """Asks the backend; the first question that it fails detaches the process from it.

    `failed` is told the operation whenever the backend fails, `turned` whenever the process gets
    detached or attached again.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        failed: Callable[[StoreOperation], object] = lambda _: None,
        turned: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend = backend
        self.detached = False
        """Whether this process goes on by itself, the store being away."""
        self._failed = failed
        self._turned = turned

    async def ask(self, operation: StoreOperation, answer: Awaitable[T], *, carrying: int = 0) -> T:
        """The backend's answer, for which it has two seconds, and more for a body of that size.

        Raises:
            StoreSilent: it has been silent; the process is detached from now on.
            StoreUnavailable: it has failed; so it is then.
        """
        patience = _PATIENCE + carrying / _BYTES_A_SECOND
        try:
            async with asyncio.timeout(patience):
                return await answer
        except TimeoutError:
            message = f"the store has been silent for {patience:.0f} s, asked to {operation}"
            error: StoreUnavailable = StoreSilent(message)
        except StoreUnavailable as trouble:
            error = trouble
        self._failed(operation)
        self.lose(str(error))
        raise error

    def lose(self, why: str, failed: StoreOperation | None = None) -> None:
        """Go on without the store; `failed` is what it failed, where that is yet to be counted."""
        if failed is not None:
            self._failed(failed)
        if not self.detached:
            self.detached = True
            logger.error("%s; this process goes on by itself, and tries again each second", why)
            self._turned()

    def attach(self) -> None:
        """The store is there again, and has all that is known here."""
        self.detached = False
        logger.info("the store is there again")
        self._turned()
