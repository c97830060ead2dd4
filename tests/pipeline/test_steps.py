import pickle

import pytest

from refresher.errors import RefreshFailed
from refresher.model import Content, Format, Stage
from refresher.pipeline import GuardRules, Rules, Served, refine, refine_telling

BODY, JSON = b'{"rows": [1, 2], "page": 1}', "application/json"
RULES = Rules(select="rows", schema='{"type": "array"}', guard=GuardRules(min_items=1, required=()))


def test_every_step_tells_what_came_of_it() -> None:
    told: list[str] = []
    refine_telling(BODY, JSON, RULES, None, told.append)
    assert told == [
        "decode: json (application/json), 27 bytes, 2 items",
        "select: rows gives json (application/json), 5 bytes, 2 items",
        "schema: satisfied",
        "guard: let through",
    ]


def test_steps_that_are_not_asked_for_tell_nothing() -> None:
    told: list[str] = []
    refine_telling(BODY, JSON, Rules(), None, told.append)
    assert len(told) == 1


def test_an_empty_answer_tells_that_it_is_allowed() -> None:
    told: list[str] = []
    refine_telling(b"", None, Rules(guard=GuardRules(allow_empty=True)), None, told.append)
    assert "allow_empty" in told[0]


@pytest.mark.parametrize(
    ("body", "stage"),
    [
        (b"[", Stage.DECODE),
        (b'{"rows": null}', Stage.SELECT),
        (b'{"rows": {}}', Stage.SCHEMA),
        (b'{"rows": []}', Stage.GUARD),
    ],
)
def test_the_steps_come_in_order(body: bytes, stage: Stage) -> None:
    with pytest.raises(RefreshFailed) as caught:
        refine(body, JSON, RULES, None)
    assert caught.value.failure.stage is stage


def test_everything_that_crosses_a_process_border_can() -> None:
    given = (RULES, Served(2, 5, Format.JSON))
    rules, served = pickle.loads(pickle.dumps(given))  # noqa: S301
    content = refine(BODY, JSON, rules, served)
    assert content == Content(
        body=b"[1,2]", content_type="application/json", format=Format.JSON, items=2
    )
    assert pickle.loads(pickle.dumps(content)) == content  # noqa: S301
