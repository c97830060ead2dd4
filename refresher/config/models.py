"""The tables of the configuration: every key with its type, its default and its meaning.

The docstrings below the keys are what an editor shows: `json_schema` takes them up.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from refresher.config import types as v
from refresher.config.auth import Auth, NoAuth
from refresher.config.guard import Guard
from refresher.config.paging import Paginate
from refresher.config.units import Share
from refresher.model import GuardRules

_FIVE_PERCENT = Share(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and how the service listens."""

    __pydantic_config__ = v.STRICT

    host: v.Word = "127.0.0.1"
    """The address to listen on; 0.0.0.0 or :: for all."""
    port: Annotated[v.Number, Field(ge=0, le=65535)] = 8000
    """The TCP port; 0 takes any that is free."""
    workers: Annotated[v.Number, Field(ge=1, le=256)] = 1
    """Processes that answer. They share the store, which memory:// cannot be for more than one."""
    access_log: v.Flag = False
    """Whether each request is a line in the log, as uvicorn writes it."""
    root_path: v.RootPath = ""
    """The path prefix that a proxy in front strips, such as /cache."""
    forwarded_allow_ips: v.Text = ""
    """The addresses whose X-Forwarded fields are believed, separated by commas; * for all."""
    keep_alive: Annotated[v.Duration, v.at_least("1ms")] = 75.0
    """How long a connection is kept on which nothing is asked."""
    shutdown_grace: v.Duration = 10.0
    """One deadline for everything that is to end after SIGTERM."""
    drain: v.Duration = 0.0
    """How long after SIGTERM to keep accepting requests, with /readyz saying 503."""
    seed: v.Text | None = None
    """What the due moments are spread by; else the store's own name. "" leaves the jobs' names."""
    read_tokens: tuple[v.Visible, ...] = field(default=(), repr=False)
    """When set, readers need one of them, or the admin token, as bearer token."""
    cors_origins: v.Origins = ()
    """The web origins whose pages may read, or "*"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """Who may administer."""

    __pydantic_config__ = v.STRICT

    token: Annotated[v.Tokens, v.at_least_one] = field(default=(), repr=False)
    """One token or a list; without any the service makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where snapshots are kept."""

    __pydantic_config__ = v.STRICT

    url: v.StoreUrl | None = field(default=None, repr=False)
    """The kind of store and its place: memory://, sqlite:///PATH, redis://HOST or rediss://HOST.

    None is sqlite:///refresher.db under `refresher serve`, and memory:// in an application.
    """
    dir: v.FilePath | None = None
    """The state directory; else $REFRESHER_STATE_DIR, $STATE_DIRECTORY or the config's folder."""
    history: Annotated[v.Number, Field(ge=1, le=10_000)] = 10
    """Versions kept of each job, the current one included."""
    history_max_bytes: v.Size = 256 << 20
    """Bytes of all versions of all jobs, the oldest going first; the current ones stay."""
    prefix: v.StorePrefix = "refresher"
    """What all keys in Redis or Valkey begin with, so that services can share a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How an upstream is verified, and what it is shown."""

    __pydantic_config__ = v.STRICT

    ca: v.FilePath | None = None
    """A PEM file with the authorities to trust in place of the usual ones."""
    cert: v.FilePath | None = None
    """A PEM file with the certificate to show, and those that lead from it to its root."""
    key: v.FilePath | None = None
    """A PEM file with the certificate's private key, where cert has it not."""
    verify: v.Flag = True
    """Whether the upstream must prove who it is; without, anyone in between reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """What the jobs of one upstream share."""

    __pydantic_config__ = v.STRICT

    base_url: v.BaseUrl | None = field(default=None, repr=False)
    """What relative urls of its jobs are appended to: /api + /x = /api/x."""
    headers: v.Headers = field(default_factory=dict, repr=False)
    """Header fields of every request."""
    auth: Auth = field(default=NoAuth())
    """How requests are authenticated."""
    proxy: v.ProxyUrl = field(default="env", repr=False)
    """The proxy's URL; env: as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say; none: no proxy."""
    tls: TlsConfig = TlsConfig()
    """How the connection is secured."""
    max_concurrency: Annotated[v.Number, Field(ge=1, le=10_000)] = 4
    """How many attempts may run at once in this process."""
    rate: v.Limit | None = None
    """How many attempts may start in a time, such as 60/1m; none: as many as are due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """A named refresh: one source, one schedule, one set of rules."""

    __pydantic_config__ = v.STRICT

    url: v.Word | None = field(default=None, repr=False)
    """Where the data comes from: a URL, or a path under the upstream's base_url."""
    file: v.FilePath | None = None
    """Where the data comes from: a file."""
    python: v.Function | None = None
    """Where the data comes from: a callable, as package.module:function."""
    method: v.Method = "GET"
    """The request's method; POST where there is a body and nothing else is said."""
    params: dict[v.Word, v.Parameter] = field(default_factory=dict, repr=False)
    """Parameters added to the url's query."""
    headers: v.Headers = field(default_factory=dict, repr=False)
    """Header fields of the request."""
    json: v.Json | None = field(default=None, repr=False)
    """The request's body, as JSON."""
    body: v.Text | None = field(default=None, repr=False)
    """The request's body, as text."""
    upstream: v.Word | None = None
    """The table under [upstreams] that the job belongs to; none: its own host."""
    auth: Auth = field(default=NoAuth())
    """How the request is authenticated."""
    interval: Annotated[v.Duration, v.at_least("10ms")] = 300.0
    """The time between two due moments."""
    cron: v.Cron | None = None
    """The due moments as a cron expression, in place of an interval."""
    timezone: v.Timezone = "UTC"
    """The time zone that cron and changes_by are read in, and a content_time without an offset."""
    jitter: v.Jitter = _FIVE_PERCENT
    """How far due moments are spread: a share of the interval; for cron a duration."""
    timeout: Annotated[v.Duration, v.at_least("1ms")] = 10.0
    """The longest an attempt may take, from connecting to validating; at most the interval."""
    connect_timeout: Annotated[v.Duration, v.at_least("1ms")] = 5.0
    """The longest that connecting may take; at most the interval."""
    backoff: Annotated[v.Duration, v.at_least("1ms")] = 1.0
    """The pause before the first retry; doubled each time."""
    backoff_max: Annotated[v.Duration, v.at_least("1ms")] = 300.0
    """The longest pause before a retry."""
    max_bytes: Annotated[v.Size, v.up_to("512MiB")] = 32 << 20
    """The largest body, after decompression."""
    ok_status: Annotated[tuple[Annotated[v.Number, Field(ge=200, le=299)], ...], v.at_least_one] = (
        200,
    )
    """The statuses of an answer that is data."""
    conditional: v.Flag = True
    """Whether to ask for changes only (RFC 9110, section 13); for GET only."""
    full_refresh: v.DurationOrNever | None = None
    """The longest time that only changes are asked for, until all is fetched once more; or never.

    None: a day, or ten intervals where that is longer.
    """
    max_redirects: Annotated[v.Number, Field(ge=0, le=100)] = 5
    """How many redirects to follow."""
    respect_cache_control: v.Flag = False
    """Whether to wait for as long as the upstream's max-age or Expires calls its answer current."""
    max_interval: v.Duration = 86_400.0
    """The most that the interval is stretched to by that."""
    format: Literal["auto", "json", "ndjson", "csv", "xml", "yaml", "toml", "text", "bytes"] = (
        "auto"
    )
    """What the content is; auto: as the Content-Type says."""
    charset: v.Charset | None = None
    """The charset of the content, whatever is declared; none: what is declared, or UTF-8."""
    delimiter: v.Delimiter | None = None
    """The character between the fields of csv; none: a comma, or what a first line sep=; names."""
    raw: v.Flag = False
    """Whether ndjson, csv, xml, yaml and toml are served as they came, and not as JSON."""
    paginate: Paginate | None = None
    """How the data is cut into pages, all of which make one snapshot; none: it comes whole."""
    select: v.Expression | None = None
    """The part to keep, as a JMESPath expression."""
    schema: v.FilePath | None = None
    """The JSON Schema file that content must satisfy, after select."""
    guard: Guard = field(default=GuardRules())
    """What an answer must be like; any other is rejected."""
    content_time: v.Expression | None = None
    """Where it stands in the data when that is from, as a JMESPath expression; older data than what
    is served is rejected."""
    max_content_age: v.Duration | None = None
    """How old the data may be by its content_time; older is stale, however lively the source."""
    changes_by: v.Cron | None = None
    """When the data must have changed since the moment before, as a cron expression in timezone."""
    max_age: v.Duration | None = None
    """The longest that readers are told to keep it; none: as long as it is fresh."""
    max_stale: v.Duration | None = None
    """How long past its lifetime it may be served; none: for ever."""
    on_expired: Literal["serve", "fail"] = "serve"
    """What readers get after that: the content all the same, or 503."""
    required: v.Flag = False
    """Whether /readyz waits for the first snapshot."""
    cooldown: v.Duration = 0.0
    """The least time between two manual refreshes."""
    tags: tuple[v.Word, ...] = ()
    """Words to refresh and list several jobs by."""
    enabled: v.Flag = True
    """Whether it is refreshed; a disabled job is still served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfig:
    """A configuration of refresher."""

    __pydantic_config__ = v.STRICT

    include: tuple[v.Word, ...] = ()
    """More files, as patterns such as jobs.d/*.toml; relative to this one."""
    server: ServerConfig = ServerConfig()
    admin: AdminConfig = AdminConfig()
    store: StoreConfig = StoreConfig()
    defaults: JobConfig = JobConfig()
    """What every job has that does not say otherwise."""
    upstreams: dict[str, UpstreamConfig] = field(default_factory=dict)
    """What the jobs of an upstream share, by its name."""
    jobs: dict[str, JobConfig] = field(default_factory=dict)
    """The jobs, by name."""
