"""Which content coding to answer in: Accept-Encoding (RFC 9110, sections 12.4 and 12.5.3)."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

IDENTITY = "identity"

# The few dozen headers that a service's clients send are parsed once; a long one is nobody's habit
# and would only fill the cache.
_CACHED = 1024
_HABITUAL = 256

_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}
_ELEMENT = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*((?:;[^;]*)*)")
_WEIGHT = re.compile(r";[ \t]*q[ \t]*=[ \t]*(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*(?:;|$)")
_WEIGHTED = re.compile(r";[ \t]*q[ \t]*=")


def choose(accept_encoding: bytes | str | None, offered: Sequence[str]) -> str:
    """The coding a client likes best of those offered, the server's best first, and `identity`.

    Of codings liked equally it is the one offered first, and any of them before `identity`. Without
    the header it is `identity`; with nothing acceptable too, for data in the wrong coding helps
    more than a 406.
    """
    if accept_encoding is None:
        return IDENTITY
    weights = _weights(accept_encoding)
    best, weight = IDENTITY, _weight(weights, IDENTITY)
    for coding in reversed(offered):
        own = _weight(weights, coding)
        if own and own >= weight:
            best, weight = coding, own
    return best


def acceptable(accept_encoding: bytes | str | None, coding: str) -> bool:
    """Whether a client takes an answer in a coding; without the header it takes any."""
    return accept_encoding is None or _weight(_weights(accept_encoding), coding) > 0


def _weight(weights: Mapping[str, float], coding: str) -> float:
    if coding in weights:
        return weights[coding]
    if "*" in weights:
        return weights["*"]
    # Not excluded, so acceptable, but behind whatever was asked for by name.
    return 1e-9 if coding == IDENTITY else 0.0


def _weights(accept_encoding: bytes | str) -> Mapping[str, float]:
    if isinstance(accept_encoding, bytes):
        accept_encoding = accept_encoding.decode("latin-1")
    if len(accept_encoding) > _HABITUAL:
        return _parse(accept_encoding)
    return _parse_once(accept_encoding)


def _parse(accept_encoding: str) -> Mapping[str, float]:
    """Read what can be read; an element that cannot, weight included, counts as not there."""
    weights = {}
    for element in accept_encoding.lower().split(","):
        found = _ELEMENT.fullmatch(element)
        if found is None:
            continue
        coding, parameters = found.groups()
        weight = 1.0
        if _WEIGHTED.search(parameters):
            written = _WEIGHT.search(parameters)
            if written is None:
                continue
            weight = float(written[1])
        weights[_ALIASES.get(coding, coding)] = weight
    return weights


_parse_once = lru_cache(maxsize=_CACHED)(_parse)
