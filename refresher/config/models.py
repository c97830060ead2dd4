"""The tables of the configuration: every key with its type, its default and its meaning.

The docstrings below the keys are what an editor shows: `json_schema` takes them up.
"""

from base64 import b64encode
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
)
from pydantic.json_schema import SkipJsonSchema

from refresher.config import types as v
from refresher.config.units import Share
from refresher.model import GuardRules

_FIVE_PERCENT = Share(0.05)
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and how the service listens."""

    __pydantic_config__ = _STRICT

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
    shutdown_grace: v.Duration = 10.0
    """One deadline for everything that is to end after SIGTERM."""
    drain: v.Duration = 0.0
    """How long after SIGTERM to keep accepting requests, with /readyz saying 503."""
    read_tokens: tuple[v.Visible, ...] = field(default=(), repr=False)
    """When set, readers need one of them, or the admin token, as bearer token."""
    cors_origins: v.Origins = ()
    """The web origins whose pages may read, or "*"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """Who may administer."""

    __pydantic_config__ = _STRICT

    token: Annotated[v.Tokens, v.at_least_one] = field(default=(), repr=False)
    """One token or a list; without any the service makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where snapshots are kept."""

    __pydantic_config__ = _STRICT

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
class NoAuth:
    """No authentication: takes an inherited one back."""

    __pydantic_config__ = _STRICT

    type: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerAuth:
    """A bearer token (RFC 6750)."""

    __pydantic_config__ = _STRICT

    type: Literal["bearer"] = "bearer"
    token: v.Visible = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has it in (RFC 6750, section 2.1)."""
        return "Authorization", f"Bearer {self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """A user name and a password (RFC 7617)."""

    __pydantic_config__ = _STRICT

    type: Literal["basic"] = "basic"
    username: v.UserName
    password: v.Password = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has them in, as UTF-8 (RFC 7617, section 2.1)."""
        pair = b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        return "Authorization", f"Basic {pair}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderAuth:
    """A header of the request, such as X-Api-Key."""

    __pydantic_config__ = _STRICT

    type: Literal["header"] = "header"
    name: v.FieldName
    value: v.Credential = field(repr=False)

    @property
    def header(self) -> tuple[str, str]:
        """The header field that a request has it in."""
        return self.name, self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAuth:
    """A parameter of the request's query."""

    __pydantic_config__ = _STRICT

    type: Literal["query"] = "query"
    name: v.Word
    value: v.Word = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Auth:
    """A token of an OAuth 2.0 server, for the client's own credentials (RFC 6749, section 4.4)."""

    __pydantic_config__ = _STRICT

    type: Literal["oauth2"] = "oauth2"
    token_url: v.TokenUrl = field(repr=False)
    """The server's token endpoint."""
    client_id: v.Word
    """The client's identifier."""
    client_secret: v.ClientSecret = field(repr=False)
    """The client's password; it goes to the token endpoint alone."""
    scope: v.Word | None = None
    """What the token is asked for, words separated by spaces; none: as the server decides."""
    audience: v.Word | None = None
    """Whom the token is for, where the server wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomAuth:
    """An `httpx.Auth` of the program that this package is embedded in."""

    type: Literal["custom"] = "custom"
    auth: v.HttpxAuth = field(repr=False)


def _custom(auth: object) -> object:
    """What is no table and can authenticate, as one that says so."""
    can = hasattr(auth, "async_auth_flow") and not isinstance(auth, type)
    return CustomAuth(auth=auth) if can else auth


Auth = Annotated[
    NoAuth
    | BearerAuth
    | BasicAuth
    | HeaderAuth
    | QueryAuth
    | OAuth2Auth
    | SkipJsonSchema[CustomAuth],
    Discriminator("type"),
    BeforeValidator(_custom),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How an upstream is verified, and what it is shown."""

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    base_url: v.BaseUrl | None = field(default=None, repr=False)
    """What relative urls of its jobs are appended to: /api + /x = /api/x."""
    headers: v.Headers = field(default_factory=dict, repr=False)
    """Header fields of every request."""
    auth: Auth = NoAuth()
    """How requests are authenticated."""
    proxy: v.ProxyUrl = field(default="env", repr=False)
    """The proxy's URL; env: as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say; none: no proxy."""
    tls: TlsConfig = TlsConfig()
    """How the connection is secured."""
    max_concurrency: Annotated[v.Number, Field(ge=1, le=10_000)] = 4
    """How many attempts may run at once in this process."""
    rate: v.Limit | None = None
    """How many attempts may start in a time, such as 60/1m; none: as many as are due."""


_GUARD_KEYS: dict[str, Any] = {
    "min_items": Annotated[v.Number, Field(ge=0, le=2**31)] | None,
    "max_items": Annotated[v.Number, Field(ge=0, le=2**31)] | None,
    "max_shrink": v.Percentage | None,
    "max_growth": v.Growth | None,
    "required": tuple[v.Word, ...],
    "allow_empty": v.Flag,
    "duplicate_keys": Literal["accept", "reject"],
    "accept_after": Annotated[v.Number, Field(ge=1, le=1_000_000)] | None,
}
"""How the keys of `GuardRules` are written: that class goes to worker processes, which are to know
nothing of pydantic."""

GuardConfig = make_dataclass(
    "GuardConfig",
    [(key.name, _GUARD_KEYS[key.name], field(default=key.default)) for key in fields(GuardRules)],
    bases=(GuardRules,),
    namespace={
        "__doc__": "What content must be like to replace what is served.",
        "__pydantic_config__": _STRICT,
    },
    frozen=True,
    kw_only=True,
)
"""The table of a guard, as long as it is being validated."""


def _as_rules(table: GuardRules) -> GuardRules:
    return GuardRules(**{key.name: getattr(table, key.name) for key in fields(GuardRules)})


Guard = Annotated[
    GuardRules,
    GetPydanticSchema(
        lambda _, handler: handler(Annotated[GuardConfig, AfterValidator(_as_rules)])
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pages:
    """What all ways to page have in common."""

    __pydantic_config__ = _STRICT

    items: v.Expression = "@"
    """The array of items in a page, as a JMESPath expression."""
    max_pages: Annotated[v.Number, Field(ge=1, le=10_000)] = 100
    """The most pages to ask for; if more follow, the attempt fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkHeaderPages(_Pages):
    """A Link header leads from page to page (RFC 8288)."""

    type: Literal["link_header"] = "link_header"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextUrlPages(_Pages):
    """The URL of the next page stands in each page."""

    type: Literal["next_url"] = "next_url"
    path: v.Expression
    """Where it stands, as a JMESPath expression; nothing there: no more pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPages(_Pages):
    """Each page has the cursor that asks for the next one."""

    type: Literal["cursor"] = "cursor"
    path: v.Expression
    """Where it stands, as a JMESPath expression; nothing there: no more pages."""
    param: v.Word
    """The query parameter that it is sent as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetPages(_Pages):
    """Pages are asked for by the number of items before them, until one is empty."""

    type: Literal["offset"] = "offset"
    param: v.Word
    """The query parameter for that number."""
    limit_param: v.Word | None = None
    """The query parameter for `limit`."""
    limit: Annotated[v.Number, Field(ge=1, le=2**31)] | None = None
    """How many items to ask for in a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPages(_Pages):
    """Pages are asked for by their number, until one is empty."""

    type: Literal["page"] = "page"
    param: v.Word
    """The query parameter for the number."""
    start: Annotated[v.Number, Field(ge=0, le=2**31)] = 1
    """The first page's number."""


Paginate = Annotated[
    LinkHeaderPages | NextUrlPages | CursorPages | OffsetPages | NumberedPages,
    Discriminator("type"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """A named refresh: one source, one schedule, one set of rules."""

    __pydantic_config__ = _STRICT

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
    auth: Auth = NoAuth()
    """How the request is authenticated."""
    interval: Annotated[v.Duration, v.at_least("10ms")] = 300.0
    """The time between two due moments."""
    cron: v.Cron | None = None
    """The due moments as a cron expression, in place of an interval."""
    timezone: v.Timezone = "UTC"
    """The time zone that cron is read in."""
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

    __pydantic_config__ = _STRICT

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
