"""Guard: content that is well-formed and still wrong, by comparison and by what must be in it."""

from dataclasses import dataclass

import msgspec

from refresher.errors import RefreshFailed
from refresher.model import Content, Format, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """What content must have to replace what is served."""

    min_items: int | None = None
    max_shrink: float | None = None
    """The fraction of what is served that may go missing at once: of its items, else its bytes."""
    required: tuple[str, ...] = ()
    """Members that a root object must have, and every row of a root array."""
    allow_empty: bool = False
    """Whether an empty body is published, as zero bytes and without any other check."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a reader gets at present."""

    items: int | None
    size: int
    """Bytes."""
    format: Format


def guard(content: Content, rules: GuardRules, served: Served | None) -> None:
    """Let content through, or not.

    Raises:
        RefreshFailed: at stage `guard`.
    """
    _guard_items(content, rules.min_items)
    if rules.max_shrink is not None and served is not None:
        _guard_shrink(content, rules.max_shrink, served)
    if rules.required:
        _guard_members(content, rules.required)


def _guard_items(content: Content, least: int | None) -> None:
    if least is None or (content.items is not None and content.items >= least):
        return
    has = "none to count" if content.items is None else f"{content.items:,}"
    message = f"guard.min_items asks for {least:,} items, the answer has {has}"
    raise RefreshFailed(Stage.GUARD, message)


def _guard_shrink(content: Content, allowed: float, served: Served) -> None:
    if content.items is None or served.items is None:
        before, after, unit = served.size, len(content.body), "bytes"
    else:
        before, after, unit = served.items, content.items, "items"
    # Divided, not multiplied: 58 of 100 is exactly the 0.58 that was written; 0.58 * 100 is not 58.
    if before and (before - after) / before > allowed:
        message = (
            f"guard.max_shrink lets {100 * allowed:g} % go at once; of {before:,} {unit} served "
            f"{after:,} would be left"
        )
        raise RefreshFailed(Stage.GUARD, message)


def _guard_members(content: Content, required: tuple[str, ...]) -> None:
    if content.format is not Format.JSON:
        message = f"guard.required looks into JSON, but the answer is {content.format}"
        raise RefreshFailed(Stage.GUARD, f"{message} ({content.content_type})")
    try:
        match content.body.lstrip(b" \t\r\n")[:1]:
            case b"[":
                rows = msgspec.json.decode(content.body, type=list[dict[str, msgspec.Raw]])
                places = [(f"row {number}", row) for number, row in enumerate(rows)]
            case _:
                places = [
                    ("the root", msgspec.json.decode(content.body, type=dict[str, msgspec.Raw]))
                ]
    except msgspec.ValidationError as error:
        message = f"guard.required asks for {', '.join(required)}, which only an object can have"
        raise RefreshFailed(Stage.GUARD, f"{message}: {error}") from error
    for place, members in places:
        missing = [name for name in required if name not in members]
        if missing:
            message = f"guard.required: {place} of the answer lacks {', '.join(missing)}"
            raise RefreshFailed(Stage.GUARD, message)
