"""What all tests share."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

# How long an example takes says more of the machine, and what else it does, than of the code.
settings.register_profile("refresher", deadline=None)
settings.load_profile("refresher")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Raise where the package makes a blocking call in an event loop."""
    with blockbuster_ctx("refresher") as guard:
        guard.functions["os.write"].can_block_in("refresher/spool.py", "write")  # it is memory
        yield guard
