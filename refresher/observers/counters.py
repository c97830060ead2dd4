"""Counters that the workers of an instance share: each writes a row, any of them sums all rows.

The rows are in one file that all workers map: to count is one write to memory, visible to the
others before the answer that it counts is sent. A worker that replaces one that died goes on with
its row, so that no sum ever falls.
"""

import hashlib
import mmap
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refresher.errors import ServiceError

_BYTES = 8
"""Of one number; no sum ever comes near 2**63 and so carries into the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRow:
    """Which row is a worker's; the process that replaces it takes over the same."""

    number: int
    """From 0."""
    workers: int
    """How many rows there are."""
    directory: Path
    """Of the file with the rows: private to the workers of one instance, and removed with it."""


class SharedCounters:
    """One process's row of whole numbers, and the sums over all rows.

    A row has a number for each of `slots`, in that order; one thread of its process writes it, and
    any may read it. `row` None: there is one row, in memory that nobody shares.

    Raises:
        ServiceError: the file with the rows cannot be made.
    """

    def __init__(self, slots: Sequence[str], row: CounterRow | None = None) -> None:
        self._row_bytes = -(-len(slots) * _BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        workers, number = (1, 0) if row is None else (row.workers, row.number)
        size = self._row_bytes * workers
        self._memory = memoryview(mmap.mmap(-1, size) if row is None else _map(slots, row, size))
        self._rows = [
            self._memory[start : start + self._row_bytes]
            for start in range(0, size, self._row_bytes)
        ]
        self.own: memoryview[int] = self._rows[number].cast("q")
        """The row of this process, to count in."""

    def totals(self) -> "memoryview[int]":
        """The sum of every slot over all rows."""
        # Ten thousand jobs are sixty thousand slots a row. Added up as two long integers, a row
        # takes 0.4 ms; slot by slot it would take 3, and all readers would wait for the lock.
        total = sum(int.from_bytes(row, sys.byteorder) for row in self._rows)
        return memoryview(total.to_bytes(self._row_bytes, sys.byteorder)).cast("q")

    def column(self, slot: int) -> "list[int]":
        """The number at one slot of every row."""
        return [row.cast("q")[slot] for row in self._rows]


def _map(slots: Sequence[str], row: CounterRow, size: int) -> mmap.mmap:
    """Map the file that the workers with these slots share.

    A worker that was started from another configuration, after the file was edited, has another
    file. All of it is allocated before it is written to: a page for which the disk has no room
    would end the process (SIGBUS) in the middle of a read.
    """
    digest = hashlib.sha256("\n".join(slots).encode()).hexdigest()[:16]
    path = row.directory / f"counters-{digest}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.ftruncate(descriptor, size)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ServiceError(
            f"cannot keep {size} bytes of counters in {path}: {error.strerror}; $XDG_RUNTIME_DIR "
            "or $TMPDIR can name another place"
        ) from error
