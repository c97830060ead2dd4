"""The JSON Schema files that jobs name."""

import json
from pathlib import Path

from jsonschema_rs import ValidationError, validator_for

from refresher.config.units import Unfit


def read_schema(path: Path) -> str:
    """The text of the JSON Schema in the file at `path`.

    Raises:
        Unfit: there is no such file, or no JSON Schema in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = json.loads(text)
    except OSError as error:
        raise Unfit(f"cannot be read ({error.strerror})", f"look at {path}") from None
    except (ValueError, RecursionError):
        raise Unfit("is not a JSON file in UTF-8", f"look at {path}") from None
    try:
        # Offline: a schema that names another host must not fetch from it, now or later.
        validator_for(content, offline=True)
    except ValidationError as error:
        place = "/".join(("", *map(str, error.instance_path)))
        message = error.message.partition("\n")[0]
        wrong = f"is not a usable JSON Schema: {message}{f' (at {place})' if place else ''}"
        raise Unfit(wrong, "correct it; what it refers to must stand in it, in $defs") from None
    return text
