"""The JSON Schema files that jobs name."""

import json
from pathlib import Path

from jsonschema_rs import ValidationError, validator_for

from refresher.config.units import InvalidValue


def read_schema(path: Path) -> str:
    """The text of the JSON Schema in the file at `path`.

    Raises:
        InvalidValue: there is no such file, or no JSON Schema in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = json.loads(text)
    except OSError as error:
        raise InvalidValue(f"cannot be read ({error.strerror})", f"look at {path}") from None
    except (ValueError, RecursionError):
        raise InvalidValue("is not a JSON file in UTF-8", f"look at {path}") from None
    try:
        # Offline: nothing is fetched for a schema that refers to a URL, now or later.
        validator_for(content, offline=True)
    except ValidationError as error:
        place = "/".join(("", *map(str, error.instance_path)))
        message = error.message.partition("\n")[0]
        wrong = f"is not a usable JSON Schema: {message}{f' (at {place})' if place else ''}"
        raise InvalidValue(
            wrong, "correct it; what it refers to must stand in it, in $defs"
        ) from None
    return text
