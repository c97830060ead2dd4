"""Which content coding to answer in: Accept-Encoding (RFC 9110, sections 12.4 and 12.5.3)."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

IDENTITY = "identity"

_CACHE_SIZE = 1024
"""Headers that stay parsed: the clients of a service send a few dozen."""
_MAX_CACHED_LENGTH = 256
"""Characters; a longer header is parsed each time, so that such headers cannot fill the cache."""

_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}
_ELEMENT = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*((?:;[^;]*)*)")
_WEIGHT = re.compile(r";[ \t]*q[ \t]*=[ \t]*(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*(?:;|$)")
_WEIGHTED = re.compile(r";[ \t]*q[ \t]*=")


def choose(accept_encoding: bytes | str | None, offered: Sequence[str]) -> str:
    """The coding of the greatest weight, of those `offered` (the best first) and `identity`.

    Of equal weights the first offered wins, and any of them over `identity`. Without the header it
    is `identity`; so it is where nothing is acceptable, because data helps more than a 406.
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
    """Whether a client accepts a coding; without the header it accepts any."""
    return accept_encoding is None or _weight(_weights(accept_encoding), coding) > 0


def _weight(weights: Mapping[str, float], coding: str) -> float:
    if coding in weights:
        return weights[coding]
    if "*" in weights:
        return weights["*"]
    # Not excluded, so acceptable, but after all that were named.
    return 1e-9 if coding == IDENTITY else 0.0


def _weights(accept_encoding: bytes | str) -> Mapping[str, float]:
    if isinstance(accept_encoding, bytes):
        accept_encoding = accept_encoding.decode("latin-1")
    if len(accept_encoding) > _MAX_CACHED_LENGTH:
        return _parse(accept_encoding)
    return _parse_cached(accept_encoding)


def _parse(accept_encoding: str) -> Mapping[str, float]:
    """The weights of the codings; a malformed element is ignored, a malformed weight included."""
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


_parse_cached = lru_cache(maxsize=_CACHE_SIZE)(_parse)
