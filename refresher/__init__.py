"""Background-refreshed remote data, served at the speed of a local file.

Point it at slow, flaky, rate-limited upstreams; get local data that is always there, always fast,
and always says how fresh it is.
"""

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
from refresher.facade import Refresher, View
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
