"""The text of pf as statements of tokens: comments, continued lines, quotes, lists over many lines, macros.

Facts
    A comment that ends in a backslash goes on in the next line (pfctl of OpenBSD 7.6 and FreeBSD 12.1). Macros
    are not expanded inside quotes; a macro's value is read as if it stood where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from portgate.core.diagnostics import Diagnostic, PortgateError

MOST_TOKENS = 2_000_000  # of one reading, macros expanded; more is an attack, not a firewall


ANCHORS = ("anchor", "rdr-anchor", "nat-anchor", "binat-anchor")


class Token(NamedTuple):
    """A word, a quoted string or a sign. `line` counts from 1."""

    text: str
    line: int
    quoted: bool = False


class Statement(NamedTuple):
    """One line of a file, in the sense of pf. `body` are the statements of an anchor's braces."""

    tokens: tuple[Token, ...]
    body: tuple[Statement, ...] | None = None

    @property
    def line(self) -> int:
        return self.tokens[0].line

    def __str__(self) -> str:
        return " ".join(one.text for one in self.tokens)


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\r?\n)
      | (?P<comment>\#(?:[^\n\\]|\\\n|\\)*)
      | (?P<newline>\n)
      | (?P<quote>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>->|!=|<>|><|>=|<=|[(){}<>!=/,])
      | (?P<word>\$?[^\s(){}<>!=/,\#"'$\\-][^\s(){}<>!=/,\#"'\\]*|\$|-[^\s(){}<>!=/,\#"'\\]*)
      | (?P<other>.)""",
    re.X | re.S,
)


_USE = re.compile(r"\$([A-Za-z0-9_]+)(.*)", re.S)


def statements(text: str) -> tuple[Statement, ...]:
    """Every statement of a file. Errors: PG471 for a text that expands without end."""
    return tuple(_Reader(text).block(top=True))


class _Reader:
    def __init__(self, text: str) -> None:
        self.macros: dict[str, str] = {}
        self.source = self._lexed(text)
        self.read = 0

    def _lexed(self, text: str, at: int | None = None) -> Iterator[Token]:
        line = 1
        for found in _TOKEN.finditer(text):
            here = at or line
            piece, kind = found[0], found.lastgroup
            line += piece.count("\n")
            if kind == "quote":
                yield Token(piece[1:-1].replace(f"\\{piece[0]}", piece[0]), here, quoted=True)
            elif kind not in ("space", "comment"):
                yield Token(piece, here)

    def _next(self) -> Token | None:
        self.read += 1
        if self.read > MOST_TOKENS:
            raise PortgateError(Diagnostic("PG471", f"more than {MOST_TOKENS} words once its macros are expanded"))
        return next(self.source, None)

    def block(self, *, top: bool = False) -> Iterator[Statement]:
        """Statements up to the end of the text, or to the brace that ends an anchor."""
        while True:
            tokens, end, body = self._statement()
            if tokens and not self._is_macro(tokens):
                yield Statement(tuple(tokens), body)
            if end is None or (end == "}" and not top):
                return

    def _statement(self) -> tuple[list[Token], str | None, tuple[Statement, ...] | None]:
        """The tokens of one statement, what ended it, and the body of an anchor."""
        tokens: list[Token] = []
        depth = 0
        while (token := self._next()) is not None:
            if token.text == "\n" and not token.quoted:
                if tokens and not depth:
                    return tokens, "\n", None
                continue
            if token.quoted or token.text not in ("{", "}"):
                tokens += self._expanded(token)
                continue
            if token.text == "{" and not depth and _takes_body(tokens):
                return tokens, "\n", tuple(self.block())
            depth += 1 if token.text == "{" else -1
            if depth < 0:
                return tokens, "}", None
            tokens.append(token)
        return tokens, None, None

    def _expanded(self, token: Token) -> Iterator[Token]:
        """A macro is replaced by its value, to which what follows its name is glued: `$ext_if:network`."""
        found = None if token.quoted else _USE.match(token.text)
        if found is None or found[1] not in self.macros:
            yield token
            return
        for one in self._lexed(self.macros[found[1]] + found[2], token.line):
            self.read += 1
            if self.read > MOST_TOKENS:
                raise PortgateError(Diagnostic("PG471", f"more than {MOST_TOKENS} words once its macros are expanded"))
            yield one

    def _is_macro(self, tokens: list[Token]) -> bool:
        if len(tokens) < 2 or tokens[0].quoted or (tokens[1].text, tokens[1].quoted) != ("=", False):
            return False
        value = " ".join(one.text for one in tokens[2:])
        if len(value) > MOST_TOKENS:
            raise PortgateError(Diagnostic("PG471", f"the macro {tokens[0].text[:40]} is longer than {MOST_TOKENS}"))
        self.macros[tokens[0].text] = value
        return True


def _takes_body(tokens: list[Token]) -> bool:
    """Whether a brace here begins the rules of an anchor, not a list: no word that takes a list stands right before."""
    if not tokens or tokens[0].text not in ANCHORS:
        return False
    last = tokens[-1]
    return last.quoted or last.text not in (
        "on",
        "proto",
        "from",
        "to",
        "port",
        ",",
        "!",
        "=",
        "icmp-type",
        "icmp6-type",
    )
