"""CSV (RFC 4180): an array of objects, one a row, with the names of the header row.

A value is a string, whatever it looks like: the file does not say that "007" is a number.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from refresher.errors import refuse
from refresher.pipeline.formats.converted import Converted, max_json_size
from refresher.security.excerpts import quoted

_LONGEST_FIELD = 1 << 30
_SHOWN = 1024
# How Excel has a file itself name what stands between its fields, in a line before the header.
_SEP_LINE = re.compile(rb'("?)sep=([\t !#-/:-@\[-^`{-~])\1(?:\r\n?|\n|$)', re.IGNORECASE)
_OTHER_DELIMITERS = {";": ";", "\t": r"\t", "|": "|"}
"""What often stands between fields in place of commas, as it would be configured."""


def convert(body: bytes, delimiter: str | None = None) -> Converted:
    """Make an array of objects of UTF-8; blank lines are no rows.

    Fields are delimited by `delimiter`, else by what a first line `sep=;` names, else by commas.

    Raises:
        RefreshFailed: at stage `decode`; there is no header row, it has a name twice, a row has
            more or fewer fields than it, a quote is amiss, or there are other delimiters.
    """
    named = _SEP_LINE.match(body)
    skipped = named.end() if named else 0
    between = delimiter or (named[2].decode() if named else ",")
    by_default = not (delimiter or named)
    if len(body) > csv.field_size_limit():
        # Geometries and images exceed Python's default of 128 KiB, which is one for all readers
        csv.field_size_limit(_LONGEST_FIELD)
    text = io.BytesIO(body)
    text.seek(skipped)
    lines = io.TextIOWrapper(text, "utf-8", newline="")
    rows = csv.reader(lines, delimiter=between, strict=True)
    made = io.BytesIO()  # BytesIO gives its bytes without a copy
    most, count = max_json_size(len(body)), 0
    try:
        names = _header(rows)
        if by_default and len(names) == 1:
            _refuse_other_delimiters(names[0])
        for row in filter(None, rows):
            if len(row) != len(names):
                _refuse_ragged(rows.line_num + bool(named), row, names)
            made.write(b"," if count else b"[")
            made.write(msgspec.json.encode(dict(zip(names, row, strict=True))))
            count += 1
            if made.tell() > most:
                refuse(
                    f"the body's {len(body):,} bytes make more than {most:,} bytes of JSON, which "
                    'repeats the header\'s names in every row; format = "text" serves it as it is'
                )
    except csv.Error as error:
        if by_default and rows.line_num == 1:
            _refuse_other_delimiters(body[:_SHOWN].splitlines()[0].decode(errors="replace"))
        refuse(f"the body is not CSV: line {rows.line_num + bool(named)}: {error}")
    made.write(b"]" if count else b"[]")
    return Converted(made.getvalue(), count)


def _header(rows: Iterator[list[str]]) -> list[str]:
    names = next(filter(None, rows), None)
    if names is None:
        refuse("the body is not CSV: it has no header row")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        refuse(f"the body's header row has the name {quoted(twice[0])} more than once")
    return names


def _refuse_other_delimiters(header: str) -> None:
    for found, written in _OTHER_DELIMITERS.items():
        if found in header and "," not in header:
            refuse(
                f"the body's header row {quoted(header)} has no commas between its names: if "
                f'something else is, say so: delimiter = "{written}"; if not: delimiter = ","'
            )


def _refuse_ragged(line: int, row: list[str], names: list[str]) -> None:
    refuse(
        f"line {line} of the body has {len(row):,} fields, and its header row has {len(names):,}"
    )
