from collections.abc import AsyncIterator

import httpx
import pytest

from refresher.transport import open_client
from tests.faults import FaultServer, serving


@pytest.fixture
async def upstream() -> AsyncIterator[FaultServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client
