import logging
from collections.abc import Iterator

import pytest

from refresher.security.logs import RedactingFilter, redacted

SECRET = "s3cr3t-t0k3n"


def hide(text: str) -> str:
    return text.replace(SECRET, "***")


class Broken:
    """Prints what it must not, and cannot be formatted."""

    def __repr__(self) -> str:
        return f"Broken({SECRET})"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What arrives at an application's handler while logs are redacted."""
    with redacted(hide), caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize(
    "name",
    ["refresher", "httpx", "httpcore.http11", "aiohttp.client", "asyncio"],
)
def test_no_secret_leaves_these_loggers(name: str, lines: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name)
    logger.info("GET https://api.example/?key=%s %d", SECRET, 200)
    logger.info(f"already said {SECRET}")  # noqa: G004  people do
    logger.info(Broken())
    assert [record.getMessage() for record in lines.records] == [
        "GET https://api.example/?key=*** 200",
        "already said ***",
        "Broken(***)",
    ]
    assert SECRET not in lines.text


def test_nor_does_one_in_a_traceback(lines: pytest.LogCaptureFixture) -> None:
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("refresher").exception("it broke")
    assert "ValueError: invalid literal for int() with base 10: '***'" in lines.text
    assert SECRET not in lines.text
    assert lines.records[0].exc_info is None, "no formatter can print the exception itself"


def test_what_has_no_secret_is_left_as_it_was() -> None:
    error = ValueError("harmless")
    trouble = (ValueError, error, None)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s broke", ("it",), trouble)
    assert RedactingFilter(hide).filter(record)
    assert (record.msg, record.args) == ("%s broke", ("it",))
    assert record.exc_info is trouble
    assert not record.exc_text, "the application's formatter decides how it looks"


def test_arguments_that_do_not_fit_are_told_and_do_no_harm(
    lines: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("refresher").warning("%d and %s", SECRET)  # noqa: PLE1206  people do
    (record,) = lines.records
    assert record.getMessage() == "%d and %s % ('***',)"


def test_afterwards_nothing_is_left_behind() -> None:
    logger = logging.getLogger("refresher")
    before = list(logger.filters)
    with redacted(hide), redacted(lambda text: text.replace("other", "+++")):
        assert len(logger.filters) == len(before) + 2
    assert logger.filters == before


def test_two_services_hide_each_its_own(caplog: pytest.LogCaptureFixture) -> None:
    with redacted(hide), redacted(lambda text: text.replace("other", "+++")):
        logging.getLogger("refresher").warning("%s and other", SECRET)
    assert caplog.messages == ["*** and +++"]


def test_a_traceback_that_was_formatted_already_is_redacted_too() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "m", None, None)
    record.exc_text = f"ValueError: {SECRET}"
    assert RedactingFilter(hide).filter(record)
    assert record.exc_text == "ValueError: ***"
