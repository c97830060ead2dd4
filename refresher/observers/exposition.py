"""The Prometheus text format, as far as it takes more than an f-string."""

from collections.abc import Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def head(name: str, kind: str, help_text: str) -> Iterable[str]:
    """The two lines that a family begins with."""
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"


def escaped(label: str) -> str:
    """A label's value as it stands between quotes."""
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
