"""What a job is to do, as its configuration says."""

from dataclasses import dataclass
from typing import assert_never

from refresher import freshness, pipeline
from refresher.jobs.schedule import Cron, Interval, Retry, Schedule, due_after_attempt, seed_of
from refresher.model import Definition
from refresher.values import DeclaredType


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job is to do; two plans are equal when the job need not notice a change."""

    name: str
    schedule: Schedule
    retry: Retry
    rules: pipeline.Rules
    definition: Definition
    freshness: freshness.Policy
    timeout: float
    """Seconds for everything once the limiter has given a place: from connecting to validation."""
    types: tuple[DeclaredType, ...] = ()
    """What the content must be, all of them."""
    cooldown: float = 0.0
    """Seconds at least from one manual refresh to the next."""
    enabled: bool = True
    max_interval: float = 0.0
    """Seconds up to which the source's own word on freshness stretches the interval."""

    def due_after(
        self, started: float, now: float, fresh_for: float | None = None, *, seed: str
    ) -> float:
        """The scheduled moment that follows an attempt of which the source said `fresh_for`.

        `seed` is that of the service.
        """
        stretch = min(fresh_for or 0.0, self.max_interval)
        return due_after_attempt(
            self.schedule,
            seed_of(self.name, seed),
            started=started,
            now=now,
            fresh_until=now + stretch,
        )

    @property
    def seed_span(self) -> float:
        """By how many seconds the same due moment may lie later under another seed."""
        match self.schedule:
            case Interval(seconds, jitter):
                return seconds + jitter
            case Cron(jitter=jitter):
                return jitter
            case _:
                assert_never(self.schedule)
