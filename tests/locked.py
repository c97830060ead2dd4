"""What the test command installs: by which requirements, and in which versions."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

LOCKED = Path(__file__).with_name("locked.txt")
"""A constraints file of pip's: the version of each package, on every supported Python."""

BUILD = ("hatchling", "editables")
"""What builds the package, editable; without isolation, where no constraints would reach it."""
ROOTS = ("refresher[dev]", *BUILD)

_PYTHONS = ("3.11", "3.12", "3.13")
_SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}
_SUPPORTED = tuple(
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_system": system,
    }
    for python in _PYTHONS
    for platform, system in _SYSTEMS.items()
)


def locked(text: str) -> dict[NormalizedName, str]:
    """Read a constraints file of pins.

    Raises:
        ValueError: a line is neither a pin nor a comment.
    """
    versions = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        pin = re.fullmatch(r"([a-z0-9-]+)==([0-9][a-z0-9.]*)", line)
        if pin is None:
            raise ValueError(f"not a pin: {line!r}")
        versions[canonicalize_name(pin[1])] = pin[2]
    return versions


def required(installed: Iterable[Distribution]) -> set[NormalizedName]:
    """All that `ROOTS` require, on any supported Python and system.

    A package that is required but not `installed` is named too; what it requires is not known.
    """
    found = {canonicalize_name(each.name): each for each in installed}
    return {name for environment in _SUPPORTED for name in _closure(found, environment)}


def _closure(
    installed: Mapping[NormalizedName, Distribution], environment: Mapping[str, str]
) -> set[NormalizedName]:
    waiting = [Requirement(each) for each in ROOTS]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        step = (name, frozenset(requirement.extras))
        if step in seen:
            continue
        seen.add(step)
        if name not in installed:
            continue
        for each in map(Requirement, installed[name].requires or ()):
            extras = ("", *requirement.extras)
            if each.marker is None or any(
                each.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                waiting.append(each)
    return {name for name, _ in seen} - {canonicalize_name("refresher")}
