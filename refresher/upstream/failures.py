"""Failures of an attempt, made of what went wrong between it and the upstream."""

import math
import os
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus

import httpx

from refresher.errors import RefreshFailed
from refresher.fields.rate_limits import exhausted_for
from refresher.fields.retry_after import retry_after
from refresher.model import Stage
from refresher.security.excerpts import clipped
from refresher.upstream.redirects import AmbiguousLocation
from refresher.upstream.urls import Origin, origin_of, shown, shown_origin

_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_FORBIDDING = frozenset({401, 403})
_LIMITED = frozenset({403, 429})
_SERVER_ERRORS = 500
_UNREADABLE_WAIT = 30.0
"""Seconds to wait after a 429 whose Retry-After cannot be read: it does ask for a wait."""


def status_failure(
    response: httpx.Response,
    *,
    now: float,
    of_upstream: bool = True,
    withheld_of: httpx.URL | None = None,
) -> RefreshFailed:
    """The failure of an answer whose status is no `ok_status` of the job.

    A 429 holds the whole upstream only where the answer is `of_upstream`, not of another origin
    that a redirect led to. There the credentials of the job at `withheld_of` have not been sent.
    """
    status = response.status_code
    advice = _ADVICE.get(status, "")
    if withheld_of is not None and status in _FORBIDDING:
        advice = (
            "; the job's auth was withheld there, as a redirect led to it, away from "
            f"{shown_origin(withheld_of)}"
        )
    pause = exhausted_for(response.headers, now=now)
    if pause is not None and status in _LIMITED:
        advice = f"; its rate limit is used up for another {math.ceil(pause)} s"
    return RefreshFailed(
        Stage.STATUS,
        f"{shown(response.request.url)} answered {_named(status)}{advice}",
        transient=status in _TRANSIENT_STATUSES or status >= _SERVER_ERRORS,
        http_status=status,
        retry_after=_wait_asked_by(response, now),
        upstream_wide=of_upstream and status == HTTPStatus.TOO_MANY_REQUESTS,
    )


def _wait_asked_by(response: httpx.Response, now: float) -> float | None:
    asked = response.headers.get("retry-after")
    wait = retry_after(asked, now=now)
    if wait is None and asked is not None and response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return _UNREADABLE_WAIT
    return wait


def no_answer(error: httpx.TransportError | httpx.InvalidURL, where: str) -> RefreshFailed:
    """The failure of a request to `where` that ended before the head of an answer had come."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return _failed(Stage.TIMEOUT, f"connecting to {where} took longer than connect_timeout")
        case httpx.TimeoutException():
            return _failed(Stage.TIMEOUT, f"{where} took too long to answer")
        case httpx.ConnectError() | httpx.ProxyError():
            return _no_connection(error, where)
        case httpx.NetworkError():
            return _disconnected(error, where)
        case httpx.RemoteProtocolError():
            return _failed(Stage.BODY, f"{where} answered with broken HTTP: {_line(error)}")
        case _:  # a URL, header or proxy that no request can be made of: no use in retrying
            return RefreshFailed(
                Stage.CONNECT, f"no request could be made to {where}: {_line(error)}"
            )


def broken_body(error: httpx.TransportError, *, http_status: int) -> RefreshFailed:
    """The failure of an answer whose body broke off."""
    if isinstance(error, httpx.TimeoutException):
        return RefreshFailed(
            Stage.TIMEOUT, "the body stopped coming", transient=True, http_status=http_status
        )
    return RefreshFailed(
        Stage.BODY,
        f"the body breaks off before its end: {_line(error)}",
        transient=True,
        http_status=http_status,
    )


def call_failure(error: BaseException, *, now: float, home: Origin | None = None) -> RefreshFailed:
    """The failure of a user's function that raised; httpx's errors count as for a url job.

    `home` is the origin of the function's upstream, where it has one.
    """
    match error:
        case AmbiguousLocation():
            return RefreshFailed(Stage.REDIRECT, _line(error))
        case httpx.HTTPStatusError(response=response):
            of_upstream = home in {None, origin_of(response.url)}
            return status_failure(response, now=now, of_upstream=of_upstream)
        case httpx.TransportError() | httpx.InvalidURL():
            return no_answer(error, _where(error))
        case httpx.TooManyRedirects():
            return RefreshFailed(Stage.REDIRECT, _line(error))
        case httpx.DecodingError():
            return RefreshFailed(Stage.BODY, _line(error))
        case _:
            message = _message(error)
            name = type(error).__name__
            return _failed(Stage.SOURCE, f"{name}: {_one_line(message)}" if message else name)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: httpx.TransportError | httpx.InvalidURL) -> str:
    try:
        return shown_origin(error.request.url) if isinstance(error, httpx.RequestError) else "a URL"
    except RuntimeError:  # httpx's way of saying that the error knows of no request
        return "the upstream"


def _no_connection(error: httpx.TransportError, where: str) -> RefreshFailed:
    for cause in reversed(list(causes(error))):  # the root cause is the system's own
        match cause:
            case ssl.SSLCertVerificationError(verify_message=str(text)):
                return _failed(Stage.TLS, f"the certificate of {where} is not trusted: {text}")
            case ssl.SSLError():
                return _no_tls(cause, where)
            case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError() if (
                where.startswith("https:") and not isinstance(error, httpx.ProxyError)
            ):  # what has been connected can be reset
                return _failed(
                    Stage.TLS,
                    f"TLS with {where} failed: the connection was closed during the handshake",
                )
            case socket.gaierror(strerror=str(text)):
                return _failed(Stage.CONNECT, f"cannot resolve {where}: {text}")
            case OSError(errno=int(number)):
                return _failed(Stage.CONNECT, f"cannot connect to {where}: {os.strerror(number)}")
    return _failed(Stage.CONNECT, f"cannot connect to {where}: {_line(error)}")


def _disconnected(error: httpx.NetworkError, where: str) -> RefreshFailed:
    for cause in causes(error):
        # Under TLS 1.3 the client's handshake ends before its certificate is checked.
        if isinstance(cause, ssl.SSLError):
            return _no_tls(cause, where)
    return _failed(Stage.CONNECT, f"{where} closed the connection before it answered")


def _no_tls(error: ssl.SSLError, where: str) -> RefreshFailed:
    text = (error.reason or _line(error)).replace("_", " ").lower()
    return _failed(Stage.TLS, f"TLS with {where} failed: {text}")


def _failed(stage: Stage, message: str) -> RefreshFailed:
    return RefreshFailed(stage, message, transient=True)


def _line(error: BaseException) -> str:
    """The error's message, else its type, as one short line."""
    return _one_line(_message(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return clipped(" ".join(text.split()), _MAX_LINE)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  a user's error, whose __str__ may raise anything too
        return ""


def _named(status: int) -> str:
    # The reason phrase is the standard's, not the one that was sent.
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


_MAX_LINE = 200
_ADVICE = {
    304: " although no condition was sent with the request",
    401: "; check the job's auth",
    403: "; check the job's auth and what it is allowed to read",
    404: "; check the job's url",
    407: "; check the proxy's credentials",
    410: "; check the job's url",
}
