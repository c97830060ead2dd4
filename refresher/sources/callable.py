"""The callable source: calls a user's function, and takes what it returns for data."""

import importlib
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias, cast

import httpx
import pydantic_core

from refresher.errors import ConfigError, RefreshFailed
from refresher.model import Stage
from refresher.offload.solo_task import SoloTask
from refresher.offload.threads import SoloThread
from refresher.payload import NotModified, Payload
from refresher.upstream.failures import call_failure
from refresher.upstream.urls import origin_of


class _Sentinel(Enum):
    UNCHANGED = "UNCHANGED"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final[Any] = _Sentinel.UNCHANGED
"""What a callable returns for a 304: the data it returned before is still current."""

_REVISION = "returned"
"""Data of a callable has no validator of its own; this revision says that there is data."""
_CLIENT = "client"
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a function raised, as a value.

    A `GeneratorExit`, `CancelledError` or `SystemExit` that the function itself raised would be
    taken for one of ours if it propagated, and end the job or the service.
    """

    error: BaseException


class CallableSource:
    """Calls a function: an async one in a task, a plain one in a daemon thread, of its own.

    An async one gets the upstream's client if it has a parameter of that name. What is returned
    becomes a body: JSON for data, pydantic models and dataclasses, `str` and `bytes` as they are.
    """

    def __init__(
        self,
        call: Callable[..., object],
        *,
        max_bytes: int,
        client: httpx.AsyncClient | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._call = call
        self._max_bytes = max_bytes
        self._now = now
        self._home = origin_of(client.base_url) if client and client.base_url.host else None
        self._arguments = {_CLIENT: client} if _takes_client(call) else {}
        self._task: SoloTask[_Returned] = SoloTask()
        self._thread = SoloThread(f"refresher-{getattr(call, '__name__', 'callable')}")

    async def fetch(self, since: str | None) -> Payload | NotModified:
        """Call the function; `since` is None as long as there is no data that could be unchanged.

        A call that is still running when this is cancelled goes on, and the function is not called
        again before it has returned.

        Raises:
            RefreshFailed: it raised (`source`), returned what is not data (`decode`), or is
                still running (`timeout`).
        """
        match await self._outcome():
            case _Raised(RefreshFailed() as failure):
                raise failure
            case _Raised(error):
                raise call_failure(error, now=self._now(), home=self._home) from error
            case Payload() as found:
                return found
            case None if since is None:
                raise RefreshFailed(
                    Stage.SOURCE,
                    "returned UNCHANGED, but there is no data yet that it could stand for",
                )
            case None:
                return NotModified(revision=_REVISION)

    async def _outcome(self) -> "_Returned":
        if is_async(self._call):
            return await self._task.run(self._awaited)
        # large data is serialised where it was made, off the loop
        return await self._thread.run(self._called)

    async def _awaited(self) -> "_Returned":
        try:
            awaitable = cast("Awaitable[object]", self._call(**self._arguments))
            return payload_of(await awaitable, self._max_bytes)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the function's
            return _Raised(error)

    def _called(self) -> "_Returned":
        try:
            return payload_of(self._call(), self._max_bytes)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the function's
            return _Raised(error)


_Returned: TypeAlias = Payload | _Raised | None
"""What a call came to; None for UNCHANGED."""


def is_async(call: Callable[..., object]) -> bool:
    """Whether calling it gives something to await: an `async def`, or an object that has one."""
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004  not whether it can be called, but how
    )


def payload_of(value: object, max_bytes: int) -> Payload | None:
    """What a function's return value is as data; None for UNCHANGED.

    Raises:
        RefreshFailed: it is not data (`decode`), or more than `max_bytes` of it (`body`).
    """
    match value:
        case _Sentinel.UNCHANGED:
            return None
        case None:
            raise RefreshFailed(
                Stage.DECODE, "returned None; return UNCHANGED if nothing has changed"
            )
        case str():
            body, content_type = _utf8(value), "text/plain; charset=utf-8"
        case bytes() | bytearray():
            body, content_type = bytes(value), "application/octet-stream"
        case _:
            body, content_type = _json(value), "application/json"
    if len(body) > max_bytes:
        raise RefreshFailed(
            Stage.BODY, f"returned {len(body)} bytes, more than max_bytes = {max_bytes}"
        )
    return Payload(body=body, content_type=content_type, revision=_REVISION)


def check_signature(call: Callable[..., object]) -> None:
    """Require that the service can call it: without arguments or, when async, with `client`.

    Raises:
        ConfigError: it needs something else.
    """
    name = getattr(call, "__qualname__", repr(call))
    try:
        parameters = inspect.signature(call).parameters
    except ValueError:  # it is written in C, and does not tell
        return
    for parameter in parameters.values():
        if parameter.default is not parameter.empty or parameter.kind in _VARIADIC:
            continue
        if parameter.name != _CLIENT or parameter.kind is parameter.POSITIONAL_ONLY:
            problem = (
                f"{name} needs the argument {parameter.name!r}; "
                "a job's function takes none or, when async, `client`"
            )
            raise ConfigError([problem])
        if not is_async(call):
            problem = f"{name} takes `client`, whose methods are async; make it an async def"
            raise ConfigError([problem])


def import_callable(reference: str) -> Callable[..., object]:
    """Import what `package.module:function` names.

    Raises:
        ConfigError: there is no such module, it cannot be imported, or has no such callable.
    """
    module_name, _, path = reference.partition(":")
    if not all(name.isidentifier() for name in (*module_name.split("."), *path.split("."))):
        raise ConfigError([f"got {reference!r}; write it as package.module:function"])
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        raise ConfigError(
            [f"there is no module {missing!r}, needed for {reference!r}; is it installed?"]
        ) from error
    except (Exception, SystemExit) as error:  # a module runs on import and may raise anything
        problem = f"importing {module_name!r} raised {type(error).__name__}: {error}"
        raise ConfigError([problem]) from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigError([f"{module_name!r} has no {path!r}"]) from error
    if not callable(found):
        kind = type(found).__name__
        raise ConfigError([f"{reference!r} is of type {kind}, which cannot be called"])
    return found


def _takes_client(call: Callable[..., object]) -> bool:
    return is_async(call) and _CLIENT in inspect.signature(call).parameters


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RefreshFailed(Stage.DECODE, f"returned text that is not UTF-8: {error}") from error


def _json(value: object) -> bytes:
    try:
        # Two steps: in one, a model's NaN would become null without a word. The pipeline sees it.
        plain = pydantic_core.to_jsonable_python(value, inf_nan_mode="constants")
        return pydantic_core.to_json(plain, inf_nan_mode="constants")
    except (pydantic_core.PydanticSerializationError, ValueError, RecursionError) as error:
        raise RefreshFailed(
            Stage.DECODE, f"returned a {type(value).__name__} that is not JSON: {error}"
        ) from error
