"""Snapshots as Python values, decoded and validated once per version and type."""

import contextlib
import inspect
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from cachetools import LRUCache
from pydantic import TypeAdapter, ValidationError

from refresher import freshness
from refresher.clock import Clock
from refresher.errors import ServiceError
from refresher.jsontext.text import without_lone_surrogates
from refresher.model import Content, Format, Snapshot, State
from refresher.state import StateStore

_Key = tuple[Hashable, ...]

_MISSING: Any = object()
_MOST_BYTES = 512 * 1024 * 1024
"""The largest body there can be."""
_MOST_BYTES_UNREAD = 64 * 1024
"""Of a body, for its value to be kept though nobody has read one; that takes ten times as much."""
_FIT_FOR_TEXT = frozenset({"text/plain", "application/octet-stream", ""})
"""Media types of what a function returns as `str` or `bytes`, also where JSON is found in it."""


@dataclass(frozen=True, slots=True)
class DeclaredType:
    """A type that a job's data must have."""

    annotation: Any
    is_read: bool = False
    """Whether a dependency reads values of that type."""


@dataclass(frozen=True)
class Annotation:
    """An annotation where it is written, before all that it names need be defined."""

    annotation: Any
    namespace: Mapping[str, Any] = field(repr=False)
    """The globals there, for what it names in strings."""

    @cached_property
    def type(self) -> Any:  # noqa: ANN401  any annotation will do
        """What it stands for.

        Raises:
            NameError: it names what is not defined.
        """
        return resolved_type(self.annotation, self.namespace)


class Values:
    """One value per job and type, of the latest version; to be treated as read-only.

    An LRU cache: the bodies that the values were made from have `most_bytes` at most together.

    pydantic holds the GIL while it decodes, so that from a thread it would block the loop just as
    long as in it (measured: 0.9 s for 11 MiB), but for validators that are written in Python.
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._adapters: dict[Hashable, _Typed] = {}
        self._slots: dict[_Key, _Slot] = {}
        self._made: LRUCache[_Key, _Made] = LRUCache(most_bytes, getsizeof=lambda made: made.size)
        self._lock = threading.Lock()

    def adapter(self, type_: Any) -> TypeAdapter[Any]:  # noqa: ANN401  any annotation will do
        """What validates by a type annotation; made once, and complete.

        Raises:
            Exception: there can be none for that annotation, for whatever reason pydantic gives.
        """
        key = key_of(type_)
        typed = self._adapters.get(key)
        if typed is None:
            adapter: TypeAdapter[Any] = TypeAdapter(Any if type_ is None else type_)
            adapter.rebuild(raise_errors=True)  # what it refers to may have been defined since
            typed = self._adapters.setdefault(key, _Typed(type_, adapter))
        return typed.adapter

    def of(self, snapshot: Snapshot, type_: Any) -> Any:  # noqa: ANN401  any annotation will do
        """The snapshot's value under a type annotation (None: as plain JSON, text or bytes).

        That of the latest version is cached, that of an earlier one is made at every call, by the
        caller.

        Raises:
            pydantic.ValidationError: the content is not of that type.
            Exception: a validator of the type raised another error.
        """
        key = (snapshot.job, key_of(type_))
        made = self._kept(key)
        if made.version != snapshot.version:
            slot = self._slot(key, type_)
            with slot.lock:  # FastAPI calls plain functions in threads
                made = self._kept(key)
                if made.version != snapshot.version:
                    latest = made.version
                    made = self._checked(key, snapshot) or _make(snapshot, slot)
                    if made.version > latest:
                        self._keep(key, made)
        if made.error is not None:
            raise made.error.with_traceback(None)
        return made.value

    def check(
        self,
        job: str,
        content: Content,
        etag: str,
        declared: DeclaredType,
        *,
        sent_as: str | None = None,
    ) -> None:
        """Validate content by a type, once for the ETag that it has or is going to be served under.

        Its value is kept for `of`, unless it is large and nobody reads such values. `sent_as` is
        the media type that its source gave it: `str` and `bytes` are those of text, and are not any
        JSON.

        Raises:
            pydantic.ValidationError: it is not of that type.
            Exception: a validator of the type raised another error.
        """
        key = (job, key_of(declared.annotation))
        slot = self._slot(key, declared.annotation)
        if slot.passed == etag:
            return
        value = _decode(content, slot, as_text=_is_text(sent_as))
        slot.passed = etag
        size = len(content.body)
        if declared.is_read or size <= _MOST_BYTES_UNREAD or self._kept(key) is not _NOTHING:
            self._keep((*key, "checked"), _Made(etag=etag, value=value, size=size))

    def _checked(self, key: _Key, snapshot: Snapshot) -> "_Made | None":
        """The value that checking the snapshot's content made, where it has been kept."""
        with self._lock:
            made = self._made.get((*key, "checked"), _NOTHING)
            if made.etag != snapshot.etag:
                return None
            del self._made[*key, "checked"]
        return replace(made, version=snapshot.version)

    def _kept(self, key: _Key) -> "_Made":
        with self._lock:  # a look-up changes the order
            return self._made.get(key, _NOTHING)

    def _keep(self, key: _Key, made: "_Made") -> None:
        with self._lock, contextlib.suppress(ValueError):  # larger than the whole cache
            self._made[key] = made

    def _slot(self, key: _Key, type_: Any) -> "_Slot":  # noqa: ANN401
        slot = self._slots.get(key)
        if slot is None:
            slot = _Slot(self.adapter(type_), _text_type(type_))
            slot = self._slots.setdefault(key, slot)
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


def key_of(type_: Any) -> Hashable:  # noqa: ANN401  any annotation will do
    """What tells an annotation from others."""
    try:
        hash(type_)
    except TypeError:  # an annotation with unhashable metadata
        return id(type_)
    return cast("Hashable", type_)


def returned_type(job: str, function: Any) -> Any:  # noqa: ANN401  any annotation will do
    """The return annotation of a function or of an object's `__call__`, resolved; None if none.

    Those of its arguments need not resolve: `client` often has a type that only a checker imports.

    Raises:
        ServiceError: it names something that is not defined there.
    """
    while isinstance(function, partial):
        function = function.func
    called = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
    annotations = getattr(called, "__annotations__", {})
    if "return" not in annotations:
        return None
    try:
        return resolved_type(annotations["return"], called.__globals__)
    except NameError as error:
        raise ServiceError(
            f"{job} says it returns {annotations['return']}, but {error}: "
            "import that outside of TYPE_CHECKING, or pass the type to depends()"
        ) from error


def resolved_type(annotation: Any, namespace: Mapping[str, Any]) -> Any:  # noqa: ANN401  any will do
    """An annotation with the names in it that are strings replaced by what they stand for.

    Raises:
        NameError: one is not in the namespace.
    """
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return get_type_hints(holder, globalns=dict(namespace), include_extras=True)["it"]


@dataclass(frozen=True, slots=True)
class _Made:
    """The result of decoding one version."""

    version: int = 0
    etag: str | None = None
    """Of content that was checked before it had a version."""
    value: Any = None
    error: Exception | None = None
    size: int = 0
    """Of the body it was made from, in bytes."""


_NOTHING = _Made()


@dataclass(frozen=True, slots=True)
class _Typed:
    type_: Any
    """Referenced because its id may be part of the key."""
    adapter: TypeAdapter[Any]


@dataclass(slots=True)
class _Slot:
    """Makes the values of one job and type, one at a time."""

    adapter: TypeAdapter[Any]
    text: type[str | bytes] | None
    """How it takes what is a text: as `str`, as `bytes`; None: not at all."""
    passed: str | None = None
    """The ETag of the content that was found to be of this type last."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def _text_type(type_: Any) -> type[str | bytes] | None:  # noqa: ANN401  any annotation will do
    """Whether content is wanted as text (`str`) or bytes, if only among other types."""
    if get_origin(type_) is Annotated:
        return _text_type(get_args(type_)[0])
    members = get_args(type_) if get_origin(type_) in {Union, UnionType} else (type_,)
    for text in (str, bytes):
        if any(member is text for member in members):
            return text
    return None


def _is_text(sent_as: str | None) -> bool:
    return (sent_as or "").partition(";")[0].strip().lower() in _FIT_FOR_TEXT


def _make(snapshot: Snapshot, slot: _Slot) -> _Made:
    size = len(snapshot.content.body)
    try:
        value = _decode(snapshot.content, slot, as_text=True)
    except Exception as error:  # noqa: BLE001  validators that users write raise what they will
        error.add_note(f"This is version {snapshot.version} of {snapshot.job}.")
        return _Made(snapshot.version, error=error, size=size)
    slot.passed = snapshot.etag
    return _Made(snapshot.version, value=value, size=size)


def _decode(content: Content, slot: _Slot, *, as_text: bool) -> Any:  # noqa: ANN401
    adapter = slot.adapter
    if not content.is_json:
        text = content.format is Format.TEXT
        return adapter.validate_python(content.body.decode() if text else content.body)
    try:
        return _decode_json(content.body, adapter)
    except ValidationError:
        # JSON may have been found in what was sent as text: it is a text nevertheless.
        if slot.text is None or not as_text:
            raise
    return adapter.validate_python(content.body.decode() if slot.text is str else content.body)


def _decode_json(body: bytes, adapter: TypeAdapter[Any]) -> Any:  # noqa: ANN401
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        whole = without_lone_surrogates(body)
        if whole == body or error.errors()[0]["type"] != "json_invalid":
            raise
        return adapter.validate_json(whole)
