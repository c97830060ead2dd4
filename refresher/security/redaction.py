"""Replaces secrets in text that people will read."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
CUT = "…"
"""Marks where an excerpt leaves something out."""

# The characters that httpx does not percent-encode in a query and in a path: so a secret is written
# in a request line and in httpx's log.
_QUERY_SAFE = "!$%&'()*+,-./:;=?@[\\]^_`{|}~"
_PATH_SAFE = "!$%&'()*+,-./:;=@[\\]^_|~"

# Three characters are in every second word: to mask them would make the text unreadable and hide
# nothing. Where it is known what is a secret value, that is masked whatever its length.
_SHORTEST = 4

# Upstreams issue one token after another for as long as the process runs.
_MOST_LEARNED = 2000

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


class Redactor:
    """Replaces secrets by `***`, in any form and case: a host comes back in lower case, for one.

    `secrets` are the bare values; one shorter than four characters is not replaced in free text.
    The time a line takes grows with its length, hardly with the number of secrets.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: set[str] = set()
        self._learned: list[str] = []
        # One alternation of 5,000 secrets costs 650 µs a line: the regex engine tries each of them
        # at every character. Looking up every four characters costs 25 µs, however many there are.
        self._beginning_with: dict[str, list[str]] = {}
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Replace these as well."""
        new = set(secrets) - self._secrets
        self._secrets |= new
        self._index(new)

    def learn(self, secret: str) -> None:
        """Replace one more, issued at run time; it is dropped after a thousand later ones."""
        self._learned.append(secret)
        if len(self._learned) > _MOST_LEARNED:
            del self._learned[: _MOST_LEARNED // 2]
            self._beginning_with = {}
            self._index({*self._secrets, *self._learned})
        else:
            self._index({secret})

    def _index(self, secrets: Iterable[str]) -> None:
        spelled = (_folded(form) for secret in secrets for form in _forms(secret))
        forms = {form for form in spelled if len(form) >= _SHORTEST}
        beginnings = {form[:_SHORTEST]: set[str]() for form in forms}
        for form in forms:
            beginnings[form[:_SHORTEST]].add(form)
        for beginning, together in beginnings.items():
            together.update(self._beginning_with.get(beginning, ()))
            self._beginning_with[beginning] = sorted(together, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """The text with every secret replaced, the longest first where several begin together."""
        beginning_with = self._beginning_with
        folded = _folded(text)
        shown: list[str] = []
        done = 0
        for at in range(len(text) - _SHORTEST + 1):
            for form in beginning_with.get(folded[at : at + _SHORTEST], ()):
                if folded.startswith(form, at):
                    if at >= done:  # else it overlaps the one before: one mask replaces both
                        shown += text[done:at], MASK
                    done = max(done, at + len(form))
                    break
        whole = "".join((*shown, text[done:])) if shown else text
        return self._without_cut_secrets(whole) if CUT in whole else whole

    def _without_cut_secrets(self, text: str) -> str:
        """The text without the parts of secrets before and after `…`, where an excerpt was cut."""
        first, *rest = text.split(CUT)
        known = (*self._secrets, *self._learned)
        secrets = [_folded(one) for one in known if len(one) > _SHORTEST]
        parts = [first, *(_without_end_of(secrets, part) for part in rest)]
        begun = [_without_beginning_of(secrets, part) for part in parts[:-1]]
        return CUT.join((*begun, parts[-1]))

    def redact_url(self, url: str) -> str:
        """The same for a URL, its userinfo (RFC 3986, section 3.2.1) masked whatever it is."""
        return self.redact(_USERINFO.sub(f"{MASK}@", url))


def _folded(text: str) -> str:
    """The text in lower case, each character where it was."""
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := one.lower()) == 1 else one for one in text)


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


def _without_beginning_of(secrets: Iterable[str], text: str) -> str:
    """A text that was cut at its end, with the beginning of a secret there masked."""
    begins = len(text)
    folded = _folded(text)
    for secret in secrets:
        at = folded.find(secret[:_SHORTEST], max(0, len(text) - len(secret)))
        while at >= 0 and not secret.startswith(folded[at:]):
            at = folded.find(secret[:_SHORTEST], at + 1)
        begins = min(begins, at) if at >= 0 else begins
    return text if begins == len(text) else text[:begins] + MASK


def _without_end_of(secrets: Iterable[str], text: str) -> str:
    """A text that was cut at its start, with the end of a secret there masked."""
    backwards = _without_beginning_of((secret[::-1] for secret in secrets), text[::-1])
    return backwards[::-1]
