"""What is wrong with a configuration, collected and told: one sentence a problem."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from refresher.config.lines import locate
from refresher.config.references import Filled
from refresher.config.tree import KeyPath, Origin, Tree, dotted
from refresher.config.units import Unfit
from refresher.errors import ConfigError
from refresher.security.redaction import MASK, Redactor

_LONGEST = 60
"""Characters of a value that are shown."""
_MANY = 12
"""More keys than that are not listed where one is unknown."""
_OPEN_IN_AUTH = ("type", "name", "username", "token_url", "client_id", "scope", "audience")


class _Nothing:
    """In place of a value where there is none to show."""


NOTHING = _Nothing()


@dataclass(frozen=True, slots=True)
class _Problem:
    origin: Origin
    path: KeyPath
    wrong: str
    got: object
    advice: str


class Problems:
    """Collects what is wrong with a tree, each thing once however often it is met.

    A value in `[defaults]` that ten thousand jobs inherit is one problem, where it is written.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[tuple[Origin, KeyPath, str], _Problem] = {}
        self._void: set[KeyPath] = set()
        self._lines = _Lines()

    def add(
        self,
        path: KeyPath,
        wrong: str,
        advice: str = "",
        *,
        got: object = NOTHING,
        origin: Origin | None = None,
    ) -> None:
        """Note a problem with the value at `path`, as `origin` (else the tree) has it."""
        if path not in self._void:
            origin = origin or self._tree.origin(path)
            problem = _Problem(origin, path, wrong, got, advice)
            self._found.setdefault((origin, path, wrong), problem)

    def add_unfit(self, path: KeyPath, error: Unfit, *, got: object = NOTHING) -> None:
        """The same for what a parser said of the value."""
        self.add(path, error.wrong, got=got, advice=error.advice)

    def add_unknown(self, path: KeyPath, known: Iterable[str], noun: str = "key") -> None:
        """Note that the last key of `path` is none that is known there."""
        key = str(path[-1])
        self.add(path, f"is an unknown {noun}", got=key, advice=did_you_mean(key, known))

    def void(self, path: KeyPath) -> None:
        """Say no more of the value at `path`: it is not what was meant to stand there."""
        self._void.add(path)

    def place(self, origin: Origin, path: KeyPath) -> str:
        """Where `origin` has the value at `path`: `config.toml:12`, or its name alone."""
        line = self._lines.line(origin, path)
        return origin.name if line is None else f"{origin.name}:{line}"

    def check(self, secrets: Iterable[str]) -> None:
        """End here if there is any problem.

        Raises:
            ConfigError: with every problem, in the order of the files and lines they stand in.
        """
        if not self._found:
            return
        redactor = Redactor(secrets)
        order = {origin: index for index, origin in enumerate(self._origins())}
        found = sorted(
            self._found.values(),
            key=lambda each: (order[each.origin], self._lines.line(each.origin, each.path) or 0),
        )
        raise ConfigError(
            [_sentence(each, self.place(each.origin, each.path), redactor) for each in found]
        )

    def _origins(self) -> Iterable[Origin]:
        return dict.fromkeys(
            (
                self._tree.main,
                *self._tree.origins.values(),
                *(problem.origin for problem in self._found.values()),
            )
        )


class _Lines:
    """Scans each file once, and only those that have a problem."""

    def __init__(self) -> None:
        self._of: dict[Origin, dict[KeyPath, int]] = {}

    def line(self, origin: Origin, path: KeyPath) -> int | None:
        """The line of a key, or of the nearest table around it; None where there are no lines."""
        if origin.text is None or not path:
            return None
        if origin not in self._of:
            self._of[origin] = locate(origin.text)
        lines = self._of[origin]
        return next(
            (lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The advice for a word that is not among the known ones."""
    known = list(known)
    if near := get_close_matches(word, known, n=1):
        return f'did you mean "{near[0]}"?'
    if 0 < len(known) <= _MANY:
        return f"known here: {', '.join(known)}"
    return "see `refresher check --schema`" if known else "there is none"


def _sentence(problem: _Problem, where: str, redactor: Redactor) -> str:
    got = "" if problem.got is NOTHING else f", got {_written(problem.path, problem.got, redactor)}"
    advice = f", {problem.advice}" if problem.advice else ""
    path = f"{dotted(problem.path)}: " if problem.path else ""
    return f"{where}: {path}{redactor.redact(f'{problem.wrong}{got}{advice}')}"


def _written(path: KeyPath, value: object, redactor: Redactor) -> str:
    """A value as it would be written in TOML, or `***` where it is or has a secret."""
    if is_confidential(path) or _has_secret(value):
        return MASK
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = json.dumps(redactor.redact_url(value), ensure_ascii=False)
        case dict():
            text = "a table"
        case list() | tuple():
            text = f"[{', '.join(_written(path, item, redactor) for item in value)}]"
        case _:
            text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def is_confidential(path: KeyPath) -> bool:
    """Whether whatever stands there is a secret, even when it was meant to be something else."""
    match path:
        case ("admin", "token", *_) | ("server", "read_tokens", *_):
            return True
        case ("jobs" | "upstreams", _, *rest) | ("defaults", *rest):
            return "headers" in rest[:1] or (
                "auth" in rest[:1] and not (rest[1:] and rest[1] in _OPEN_IN_AUTH)
            )
    return False


def _has_secret(value: object) -> bool:
    match value:
        case Filled():
            return any(piece.secret for piece in value.pieces)
        case dict():
            return any(map(_has_secret, value.values()))
        case list() | tuple():
            return any(map(_has_secret, value))
    return False
