"""Who may read and who may administer: bearer tokens, compared in constant time."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens in force."""

    admin: tuple[str, ...] = ()
    """Empty: nobody may administer."""
    read: tuple[str, ...] = ()
    """Empty: reading is open to all."""


class Access:
    """Answers by the tokens in force; these may be replaced while requests come in."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    @property
    def reading_is_open(self) -> bool:
        """Whether the read endpoints ask for no token."""
        return not self.tokens.read

    def may_read(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` field (None: absent) opens the read endpoints."""
        tokens = self.tokens
        if not tokens.read:
            return True
        return _is_one_of(bearer(authorization), (*tokens.read, *tokens.admin))

    def may_administer(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` field (None: absent) opens the admin endpoints."""
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
    # All are compared: the time it takes must not tell which one fits.
    matches = [hmac.compare_digest(token, one.encode()) for one in accepted]
    return any(matches)
