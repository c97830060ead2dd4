"""CSV (RFC 4180): an array of objects, one a row, with the names of the header row.

A value is a string, whatever it looks like: the file does not say that "007" is a number.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator

import msgspec

from refresher.errors import refuse
from refresher.pipeline.formats import Converted, max_json_size
from refresher.security.excerpts import quoted

_LONGEST_FIELD = 1 << 30


def convert(body: bytes) -> Converted:
    """Make an array of objects of UTF-8; blank lines are no rows.

    Raises:
        RefreshFailed: at stage `decode`; there is no header row, it has a name twice, a row has
            more or fewer fields than it, or a quote is amiss.
    """
    if len(body) > csv.field_size_limit():
        # Geometries and images exceed Python's default of 128 KiB, which is one for all readers
        csv.field_size_limit(_LONGEST_FIELD)
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8", newline=""), strict=True)
    made = io.BytesIO()  # BytesIO gives its bytes without a copy
    most, count = max_json_size(len(body)), 0
    try:
        names = _header(rows)
        for row in filter(None, rows):
            if len(row) != len(names):
                _refuse_ragged(rows.line_num, row, names)
            made.write(b"," if count else b"[")
            made.write(msgspec.json.encode(dict(zip(names, row, strict=True))))
            count += 1
            if made.tell() > most:
                refuse(
                    f"the body's {len(body):,} bytes make more than {most:,} bytes of JSON, which "
                    'repeats the header\'s names in every row; format = "text" serves it as it is'
                )
    except csv.Error as error:
        refuse(f"the body is not CSV: line {rows.line_num}: {error}")
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


def _refuse_ragged(line: int, row: list[str], names: list[str]) -> None:
    refuse(
        f"line {line} of the body has {len(row):,} fields, and its header row has {len(names):,}"
    )
