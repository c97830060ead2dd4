"""The table of `guard`: how the keys of `GuardRules` are written and validated."""

from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetPydanticSchema

from refresher.config import types as v
from refresher.model import GuardRules

KEYS: dict[str, Any] = {
    "min_items": Annotated[v.Number, Field(ge=0, le=2**31)] | None,
    "max_items": Annotated[v.Number, Field(ge=0, le=2**31)] | None,
    "max_shrink": v.Percentage | None,
    "max_growth": v.Growth | None,
    "required": tuple[v.Word, ...],
    "allow_empty": v.Flag,
    "duplicate_keys": Literal["accept", "reject"],
    "accept_after": Annotated[v.Number, Field(ge=1, le=1_000_000)] | None,
}
"""The type of each key of `GuardRules`, whose own annotations are plain: a worker process unpickles
it, and does not import pydantic."""

GuardConfig = make_dataclass(
    "GuardConfig",
    [(key.name, KEYS[key.name], field(default=key.default)) for key in fields(GuardRules)],
    bases=(GuardRules,),
    namespace={
        "__doc__": "What content must be like to replace what is served.",
        "__pydantic_config__": v.STRICT,
    },
    frozen=True,
    kw_only=True,
)
"""What a guard's table is validated as, before it becomes `GuardRules`."""


def _as_rules(table: GuardRules) -> GuardRules:
    return GuardRules(**{key.name: getattr(table, key.name) for key in fields(GuardRules)})


Guard = Annotated[
    GuardRules,
    GetPydanticSchema(
        lambda _, handler: handler(Annotated[GuardConfig, AfterValidator(_as_rules)])
    ),
]
