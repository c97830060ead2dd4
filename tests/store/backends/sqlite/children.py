"""Processes that have a store open."""

import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread


def child(program: str, *arguments: object) -> "subprocess.Popen[str]":
    """A process that has the store in its hands: `store` of the path that comes first."""
    code = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from refresher.store.backends.sqlite.store import SqliteStore\n"
        "async def main():\n"
        "    async with SqliteStore(Path(sys.argv[1])) as store:\n"
        f"{textwrap.indent(textwrap.dedent(program), ' ' * 8)}\n"
        "asyncio.run(main())\n"
    )
    return subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[4],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def ended(process: "subprocess.Popen[str]") -> int:
    with process:
        return await anyio.to_thread.run_sync(process.wait)
