"""The configuration: from `config.toml` and the environment to what is to be run."""

from refresher.config.auth import Auth, BasicAuth, BearerAuth, HeaderAuth, NoAuth, QueryAuth
from refresher.config.loading import Config, load, load_keys, state_directory
from refresher.config.models import (
    AdminConfig,
    JobConfig,
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
