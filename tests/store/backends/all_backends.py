"""The backends that `test_backends.py` runs over; a new one is one more in the list."""

import secrets
from collections.abc import Callable
from functools import partial

import pytest

from refresher.store.backends.memory import MemoryStore
from refresher.store.backends.redis import RedisStore
from refresher.store.backends.sqlite.store import SqliteStore
from refresher.store.protocols import Backend

Opener = Callable[[], Backend]
"""Makes another object for the same store, as another process would have one."""


def memory(test: pytest.FixtureRequest) -> Opener:
    del test
    store = MemoryStore()
    return lambda: store


def sqlite(test: pytest.FixtureRequest) -> Opener:
    return partial(SqliteStore, test.getfixturevalue("tmp_path") / "store.db")


def valkey(test: pytest.FixtureRequest) -> Opener:
    url = test.getfixturevalue("valkey").url
    return partial(RedisStore, url, prefix=secrets.token_hex(4))


BACKENDS: list[Callable[[pytest.FixtureRequest], Opener]] = [memory, sqlite, valkey]
