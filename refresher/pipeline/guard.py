"""Guard: refuse well-formed content for its size, its change, its members or its keys."""

from dataclasses import dataclass

import msgspec

from refresher.errors import RefreshFailed
from refresher.jsontext import text as jsontext
from refresher.model import Content, Format, GuardRules, Stage
from refresher.security.excerpts import quoted


@dataclass(frozen=True, slots=True)
class Served:
    """Of the content that is served at present, what the next one is compared with."""

    items: int | None
    size: int
    """Bytes."""
    format: Format


def guard(content: Content, rules: GuardRules, served: Served | None, *, size: int) -> None:
    """Check content against the rules; `size` is that of the bytes to be served.

    Raises:
        RefreshFailed: at stage `guard`.
    """
    _guard_items(content, rules)
    if served is not None:
        _guard_change(content, rules, served, size)
    if rules.required:
        _guard_members(content, rules.required)


def guard_keys(decoded: Content, repeated_key: str | None) -> None:
    """Require that no object of an answer has a key twice; `repeated_key` is one seen before.

    It is the answer as decoded that counts: select would take the last one for the only one.

    Raises:
        RefreshFailed: at stage `guard`.
    """
    if repeated_key is None and decoded.is_json:
        repeated_key = jsontext.repeated_key(decoded.body)
    if repeated_key is not None:
        message = f"the key {quoted(repeated_key)} stands twice in an object of the answer"
        raise RefreshFailed(Stage.GUARD, f"guard.duplicate_keys: {message}")


def _guard_items(content: Content, rules: GuardRules) -> None:
    least, most, count = rules.min_items, rules.max_items, content.items
    if least and (count is None or count < least):  # of 0 there are enough even in a scalar
        has = "none to count" if count is None else f"{count:,}"
        message = f"guard.min_items asks for {least:,} items, the answer has {has}"
        raise RefreshFailed(Stage.GUARD, message)
    if most is not None and count is not None and count > most:
        message = f"guard.max_items allows {most:,} items, the answer has {count:,}"
        raise RefreshFailed(Stage.GUARD, message)


def _guard_change(content: Content, rules: GuardRules, served: Served, size: int) -> None:
    if content.items is None or served.items is None:
        before, after, unit = served.size, size, "bytes"
    else:
        before, after, unit = served.items, content.items, "items"
    if not before:
        return
    # Divided, not multiplied: 58 of 100 is exactly the 0.58 that was written; 0.58 * 100 is not 58.
    shrink, growth = rules.max_shrink, rules.max_growth
    if shrink is not None and (before - after) / before > shrink:
        message = (
            f"guard.max_shrink lets {100 * shrink:g} % go at once; of {before:,} {unit} served "
            f"{after:,} would be left"
        )
        raise RefreshFailed(Stage.GUARD, message)
    if growth is not None and (after - before) / before > growth:
        message = (
            f"guard.max_growth lets {100 * growth:g} % come at once; the {before:,} {unit} served "
            f"would become {after:,}"
        )
        raise RefreshFailed(Stage.GUARD, message)


_rows = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _guard_members(content: Content, required: tuple[str, ...]) -> None:
    if not content.is_json:
        message = f"guard.required looks into JSON, but the answer is {content.format}"
        raise RefreshFailed(Stage.GUARD, f"{message} ({content.content_type})")
    try:
        match content.body.lstrip(b" \t\r\n")[:1]:
            case b"[":
                rows = jsontext.read(content.body, _rows)
                places = [(f"row {number}", row) for number, row in enumerate(rows)]
            case _:
                places = [("the root", jsontext.read(content.body, _members))]
    except msgspec.ValidationError as error:
        message = f"guard.required asks for {', '.join(required)}, which only an object can have"
        raise RefreshFailed(Stage.GUARD, f"{message}: {error}") from error
    for place, members in places:
        missing = [name for name in required if name not in members]
        if missing:
            message = f"guard.required: {place} of the answer lacks {', '.join(missing)}"
            raise RefreshFailed(Stage.GUARD, message)
