"""The configuration: from `config.toml` and the environment to what is to be run."""

from refresher.config.loading import Config, load, load_keys, state_directory
from refresher.config.models import (
    AdminConfig,
    Auth,
    BasicAuth,
    BearerAuth,
    HeaderAuth,
    JobConfig,
    NoAuth,
    QueryAuth,
    ServerConfig,
    StoreConfig,
    UpstreamConfig,
)
from refresher.config.plans import JobPlan
from refresher.config.schema import json_schema
from refresher.config.units import duration, written_duration
from refresher.model import Rate

__all__ = [
    "AdminConfig",
    "Auth",
    "BasicAuth",
    "BearerAuth",
    "Config",
    "HeaderAuth",
    "JobConfig",
    "JobPlan",
    "NoAuth",
    "QueryAuth",
    "Rate",
    "ServerConfig",
    "StoreConfig",
    "UpstreamConfig",
    "duration",
    "json_schema",
    "load",
    "load_keys",
    "state_directory",
    "written_duration",
]
