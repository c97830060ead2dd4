"""YAML 1.2, core schema: one document, made of mappings, sequences and scalars and nothing else.

`no` is a string and 1e3 a number, as the core schema has it; there are no dates in it, so these are
strings. The key of a mapping is the text it is written with, `<<` merges as it does in YAML 1.1,
and an alias stands for the value of its anchor. Any tag but those of the core schema is refused.
"""

import re
from typing import TypeAlias

import msgspec
import yaml

from refresher.errors import refuse
from refresher.jsontext import text as jsontext
from refresher.pipeline.formats.converted import Converted, max_json_size
from refresher.security.excerpts import clipped, quoted

_SHOWN = 160
_MOST_DIRECTIVES = 64
"""libyaml compares each with all before it; who needs them has two or three."""
_LIBYAML_TOO_DEEP = "maximum nesting depth"
"""What libyaml, from 0.2.6 (PyYAML 6.0.4) on, says of more than 1,000 levels of flow or of block
collections. It scans ahead, so this may come before any event that tells how deep they are."""

_Value: TypeAlias = "str | bool | msgspec.Raw | list[_Value] | dict[str, _Value] | None"

# libyaml's is forty times faster than the one in Python; there are machines without it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def convert(body: bytes) -> Converted:
    """Make JSON of the one document that UTF-8 holds.

    Raises:
        RefreshFailed: at stage `decode`, with the line that is not YAML or not JSON's.
    """
    if body.count(b"\n%TAG") > _MOST_DIRECTIVES:
        refuse(f"the body has more than {_MOST_DIRECTIVES} YAML directives")
    composer = _Composer(len(body))
    try:
        for event in yaml.parse(body.decode(), Loader=_Loader):
            composer.take(event)
        text = msgspec.json.encode(composer.document())
    except yaml.MarkedYAMLError as error:
        if _LIBYAML_TOO_DEEP in (error.problem or ""):
            refuse(jsontext.TOO_DEEP)
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        refuse(f"the body is not YAML: {place}{error.problem}")
    except yaml.reader.ReaderError as error:
        refuse(f"the body is not YAML: character {error.position + 1}: {error.reason}")
    except ValueError as error:  # thousands of digits
        refuse(f"the body is not YAML: {clipped(str(error), _SHOWN)}")
    except RecursionError:  # aliases of deep things in deep places
        refuse(jsontext.TOO_DEEP)
    return Converted(text, jsontext.count_items(text), composer.repeated_key)


class _Open:
    """A sequence or a mapping whose end event has not come yet."""

    __slots__ = ("anchor", "before", "key", "merged", "merging", "value")

    def __init__(
        self, value: list[_Value] | dict[str, _Value], anchor: str | None, before: int
    ) -> None:
        self.value = value
        self.anchor = anchor
        self.before = before
        """Bytes of JSON counted before it."""
        self.key: str | None = None
        """Of a mapping, the key whose value comes next; None where a key comes next."""
        self.merging = False
        """Whether that key is the merge key."""
        self.merged: list[_Value] = []

    def put(self, value: _Value) -> bool:
        """Add a value, and say whether it took the place of another."""
        if isinstance(self.value, list):
            self.value.append(value)
            return False
        key, self.key = self.key, None
        assert key is not None  # noqa: S101  the parser gives a key before each value
        if self.merging:
            self.merged.append(value)
            return False
        replaces = key in self.value
        self.value[key] = value
        return replaces


class _Anchored:
    """What an anchor stands for; its value takes `size` bytes of JSON."""

    __slots__ = ("size", "text", "value")

    def __init__(self, value: _Value, size: int, text: str | None = None) -> None:
        self.value = value
        self.size = size
        self.text = text
        """A scalar as it is written, in case it is to be a key."""


class _Composer:
    """Composes the document from the parser's events, one object for all aliases of an anchor.

    The size of the document with every alias written out is counted meanwhile, so that nested
    aliases that multiply ("billion laughs") are refused before anything is made of them.
    """

    def __init__(self, size: int) -> None:
        self.repeated_key: str | None = None
        self._size = size
        self._limit = max_json_size(size)
        self._counted = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._documents: list[_Value] = []

    def document(self) -> _Value:
        """The one document."""
        if not self._documents:
            refuse("the body is YAML without a document: nothing but comments, perhaps")
        return self._documents[0]

    def take(self, event: yaml.Event) -> None:
        """Take the parser's next event."""
        match event:
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.SequenceStartEvent():
                self._begin(event, [])
            case yaml.MappingStartEvent():
                self._begin(event, {})
            case yaml.CollectionEndEvent():
                self._end(event)
            case yaml.AliasEvent():
                self._take_alias(event)
            case yaml.DocumentStartEvent() if self._documents:
                refuse(f"the body has a second YAML document, from {_line(event)} on; one is data")

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        before = self._counted
        self._count(len(event.value) + 3)
        value: _Value = event.value
        if self._expects_key():
            self._name(event.value, merging=event.implicit[0] and event.value == "<<")
        else:
            value = _value_of(event)
            self._put(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._counted - before, event.value)

    def _begin(
        self,
        event: yaml.SequenceStartEvent | yaml.MappingStartEvent,
        value: list[_Value] | dict[str, _Value],
    ) -> None:
        _check_tag(event, "seq" if isinstance(value, list) else "map")
        if self._expects_key():
            refuse(f"{_line(event)} of the body has a key that is not a scalar")
        if len(self._open) == jsontext.MAX_DEPTH:
            refuse(jsontext.TOO_DEEP)
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # until its end: it cannot hold itself
        self._open.append(_Open(value, event.anchor, self._counted))
        self._count(3)

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        if done.merged and isinstance(done.value, dict):
            done.value = _merge(done.merged, done.value, event)
        if done.anchor is not None:
            self._anchors[done.anchor] = _Anchored(done.value, self._counted - done.before)
        self._put(done.value)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        anchored = self._anchors.get(name)
        if anchored is None:
            why = "stands within what it stands for" if name in self._anchors else "has no anchor"
            refuse(f"{_line(event)} of the body has the alias *{clipped(name, 40)}, which {why}")
        self._count(anchored.size)
        if not self._expects_key():
            self._put(anchored.value)
        elif anchored.text is None:
            refuse(f"{_line(event)} of the body has a key that is not a scalar")
        else:
            self._name(anchored.text, merging=False)

    def _expects_key(self) -> bool:
        top = self._open[-1] if self._open else None
        return top is not None and isinstance(top.value, dict) and top.key is None

    def _name(self, key: str, *, merging: bool) -> None:
        self._open[-1].key, self._open[-1].merging = key, merging

    def _put(self, value: _Value) -> None:
        if not self._open:
            self._documents.append(value)
            return
        key = self._open[-1].key
        if self._open[-1].put(value) and self.repeated_key is None:
            self.repeated_key = key

    def _count(self, size: int) -> None:
        self._counted += size
        if self._counted > self._limit:
            refuse(
                f"the body's {self._size:,} bytes of YAML make more than {self._limit:,} bytes of "
                "JSON, for its aliases stand for too much"
            )


def _merge(merged: list[_Value], own: dict[str, _Value], event: yaml.Event) -> dict[str, _Value]:
    """The members of `own`, after those of the mappings merged; of these the first ones count."""
    mappings: list[_Value] = []
    for one in merged:
        mappings.extend(one if isinstance(one, list) else [one])
    together: dict[str, _Value] = {}
    for mapping in reversed(mappings):
        if not isinstance(mapping, dict):
            refuse(f"the mapping up to {_line(event)} of the body merges (<<) what is no mapping")
        together.update(mapping)
    return together | own


# The core schema: YAML 1.2, section 10.3.2.
_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True}
_BOOLEANS |= {"false": False, "False": False, "FALSE": False}
_DECIMAL = re.compile(r"([-+]?)(?=\.?[0-9])0*+([0-9]*+)(?:(\.)([0-9]*+))?((?:[eE][-+]?[0-9]+)?)")
_OTHER_BASE = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMERIC = frozenset("+-.0123456789")
_KINDS = {
    "null": re.compile(r"(?:~|null|Null|NULL)?"),
    "bool": re.compile("|".join(_BOOLEANS)),
    "int": re.compile(rf"{_OTHER_BASE.pattern}|[-+]?[0-9]+"),
    "float": re.compile(rf"{_DECIMAL.pattern}|{_NOT_FINITE.pattern}"),
}
"""What a scalar must look like that has one of these tags."""


def _value_of(event: yaml.ScalarEvent) -> _Value:
    """A scalar by its tag, or where it is plain and has none by the core schema."""
    text, tag = event.value, event.tag
    if tag is None:
        return _plain(event, text) if event.implicit[0] else text
    kind = tag.removeprefix(_CORE)
    if kind in {"!", "str", "timestamp", "binary"}:
        return text
    if kind not in _KINDS:
        refuse(f"{_line(event)} of the body has the tag {quoted(tag)}, which is not JSON's")
    if not _KINDS[kind].fullmatch(text):
        refuse(f"{_line(event)} of the body has {quoted(text)} for {kind}, which it is not")
    return _plain(event, text)


def _plain(event: yaml.ScalarEvent, text: str) -> _Value:
    if text[:1] not in _NUMERIC:
        return None if text in _NULLS else _BOOLEANS.get(text, text)
    if number := _DECIMAL.fullmatch(text):
        sign, whole, point, fraction, exponent = number.groups(default="")
        digits = f"{whole or 0}{point}{fraction or 0 if point else ''}{exponent}"
        return msgspec.Raw(f"{'-' if sign == '-' else ''}{digits}".encode())
    if _OTHER_BASE.fullmatch(text):
        return msgspec.Raw(str(int(text, 0)).encode())
    if _NOT_FINITE.fullmatch(text):
        refuse(f"{_line(event)} of the body has {text} for a number, which JSON cannot hold")
    return text


def _check_tag(event: yaml.SequenceStartEvent | yaml.MappingStartEvent, kind: str) -> None:
    if event.tag not in {None, "!", _CORE + kind}:
        refuse(f"{_line(event)} of the body has the tag {quoted(event.tag)}, which is not JSON's")


def _line(event: yaml.Event) -> str:
    mark = event.start_mark
    return "a line" if mark is None else f"line {mark.line + 1}"
