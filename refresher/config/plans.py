"""The plan of each job: its table with all that it inherits, checked and resolved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from refresher.config import url_parts
from refresher.config.auth import NoAuth, OAuth2Auth
from refresher.config.definition import definition, function_name
from refresher.config.inheritance import inherited
from refresher.config.models import JobConfig, UpstreamConfig
from refresher.config.problems import Problems, did_you_mean
from refresher.config.references import pieces_of
from refresher.config.relations import ValidatedJob, resolved
from refresher.config.schema_files import read_schema
from refresher.config.tree import Place, Tree
from refresher.config.units import InvalidValue
from refresher.config.validation import validated
from refresher.model import Definition
from refresher.security.redaction import MASK

Kind = Literal["url", "file", "python"]
ReadSchema = Callable[[Path], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A job as it is configured, and what follows from that before anything is opened."""

    name: str
    kind: Kind
    config: JobConfig
    definition: Definition
    shown: str
    """The url with secrets as `***`, or the file's path, or `module:function`."""
    url: str | None = field(default=None, repr=False)
    """The absolute URL, with base_url before it; None for a file and for a callable."""
    userinfo: bool = False
    """Whether a user name or a password stands in `url`."""
    schema: str | None = field(default=None, repr=False)
    """The text of the JSON Schema file."""
    function_place: Place | None = field(default=None, repr=False, compare=False)
    """Where the function is named, for a message should importing it fail."""


def plan_jobs(
    tree: Tree, upstreams: Mapping[str, UpstreamConfig], problems: Problems
) -> dict[str, JobPlan]:
    """The plan of every job of the tree without problems, in order; problems are noted."""
    read: ReadSchema = cache(read_schema)
    planned = (_planned(tree, name, upstreams, problems, read) for name in tree.table("jobs"))
    return {plan.name: plan for plan in planned if plan is not None}


def _planned(
    tree: Tree,
    name: str,
    upstreams: Mapping[str, UpstreamConfig],
    problems: Problems,
    read: ReadSchema,
) -> JobPlan | None:
    written = inherited(tree, name)
    config, wrong = validated(JobConfig, written.table, problems, written.place)
    job = ValidatedJob(name, tree, written, config, wrong, problems)
    config = resolved(job)
    schema = _schema(job, config, read)
    parts = _url_of(job, upstreams)
    _check_token_url(job, parts)
    kind: Kind
    match config:
        case JobConfig(file=Path() as file):
            kind, shown = "file", _shown_path(job, file)
        case JobConfig(python=function) if function is not None:
            kind, shown = "python", function_name(function)
        case JobConfig(url=str()) if parts is not None:
            kind, shown = "url", url_parts.shown(parts)
        case JobConfig(url=None) if not wrong & {"url", "file", "python"}:
            problems.add(("jobs", name), "has no source", "write url, file or python")
            return None
        case _:  # what is wrong with its source has been noted
            return None
    return JobPlan(
        name=name,
        kind=kind,
        config=config,
        definition=definition(
            config,
            written.table,
            url=None if parts is None else url_parts.identity(parts),
            schema=schema,
        ),
        shown=shown,
        url=parts.url if kind == "url" and parts is not None else None,
        userinfo=kind == "url" and parts is not None and parts.has_userinfo,
        schema=schema,
        function_place=tree.place(written.place(("python",))) if kind == "python" else None,
    )


def _url_of(
    job: ValidatedJob, upstreams: Mapping[str, UpstreamConfig]
) -> url_parts.UrlParts | None:
    """The job's URL with its base_url; for a function the base_url alone, as its client has it."""
    name, url = job.config.upstream, job.written.table.get("url")
    if name is not None and name not in upstreams:
        job.note("upstream", "is no table under [upstreams]", did_you_mean(name, upstreams))
        return None
    upstream = UpstreamConfig() if name is None else upstreams[name]
    base = () if name is None else _base(job.tree, name)
    if "url" in job.wrong or (base and upstream.base_url is None):
        return None  # what is wrong with it has been noted
    if isinstance(url, str):
        parts = _joined(job, base, url)
        if parts and base and not isinstance(upstream.auth, NoAuth):
            _check_origin(job, parts, url_parts.parse(base))
        return parts
    return url_parts.parse(base) if base and job.config.python is not None else None


def _joined(job: ValidatedJob, base: url_parts.Pieces, url: str) -> url_parts.UrlParts | None:
    pieces = pieces_of(url)
    if url_parts.is_relative(url):
        if not base:
            advice = "write it whole, https://…, or name an upstream that has a base_url"
            job.note("url", "is relative, and there is no base_url to append it to", advice)
            return None
        pieces = url_parts.joined(base, pieces)
    try:
        return url_parts.parse(pieces)
    except InvalidValue as error:
        job.note("url", error.wrong, error.advice)
        return None


def _check_origin(job: ValidatedJob, parts: url_parts.UrlParts, base: url_parts.UrlParts) -> None:
    if parts.origin != base.origin:
        upstream = f"[upstreams.{job.config.upstream}]"
        wrong = f"is of another origin than {upstream}, whose auth is not for it"
        job.note("url", wrong, "take `upstream` out or correct one of the two URLs")


def _check_token_url(job: ValidatedJob, parts: url_parts.UrlParts | None) -> None:
    """Note a token_url that sends the client secret unencrypted, though the job's URL is https."""
    auth = job.config.auth
    if not isinstance(auth, OAuth2Auth) or parts is None or parts.origin[0] == "http":
        return
    scheme, host, _ = url_parts.parse(pieces_of(auth.token_url)).origin
    if scheme == "http" and not url_parts.is_loopback(host):
        path = job.written.place(("auth", "token_url"))
        wrong = "sends the client secret in clear, for what is itself asked with https"
        job.problems.add(path, wrong, "write it with https", got=auth.token_url)


def _base(tree: Tree, upstream: str) -> url_parts.Pieces:
    base = tree.table("upstreams", upstream).get("base_url")
    return pieces_of(base) if isinstance(base, str) else ()


def _schema(job: ValidatedJob, config: JobConfig, read: ReadSchema) -> str | None:
    if config.schema is None:
        return None
    try:
        return read(config.schema)
    except InvalidValue as error:
        job.note("schema", error.wrong, error.advice)
        return None


def _shown_path(job: ValidatedJob, path: Path) -> str:
    written = job.written.table["file"]
    pieces = pieces_of(written) if isinstance(written, str) else ()
    if not any(piece.secret for piece in pieces):
        return str(path)
    return "".join(MASK if piece.secret else piece.text for piece in pieces)
