import json

import pytest

from refresher.web.answer import json_answer
from refresher.web.problems import problem


def test_a_problem_of_ours_has_a_name_of_ours() -> None:
    answer = problem(429, "too-soon", "wait", headers={"Retry-After": "7"}, jobs=["a"])
    assert json.loads(answer.body) == {
        "type": "urn:refresher:too-soon",
        "title": "Too soon",
        "status": 429,
        "detail": "wait",
        "jobs": ["a"],
    }
    assert dict(answer.headers) == {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(answer.body)).encode(),
        b"cache-control": b"no-store",
        b"retry-after": b"7",
    }


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (405, "Method Not Allowed"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (422, "Unprocessable Content"),
        (499, "Error"),
    ],
)
def test_any_other_problem_is_called_after_its_status(status: int, title: str) -> None:
    found = json.loads(problem(status, None, "no").body)
    assert (found["type"], found["title"]) == ("about:blank", title)


@pytest.mark.parametrize("text", ["gr\xfcn", "a\udc80b", "\x00\n", "\U0001f40d"])
def test_any_text_of_python_can_be_said_in_json(text: str) -> None:
    answer = json_answer({"text": text})
    assert json.loads(answer.body) == {"text": text}
    assert json.loads(problem(500, None, text).body)["detail"] == text
    assert (b"content-length", b"%d" % len(answer.body)) in answer.headers
