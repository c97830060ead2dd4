"""Refusal at decoding: the one way in which content that cannot be read is turned away."""

from typing import NoReturn

from refresher.errors import RefreshFailed
from refresher.excerpts import clipped
from refresher.model import Stage

_SHOWN = 160


def refuse(message: str) -> NoReturn:
    """Refuse an answer for good, with a sentence.

    Raises:
        RefreshFailed: always, at stage `decode`.
    """
    raise RefreshFailed(Stage.DECODE, message)


def shown(text: str) -> str:
    """As much of a foreign text as belongs in a sentence, on one line."""
    return repr(clipped(text, _SHOWN))
