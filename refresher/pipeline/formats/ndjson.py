"""Newline-delimited JSON: an array of its lines, each line as it came."""

import io

from refresher.jsontext import text as jsontext
from refresher.pipeline.formats.converted import Converted


def convert(body: bytes) -> Converted:
    """Make an array of the lines of UTF-8; blank ones are none (ndjson.org, section 3.2).

    Raises:
        RefreshFailed: at stage `decode`, with the line that is not JSON.
    """
    made = io.BytesIO()  # BytesIO gives its bytes without a copy
    for number, line in enumerate(io.BytesIO(body), 1):
        value = line.strip(b" \t\r\n")
        if value:
            jsontext.check(value, f"line {number} of the body")
            made.write(b"," if made.tell() else b"[")
            made.write(value)
    made.write(b"]" if made.tell() else b"[]")
    text = made.getvalue()
    return Converted(text, jsontext.count_items(text))
