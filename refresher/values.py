"""Snapshots as Python values: decoded and validated once per version, shared by all who ask."""

import threading
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from refresher.model import Format, Snapshot


@dataclass(slots=True)
class _Slot:
    """The latest value of one job under one type."""

    adapter: TypeAdapter[Any] | None
    lock: threading.Lock
    etag: str | None = None
    value: Any = None


class Values:
    """One value a job and type, replaced when the bytes change; to be treated as read-only."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, object], _Slot] = {}

    def has(self, snapshot: Snapshot, type_: Any) -> bool:  # noqa: ANN401  any annotation will do
        """Whether the value is there already."""
        slot = self._slots.get(_key(snapshot.job, type_))
        return slot is not None and slot.etag == snapshot.etag

    def of(self, snapshot: Snapshot, type_: Any) -> Any:  # noqa: ANN401  any annotation will do
        """The snapshot's value under a type annotation (None: as plain JSON, text or bytes).

        Raises:
            pydantic.ValidationError: the content is not of that type.
        """
        slot = self._slots.get(_key(snapshot.job, type_))
        if slot is None:
            adapter = None if type_ is None else TypeAdapter(type_)
            fresh = _Slot(adapter, threading.Lock())
            slot = self._slots.setdefault(_key(snapshot.job, type_), fresh)
        if slot.etag == snapshot.etag:
            return slot.value
        with slot.lock:
            if slot.etag != snapshot.etag:
                slot.value = _decode(snapshot, slot.adapter)
                slot.etag = snapshot.etag
            return slot.value


_ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)


def _key(job: str, type_: object) -> tuple[str, object]:
    try:
        hash(type_)
    except TypeError:  # an annotation with unhashable metadata
        return job, id(type_)
    return job, type_


def _decode(snapshot: Snapshot, adapter: TypeAdapter[Any] | None) -> Any:  # noqa: ANN401
    content = snapshot.content
    if content.is_json:
        return (adapter or _ANY_JSON).validate_json(content.body)
    value = content.body.decode() if content.format is Format.TEXT else content.body
    return value if adapter is None else adapter.validate_python(value)
