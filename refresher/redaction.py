"""What hides secrets in text that people will read."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"

# What httpx leaves as it is in a query and in a path: the forms in which a secret stands in a
# request line and in httpx's own log.
_QUERY_SAFE = "!$%&'()*+,-./:;=?@[\\]^_`{|}~"
_PATH_SAFE = "!$%&'()*+,-./:;=@[\\]^_|~"

# Three characters stand in every second word: masking them would wreck the text around them and
# tell no more than it hides. Where a value's place is known it is masked whatever its length.
_SHORTEST = 4

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


class Redactor:
    """Replaces secrets by `***`, in whatever form they were written.

    `secrets` are the bare values; one shorter than four characters is left alone in free text.
    The time a line takes grows with its length, hardly with the number of secrets.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        # One alternation of 5,000 secrets costs 650 µs a line: the regex engine tries each of them
        # at every character. Looking up every four characters costs 25 µs, however many there are.
        self._beginning_with: dict[str, list[str]] = {}
        for form in sorted(forms, key=len, reverse=True):
            self._beginning_with.setdefault(form[:_SHORTEST], []).append(form)

    def redact(self, text: str) -> str:
        """The text with every secret replaced, the longest first where several begin together."""
        beginning_with = self._beginning_with
        shown: list[str] = []
        done = 0
        for at in range(len(text) - _SHORTEST + 1):
            for form in beginning_with.get(text[at : at + _SHORTEST], ()):
                if text.startswith(form, at):
                    if at >= done:  # else it overlaps the one before, and one mask covers both
                        shown += text[done:at], MASK
                    done = max(done, at + len(form))
                    break
        return "".join((*shown, text[done:])) if shown else text

    def redact_url(self, url: str) -> str:
        """The same for a URL, its userinfo (RFC 3986, section 3.2.1) masked whatever it is."""
        return self.redact(_USERINFO.sub(f"{MASK}@", url))


def _forms(secret: str) -> set[str]:
    """The ways a secret is spelled where URLs, forms, JSON and tracebacks are printed."""
    secret = secret.encode(errors="replace").decode()  # a lone surrogate has no other form
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote(secret, safe=_PATH_SAFE),
        quote(secret, safe=_QUERY_SAFE),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
    }
