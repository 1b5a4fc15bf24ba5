"""Reading a statement token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from portgate.backends.pf.tokens import Token

T = TypeVar("T")
END = Token("", 0, quoted=True)


class NotReadError(Exception):
    """The rest of a statement is not understood."""


class Cursor:
    """A place in a statement."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self) -> str:
        """The next sign or word, "" for a quoted string and at the end."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else END
        return "" if token.quoted else token.text

    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def take(self) -> str:
        """The next token, whatever it is."""
        if self.done():
            raise NotReadError
        self.at += 1
        return self.tokens[self.at - 1].text

    def accept(self, *words: str) -> str:
        """The next token when it is one of these, else ""."""
        word = self.peek()
        if word and word in words:
            self.at += 1
            return word
        return ""

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise NotReadError

    def listed(self, one: Callable[[], T]) -> list[T]:
        """`x` or `{ x, y z }`."""
        if not self.accept("{"):
            return [one()]
        found = []
        while not self.accept("}"):
            found.append(one())
            while self.accept(","):
                pass
        return found

    def parenthesised(self) -> list[str]:
        """The tokens of `( ... )`, also nested; none where no parenthesis stands."""
        if not self.accept("("):
            return []
        found: list[str] = []
        depth = 1
        while True:
            token = self.take()
            depth += {"(": 1, ")": -1}.get(token, 0)
            if not depth:
                return found
            found.append(token)
