import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.web.serving import Upstream, cache_of, down, serving


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A service with the jobs a to e, of which b and d are pending, and a, b and c are tagged."""
    cache = cache_of()
    for name, tags in (("e", []), ("a", ["x"]), ("d", []), ("b", ["x", "y"]), ("c", ["y"])):
        upstream = Upstream(down()) if name in "bd" else Upstream()
        cache.job(name, tags=tags)(upstream)
    async with serving(cache) as client:
        yield client


async def listed(client: httpx.AsyncClient, query: str) -> tuple[str, str | None]:
    """The names that a query lists, and what follows them."""
    answer = await client.get(f"/jobs?{query}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert found.keys() == {"jobs", "next"}
    return "".join(job["name"] for job in found["jobs"]), found["next"]


@pytest.mark.parametrize(
    ("query", "names", "following"),
    [
        ("", "eadbc", None),
        ("limit=2", "ea", "a"),
        ("limit=2&after=a", "db", "b"),
        ("limit=2&after=b", "c", None),
        ("limit=5", "eadbc", None),
        ("limit=4", "eadb", "b"),
        ("limit=999999999", "eadbc", None),
        ("after=c", "", None),
        ("after=d", "bc", None),
        ("state=pending", "db", None),
        ("state=fresh&state=pending", "eadbc", None),
        ("state=stale", "", None),
        ("tag=x", "ab", None),
        ("tag=x&tag=y", "abc", None),
        ("tag=nobody", "", None),
        ("tag=x&state=fresh", "a", None),
        ("tag=y&limit=1", "b", "b"),
        ("tag=y&limit=1&after=b", "c", None),
        ("tag=y&limit=1&after=d", "b", "b"),
        ("state=fresh&limit=2", "ea", "a"),
        ("limit=1&limit=2", "ea", "a"),
        ("page=2&LIMIT=1", "eadbc", None),
    ],
)
async def test_a_page_has_what_is_asked_for_in_the_order_of_the_configuration(
    query: str, names: str, following: str | None, client: httpx.AsyncClient
) -> None:
    assert await listed(client, query) == (names, following)


async def test_pages_that_follow_each_other_have_every_job_once(client: httpx.AsyncClient) -> None:
    for limit in range(1, 6):
        seen, query = "", f"limit={limit}"
        while True:
            names, following = await listed(client, query)
            seen += names
            if following is None:
                break
            query = f"limit={limit}&after={following}"
        assert seen == "eadbc"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("limit", "0", "1 or more"),
        ("limit", "-1", "1 or more"),
        ("limit", "", "1 or more"),
        ("limit", "2.0", "1 or more"),
        ("limit", "٢", "1 or more"),
        ("limit", "9" * 5000, "1 or more"),
        ("state", "paused", "there are pending, fresh, stale, expired"),
        ("state", "", "there are pending"),
        ("after", "z", "begin anew"),
        ("after", "", "begin anew"),
        ("after", "x" * 5000, "begin anew"),
    ],
)
async def test_a_value_that_cannot_be_is_a_problem(
    name: str, value: str, says: str, client: httpx.AsyncClient
) -> None:
    answer = await client.get(f"/jobs?{name}={quote(value)}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:refresher:invalid-query"
    assert problem["detail"].startswith(f"{name}: got ")
    assert says in problem["detail"]
    assert len(problem["detail"]) < 300


async def test_a_name_that_is_no_text_is_listed_all_the_same() -> None:
    cache = cache_of(None, {"jobs": {"odd": {"file": "/no\udc80where"}, "even": {"file": "/x"}}})
    async with serving(cache) as client:
        found = json.loads((await client.get("/jobs")).content)
    assert [job["source"]["url"] for job in found["jobs"]] == ["/no\udc80where", "/x"]
