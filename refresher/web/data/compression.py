"""Content codings of large bodies: made when first asked for, off the loop, once for everybody."""

import asyncio
import logging
from collections.abc import Callable

from refresher.pipeline import representation
from refresher.pipeline.representation import Representation

logger = logging.getLogger("refresher")

Compress = Callable[[bytes, str], bytes | None]
"""Gives a body in a coding; None where that saves too little."""


class Compression:
    """Makes the coded forms that were deferred at the swap; `compress` runs in a thread."""

    def __init__(self, compress: Compress = representation.compress) -> None:
        self._compress = compress
        self._running: dict[tuple[str, str], asyncio.Future[bytes | None]] = {}

    async def of(self, job: str, ready: Representation, coding: str) -> bytes | None:
        """The body of a representation in a deferred coding; None where it saves too little."""
        key = ready.identity_etag, coding
        running = self._running.get(key)
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(None, self._coded, job, ready.identity, coding)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(
            running
        )  # a client that leaves must not cancel it for the others

    def _coded(self, job: str, body: bytes, coding: str) -> bytes | None:
        try:
            return self._compress(body, coding)
        except MemoryError:
            logger.warning("%s: no memory to compress %d bytes; served as they are", job, len(body))
            return None
