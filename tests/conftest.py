"""What all tests share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from refresher.store import store
from refresher.upstream.client import open_client
from tests.faults import FaultServer, serving
from tests.patient import OPTIONS
from tests.valkey import Valkey, running

# How long an example takes says more of the machine, and what else it does, than of the code. The
# gate tries the same examples each time, so what turns it red is the change; `--hypothesis-profile
# search` looks for others.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", _PATIENT)
settings.register_profile("refresher", _PATIENT, derandomize=True)
settings.load_profile("refresher")


# Due moments are the same in every run: the services of this process have no seed but their names.
store.PROCESS = ""


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {**OPTIONS}


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[BlockBuster]:
    """Raise where the package makes a blocking call in an event loop."""
    with blockbuster_ctx("refresher") as guard:
        guard.functions["os.write"].can_block_in("refresher/payload.py", "write")  # it is memory
        # Coverage locks what it counts, which the threads of stores do as well.
        guard.functions["threading.Lock.acquire"].can_block_in("collector.py", "lock_data")
        yield guard


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that tests share, under a prefix each."""
    with running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may stop, flush and reconfigure."""
    with running(tmp_path) as server:
        yield server


@pytest.fixture
async def upstream() -> AsyncIterator[FaultServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client
