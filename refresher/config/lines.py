"""Line numbers of the keys of a TOML file, which tomllib does not give.

Text is scanned after tomllib has accepted it, and only when there is a problem to report: the scan
need not be fast, nor find errors.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from refresher.config.tree import KeyPath

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t]+ | \#[^\n]*)
    | (?P<newline>\r?\n)
    | (?P<string>\"{3}(?:[^\\]|\\.)*?\"{3,5} | '{3}.*?'{3,5} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*')
    | (?P<mark>[\[\]{}=,.])
    | (?P<bare>[^\s\[\]{}=,.\#"']+)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def locate(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key and every element of an array in a TOML document."""
    return _Scan(text).document()


class _Scan:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._lengths: dict[KeyPath, int] = {}
        """How many tables each array of tables has."""

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while (token := self._peek()).kind != "end":
            if token.kind == "newline":
                self._next()
            elif token.text == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        line = self._next().line
        of_array = self._peek().text == "["
        if of_array:
            self._next()
        path: KeyPath = ()
        keys = self._keys()
        for index, key in enumerate(keys):
            path = (*path, key)
            self._lines.setdefault(path, line)
            if of_array and index == len(keys) - 1:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self._lines.setdefault(path, line)
        self._next()
        if of_array:
            self._next()
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._peek().line
        path = table
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._next()  # the equals sign
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [_key(self._next())]
        while self._peek().text == ".":
            self._next()
            keys.append(_key(self._next()))
        return keys

    def _value(self, path: KeyPath) -> None:
        match self._next().text:
            case "[":
                index = 0
                while (token := self._skip_newlines()).text != "]":
                    if token.text == ",":
                        self._next()
                        index += 1
                        continue
                    self._lines[(*path, index)] = token.line
                    self._value((*path, index))
                self._next()
            case "{":
                while (token := self._skip_newlines()).text != "}":
                    if token.text == ",":
                        self._next()
                        continue
                    self._pair(path)
                self._next()
            case _:
                # Floats have dots, and a date may be two words.
                while self._peek().kind == "bare" or self._peek().text == ".":
                    self._next()

    def _skip_newlines(self) -> _Token:
        while self._peek().kind == "newline":
            self._next()
        return self._peek()

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    while at < len(text) and (found := _TOKEN.match(text, at)):
        kind = str(found.lastgroup)
        if kind != "space":
            yield _Token(kind, found[0], line)
        line += found[0].count("\n")
        at = found.end()
    yield _Token("end", "", line)


def _key(token: _Token) -> str:
    """The key that a token spells; quoted ones as TOML reads them."""
    if token.kind != "string":
        return token.text
    return next(iter(tomllib.loads(f"{token.text} = 0")))
