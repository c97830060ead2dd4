"""What is to be done for each job: its table with all it inherits, checked and resolved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from refresher.config import url_parts
from refresher.config.definition import definition, function_name
from refresher.config.inheritance import inherited
from refresher.config.models import JobConfig, NoAuth, OAuth2Auth, UpstreamConfig
from refresher.config.problems import Problems, did_you_mean
from refresher.config.references import pieces_of
from refresher.config.relations import Draft, settled
from refresher.config.schema_files import read_schema
from refresher.config.tree import Place, Tree
from refresher.config.units import Unfit
from refresher.config.validation import validated
from refresher.model import Definition
from refresher.security.redaction import MASK

Kind = Literal["url", "file", "python"]
ReadSchema = Callable[[Path], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A job as configured, and all that follows from it before anything is opened."""

    name: str
    kind: Kind
    config: JobConfig
    definition: Definition
    shown: str
    """The url with secrets as `***`, or the file's path, or `module:function`: fit for any eye."""
    url: str | None = field(default=None, repr=False)
    """The absolute URL, with base_url before it; None for a file and for a callable."""
    userinfo: bool = False
    """Whether a user name or a password stands in `url`."""
    schema: str | None = field(default=None, repr=False)
    """The text of the JSON Schema file."""
    function_place: Place | None = field(default=None, repr=False, compare=False)
    """Where the function is named: whether it can be imported is not known yet."""


def plan_jobs(
    tree: Tree, upstreams: Mapping[str, UpstreamConfig], problems: Problems
) -> dict[str, JobPlan]:
    """Every job of the tree that can be planned, in its order; what is wrong is noted."""
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
    draft = Draft(name, tree, written, config, wrong, problems)
    config = settled(draft)
    schema = _schema(draft, config, read)
    address = _address(draft, upstreams)
    _check_token_url(draft, address)
    kind: Kind
    match config:
        case JobConfig(file=Path() as file):
            kind, shown = "file", _shown_path(draft, file)
        case JobConfig(python=function) if function is not None:
            kind, shown = "python", function_name(function)
        case JobConfig(url=str()) if address is not None:
            kind, shown = "url", url_parts.shown(address)
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
            address=None if address is None else url_parts.identity(address),
            schema=schema,
        ),
        shown=shown,
        url=address.url if kind == "url" and address is not None else None,
        userinfo=kind == "url" and address is not None and address.has_userinfo,
        schema=schema,
        function_place=tree.place(written.place(("python",))) if kind == "python" else None,
    )


def _address(draft: Draft, upstreams: Mapping[str, UpstreamConfig]) -> url_parts.Address | None:
    """The job's URL, base_url before it; of a callable the base_url, for its client asks there."""
    name, url = draft.config.upstream, draft.written.table.get("url")
    if name is not None and name not in upstreams:
        draft.note("upstream", "is no table under [upstreams]", did_you_mean(name, upstreams))
        return None
    upstream = UpstreamConfig() if name is None else upstreams[name]
    base = () if name is None else _base(draft.tree, name)
    if "url" in draft.wrong or (base and upstream.base_url is None):
        return None  # what is wrong with it has been noted
    if isinstance(url, str):
        address = _joined(draft, base, url)
        if address and base and not isinstance(upstream.auth, NoAuth):
            _check_origin(draft, address, url_parts.parse(base))
        return address
    return url_parts.parse(base) if base and draft.config.python is not None else None


def _joined(draft: Draft, base: url_parts.Pieces, url: str) -> url_parts.Address | None:
    pieces = pieces_of(url)
    if url_parts.is_relative(url):
        if not base:
            advice = "write it whole, https://…, or name an upstream that has a base_url"
            draft.note("url", "is relative, and there is no base_url to append it to", advice)
            return None
        pieces = url_parts.joined(base, pieces)
    try:
        return url_parts.parse(pieces)
    except Unfit as error:
        draft.note("url", error.wrong, error.advice)
        return None


def _check_origin(draft: Draft, address: url_parts.Address, base: url_parts.Address) -> None:
    if address.origin != base.origin:
        upstream = f"[upstreams.{draft.config.upstream}]"
        wrong = f"is of another origin than {upstream}, whose auth is not for it"
        draft.note("url", wrong, "take `upstream` out or correct one of the two URLs")


def _check_token_url(draft: Draft, address: url_parts.Address | None) -> None:
    """A client secret goes out in clear only where what it opens does so too, or on one machine."""
    auth = draft.config.auth
    if not isinstance(auth, OAuth2Auth) or address is None or address.origin[0] == "http":
        return
    scheme, host, _ = url_parts.parse(pieces_of(auth.token_url)).origin
    if scheme == "http" and not url_parts.is_loopback(host):
        path = draft.written.place(("auth", "token_url"))
        wrong = "sends the client secret in clear, for what is itself asked with https"
        draft.problems.add(path, wrong, "write it with https", got=auth.token_url)


def _base(tree: Tree, upstream: str) -> url_parts.Pieces:
    base = tree.table("upstreams", upstream).get("base_url")
    return pieces_of(base) if isinstance(base, str) else ()


def _schema(draft: Draft, config: JobConfig, read: ReadSchema) -> str | None:
    if config.schema is None:
        return None
    try:
        return read(config.schema)
    except Unfit as error:
        draft.note("schema", error.wrong, error.advice)
        return None


def _shown_path(draft: Draft, path: Path) -> str:
    written = draft.written.table["file"]
    pieces = pieces_of(written) if isinstance(written, str) else ()
    if not any(piece.secret for piece in pieces):
        return str(path)
    return "".join(MASK if piece.secret else piece.text for piece in pieces)
