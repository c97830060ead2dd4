"""A running service as the command line talks to it: its URL and the admin token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from refresher.config import Config, load_keys, state_directory
from refresher.errors import ConfigError, ServiceError
from refresher.security.admin_token import FILE_NAME
from refresher.security.redaction import Redactor

T = TypeVar("T")

_VARIABLE = "REFRESHER_ADMIN_TOKEN"
_TIMEOUT = 10.0
"""Seconds; a service that runs answers in milliseconds."""
_ADDRESS_KEYS = (("server", "host"), ("server", "port"))
_TOKEN_KEYS = (("admin", "token"), ("store", "dir"))
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  not to listen on


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminToken:
    """The token to send, None where none was found, and where it comes from."""

    value: str | None = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service at `url`, which may be down."""

    url: str
    token: AdminToken

    def get(self, path: str) -> bytes:
        """GET a path; return the JSON of the response, unparsed.

        Raises:
            ServiceError: it does not answer, or answers with an error; the message says why.
        """
        return self._ask("GET", path, None, _TIMEOUT)

    def post(self, path: str, body: Mapping[str, object], *, patience: float) -> bytes:
        """POST to a path what may take `patience` seconds; return the JSON, unparsed.

        Raises:
            ServiceError: it does not answer, or answers with an error; the message says why.
        """
        return self._ask("POST", path, body, patience + _TIMEOUT)

    def read(self, answer: bytes, kind: type[T]) -> T:
        """An answer as a value of the given type.

        Raises:
            ServiceError: it is none of that type.
        """
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._error(f"what answers at {self.url} is not refresher: {error}") from error

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout: float
    ) -> bytes:
        token = self.token.value
        headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
        # A proxy must not get requests for this machine, which have a token.
        trust_env = not _is_loopback(httpx.URL(self.url).host)
        try:
            with httpx.Client(timeout=timeout, trust_env=trust_env) as client:
                response = client.request(method, self.url + path, json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise self._error(f"no answer from {self.url} within {timeout:g} s") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._error(
                f"no service at {self.url} ({error}); start it, or name another with --url"
            ) from error
        if response.is_success:
            return response.content
        raise self._error(self._refusal(response))

    def _refusal(self, response: httpx.Response) -> str:
        status = response.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            tried = f"it does not take the token of {self.token.origin}"
            if self.token.value is None:
                tried = f"no token was found, {self.token.origin}"
            return f"{self.url} answered 401: {tried}; set ${_VARIABLE} to one that it takes"
        try:
            detail = msgspec.json.decode(response.content, type=_Problem).detail
        except (msgspec.DecodeError, UnicodeDecodeError):
            what = response.headers.get("content-type", "without a content type")
            return f"what answers at {self.url} is not refresher: {status}, {what}"
        return f"{self.url} answered {status}: {detail}"

    def _error(self, message: str) -> ServiceError:
        return ServiceError(Redactor(filter(None, (self.token.value,))).redact_url(message))


class _Problem(msgspec.Struct):
    detail: str


def find_service(path: Path | None, url: str | None, environ: Mapping[str, str]) -> RunningService:
    """The service at `url`, else where the configuration at `path` says.

    Only the keys for that are read of the configuration: the variables that its jobs need are set
    where the service runs, and seldom in this terminal.

    Raises:
        ConfigError: it cannot be used, or there is none to say where the service is.
    """
    given = environ.get(_VARIABLE, "").strip()
    if url is not None and given:
        return RunningService(
            url=_checked_url(url), token=AdminToken(value=given, origin=f"${_VARIABLE}")
        )
    if path is None and url is None:
        problem = "there is no config.toml here to say where the service is; name it with --url, or"
        raise ConfigError([f"{problem} the configuration with --config (`refresher init`)"])
    keys = [*(_TOKEN_KEYS if not given else ()), *(_ADDRESS_KEYS if url is None else ())]
    config = load_keys(path, keys, environ=environ if path else {})
    token = (
        AdminToken(value=given, origin=f"${_VARIABLE}") if given else _kept_token(config, environ)
    )
    return RunningService(url=_url_of(config) if url is None else _checked_url(url), token=token)


def _checked_url(url: str) -> str:
    problem = f"--url: {Redactor(()).redact_url(url)} is not where a service can be"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError([f"{problem}: {error}"]) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigError([f"{problem}; write http://HOST:PORT"])
    return url.rstrip("/")


def _url_of(config: Config) -> str:
    """Where the configured service can be reached from this machine."""
    server = config.server
    if server.port == 0:
        raise ConfigError(
            [f"{config.path}: server.port: 0 is whichever is free; name the service with --url"]
        )
    host = _LOOPBACK.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def _kept_token(config: Config, environ: Mapping[str, str]) -> AdminToken:
    """The configured token, else the one that the service generated."""
    if config.admin.token:
        return AdminToken(value=config.admin.token[0], origin=f"admin.token in {config.path}")
    file = state_directory(config, environ) / FILE_NAME
    try:
        return AdminToken(value=file.read_text("utf-8").strip() or None, origin=str(file))
    except FileNotFoundError:
        return AdminToken(value=None, origin=f"there is no {file}")
    except (OSError, UnicodeDecodeError) as error:
        return AdminToken(value=None, origin=f"{file} cannot be read: {error}")


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
