"""Whether a store is available: it is asked with a time limit, and the first failure detaches."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from refresher.errors import StoreUnavailable
from refresher.store.protocols import Backend, StoreOperation

logger = logging.getLogger("refresher")

_TIMEOUT = 2.0
"""Seconds that a store may take for an answer without bodies."""
_BYTES_A_SECOND = 20_000_000
"""How fast bodies are read and written at the least; what has more of them may take longer."""

T = TypeVar("T")


class StoreSilent(StoreUnavailable):
    """The store has not answered in time; the next question would wait as long."""


class Availability:
    """Asks a backend, and tells whether this process is attached to it or detached from it.

    Detached, the process goes on with what it knows, and nothing that it does is in the store yet.
    The first question that the backend fails detaches, `attach` ends that. `failed` is called with
    each operation that fails, `changed` whenever the process has been detached or attached.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        failed: Callable[[StoreOperation], object] = lambda _: None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend = backend
        self.detached = False
        self._failed = failed
        self._changed = changed

    async def ask(self, operation: StoreOperation, answer: Awaitable[T], *, size: int = 0) -> T:
        """The backend's answer, within two seconds and what `size` bytes of bodies take.

        Raises:
            StoreSilent: it has not answered in time; the process is detached.
            StoreUnavailable: it has failed; the process is detached.
        """
        timeout = _TIMEOUT + size / _BYTES_A_SECOND
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            message = f"the store has been silent for {timeout:.0f} s, asked to {operation}"
            error: StoreUnavailable = StoreSilent(message)
        except StoreUnavailable as failure:
            error = failure
        self._failed(operation)
        self.detach(str(error))
        raise error

    def detach(self, why: str, *, failed: StoreOperation | None = None) -> None:
        """Go on without the store; `failed` is the operation to count as failed, if any."""
        if failed is not None:
            self._failed(failed)
        if not self.detached:
            self.detached = True
            logger.error("%s; this process goes on by itself, and tries again each second", why)
            self._changed()

    def attach(self) -> None:
        """Go on with the store: it is available, and has all that is known here."""
        self.detached = False
        logger.info("the store is there again")
        self._changed()

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """Let no error of the store end a task of the service; detach on one unforeseen."""
        try:
            yield
        except StoreUnavailable:
            pass  # `ask` has logged and counted it
        # A task that dies in the lifespan's group does not stop uvicorn, which would go on
        # answering with a store that is neither read nor written any more.
        except Exception as error:  # noqa: BLE001
            self.detach(f"the store broke: {type(error).__name__}: {error}")
