"""Fetches from a loopback server with an aiohttp that calls one of its private names differently.

`python -m tests.upstream.other_aiohttp NAME` renames it in the source of aiohttp as that is loaded,
wherever it stands, and writes how many connections two fetches took, and what they brought.
"""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


class Renaming(MetaPathFinder):
    """Finds the modules of aiohttp, and has them loaded with another name in place of one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del target
        if fullname.partition(".")[0] != "aiohttp":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = RenamingLoader(fullname, str(spec.origin), self.name)
        return spec


class RenamingLoader(SourceFileLoader):
    """Loads a module from its source, with another name in place of one."""

    def __init__(self, fullname: str, path: str, name: str) -> None:
        super().__init__(fullname, path)
        self.renamed = name

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.get_filename(fullname)).decode()
        return self.source_to_code(
            re.sub(rf"\b{self.renamed}\b", f"{self.renamed}_of_old", source).encode(), self.path
        )


async def fetched() -> dict[str, object]:
    from refresher.payload import Payload  # noqa: PLC0415  not before aiohttp is another
    from refresher.sources import HttpRequest, HttpSource  # noqa: PLC0415
    from refresher.upstream.client import open_client  # noqa: PLC0415
    from tests.faults import answer, serving  # noqa: PLC0415

    bodies = []
    async with serving() as upstream, open_client() as client:
        url = upstream.script("/", answer(200, b"[1]"), answer(200, b"[2]"))
        for _ in range(2):
            found = await HttpSource(HttpRequest(url=url), client=client).fetch(None)
            assert isinstance(found, Payload)
            assert isinstance(found.body, bytes)
            bodies.append(found.body.decode())
        return {"bodies": bodies, "connections": upstream.connections}


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    if sys.argv[1:]:
        sys.meta_path.insert(0, Renaming(sys.argv[1]))
    sys.stdout.write(json.dumps(asyncio.run(fetched())))
