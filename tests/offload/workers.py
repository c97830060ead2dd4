"""What tests of worker processes share: what keeps one busy, and how it is seen from outside."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from refresher.offload.pool import LARGE
from refresher.payload import Payload, Spool
from refresher.pipeline import GuardRules, Rules

PLAIN = Rules()
LARGE_BODY = msgspec.json.encode([{"id": n, "price": n / 3} for n in range(LARGE // 25)])
MIDDLING_BODY = msgspec.json.encode([{"id": n, "price": n / 3} for n in range(LARGE // 60)])
"""Large where it is to be parsed, and else left to a thread."""
SMALL_BODY = b'[{"id": 1, "price": 0.10}]'
ENDLESS = Rules(select="|".join(["[@,@]"] * 60))
"""Makes 2^60 lists."""
CROWDED = Rules(guard=GuardRules(max_items=1))


def in_memory(body: bytes, content_type: str = "application/json") -> Payload:
    return Payload(body=body, content_type=content_type)


def in_a_file(body: bytes, content_type: str = "application/json") -> Payload:
    spool = Spool()
    spool.write(body)
    return Payload(body=spool, content_type=content_type, http_status=200)


def children(of: int | None = None) -> set[int]:
    """The worker processes that a process has."""
    parent = os.getpid() if of is None else of
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = status.read_text().rpartition(")")[2].split()
            command = status.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(told[1]) == parent and told[0] != "Z" and b"refresher.offload.runner" in command:
            found.add(int(status.parent.name))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Wait for another process to do something; which may take any time."""
    with anyio.fail_after(60):
        while not await anyio.to_thread.run_sync(condition):  # noqa: ASYNC110  no event of ours
            await anyio.sleep(0.01)


async def a_busy_worker(of: int | None = None) -> int:
    """The one worker of a process, once it is in the middle of something."""
    busy: set[int] = set()

    def look() -> bool:
        busy.update(pid for pid in children(of) if has_a_task(pid))
        return bool(busy)

    await until(look)
    (pid,) = busy
    return pid


def has_a_task(pid: int) -> bool:
    """Whether a worker holds the files of a task."""
    try:
        files = [file.readlink() for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # one was closed since they were listed, or the process has ended
        return False
    return any("memfd:refresher" in str(file) for file in files)


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())
