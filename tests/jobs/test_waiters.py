import anyio
import pytest

from refresher.jobs.waiters import Waiters
from refresher.model import Attempt, Outcome


def attempt(version: int) -> Attempt:
    return Attempt(
        job="rates", started_at=0.0, duration=1.0, outcome=Outcome.CHANGED, version=version
    )


async def test_an_attempt_answers_all_requests_up_to_its_number_and_none_after() -> None:
    waiters = Waiters()
    first, second, later = (waiters.answer_to(number) for number in (1, 2, 3))
    waiters.answer(2, attempt(5))
    assert first.result() == second.result() == attempt(5)
    assert not later.done()
    waiters.answer(3, attempt(6))
    assert later.result() == attempt(6)


async def test_who_asks_after_the_answer_has_it_at_once() -> None:
    waiters = Waiters()
    waiters.answer(2, attempt(5))
    assert waiters.answer_to(1).result() == attempt(5)
    assert waiters.answer_to(2).result() == attempt(5)
    assert not waiters.answer_to(3).done()


async def test_an_answer_to_no_later_request_replaces_none() -> None:
    waiters = Waiters()
    waiters.answer(2, attempt(5))
    for upto in (1, 2):
        waiters.answer(upto, attempt(4))
    assert waiters.answer_to(2).result() == attempt(5)


async def test_a_waiter_that_leaves_takes_nothing_from_the_others() -> None:
    waiters = Waiters()
    leaving, staying = waiters.answer_to(1), waiters.answer_to(1)
    leaving.cancel()
    waiters.answer(1, attempt(5))
    assert staying.result() == attempt(5)
    with pytest.raises(anyio.get_cancelled_exc_class()):
        leaving.result()
