"""Quantities as people write them: durations, sizes, percentages, rates."""

import re
from functools import lru_cache
from typing import Self

from refresher.model import Rate

# `[0-9]`, not `\d`: that matches the digits of every script.
DURATION = r"(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m(?!s))?([0-9]+s)?([0-9]+ms)?"
SIZE = r"[0-9]+([KMG]i?)?B"
PERCENTAGE = r"[0-9]+(\.[0-9]+)?%"
RATE = rf"[1-9][0-9]*/{DURATION}"

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_LONGEST = 3_650 * 86_400
"""Seconds. Instants past year 9999 cannot be written, and nobody means them."""
_MOST_DIGITS = 12
_WHOLE = 100


class InvalidValue(ValueError):
    """A value is invalid for its key; says what is wrong with it, and what to write instead."""

    def __init__(self, wrong: str, advice: str = "") -> None:
        super().__init__(f"{wrong}, {advice}" if advice else wrong)
        self.wrong = wrong
        self.advice = advice


class Share(float):
    """A fraction that was written as a percentage."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """`"5%"` as 0.05.

        Raises:
            InvalidValue: `text` is no percentage, or one of more than the whole.
        """
        if (share := cls.of_any_size(text)) > 1:
            raise InvalidValue("is more than the whole", 'write at most "100%"')
        return share

    @classmethod
    def of_any_size(cls, text: str) -> Self:
        """`"250%"` as 2.5.

        Raises:
            InvalidValue: `text` is no percentage.
        """
        if not re.fullmatch(PERCENTAGE, text) or len(text) > _MOST_DIGITS:
            raise InvalidValue("is not a percentage", 'write it as "50%"')
        return cls(float(text[:-1]) / _WHOLE)


@lru_cache(maxsize=256)
def duration(text: str) -> float:
    """`"1h30m"` in seconds: whole numbers of d, h, m, s and ms, in this order.

    Raises:
        InvalidValue: `text` is no duration, or one of more than ten years.
    """
    if not re.fullmatch(DURATION, text):
        raise InvalidValue(
            "is not a duration", 'write a whole number with its unit, as "30s" or "1h30m"'
        )
    milliseconds = 0
    for number, unit in re.findall(r"([0-9]+)(ms|[dhms])", text):
        if len(number) > _MOST_DIGITS:
            raise InvalidValue("is too long", f'write at most "{written_duration(_LONGEST)}"')
        milliseconds += int(number) * (1 if unit == "ms" else 1000 * _SECONDS[unit])
    if milliseconds > 1000 * _LONGEST:
        raise InvalidValue("is too long", f'write at most "{written_duration(_LONGEST)}"')
    return milliseconds / 1000


def written_duration(seconds: float) -> str:
    """Seconds as a person would write them, to the millisecond: the inverse of `duration`."""
    rest = round(seconds * 1000)
    written = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        count, rest = divmod(rest, length)
        written += f"{count}{unit}" if count else ""
    return written + (f"{rest}ms" if rest else "") or "0s"


def size(text: str) -> int:
    """`"64KiB"` in bytes; KB is 1000 and KiB 1024.

    Raises:
        InvalidValue: `text` is no size.
    """
    if not re.fullmatch(SIZE, text) or len(text) > _MOST_DIGITS:
        raise InvalidValue(
            "is not a size", 'write a whole number with its unit, as "64KiB" or "10MB"'
        )
    number, unit = re.findall(r"([0-9]+)(.+)", text)[0]
    return int(number) * _BYTES[unit]


def written_size(count: int) -> str:
    """Bytes in the largest binary unit that keeps them whole."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def rate(text: str) -> Rate:
    """`"60/1m"` as 60 in 60 seconds.

    Raises:
        InvalidValue: `text` is no rate.
    """
    count, _, period = text.partition("/")
    if not re.fullmatch(RATE, text) or len(count) > _MOST_DIGITS or not duration(period):
        raise InvalidValue("is not a rate", 'write a count and a duration, as "60/1m"')
    return Rate(int(count), duration(period))
