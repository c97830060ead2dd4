"""Checks of single values: each takes a value, and returns it or raises `InvalidValue`."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import jmespath
from cronsim import CronSim, CronSimError
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from pydantic import JsonValue

from refresher.clock import zone
from refresher.config import url_parts
from refresher.config.references import pieces_of
from refresher.config.units import InvalidValue
from refresher.fields.charsets import codec_of

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~]+([ \t]+[!-~]+)*|")
_VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def not_blank(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise InvalidValue("is empty", "write a value or leave the key out")
    return text


def visible(text: str) -> str:
    """One word of visible ASCII, as tokens are (RFC 6750, section 2.1)."""
    if not _VISIBLE.fullmatch(text):
        raise InvalidValue(
            "is empty" if not text else "has a space, a control or a non-ASCII character",
            "write one word of visible ASCII: it travels in a header (RFC 9110, 5.5)",
        )
    return text


def field_name(name: str) -> str:
    """A header's name (RFC 9110, section 5.1) that is not the transport's own."""
    if not _FIELD_NAME.fullmatch(name):
        raise InvalidValue("is not a header name", "use letters, digits and - (RFC 9110, 5.1)")
    if name.lower() in _FRAMING:
        raise InvalidValue("is a header that frames the message", "leave it out: refresher sets it")
    return name


def field_value(value: str) -> str:
    """A header's value (RFC 9110, section 5.5): no line break can smuggle in another."""
    if not _FIELD_VALUE.fullmatch(value):
        raise InvalidValue(
            "has a line break, a space at an end or a character that no header can carry",
            "write visible ASCII on one line (RFC 9110, 5.5)",
        )
    return value


def one_spelling_each(headers: dict[str, str]) -> dict[str, str]:
    """Headers of which none is another but for case."""
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidValue(
            "has the same header in two spellings", "keep one: case makes no difference"
        )
    return headers


def user_name(text: str) -> str:
    """A user name that can stand before a colon (RFC 7617, section 2)."""
    if ":" in text or not text.isprintable():
        raise InvalidValue(
            "has a colon or a control character",
            "take it out: no user name may hold one (RFC 7617, 2)",
        )
    return text


def printable(text: str) -> str:
    """A password without control characters (RFC 7617, section 2)."""
    if not text.isprintable():
        raise InvalidValue("has a control character", "take it out (RFC 7617, 2)")
    return text


def origin(text: str) -> str:
    """A web origin as browsers send it (RFC 6454, section 6.2), or `*`."""
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise InvalidValue(
            "is not an origin", 'write it as "https://app.example.org", no path, or "*"'
        )
    if re.fullmatch("http://.*:80|https://.*:443", text):
        raise InvalidValue(
            "has the port that browsers leave out, so it matches none", "leave it out"
        )
    return text


def one_or_many(value: object) -> object:
    """A list of one for a string that stands in its place."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        raise InvalidValue("is not a string", "write it in quotes, or several in brackets")
    return value


def parameter(value: object) -> str | tuple[str, ...]:
    """A query parameter as text; several for one that is repeated."""
    if isinstance(value, list | tuple):
        return tuple(_parameter_text(item) for item in value)
    return _parameter_text(value)


def _parameter_text(value: object) -> str:
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            raise InvalidValue(
                "is no query parameter", "write a string, a number, or an array of them"
            )


def json_value(value: object) -> JsonValue:
    """The value if JSON has it: TOML knows dates, infinities and no-numbers besides."""
    match value:
        case bool() | int():
            return value
        case str():
            return str(value)
        case float() if math.isfinite(value):
            return value
        case list() | tuple():
            return [json_value(item) for item in value]
        case Mapping():
            return {str(key): json_value(item) for key, item in value.items()}
        case _:
            raise InvalidValue("holds a value that JSON has not", "write dates as strings")


def method(text: str) -> str:
    """A request method, in capitals."""
    if not re.fullmatch(r"[A-Z]+(-[A-Z]+)*", text):
        raise InvalidValue("is not a method", 'write it in capitals, as "POST"')
    return text


@lru_cache(maxsize=1024)
def cron(expression: str) -> str:
    """A cron expression that has a next due moment."""
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        reason = str(error).lower()
        advice = 'write minute, hour, day, month and weekday, as "*/15 8-18 * * 1-5"'
        raise InvalidValue(f"is not a cron expression ({reason})", advice) from None
    except StopIteration:
        raise InvalidValue("is a date that never comes", "look at its day and month") from None
    return expression


@lru_cache(maxsize=1024)
def timezone(name: str) -> str:
    """The name of a zone in the tz database."""
    try:
        zone(name)
    except (OSError, ValueError, LookupError):  # a folder, outside the database, or not in it
        near = get_close_matches(name, available_timezones(), n=1)
        advice = f'did you mean "{near[0]}"?' if near else 'write it as "Europe/Berlin"'
        raise InvalidValue("is not a time zone", advice) from None
    return name


def end_status(status: int) -> int:
    """A status that can mean that there is no such page."""
    if status in _OF_THE_ASKER:
        raise InvalidValue("is a status of who asks, not of what there is", "leave it out")
    return status


def charset(name: str) -> str:
    """The name of a charset that can be read, in lower case."""
    if codec_of(name) is None:
        raise InvalidValue("is not a charset that can be read", 'write it as "windows-1252"')
    return name.lower()


def delimiter(text: str) -> str:
    """A character that can stand between the fields of CSV."""
    if len(text) != 1 or text in '"\r\n\0':
        raise InvalidValue("is not a character between fields", 'write one, as ";" or "\\t"')
    return text


@lru_cache(maxsize=1024)
def expression(text: str) -> str:
    """A JMESPath expression."""
    try:
        parsed = jmespath.compile(text).parsed
    except RecursionError:
        raise InvalidValue("is nested too deeply for JMESPath", "flatten it") from None
    except JMESPathError as error:
        # Its message repeats the expression, which may have come from a secret.
        position = getattr(error, "lex_position", None)
        where = "" if position is None else f" at character {position + 1}"
        raise InvalidValue(
            f"is not a JMESPath expression{where}", "see https://jmespath.org"
        ) from None
    if not _functions(parsed) <= Functions.FUNCTION_TABLE.keys():
        advice = "see https://jmespath.org/specification.html#built-in-functions"
        raise InvalidValue("calls a function that JMESPath has not", advice)
    return text


def _functions(node: Mapping[str, Any]) -> set[str]:
    """The names of all functions that a parsed expression calls."""
    found, left = set(), [node]
    while left:
        node = left.pop()
        left += [child for child in node["children"] if isinstance(child, dict)]
        if node["type"] == "function_expression":
            found.add(node["value"])
    return found


def function(value: object) -> str | Callable[..., object]:
    """A callable, or the name of one."""
    if callable(value):
        return value
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise InvalidValue("does not name a function", 'write it as "package.module:function"')
    return value


def path(value: object) -> Path:
    """A path of a file."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise InvalidValue("is not a path", 'write it as "data/names.json"')
    return Path(value)


def root_path(text: str) -> str:
    """A path prefix as ASGI has it: empty, or with a slash before and none after."""
    if text and (not text.startswith("/") or text.endswith("/")):
        raise InvalidValue(
            "is not a path prefix", 'write it as "/cache": a slash before, none after'
        )
    return text


def base_url(text: str) -> str:
    """An absolute URL that paths can be appended to."""
    url_parts.parse(pieces_of(text))
    if "?" in text or "#" in text:
        raise InvalidValue(
            "has a query or a fragment", "put it into the jobs: paths are appended here"
        )
    return text


def token_url(text: str) -> str:
    """An absolute URL that credentials can be posted to (RFC 6749, section 3.2)."""
    parts = url_parts.parse(pieces_of(text))
    if parts.has_userinfo:
        raise InvalidValue(
            "has a user name or a password", "write them as client_id and client_secret"
        )
    if "#" in text:
        raise InvalidValue("has a fragment", "take it out (RFC 6749, 3.2)")
    return text


def proxy_url(text: str) -> str:
    """The URL of a proxy, `env` or `none`."""
    if text in ("env", "none"):
        return text
    try:
        parts = url_parts.parse(pieces_of(text))
    except InvalidValue as error:
        advice = 'write "env", "none" or a URL, as "http://proxy.example.org:3128"'
        raise InvalidValue(error.wrong, advice) from None
    if text[parts.rest :] not in ("", "/"):
        raise InvalidValue("has a path, a query or a fragment", "end it with the host or the port")
    return text


def httpx_auth(value: object) -> object:
    """An `httpx.Auth`, recognised by its method: this room does not import httpx."""
    if not callable(getattr(value, "async_auth_flow", None)):
        raise InvalidValue("is no httpx.Auth", "pass an instance of one")
    return value


def store_url(text: str) -> str:
    """The URL of a store that there is."""
    scheme = text.partition(":")[0]
    match scheme:
        case "memory":
            if text != "memory://":
                raise InvalidValue("is not how that store is called", 'did you mean "memory://"?')
        case "sqlite":
            if not text.startswith("sqlite:///") or text.endswith("/"):
                raise InvalidValue(
                    "names no file",
                    'write it as "sqlite:///PATH", from the state directory, or "sqlite:////PATH"',
                )
            if text == "sqlite:///:memory:":  # SQLAlchemy's way to say so
                raise InvalidValue("is not how that store is called", 'did you mean "memory://"?')
        case "redis" | "rediss":
            _redis_url(text)
        case _:
            meant = get_close_matches(scheme, _STORES, n=1)
            near = f"did you mean {_STORES[meant[0]]}?" if meant else ""
            known = "write memory://, sqlite:///PATH, redis://HOST or rediss://HOST"
            raise InvalidValue("is a store that this release does not have", near or known)
    return text


def _redis_url(text: str) -> None:
    parts = url_parts.parse_redis(pieces_of(text))
    path, _, query = parts.url[parts.rest :].partition("?")
    if not re.fullmatch(r"(/[0-9]*)?", path) or "#" in query:
        raise InvalidValue(
            "has more than a database's number", 'end it as in "redis://HOST:6379/0"'
        )
    for option in query.split("&") if query else ():
        name = option.partition("=")[0]
        if name not in _TLS_OPTIONS:
            raise InvalidValue(
                f'has an option "{name}" that is not to be set',
                f"there are, for rediss://, {', '.join(_TLS_OPTIONS)}",
            )


def store_prefix(text: str) -> str:
    """The prefix of keys in Redis: they have it in braces, and people type it in shells."""
    if not _PREFIX.fullmatch(text):
        raise InvalidValue("is no prefix for keys", "use letters, digits and . _ : -")
    return text


_OF_THE_ASKER = frozenset({401, 403, 407, 408, 425, 429})
"""Refused, too slow or too often: with these, more pages may well follow."""
_STORES = {
    "memory": '"memory://"',
    "sqlite": '"sqlite:///PATH"',
    "redis": '"redis://HOST"',
    "rediss": '"rediss://HOST"',
    "valkey": '"redis://HOST", for Valkey too',
    "valkeys": '"rediss://HOST", for Valkey too',
}
"""Each scheme, and those that are mistaken for one, as the URL would be written."""
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
"""Options of redis-py that a URL may set; others would override what is set in code."""
