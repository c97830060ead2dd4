from collections.abc import AsyncIterator

import pytest

from refresher.offload.pool import WorkerPool
from tests.offload.workers import children


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    async with WorkerPool() as pool:
        yield pool
    assert not children()
