"""Schema: validate what is served by a JSON Schema, Draft 2020-12 where it names no other."""

from decimal import Decimal
from functools import lru_cache
from itertools import islice

import jsonschema_rs
import msgspec

from refresher.errors import RefreshFailed
from refresher.jsontext import text as jsontext
from refresher.model import Content, Stage
from refresher.security.excerpts import clipped, excerpt

_ERRORS_TOLD = 3
_SHOWN = 160


def validate(content: Content, schema: str) -> None:
    """Validate content by the text of a JSON Schema.

    Raises:
        RefreshFailed: at stage `schema`, with the first few places where it does not fit.
    """
    if not content.is_json:
        message = f"a schema describes JSON, but the answer is {content.format}"
        raise RefreshFailed(Stage.SCHEMA, f"{message} ({content.content_type})")
    try:
        value = jsontext.read(content.body, _read)
        errors = list(islice(_compiled(schema).iter_errors(value), _ERRORS_TOLD + 1))
    except ArithmeticError as error:
        message = "the schema cannot be checked: a number's exponent is beyond all bounds"
        raise RefreshFailed(Stage.SCHEMA, message) from error
    except (ValueError, RecursionError) as error:  # thousands of digits, say
        message = f"the schema cannot be checked: {clipped(str(error), _SHOWN)}"
        raise RefreshFailed(Stage.SCHEMA, message) from error
    if errors:
        told = "; ".join(_sentence(error) for error in errors[:_ERRORS_TOLD])
        more = "; and more" if len(errors) > _ERRORS_TOLD else ""
        raise RefreshFailed(Stage.SCHEMA, f"the content does not fit the schema: {told}{more}")


# Decimals: the validator compares exactly, and takes an integral one for an integer.
_read = msgspec.json.Decoder[object](float_hook=Decimal).decode


@lru_cache(maxsize=1024)
def _compiled(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema, offline=True)


def _sentence(error: jsonschema_rs.ValidationError) -> str:
    place = "".join(f"/{step}" for step in error.instance_path) or "the root"
    message = error.message
    if len(message) > _SHOWN:  # the value comes first, what is wrong with it last
        told = message.encode()
        end = excerpt(told, len(told) - _SHOWN // 2, len(told))
        message = f"{clipped(message, _SHOWN // 2)} {end}"
    return f"at {place}: {message}"
