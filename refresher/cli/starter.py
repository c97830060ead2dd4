"""`refresher init`: a commented configuration to start from."""

import os
from importlib.resources import files
from pathlib import Path
from shlex import quote

from refresher.errors import ServiceError


def write_starter(path: Path) -> str:
    """Write the configuration, in a folder that exists; return what to do next, for a person.

    Raises:
        ServiceError: something is there already, or nothing can be written there.
    """
    text = files(__package__).joinpath("starter.toml").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ServiceError(
            f"{path} is there already and stays as it is; name another file, "
            "as in: refresher init my.toml"
        ) from error
    except OSError as error:
        raise ServiceError(f"cannot write {path}: {error.strerror}") from error
    is_default = path == Path("config.toml") and not os.environ.get("REFRESHER_CONFIG")
    option = "" if is_default else f" --config {quote(str(path))}"
    return f"""{path} is written. See what will run, make one attempt, then serve it:

  refresher check{option}
  refresher try quakes -v{option}
  refresher serve{option}
  curl -i http://127.0.0.1:8000/data/quakes"""
