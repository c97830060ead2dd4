"""The steps of the pipeline in their order: decode, select, validate, guard."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from refresher.errors import GuardRefused, RefreshFailed
from refresher.model import Content, Format, GuardRules
from refresher.pipeline.charsets import is_empty
from refresher.pipeline.content_time import ContentTimeRule, time_of, written
from refresher.pipeline.decode import Reading, as_it_came, decode, pass_empty
from refresher.pipeline.guard import Served, guard, guard_keys
from refresher.pipeline.select import select
from refresher.pipeline.validate import validate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a job requires of its content, and what it makes of it."""

    reading: Reading = field(default=Reading())
    raw: bool = False
    """Whether what is not JSON is served as it came; the rules see it as JSON in any case."""
    select: str | None = None
    """A JMESPath expression; its result is what is served."""
    schema: str | None = None
    """The text of a JSON Schema that what is served must satisfy."""
    guard: GuardRules = field(default=GuardRules())
    content_time: ContentTimeRule | None = None
    """Where it stands in what is served when that is from; None: it does not say."""


def refine(body: bytes, content_type: str | None, rules: Rules, served: Served | None) -> Content:
    """Decode, select, validate and guard; `served` is what the guard compares with.

    Raises:
        RefreshFailed: the content was refused, at stage `decode`, `select` or `schema`.
        GuardRefused: it was refused at stage `guard`.
    """
    return refine_telling(body, content_type, rules, served, _tell_nobody)


def refine_telling(
    body: bytes,
    content_type: str | None,
    rules: Rules,
    served: Served | None,
    tell: Callable[[str], None],
) -> Content:
    """Do what `refine` does, and report the result of each step in a line to `tell`.

    Raises:
        RefreshFailed: the content was refused, at stage `decode`, `select` or `schema`.
        GuardRefused: it was refused at stage `guard`.
    """
    fixed = served.format if served is not None else None
    charset = rules.reading.charset
    if rules.guard.allow_empty and is_empty(body):
        return _empty(content_type, rules, fixed, tell)
    # An empty answer under `auto` says nothing of the format, so it fixes none.
    if served is not None and served.format is Format.BYTES and served.size == 0:
        fixed = None
    decoded, repeated_key = decode(body, content_type, rules.reading, fixed)
    tell(f"decode: {_shown(decoded)}")
    data = decoded
    if rules.select is not None:
        data = select(decoded, rules.select)
        tell(f"select: {rules.select} gives {_shown(data)}")
    if rules.schema is not None:
        validate(data, rules.schema)
        tell("schema: satisfied")
    content = as_it_came(data, body, content_type, charset) if rules.raw else data
    instant = None
    try:
        if rules.content_time is not None:
            instant = time_of(data, rules.content_time)
            tell(f"content_time: {written(instant)}")
        guard(data, rules.guard, served, size=len(content.body))
        if rules.guard.duplicate_keys == "reject":
            guard_keys(decoded, repeated_key)
    except RefreshFailed as refusal:
        refused = _from(content, instant)
        raise GuardRefused(refusal.failure.message, refused) from refusal
    if replace(rules.guard, accept_after=None) != GuardRules():  # that one is no rule of content
        tell("guard: let through")
    if content.raw:
        tell(f"raw: {content.content_type}, {len(content.body):,} bytes")
    return _from(content, instant)


def _empty(
    content_type: str | None, rules: Rules, fixed: Format | None, tell: Callable[[str], None]
) -> Content:
    content = pass_empty(content_type, rules.reading.format, fixed)
    if rules.raw:
        content = as_it_came(content, b"", content_type, rules.reading.charset)
    tell(f"decode: empty, as guard.allow_empty allows ({content.content_type})")
    if rules.content_time is not None:
        raise GuardRefused("content_time stands in no empty body", content)
    return content


def _from(content: Content, instant: float | None) -> Content:
    return content if instant is None else replace(content, content_time=instant)


def _tell_nobody(_: str) -> None:
    pass


def _shown(content: Content) -> str:
    items = "" if content.items is None else f", {content.items:,} items"
    return f"{content.format} ({content.content_type}), {len(content.body):,} bytes{items}"
