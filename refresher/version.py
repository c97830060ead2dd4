"""The version of this package, for its metadata, its User-Agent and its metrics; and of others."""

import re

VERSION = "0.1.0"


def release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version, to compare it by: a series of releases."""
    return tuple(int(part) for part in re.findall("[0-9]+", version)[:2])
