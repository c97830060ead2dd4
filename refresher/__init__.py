"""Background-refreshed remote data, served at the speed of a local file.

Point it at slow, flaky, rate-limited upstreams; get local data that is always there, always fast,
and always says how fresh it is.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refresher.api import Refresher, View
    from refresher.errors import (
        ConfigError,
        NoSnapshot,
        NotRefreshable,
        ReadError,
        RefresherError,
        RefreshFailed,
        RefreshRefused,
        ServiceError,
        TooSoon,
        UnknownJob,
    )
    from refresher.model import Attempt, Outcome, Stage, State
    from refresher.sources.callable import UNCHANGED

__all__ = [
    "UNCHANGED",
    "Attempt",
    "ConfigError",
    "NoSnapshot",
    "NotRefreshable",
    "Outcome",
    "ReadError",
    "RefreshFailed",
    "RefreshRefused",
    "Refresher",
    "RefresherError",
    "ServiceError",
    "Stage",
    "State",
    "TooSoon",
    "UnknownJob",
    "View",
]

_HOMES = {
    "refresher.errors": {
        "ConfigError",
        "NoSnapshot",
        "NotRefreshable",
        "ReadError",
        "RefreshFailed",
        "RefreshRefused",
        "RefresherError",
        "ServiceError",
        "TooSoon",
        "UnknownJob",
    },
    "refresher.api": {"Refresher", "View"},
    "refresher.model": {"Attempt", "Outcome", "Stage", "State"},
    "refresher.sources.callable": {"UNCHANGED"},
}


if not TYPE_CHECKING:  # a type checker would take every misspelt name for an object

    def __getattr__(name: str) -> object:
        """Import a name when it is asked for: FastAPI takes a second, `--help` needs none of it."""
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
