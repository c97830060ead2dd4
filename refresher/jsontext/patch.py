"""The difference of two JSON texts as a JSON Patch (RFC 6902), digit for digit.

Values are compared and copied as they are written, for a double would lose the digits of a long
number. Where a closer comparison would cost too much, a value is replaced whole, which is correct
too: the work grows with the size of the texts, not with its square.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import msgspec

_MOST_READ = 8
"""How often all bytes of both texts may be read: each level of nesting reads those below it."""
_MOST_ITEMS = 1_000_000
"""Commas in a value from which its rows or members are too many to be compared one by one."""
_LONG = 64 * 1024
"""Bytes of a patch from which it has to be shorter than the new text."""

_SPACE = b" \t\r\n"
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_string = msgspec.json.Decoder(str).decode

_Pair = tuple[bytes | None, bytes | None]
"""A row as it was and as it is; None where it was not, or is not any more."""
_Nested = tuple[str, bytes, bytes]
"""A path, the value that was there and the one that is to be there."""


def patch(before: bytes, after: bytes) -> bytes:
    """Make a JSON Patch that turns `before` into `after`, both well-formed JSON in UTF-8.

    Its numbers have the digits of `after`. The order of members, and the white space between
    values, is not part of it.
    """
    operations = []
    size = 0
    for operation in _operations(before.strip(_SPACE), after.strip(_SPACE)):
        operations.append(operation)
        size += len(operation)
        if size > max(_LONG, len(after)):
            operations = [_replace("", after)]
            break
    return b"[" + b",".join(operations) + b"]"


def _operations(before: bytes, after: bytes) -> Iterator[bytes]:
    """The operations, in order.

    Rows and members are added and removed before those that stay are changed inside, so that the
    paths of these changes have the final indices.
    """
    left = _MOST_READ * (len(before) + len(after))
    pending: deque[_Nested] = deque([("", before, after)])
    while pending:
        path, old, new = pending.popleft()
        if old == new:
            continue
        left -= len(old) + len(new)
        costs_too_much = left < 0 or max(old.count(b","), new.count(b",")) > _MOST_ITEMS
        try:
            match b"" if costs_too_much else old[:1] + new[:1]:
                case b"{{":
                    members, wanted = _members(old), _members(new)
                    yield from _add_and_remove(path, members, wanted)
                    pending.extend(
                        (f"{path}/{_escaped(name)}", value, wanted[name])
                        for name, value in members.items()
                        if name in wanted
                    )
                case b"[[":
                    pairs = _paired(_rows(old), _rows(new))
                    yield from _insert_and_delete(path, pairs)
                    pending.extend(_changed(path, pairs))
                case b'""' if _read_string(old) == _read_string(new):
                    pass  # the same string, escaped in another way
                case _:
                    yield _replace(path, new)
        except msgspec.DecodeError:
            # A lone surrogate: JSON (RFC 8259, 8.2), but no text can hold it, nor a path.
            yield _replace(path, new)


def _members(text: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _read_members(text).items()}


def _rows(text: bytes) -> list[bytes]:
    return [bytes(value) for value in _read_rows(text)]


def _add_and_remove(path: str, old: dict[str, bytes], new: dict[str, bytes]) -> Iterator[bytes]:
    for name in old:
        if name not in new:
            yield _remove(f"{path}/{_escaped(name)}")
    for name, value in new.items():
        if name not in old:
            yield _add(f"{path}/{_escaped(name)}", value)


def _insert_and_delete(path: str, pairs: Iterable[_Pair]) -> Iterator[bytes]:
    """Insert and delete rows from first to last, so that all before have their final index."""
    place = 0
    for old, new in pairs:
        if new is None:
            yield _remove(f"{path}/{place}")
            continue
        if old is None:
            yield _add(f"{path}/{place}", new)
        place += 1


def _changed(path: str, pairs: Iterable[_Pair]) -> Iterator[_Nested]:
    present = ((old, new) for old, new in pairs if new is not None)
    for place, (old, new) in enumerate(present):
        if old is not None and old != new:
            yield f"{path}/{place}", old, new


def _paired(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Pair]:
    """Pair the rows of two arrays, in order.

    Rows that are unique in both are anchors (patience diff): between two of these the others are
    paired from both ends. The result is not always the shortest patch, but takes n·log n steps,
    where the shortest may take n².
    """
    pairs: list[_Pair] = []
    here, there = 0, 0
    for place, partner in (*_anchors(old, new), (len(old), len(new))):
        pairs += _paired_between(old[here:place], new[there:partner])
        pairs += zip(old[place : place + 1], new[partner : partner + 1], strict=True)
        here, there = place + 1, partner + 1
    return pairs


def _paired_between(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[_Pair]:
    same = 0
    while same < min(len(old), len(new)) and old[-1 - same] == new[-1 - same]:
        same += 1
    yield from zip_longest(old[: len(old) - same], new[: len(new) - same])
    yield from zip(old[len(old) - same :], new[len(new) - same :], strict=True)


def _anchors(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """The places of as many rows as possible that are unique here and there, in the same order."""
    once = {row for row, times in Counter(old).items() if times == 1}
    once.intersection_update(row for row, times in Counter(new).items() if times == 1)
    partner = {row: place for place, row in enumerate(new) if row in once}
    candidates = [(place, partner[row]) for place, row in enumerate(old) if row in once]
    # The longest increasing run of partners: which candidate ends the best run of each length,
    # and which one comes before each candidate.
    ends: list[int] = []
    best: list[int] = []
    previous: list[int | None] = []
    for index, (_, there) in enumerate(candidates):
        length = bisect_left(ends, there)
        previous.append(best[length - 1] if length else None)
        ends[length : length + 1] = [there]
        best[length : length + 1] = [index]
    run = []
    last = best[-1] if best else None
    while last is not None:
        run.append(candidates[last])
        last = previous[last]
    return run[::-1]


def _remove(path: str) -> bytes:
    return b'{"op":"remove","path":%b}' % msgspec.json.encode(path)


def _add(path: str, value: bytes) -> bytes:
    return b'{"op":"add","path":%b,"value":%b}' % (msgspec.json.encode(path), value)


def _replace(path: str, value: bytes) -> bytes:
    return b'{"op":"replace","path":%b,"value":%b}' % (msgspec.json.encode(path), value)


def _escaped(name: str) -> str:
    """A member's name as a reference token (RFC 6901, 3)."""
    return name.replace("~", "~0").replace("/", "~1")
