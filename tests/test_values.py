import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from annotated_types import Len
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from refresher.model import Format
from refresher.values import Values
from tests.shelf import snapshot


class Flags(BaseModel):
    a: int


@dataclasses.dataclass
class Point:
    a: float


class Counting:
    """An annotation that notes how often values are validated."""

    def __init__(self) -> None:
        self.count = 0
        self.type: Any = Annotated[dict[str, int], BeforeValidator(self._note)]

    def _note(self, value: object) -> object:
        self.count += 1
        return value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (None, {"a": 1}),
        (dict[str, int], {"a": 1}),
        (Flags, Flags(a=1)),
        (Point, Point(1.0)),
        (Any, {"a": 1}),
        (object, {"a": 1}),
    ],
)
def test_json_is_decoded_under_any_annotation(type_: object, value: object) -> None:
    assert Values().of(snapshot(), type_) == value


@pytest.mark.parametrize("type_", [None, dict[str, str]])
def test_half_of_a_surrogate_pair_is_read_as_the_character_for_what_cannot_be_read(
    type_: object,
) -> None:
    assert Values().of(snapshot(body=rb'{"a": "\ud83d!"}'), type_) == {"a": "\ufffd!"}
    with pytest.raises(ValidationError, match="valid integer"):
        Values().of(snapshot(body=rb'{"a": "\ud83d!"}'), dict[str, int])


def test_text_and_bytes_are_what_they_are() -> None:
    text = snapshot("grün".encode(), content_type="text/plain", form=Format.TEXT)
    assert Values().of(text, None) == Values().of(text, str) == "grün"
    raw = snapshot(b"\x00\xff", content_type="image/png", form=Format.BYTES)
    assert Values().of(raw, None) == Values().of(raw, bytes) == b"\x00\xff"


def test_what_was_made_json_is_json_and_what_is_raw_is_bytes() -> None:
    made = snapshot(b'[{"a":"1"}]', form=Format.CSV)
    assert Values().of(made, None) == [{"a": "1"}]
    assert Values().of(made, list[Flags]) == [Flags(a=1)]
    content = dataclasses.replace(made.content, body=b"a\n1", content_type="text/csv", raw=True)
    raw = dataclasses.replace(made, content=content)
    assert Values().of(raw, None) == Values().of(raw, bytes) == b"a\n1"


def test_a_version_is_validated_once_and_shared() -> None:
    values, counting = Values(), Counting()
    first = values.of(snapshot(), counting.type)
    confirmed = snapshot(checked_at=1e9)
    assert all(values.of(confirmed, counting.type) is first for _ in range(10))
    assert counting.count == 1
    changed = values.of(snapshot(b'{"a":2}', version=2), counting.type)
    assert (changed, counting.count) == ({"a": 2}, 2)


def test_each_type_has_its_own_value() -> None:
    values = Values()
    assert values.of(snapshot(), Flags) == Flags(a=1)
    assert values.of(snapshot(), dict[str, float]) == {"a": 1.0}
    assert values.of(snapshot(), None) == {"a": 1}


def test_each_job_has_its_own_value() -> None:
    values = Values()
    assert values.of(snapshot(job="one"), None) is not values.of(snapshot(job="two"), None)


def test_who_still_holds_an_earlier_version_takes_nothing_from_the_latest() -> None:
    values, counting = Values(), Counting()
    old, new = snapshot(), snapshot(b'{"a":2}', version=2)
    latest = values.of(new, counting.type)
    assert values.of(old, counting.type) == {"a": 1}
    assert values.of(new, counting.type) is latest
    assert counting.count == 2


def test_content_of_another_type_is_refused_once_a_version_and_told_every_time() -> None:
    values, counting = Values(), Counting()
    wrong = snapshot(b'{"a":"x"}', version=3)
    for _ in range(3):
        with pytest.raises(ValidationError) as refused:
            values.of(wrong, counting.type)
        assert refused.value.__notes__ == ["This is version 3 of rates."]
    assert counting.count == 1
    assert values.of(snapshot(version=4), counting.type) == {"a": 1}


def test_an_annotation_that_cannot_be_hashed_has_a_value_of_its_own_too() -> None:
    values = Values()
    short, long = (Annotated[list[int], Field(max_length=n), {"unhashable": n}] for n in (1, 9))
    with pytest.raises(TypeError):
        hash(short)
    both = snapshot(b"[1,2]")
    with pytest.raises(ValidationError):
        values.of(both, short)
    assert values.of(both, long) == [1, 2]
    assert values.of(both, Annotated[list[int], Len(2)]) == [1, 2]


def test_threads_that_ask_at_once_share_one_validation() -> None:
    values, counting = Values(), Counting()
    start = threading.Barrier(8)

    def ask() -> object:
        start.wait(10)
        return values.of(snapshot(), counting.type)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        found = [each.result(10) for each in asked]
    assert all(each is found[0] for each in found)
    assert counting.count == 1


def test_numbers_stay_as_precise_as_python_has_them() -> None:
    precise = snapshot(b"[12345678901234567890, 0.1]")
    assert Values().of(precise, None) == [12345678901234567890, 0.1]
    assert TypeAdapter(list[int | float]).validate_json(precise.content.body)[0] == (
        12345678901234567890
    )


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    counting = Counting()
    one, two = snapshot(job="one"), snapshot(job="two")
    values = Values(most_bytes=len(one.content.body))
    assert values.of(one, counting.type) is values.of(one, counting.type)
    values.of(two, counting.type)
    values.of(one, counting.type)
    assert counting.count == 3


def test_what_is_larger_than_all_the_room_is_made_each_time() -> None:
    counting = Counting()
    values = Values(most_bytes=1)
    assert values.of(snapshot(), counting.type) == values.of(snapshot(), counting.type)
    assert counting.count == 2
