import pickle

import pytest

from refresher.errors import (
    ConfigError,
    GuardRefused,
    NoSnapshot,
    RefresherError,
    RefreshFailed,
    TooSoon,
    UnknownJob,
)
from refresher.model import Content, Format, Stage


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["one", "two"]),
        UnknownJob("rates", "no job is called rates"),
        NoSnapshot("rates", "pending", retry_after=3.0),
        TooSoon("rates", "cooldown", "not yet", retry_after=3.0),
        RefreshFailed(Stage.GUARD, "too few", transient=True, http_status=200, retry_after=1.5),
        GuardRefused(
            "too few",
            Content(body=b"[]", content_type="application/json", format=Format.JSON, items=0),
        ),
    ],
)
def test_an_error_is_the_same_in_another_process(error: RefresherError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
