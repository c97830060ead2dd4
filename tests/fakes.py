"""Fakes of what a job needs from the world, for tests that move time themselves."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio

from refresher.errors import RefreshFailed
from refresher.model import Attempt, Record
from refresher.payload import NotModified, Payload

START = 1_800_000_000.0


@dataclass
class FakeTimer:
    """A callback on a fake clock."""

    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def now(self) -> float:
        return self._now

    def call_at(self, instant: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (max(instant, self._now), next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, and everything happen that happens in it."""
        target = self._now + seconds
        await settled()
        while self._timers and self._timers[0][0] <= target:
            instant, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._now = instant
                timer.callback()
                await settled()
        self._now = target
        await settled()

    @property
    def waiting(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


async def settled() -> None:
    """Let every task run until it waits for something that has yet to happen."""
    # anyio looks once and, where a task is still to run, only again after 0.1 s.
    for _ in range(10):
        await asyncio.sleep(0)
    await anyio.wait_all_tasks_blocked()


Answer = Payload | NotModified | RefreshFailed | Exception


@dataclass
class FakeSource:
    """Gives the answers of a script in turn, the last one for ever; notes when it was asked."""

    answers: list[Answer]
    clock: FakeClock
    asked_at: list[float] = field(default_factory=list)
    since: list[str | None] = field(default_factory=list)
    hold: anyio.Event | None = None
    """Answers wait for it, once it is there."""

    async def fetch(self, since: str | None) -> Payload | NotModified:
        self.asked_at.append(self.clock.now())
        self.since.append(since)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeObserver:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.crashes: list[Exception] = []
        self.skips: list[str] = []
        self.told = anyio.Event()
        """Set once an attempt is over."""

    def attempted(self, attempt: Attempt, before: Record) -> None:
        del before
        self.attempts.append(attempt)
        self.told.set()

    def skipped(self, job: str) -> None:
        self.skips.append(job)

    def crashed(self, job: str, error: Exception) -> None:
        del job
        self.crashes.append(error)

    @property
    def outcomes(self) -> list[str]:
        return [str(attempt.outcome) for attempt in self.attempts]


def payload(body: bytes = b'{"a":1}', revision: str | None = "r1") -> Payload:
    """A good answer."""
    return Payload(body=body, content_type="application/json", revision=revision, http_status=200)


def payloads(count: int) -> Iterable[Payload]:
    """As many different good answers."""
    return (payload(b"[%d]" % n, f"r{n}") for n in range(count))
