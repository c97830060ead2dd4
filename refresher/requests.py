"""Who asked for a refresh by hand, and which attempt answers them."""

import asyncio
import math

from refresher.model import Attempt


class Requests:
    """The requests of one job, numbered by the lease; an attempt answers those up to a number.

    So a request is neither lost nor answered by an attempt that was under way when it came, and
    however many come meanwhile, one attempt answers them all.
    """

    def __init__(self, *, cooldown: float) -> None:
        self._cooldown = cooldown
        self._taken = self._answered = self._forced = 0
        self._taken_at = -math.inf
        self._last: Attempt | None = None
        self._waiting: dict[asyncio.Future[Attempt], int] = {}

    @property
    def pending(self) -> bool:
        """Whether a request has yet to be answered."""
        return self._taken > self._answered

    @property
    def forced(self) -> bool:
        """Whether one of them overrides cooldown and Retry-After."""
        return self._forced > self._answered

    @property
    def welcome_from(self) -> float:
        """The instant at which the cooldown since the last request is over."""
        return self._taken_at + self._cooldown

    def take(self, number: int, *, force: bool, now: float) -> None:
        """Note a request and its number."""
        self._taken = max(self._taken, number)
        self._taken_at = now
        if force:
            self._forced = max(self._forced, number)

    def not_after(self, now: float) -> None:
        """Forget that a request came later than now: the wall clock has been set back."""
        self._taken_at = min(self._taken_at, now)

    def answer_to(self, number: int) -> "asyncio.Future[Attempt]":
        """The attempt that answers a request, once it is over; cancelling it cancels no attempt."""
        answer: asyncio.Future[Attempt] = asyncio.get_running_loop().create_future()
        if number <= self._answered and self._last is not None:
            answer.set_result(self._last)
        else:
            self._waiting[answer] = number
            answer.add_done_callback(lambda done: self._waiting.pop(done, None))
        return answer

    def answer(self, upto: int, attempt: Attempt) -> None:
        """Tell all who asked up to that number how the attempt ended."""
        self._answered = max(self._answered, upto)
        self._last = attempt
        for answer, number in list(self._waiting.items()):
            if number <= upto and not answer.done():
                answer.set_result(attempt)
