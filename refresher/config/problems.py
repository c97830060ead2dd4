"""The problems of a configuration, collected, and written as one sentence each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from refresher.config.lines import locate
from refresher.config.references import Interpolated
from refresher.config.tree import ConfigSource, KeyPath, Tree, dotted
from refresher.config.units import InvalidValue
from refresher.errors import ConfigError
from refresher.security.redaction import MASK, Redactor

_LONGEST = 60
"""Characters of a value that are shown."""
_MANY = 12
"""More keys than that are not listed where one is unknown."""
_OPEN_IN_AUTH = ("type", "name", "username", "token_url", "client_id", "scope", "audience")


class _Nothing:
    """Stands for a value where there is none to show."""


NOTHING = _Nothing()


@dataclass(frozen=True, slots=True)
class _Problem:
    source: ConfigSource
    path: KeyPath
    wrong: str
    got: object
    advice: str


class Problems:
    """Collects the problems of a tree, each once, however often it is met.

    A value in `[defaults]` that ten thousand jobs inherit is one problem, where it is written.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[tuple[ConfigSource, KeyPath, str], _Problem] = {}
        self._ignored: set[KeyPath] = set()
        self._lines = _Lines()

    def add(
        self,
        path: KeyPath,
        wrong: str,
        advice: str = "",
        *,
        got: object = NOTHING,
        source: ConfigSource | None = None,
    ) -> None:
        """Note a problem with the value at `path`, written in `source`, else as the tree knows."""
        if path not in self._ignored:
            source = source or self._tree.source(path)
            problem = _Problem(source, path, wrong, got, advice)
            self._found.setdefault((source, path, wrong), problem)

    def add_invalid(self, path: KeyPath, error: InvalidValue, *, got: object = NOTHING) -> None:
        """Note a problem that a parser found with the value."""
        self.add(path, error.wrong, got=got, advice=error.advice)

    def add_unknown(self, path: KeyPath, known: Iterable[str], noun: str = "key") -> None:
        """Note that the last key of `path` is unknown there."""
        key = str(path[-1])
        self.add(path, f"is an unknown {noun}", got=key, advice=did_you_mean(key, known))

    def ignore(self, path: KeyPath) -> None:
        """Note no more problems with the value at `path`, whose references are not replaced."""
        self._ignored.add(path)

    def place(self, source: ConfigSource, path: KeyPath) -> str:
        """Where the value at `path` is written in `source`: `config.toml:12`, or its name alone."""
        line = self._lines.line(source, path)
        return source.name if line is None else f"{source.name}:{line}"

    def check(self, secrets: Iterable[str]) -> None:
        """Raise if there is any problem.

        Raises:
            ConfigError: has every problem, in the order of files and lines.
        """
        if not self._found:
            return
        redactor = Redactor(secrets)
        order = {source: index for index, source in enumerate(self._sources())}
        found = sorted(
            self._found.values(),
            key=lambda each: (order[each.source], self._lines.line(each.source, each.path) or 0),
        )
        raise ConfigError(
            [_sentence(each, self.place(each.source, each.path), redactor) for each in found]
        )

    def _sources(self) -> Iterable[ConfigSource]:
        return dict.fromkeys(
            (
                self._tree.main,
                *self._tree.sources.values(),
                *(problem.source for problem in self._found.values()),
            )
        )


class _Lines:
    """Line numbers of keys; scans a file once, and only if it has a problem."""

    def __init__(self) -> None:
        self._of: dict[ConfigSource, dict[KeyPath, int]] = {}

    def line(self, source: ConfigSource, path: KeyPath) -> int | None:
        """The line of a key, or of the nearest table around it; None where there are no lines."""
        if source.text is None or not path:
            return None
        if source not in self._of:
            self._of[source] = locate(source.text)
        lines = self._of[source]
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
    """Whether any value at that path counts as secret, even one of a wrong type."""
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
        case Interpolated():
            return any(piece.secret for piece in value.pieces)
        case dict():
            return any(map(_has_secret, value.values()))
        case list() | tuple():
            return any(map(_has_secret, value))
    return False
