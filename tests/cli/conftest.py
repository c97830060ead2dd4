from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from tests.faults import FaultServer, serving


@pytest.fixture
def upstream() -> Iterator[FaultServer]:
    """An upstream in a thread of its own: a command has the main thread, and a loop of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving()) as server,
    ):
        yield server
