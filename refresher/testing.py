"""Help for the tests of applications that use a `Refresher`."""

from collections.abc import Callable

from refresher.api import Refresher


def freeze(cache: Refresher, job: str | Callable[..., object], value: object) -> None:
    """Give a job a fixed value: it is served as fresh data, and no source is asked for it.

    Best called before the cache is entered; while it runs, the job is stopped at once.

    Raises:
        UnknownJob: no job has that name; before entry, this is raised on entry.
        RefreshFailed: the value is none that a job can have.
    """
    cache.freeze(job, value)
