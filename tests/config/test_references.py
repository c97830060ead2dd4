from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresher.config.references import Interpolated, References, pieces_of, unreplaced
from refresher.config.units import InvalidValue
from tests.config.configs import URL, config, job, job_problems, problems, written


def filled(text: str, folder: Path = Path("/nowhere"), **environ: str) -> str:
    return References(environ).interpolate(text, folder)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"),
        ("<${A}${B}>", "<12>"),
        ("${A:-x}", "1"),
        ("${NONE:-x y:-z}", "x y:-z"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("$${A}", "${A}"),
        ("$${A", "${A"),
        ("$$${A}", "$${A}"),
        ("$A $1 $$ $", "$A $1 $$ $"),
        ("{A}", "{A}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_references_are_replaced_once_and_any_other_dollar_is_itself(text: str, value: str) -> None:
    assert filled(text, A="1", B="2", EMPTY="", NESTED="${A}") == value


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("${NONE}", "the environment has no NONE"),
        ("${", "never closes it"),
        ("${A", "never closes it"),
        ("${}", "which is no reference"),
        ("${A B}", "which is no reference"),
        ("${A-x}", "which is no reference"),
        ("${1A}", "which is no reference"),
        ("${file:}", "which is no reference"),
        ("${NONE:-${A}}", "a reference in the default"),
        ("${BYTES}", "is not UTF-8"),
    ],
)
def test_a_reference_that_cannot_be_replaced_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        filled(text, A="1", BYTES="\udcff")
    assert wrong in caught.value.wrong


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b"\n", ""), (b"x\r", "x\r")],
)
def test_one_trailing_newline_of_a_file_is_dropped(
    tmp_path: Path, content: bytes, value: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert filled("${file:secret}", tmp_path) == value
    assert filled(f"<${{file:{tmp_path}/secret}}>") == f"<{value}>"


def test_a_file_is_read_once_for_all_that_name_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first")
    references = References({})
    assert references.interpolate("${file:secret}", tmp_path) == "first"
    (tmp_path / "secret").write_text("second")
    assert references.interpolate("${file:secret}", tmp_path) == "first"


def test_a_secret_file_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "folder").mkdir()
    for name, wrong in [
        ("none", "No such file"),
        ("folder", "Is a directory"),
        ("bytes", "not UTF-8"),
        ("\0", "no file can be called"),
    ]:
        with pytest.raises(InvalidValue) as caught:
            filled(f"${{file:{tmp_path}/{name}}}")
        assert f"{tmp_path}" in caught.value.wrong
        assert wrong in caught.value.wrong


def test_files_are_relative_to_the_one_they_are_named_in_and_are_listed(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'include = ["jobs.d/*.toml"]\n[admin]\ntoken = "${file:token}"',
        a=f'[jobs.a]\nurl = "{URL}"\nheaders = {{ X-Key = "${{file:token}}" }}',
    )
    (tmp_path / "token").write_text("outer\n")
    (tmp_path / "jobs.d" / "token").write_text("inner\n")
    found = config(path)
    assert found.admin.token == ("outer",)
    assert found.jobs["a"].config.headers == {"X-Key": "inner"}
    assert set(found.secret_files) == {tmp_path / "token", tmp_path / "jobs.d" / "token"}


def test_a_string_that_is_one_reference_may_stand_for_a_number_or_a_boolean() -> None:
    environ = {"PORT": "9000", "ON": "true", "OFF": "false", "STATUS": "202"}
    tables = {
        "server": {"port": "${PORT}", "access_log": "${ON}"},
        "jobs": {
            "a": {
                "url": URL,
                "enabled": "${OFF}",
                "ok_status": ["${STATUS}"],
                "guard": {"min_items": "${N:-3}"},
            }
        },
    }
    found = config(tables, environ)
    assert (found.server.port, found.server.access_log) == (9000, True)
    assert (found.jobs["a"].config.enabled, found.jobs["a"].config.ok_status) == (False, (202,))
    assert found.jobs["a"].config.guard.min_items == 3
    assert found.secrets == frozenset()


def test_where_a_string_is_wanted_digits_stay_a_string() -> None:
    plan = job(
        {"N": "007", "T": "true"}, headers={"X-N": "${N}"}, json={"t": "${T}"}, tags=["${N}"]
    )
    assert plan.config.headers == {"X-N": "007"}
    assert plan.config.json == {"t": "true"}
    assert plan.config.tags == ("007",)


@pytest.mark.parametrize("value", ["x", "1.5", "1 2", "", "True"])
def test_a_reference_that_is_no_number_where_one_is_wanted_is_a_problem(value: str) -> None:
    [problem] = job_problems({"N": value}, max_redirects="${N}")
    assert problem.startswith("config: jobs.a.max_redirects: is not a whole number, got ***")


def test_digits_within_a_longer_string_do_not_stand_for_a_number() -> None:
    assert len(job_problems({"N": "1"}, max_redirects="1${N}")) == 1


def test_keys_are_not_replaced() -> None:
    assert job({"A": "b"}, params={"${A}": "1"}).config.params == {"${A}": "1"}


def test_an_unset_variable_is_the_only_problem_of_its_value() -> None:
    [problem] = problems({"defaults": {"interval": "${NONE}"}, "jobs": {"a": {"url": URL}}})
    assert problem == (
        "config: defaults.interval: needs ${NONE}, and the environment has no NONE, "
        "set it or write ${NONE:-default}"
    )


def test_an_interpolated_string_knows_what_was_written() -> None:
    text = filled("a $${b} ${C} ${D:-d}", C="c")
    assert text == "a ${b} c d"
    assert unreplaced(pieces_of(text)) == "a $${b} ${C} ${D:-d}"
    assert unreplaced(pieces_of("plain ${b}")) == "plain $${b}"


@given(
    st.lists(st.sampled_from(["$", "{", "}", "$${", "${A}", "${B:-b}", "x", "A", ":-"]), max_size=8)
)
def test_filling_reads_back_what_it_wrote(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        value = filled(text, A="a${A}")
    except InvalidValue:
        return
    again = unreplaced(pieces_of(value))
    assert filled(again, A="a${A}") == value
    if isinstance(value, Interpolated):
        assert "".join(piece.text for piece in value.pieces) == value
