"""The kinds of store that the shared contract test runs over; a new one is one more in the list."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from refresher.protocols import Backend
from refresher.stores.sqlite import SqliteStore

Opening = Callable[[], Backend]
"""Another handle on the same store, to be entered, as another process would have one."""


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Opening]:
    yield partial(SqliteStore, folder / "store.db")


BACKENDS: list[Callable[[Path], AbstractAsyncContextManager[Opening]]] = [sqlite]
