"""The strings of a configuration that must never be shown."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, quote_plus

from refresher.config import url_parts
from refresher.config.problems import is_confidential
from refresher.config.references import Interpolated, Unresolved, pieces_of
from refresher.config.tree import KeyPath, Table, Tree
from refresher.config.units import InvalidValue

_COMMON_VALUES = frozenset(
    {"*/*", "application/json", "application/xml", "text/csv", "text/html", "text/plain"}
    | {"close", "false", "gzip", "identity", "json", "no-cache", "none", "true", "utf-8"}
)
"""Header values that are in any log anyway: masking them would hide nothing."""
_AUTH_TYPES = frozenset({"bearer", "basic", "header", "query", "oauth2", "none"})
_URLS = ("url", "base_url", "proxy")


def secrets(tree: Tree, interpolated: Mapping[KeyPath, Interpolated]) -> frozenset[str]:
    """Every secret of a tree with its references replaced, in the forms that are sent or logged."""
    return frozenset(secret for secret in _secrets(tree, interpolated) if secret)


def _secrets(tree: Tree, interpolated: Mapping[KeyPath, Interpolated]) -> Iterator[str]:
    for path, text in interpolated.items():
        if not _is_url(path):
            yield from (piece.text for piece in text.pieces if piece.secret)
    for path in (("admin", "token"), ("server", "read_tokens")):
        yield from _texts(tree.table(path[0]).get(path[1]))
    yield from _of_store_url(tree.table("store").get("url"))
    for table in _request_tables(tree):
        for value in _texts(table.get("headers")):
            if value not in _COMMON_VALUES:
                yield value
                yield value.rpartition(" ")[2]  # as in `Bearer TOKEN`
        yield from _of_auth(table.get("auth"))
        for key in _URLS:
            yield from _of_url(table.get(key))


def _is_url(path: KeyPath) -> bool:
    """Whether the value is a URL, whose host is no secret even where a reference names it."""
    match path:
        case ("store", "url"):
            return True
        case ("jobs" | "upstreams", _, *rest) | ("defaults", *rest):
            return rest == ["auth", "token_url"] or (len(rest) == 1 and rest[0] in _URLS)
    return False


def _request_tables(tree: Tree) -> Iterator[Table]:
    yield tree.table("defaults")
    for named in ("upstreams", "jobs"):
        yield from (table for table in tree.table(named).values() if isinstance(table, dict))


def _of_auth(auth: object) -> Iterator[str]:
    if not isinstance(auth, dict):
        # `auth = "bearer"` is a mistake for the type, which the problem's advice shows
        yield from (text for text in _texts(auth) if text not in _AUTH_TYPES)
        return
    for key, value in auth.items():
        if is_confidential(("defaults", "auth", key)):
            yield from _texts(value)
    match auth:
        case {"username": str() as username, "password": str() as password}:
            yield f"{username}:{password}"
            yield b64encode(f"{username}:{password}".encode(errors="replace")).decode()
        case {"client_id": str() as client, "client_secret": str() as secret}:
            # as it is sent: each form-encoded by itself (RFC 6749, section 2.3.1)
            pair = ":".join(quote_plus(word, errors="replace") for word in (client, secret))
            yield pair
            yield b64encode(pair.encode()).decode()
            yield from _of_url(auth.get("token_url"))


def _of_url(url: object) -> Iterator[str]:
    if not isinstance(url, str) or ("@" not in url and not isinstance(url, Interpolated)):
        return
    pieces = pieces_of(url)
    try:
        yield from url_parts.secrets(url_parts.parse(pieces))
    except InvalidValue:  # it is relative, or invalid and noted elsewhere
        for piece in pieces:
            if piece.secret:
                yield from url_parts.secrets_of_part(piece.text)


def _of_store_url(url: object) -> Iterator[str]:
    if not isinstance(url, str):
        return
    options = parse_qsl(url.partition("?")[2])
    yield from (value for name, value in options if name.endswith("password"))
    try:
        yield from url_parts.secrets(url_parts.parse_redis(pieces_of(url)))
    except InvalidValue:  # it is of another store, or invalid and noted elsewhere
        yield from (piece.text for piece in pieces_of(url) if piece.secret)
        # What was meant as userinfo stands before the last @, whatever is wrong with it.
        userinfo = url.rpartition("@")[0].rpartition("//")[2]
        words = userinfo.split(":")
        yield from (":".join(words[start:]) for start in range(len(words)))


def _texts(value: object) -> Iterator[str]:
    match value:
        case Unresolved():
            pass
        case str():
            yield str(value)
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)
