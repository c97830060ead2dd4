"""For the tests of applications that use a `Refresher`."""

from collections.abc import Callable

from refresher.api import Refresher


def freeze(cache: Refresher, job: str | Callable[..., object], value: object) -> None:
    """Give a job a fixed value: it is served as fresh data, and no source is asked for it.

    Best called before the cache is entered; while it runs, the job is stopped on the spot.

    Raises:
        UnknownJob: no job has that name; before entry this is found out on entry.
        RefreshFailed: the value is not data that a job can have.
    """
    cache.freeze(job, value)
