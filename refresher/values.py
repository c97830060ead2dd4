"""Snapshots as Python values: decoded and validated once per version, shared by all who ask."""

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
"""As much as the largest body there can be."""


class Values:
    """One value a job and type, replaced with the version; to be treated as read-only.

    All together are kept for as long as the bodies they were made from do not exceed `most_bytes`;
    then those asked for longest ago are made anew when they are asked for again.

    It is made where it is asked for, in the event loop too: pydantic holds the interpreter while it
    decodes, so that a thread would stop the loop just as long (measured: 0.9 s for 11 MiB).
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._slots: dict[_Key, _Slot] = {}
        self._made: LRUCache[_Key, _Made] = LRUCache(most_bytes, getsizeof=lambda made: made.size)
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot, type_: Any) -> Any:  # noqa: ANN401  any annotation will do
        """The snapshot's value under a type annotation (None: as plain JSON, text or bytes).

        That of the latest version is kept, that of an earlier one is made anew.

        Raises:
            pydantic.ValidationError: the content is not of that type.
        """
        key = _key(snapshot.job, type_)
        made = self._kept(key)
        if made.version != snapshot.version:
            slot = self._slot(key, type_)
            with slot.lock:  # plain functions ask from threads of their own
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
        with self._lock:  # a look-up moves the key to the young end
            return self._made.get(key, _NOTHING)

    def _keep(self, key: _Key, made: "_Made") -> None:
        with self._lock, contextlib.suppress(ValueError):  # larger than all that may be kept
            self._made[key] = made

    def _slot(self, key: _Key, type_: Any) -> "_Slot":  # noqa: ANN401
        slot = self._slots.get(key)
        if slot is None:
            adapter: TypeAdapter[Any] = TypeAdapter(Any if type_ is None else type_)
            slot = self._slots.setdefault(key, _Slot(type_, adapter))
        return slot


class View:
    """A job's snapshot as a program sees it; `age` and `state` are as of the moment of asking."""

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
    def value(self) -> Any:  # noqa: ANN401  what the job's data is only its author knows
        """The decoded content, one shared object a version: treat it as read-only."""
        if self._value is _MISSING:
            self._value = self._values.of(self._snapshot, self._type)
        return self._value

    @property
    def body(self) -> bytes:
        """The bytes that readers get."""
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
        """Seconds since the source last confirmed this content.

        Of content that has been replaced since: as far as it was known when this was got.
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

    Those of its arguments need not be resolvable: `client` is often typed for a checker alone.

    Raises:
        ServiceError: what it says is not defined where it says it.
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
    """What came of decoding one version."""

    version: int = 0
    value: Any = None
    error: ValidationError | None = None
    size: int = 0
    """Of the body it was made from, in bytes."""


_NOTHING = _Made()


@dataclass(frozen=True, slots=True)
class _Slot:
    """How the values of one job and type are made, one at a time."""

    type_: Any
    """Kept alive, for its id may be part of the key."""
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
