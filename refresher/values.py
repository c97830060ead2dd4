"""Snapshots as Python values, decoded and validated once per version and type."""

import contextlib
import inspect
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, get_type_hints

from cachetools import LRUCache
from pydantic import TypeAdapter, ValidationError

from refresher import freshness
from refresher.clock import Clock
from refresher.errors import ServiceError
from refresher.jsontext.text import without_lone_surrogates
from refresher.model import Format, Snapshot, State
from refresher.state import StateStore

_Key = tuple[str, object]

_MISSING: Any = object()
_MOST_BYTES = 512 * 1024 * 1024
"""The largest body there can be."""


class Values:
    """One value per job and type, of the latest version; to be treated as read-only.

    An LRU cache: the bodies that the values were made from have `most_bytes` at most together.

    A value is made by the caller, in the event loop too: pydantic holds the GIL while it decodes,
    so that from a thread it would block the loop just as long (measured: 0.9 s for 11 MiB).
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._slots: dict[_Key, _Slot] = {}
        self._made: LRUCache[_Key, _Made] = LRUCache(most_bytes, getsizeof=lambda made: made.size)
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot, type_: Any) -> Any:  # noqa: ANN401  any annotation will do
        """The snapshot's value under a type annotation (None: as plain JSON, text or bytes).

        That of the latest version is cached, that of an earlier one is made at every call.

        Raises:
            pydantic.ValidationError: the content is not of that type.
        """
        key = _key(snapshot.job, type_)
        made = self._kept(key)
        if made.version != snapshot.version:
            slot = self._slot(key, type_)
            with slot.lock:  # FastAPI calls plain functions in threads
                made = self._kept(key)
                if made.version != snapshot.version:
                    latest = made.version
                    made = _make(snapshot, slot.adapter)
                    if made.version > latest:
                        self._keep(key, made)
        if made.error is not None:
            raise made.error.with_traceback(None)
        return made.value

    def _kept(self, key: _Key) -> "_Made":
        with self._lock:  # a look-up changes the order
            return self._made.get(key, _NOTHING)

    def _keep(self, key: _Key, made: "_Made") -> None:
        with self._lock, contextlib.suppress(ValueError):  # larger than the whole cache
            self._made[key] = made

    def _slot(self, key: _Key, type_: Any) -> "_Slot":  # noqa: ANN401
        slot = self._slots.get(key)
        if slot is None:
            adapter: TypeAdapter[Any] = TypeAdapter(Any if type_ is None else type_)
            slot = self._slots.setdefault(key, _Slot(type_, adapter))
        return slot


class View:
    """A job's snapshot; `age` and `state` are as of now whenever they are read."""

    __slots__ = ("_clock", "_snapshot", "_states", "_type", "_value", "_values")

    def __init__(
        self,
        snapshot: Snapshot,
        type_: Any,  # noqa: ANN401  any annotation will do
        *,
        states: StateStore,
        values: Values,
        clock: Clock,
    ) -> None:
        self._snapshot = snapshot
        self._type = type_
        self._states = states
        self._values = values
        self._clock = clock
        self._value = _MISSING

    @property
    def value(self) -> Any:  # noqa: ANN401  of the job's type
        """The decoded content, one object per version that all share: treat it as read-only."""
        if self._value is _MISSING:
            self._value = self._values.of(self._snapshot, self._type)
        return self._value

    @property
    def body(self) -> bytes:
        """The bytes that HTTP clients get."""
        return self._snapshot.content.body

    @property
    def version(self) -> int:
        """The version's number; of one job, they only grow."""
        return self._snapshot.version

    @property
    def etag(self) -> str:
        """The strong validator of the bytes, quotes included."""
        return self._snapshot.etag

    @property
    def age(self) -> float:
        """Seconds since this content was last known to be good.

        Of content that has been replaced since: as of when this was got.
        """
        snapshot = self._states.known(self._snapshot.job).record.snapshot
        if snapshot is None or snapshot.version != self._snapshot.version:
            snapshot = self._snapshot
        return freshness.age_of(snapshot, self._clock.now())

    @property
    def state(self) -> State:
        """How fresh the job's data is now."""
        entry = self._states.known(self._snapshot.job)
        return freshness.state_of(entry.record, entry.policy, self._clock.now())


def returned_type(job: str, function: Any) -> Any:  # noqa: ANN401  any annotation will do
    """The return annotation of a function or of an object's `__call__`, resolved; None if none.

    Those of its arguments need not resolve: `client` often has a type that only a checker imports.

    Raises:
        ServiceError: it names something that is not defined there.
    """
    called = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
    annotations = getattr(called, "__annotations__", {})
    if "return" not in annotations:
        return None
    returned = SimpleNamespace(__annotations__={"return": annotations["return"]})
    try:
        hints = get_type_hints(returned, globalns=called.__globals__, include_extras=True)
    except NameError as error:
        raise ServiceError(
            f"{job} says it returns {annotations['return']}, but {error}: "
            "import that outside of TYPE_CHECKING, or pass the type to depends()"
        ) from error
    return hints["return"]


@dataclass(frozen=True, slots=True)
class _Made:
    """The result of decoding one version."""

    version: int = 0
    value: Any = None
    error: ValidationError | None = None
    size: int = 0
    """Of the body it was made from, in bytes."""


_NOTHING = _Made()


@dataclass(frozen=True, slots=True)
class _Slot:
    """Makes the values of one job and type, one at a time."""

    type_: Any
    """Referenced because its id may be part of the key."""
    adapter: TypeAdapter[Any]
    lock: threading.Lock = field(default_factory=threading.Lock)


def _key(job: str, type_: object) -> _Key:
    try:
        hash(type_)
    except TypeError:  # an annotation with unhashable metadata
        return job, id(type_)
    return job, type_


def _make(snapshot: Snapshot, adapter: TypeAdapter[Any]) -> _Made:
    size = len(snapshot.content.body)
    try:
        return _Made(snapshot.version, _decode(snapshot, adapter), size=size)
    except ValidationError as error:
        error.add_note(f"This is version {snapshot.version} of {snapshot.job}.")
        return _Made(snapshot.version, error=error, size=size)


def _decode(snapshot: Snapshot, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401
    content = snapshot.content
    if content.is_json:
        try:
            return adapter.validate_json(content.body)
        except ValidationError as error:
            whole = without_lone_surrogates(content.body)
            if whole == content.body or error.errors()[0]["type"] != "json_invalid":
                raise
            return adapter.validate_json(whole)
    text = content.format is Format.TEXT
    return adapter.validate_python(content.body.decode() if text else content.body)
