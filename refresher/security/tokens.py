"""The bearer tokens for read and admin endpoints (RFC 6750), compared in constant time."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens in force."""

    admin: tuple[str, ...] = ()
    """Empty: every request to an admin endpoint is refused."""
    read: tuple[str, ...] = ()
    """Empty: reads need no token."""


class Access:
    """Decides by the tokens in force, which may be replaced at any time."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    @property
    def reading_is_open(self) -> bool:
        """Whether reads need no token."""
        return not self.tokens.read

    def may_read(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` field (None: absent) has a token for the read endpoints."""
        tokens = self.tokens
        if not tokens.read:
            return True
        return _is_one_of(bearer(authorization), (*tokens.read, *tokens.admin))

    def may_administer(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` field (None: absent) has an admin token."""
        return _is_one_of(bearer(authorization), self.tokens.admin)


def bearer(authorization: bytes | None) -> bytes | None:
    """The token of an `Authorization: Bearer` field (RFC 6750, 2.1); None where there is none."""
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(b" ")
    return token.strip() or None if scheme.lower() == b"bearer" else None


def _is_one_of(token: bytes | None, accepted: Iterable[str]) -> bool:
    if token is None:
        return False
    # All are compared: the time this takes must not tell which one is equal.
    matches = [hmac.compare_digest(token, one.encode()) for one in accepted]
    return any(matches)
