import signal
from pathlib import Path

from tests.cli.commands import PATIENCE, configured, process, refresher
from tests.faults import STALL, FaultServer, answer, json_answer, redirect


def job(folder: Path, url: str, more: str = "") -> None:
    configured(folder, f'[jobs.rates]\nurl = "{url}"\n{more}')


def test_the_body_goes_to_stdout_byte_for_byte_and_a_line_to_stderr(
    upstream: FaultServer, tmp_path: Path
) -> None:
    body = b' {"b": 1.50,\r\n "a": "\xc3\xa9"}'
    job(tmp_path, upstream.script("/", json_answer(body)))
    ended = refresher("try", "rates", folder=tmp_path)
    assert (ended.status, ended.body) == (0, body)
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("rates: changed in ")
    assert "2 items, HTTP 200" in ended.err


def test_verbose_prints_every_step(upstream: FaultServer, tmp_path: Path) -> None:
    upstream.script("/old", redirect("/new"))
    upstream.script("/new", json_answer(b'{"rows": [1, 2, 3]}', {"ETag": '"abc"'}))
    (tmp_path / "rows.json").write_text('{"type": "array"}')
    more = 'select = "rows"\nschema = "rows.json"\nguard = { min_items = 2 }\nmax_age = "1m"'
    job(tmp_path, upstream.url("/old"), more)
    ended = refresher("try", "rates", "-v", folder=tmp_path)
    assert (ended.status, ended.body) == (0, b"[1,2,3]")
    steps = ended.err.splitlines()
    wanted = [
        "within 5m",
        "/old: 302 from 127.0.0.1 after",
        "/new: 200 from 127.0.0.1 after",
        "Content-Type: application/json",
        'ETag: "abc"',
        "body: 19 bytes",
        "decode: json",
        "select: rows gives json",
        "schema: satisfied",
        "guard: let through",
        "serve: 7 bytes",
        "Content-Type: application/json",
        'ETag: "',
        "Cache-Control: max-age=60",
        "fresh for",
        "rates: changed in",
    ]
    lines = iter(steps)
    for step in wanted:  # in this order
        assert any(step in line for line in lines), (step, steps)
    assert any(line.endswith(f"leads to {upstream.url('/new')}") for line in steps)
    assert all(" ms  " in line for line in steps[:-1])


def test_verbose_prints_every_page(upstream: FaultServer, tmp_path: Path) -> None:
    upstream.script("/1", json_answer(b'{"rows": [1, 2], "next": "/2?key=s3cret"}'))
    upstream.script("/2", json_answer(b'{"rows": [3]}'))
    more = 'paginate = { type = "next_url", path = "next", items = "rows" }'
    job(tmp_path, upstream.url("/1"), more)
    ended = refresher("try", "rates", "-v", folder=tmp_path)
    assert (ended.status, ended.body) == (0, b"[1, 2,3]")
    steps = [line.partition(" ms  ")[2] for line in ended.err.splitlines()]
    assert f"page 1: 41 bytes with 2 items, next is {upstream.url('/2?…')}" in steps
    assert "page 2: 13 bytes with 1 item, the last one" in steps
    assert any(line.startswith("body: 8 bytes, application/json") for line in steps)


def test_a_failure_has_its_stage_a_sentence_and_no_body(
    upstream: FaultServer, tmp_path: Path
) -> None:
    job(tmp_path, upstream.script("/", answer(503, b"no")))
    ended = refresher("try", "rates", folder=tmp_path)
    assert (ended.status, ended.body) == (1, b"")
    assert ended.err.startswith("rates: failed at stage status in ")
    assert "503" in ended.err


def test_refused_content_is_not_printed(upstream: FaultServer, tmp_path: Path) -> None:
    job(tmp_path, upstream.script("/", json_answer(b"[1]")), "guard = { min_items = 2 }")
    ended = refresher("try", "rates", folder=tmp_path)
    assert (ended.status, ended.body) == (1, b"")
    assert ended.err.startswith("rates: rejected at stage guard in ")


def test_secrets_are_never_told(upstream: FaultServer, tmp_path: Path) -> None:
    echoed = {"Content-Type": "application/json; charset=hidden-token", "ETag": '"hidden-token"'}
    url = upstream.script("/", answer(200, b"{}", echoed)) + "?key=hidden-query"
    more = 'params = { k = "${KEY}" }\nauth = { type = "bearer", token = "hidden-token" }'
    job(tmp_path, url, more)
    ended = refresher("try", "rates", "-v", folder=tmp_path, KEY="hidden-key")
    assert upstream.requests[0].header("authorization") == "Bearer hidden-token"
    assert "hidden-key" in upstream.requests[0].target
    for secret in ("hidden-token", "hidden-key"):
        assert secret not in ended.err
    assert "***" in ended.err


def test_what_an_upstream_says_steers_no_terminal(upstream: FaultServer, tmp_path: Path) -> None:
    job(tmp_path, upstream.script("/", json_answer(b"{}", {"ETag": '"\x9b31m"'})))
    ended = refresher("try", "rates", "-v", folder=tmp_path)
    assert all(line.isprintable() for line in ended.err.splitlines())


def test_the_timeout_of_the_job_bounds_it(upstream: FaultServer, tmp_path: Path) -> None:
    job(tmp_path, upstream.script("/", (STALL,)), 'timeout = "100ms"')
    ended = refresher("try", "rates", folder=tmp_path)
    assert ended.status == 1
    assert "failed at stage timeout" in ended.err


def test_an_unknown_job_is_wrong_usage_with_a_hint(tmp_path: Path) -> None:
    configured(tmp_path, '[jobs.rates]\nfile = "x"')
    ended = refresher("try", "rate", folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert 'did you mean "rates"?' in ended.err
    assert len(ended.err.splitlines()) == 1


def test_what_a_function_prints_is_not_the_body(tmp_path: Path) -> None:
    (tmp_path / "feeds_that_print.py").write_text(
        "print('on import')\ndef names():\n    print('when called')\n    return ['a']"
    )
    configured(tmp_path, '[jobs.names]\npython = "feeds_that_print:names"')
    ended = refresher("try", "names", folder=tmp_path)
    assert (ended.status, ended.body) == (0, b'["a"]')
    assert "on import" in ended.err
    assert "when called" in ended.err


def test_what_a_function_returns_is_of_the_type_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "feeds_with_types.py").write_text(
        "def good() -> list[str]:\n    return ['a']\n"
        "def bad() -> list[str]:\n    return {'error': 'quota'}\n"
    )
    configured(
        tmp_path,
        '[jobs.good]\npython = "feeds_with_types:good"\n'
        '[jobs.bad]\npython = "feeds_with_types:bad"',
    )
    assert "type: it is list[str]" in refresher("try", "good", "-v", folder=tmp_path).err
    ended = refresher("try", "bad", folder=tmp_path)
    assert (ended.status, ended.body) == (1, b"")
    assert "bad: rejected at stage schema in " in ended.err
    assert "at the root: Input should be a valid array" in ended.err


def test_a_function_that_raises_is_a_failure_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "feeds_that_raise.py").write_text("async def names():\n    raise KeyError('gone')")
    configured(tmp_path, '[jobs.names]\npython = "feeds_that_raise:names"')
    ended = refresher("try", "names", folder=tmp_path)
    assert ended.status == 1
    assert ended.err.startswith("names: failed at stage source in ")
    assert "gone" in ended.err
    assert "Traceback" not in ended.err


def test_the_function_of_another_job_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    configured(tmp_path, '[jobs.a]\nfile = "a.json"\n[jobs.b]\npython = "no_such_module:f"')
    assert refresher("try", "a", folder=tmp_path).status == 0
    assert refresher("try", "b", folder=tmp_path).status == 2


def test_a_disabled_job_can_be_tried(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    configured(tmp_path, '[jobs.a]\nfile = "a.json"\nenabled = false')
    assert refresher("try", "a", folder=tmp_path).body == b"[]"


def test_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    configured(tmp_path, '[jobs.a]\nfile = "a.json"')
    assert refresher("try", "a", "-v", folder=tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "config.toml"]


def test_ctrl_c_ends_it_without_a_traceback(upstream: FaultServer, tmp_path: Path) -> None:
    job(tmp_path, upstream.script("/", (STALL,)))
    with process("try", "rates", "-v", folder=tmp_path) as running:
        assert running.stderr is not None
        assert "rates: url" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 130
        assert "Traceback" not in running.stderr.read()
