"""Builders of what the pipeline is given, and of what it says."""

import pytest
from hypothesis import strategies as st

from refresher import pipeline
from refresher.errors import RefreshFailed
from refresher.model import Content, Format, Stage
from refresher.pipeline import FormatRule, GuardRules, Served

JSON = "application/json"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


def refined(
    body: bytes,
    content_type: str | None = JSON,
    *,
    served: Served | None = None,
    format: FormatRule = "auto",  # noqa: A002
    select: str | None = None,
    schema: str | None = None,
    guard: GuardRules | None = None,
    raw: bool = False,
    charset: str | None = None,
    delimiter: str | None = None,
) -> Content:
    """What the pipeline makes of an answer."""
    reading = pipeline.Reading(format=format, charset=charset, delimiter=delimiter)
    rules = pipeline.Rules(
        reading=reading, raw=raw, select=select, schema=schema, guard=guard or GuardRules()
    )
    return pipeline.refine(body, content_type, rules, served)


def refusal(
    stage: Stage,
    body: bytes,
    content_type: str | None = JSON,
    *,
    served: Served | None = None,
    format: FormatRule = "auto",  # noqa: A002
    select: str | None = None,
    schema: str | None = None,
    guard: GuardRules | None = None,
    raw: bool = False,
    charset: str | None = None,
    delimiter: str | None = None,
) -> str:
    """Why the pipeline refuses an answer, which it must do at `stage`, for good."""
    with pytest.raises(RefreshFailed) as caught:
        refined(
            body,
            content_type,
            served=served,
            format=format,
            select=select,
            schema=schema,
            guard=guard,
            raw=raw,
            charset=charset,
            delimiter=delimiter,
        )
    assert caught.value.failure.stage is stage
    assert not caught.value.transient
    return caught.value.failure.message


def serving(items: int | None, size: int = 100, kind: Format = Format.JSON) -> Served:
    """What readers get at present."""
    return Served(items, size, kind)
