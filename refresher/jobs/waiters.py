"""Those who wait for the answer to a manual refresh."""

import asyncio

from refresher.model import Attempt


class Waiters:
    """Those of one job; an attempt answers the requests up to a number, in whatever process it ran.

    So a request is neither lost nor answered by an attempt that was under way when it came, and
    however many come meanwhile, one attempt answers them all.
    """

    def __init__(self) -> None:
        self._answered = 0
        self._last: Attempt | None = None
        self._waiting: dict[asyncio.Future[Attempt], int] = {}

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
        """Tell the waiters up to that number how the attempt ended."""
        if upto <= self._answered:
            return
        self._answered = upto
        self._last = attempt
        for answer, number in list(self._waiting.items()):
            if number <= upto and not answer.done():
                answer.set_result(attempt)
