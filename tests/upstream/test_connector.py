import asyncio
import json
import ssl
import subprocess
import sys

import pytest

from refresher.upstream import connector
from refresher.upstream.client import open_client
from tests.faults import answer, serving
from tests.patient import PatientLoop


def fetch(*renamed: str) -> tuple[dict[str, object], str]:
    """What two fetches brought, and what was said, where a private name of aiohttp is another."""
    command = [sys.executable, "-m", "tests.upstream.other_aiohttp", *renamed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  our own words
    found: dict[str, object] = json.loads(done.stdout)
    return found, done.stderr


def test_the_aiohttp_that_is_installed_is_known_and_its_connections_are_kept() -> None:
    assert fetch() == ({"bodies": ["[1]", "[2]"], "connections": 1}, "")


@pytest.mark.parametrize("name", ["_factory", "_payload", "_pause_reading_for_buffer"])
def test_a_fetch_does_without_a_private_name_of_aiohttp_and_says_so(name: str) -> None:
    found, said = fetch(name)
    assert found == {"bodies": ["[1]", "[2]"], "connections": 2}
    assert said.count("aiohttp") == 2
    assert f"; aiohttp has no {name}\n" in said


@pytest.mark.parametrize("version", ["3.13.9", "3.15.0", "4.0.0a1"])
async def test_an_aiohttp_of_another_series_gets_a_connection_for_each_request_and_that_is_said(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ssl.create_default_context()
    opened = connector.open_connector(tls, version=version)
    assert opened.force_close
    (record,) = caplog.records
    assert record.getMessage().startswith(f"aiohttp {version} is none that")
    await opened.close()


class SkippingLoop(PatientLoop):
    """An event loop whose time can be set forward."""

    def skip(self, seconds: float) -> None:
        self._now += seconds


def test_a_connection_in_use_ends_between_two_requests_after_five_minutes_at_most() -> None:
    loop = SkippingLoop()

    async def last_uses(polls: int) -> list[float]:
        """After how many seconds each of the connections but the last was used last."""
        began: dict[int, float] = {}
        ended: dict[int, float] = {}
        async with serving() as upstream, open_client() as client:
            url = upstream.script("/", answer(200, b"[1]"))
            for _ in range(polls):
                assert (await client.get(url)).content == b"[1]"
                number = upstream.connections
                began.setdefault(number, loop.time())
                ended[number] = loop.time()
                loop.skip(10)
            assert upstream.most_connections <= 2  # the server may notice the end a turn later
        return [ended[number] - began[number] for number in began][:-1]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        ages = runner.run(last_uses(200))
    assert len(ages) >= 6
    assert all(225 <= age <= 300 for age in ages)
    assert len({round(age) for age in ages}) > 1
