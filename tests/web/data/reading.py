"""One builder for the way of a read: a shelf of snapshots, and a reader in front of it."""

import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refresher.freshness import Policy
from refresher.jsontext.pointer import NotThere, Path
from refresher.pipeline import representation
from refresher.security.tokens import Access, Tokens
from refresher.web.answer import Answer
from refresher.web.cors import Cors
from refresher.web.data.compression import Compression
from refresher.web.data.lookups import LookUp, Lookups
from refresher.web.data.reads import Reads
from refresher.web.data.versions import VersionReads
from tests.shelf import BODY, PROMISE, TEXT, Shelf, snapshot

RATES = "/data/rates"


async def nowhere(_: str, body: bytes, paths: Sequence[Path]) -> list[bytes | NotThere]:
    """Look a value up in no worker process: for readers of small bodies."""
    raise AssertionError((len(body), paths))


@dataclass(frozen=True)
class Reply:
    """An answer as a client sees it; it asserts that no field is said twice."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, answer: Answer) -> "Reply":
        names = [name for name, _ in answer.headers]
        assert names == [name.lower() for name in names]
        assert len(set(names)) == len(names), f"a field is said twice: {names}"
        headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
        return cls(answer.status, headers, answer.body)

    @property
    def problem(self) -> dict[str, Any]:
        """What is wrong, where something is."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["cache-control"] == "no-store"
        found: dict[str, Any] = json.loads(self.body)
        assert {"type", "title", "status", "detail"} <= found.keys()
        assert found["status"] == self.status
        return found


class Reader:
    """Asks `Reads` as a server would, and keeps its counts."""

    def __init__(
        self,
        shelf: Shelf | None = None,
        *,
        read_tokens: Sequence[str] = (),
        admin: Sequence[str] = (),
        origins: Sequence[str] = (),
        compress: Callable[[bytes, str], bytes | None] = representation.compress,
        look_up: LookUp = nowhere,
    ) -> None:
        self.shelf = shelf or Shelf()
        self.codes: Counter[int] = Counter()
        lookups = Lookups(look_up)
        access = Access(Tokens(admin=tuple(admin), read=tuple(read_tokens)))
        self.reads = Reads(
            self.shelf.states,
            access=access,
            cors=Cors(origins),
            versions=VersionReads(lambda _: None, access=access, lookups=lookups),
            clock=self.shelf.clock,
            codes=self.codes,
            lookups=lookups,
            compression=Compression(compress),
        )

    def get(
        self,
        path: str = RATES,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
    ) -> Reply:
        """What is answered at once."""
        answer = self._ask(path, headers, method)
        assert isinstance(answer, Answer)
        return Reply.of(answer)

    async def get_later(
        self, path: str = RATES, headers: Mapping[str, str] = {}, *, method: str = "GET"
    ) -> Reply:
        """What is answered once a body has been compressed."""
        answer = self._ask(path, headers, method)
        assert inspect.isawaitable(answer)
        return Reply.of(await answer)

    def _ask(
        self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], method: str
    ) -> Answer | Awaitable[Answer]:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        return self.reads.answer(method, path.encode("latin-1"), raw)


def reader_of(body: bytes = BODY, policy: Policy = PROMISE) -> Reader:
    shelf = Shelf()
    shelf.put(snapshot(body), policy)
    return Reader(shelf)


GZIP = {"accept-encoding": "gzip"}
LARGE = TEXT * 1000
"""Beyond what is compressed at the swap."""
