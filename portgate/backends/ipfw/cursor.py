"""Reading a rule word by word."""

from __future__ import annotations

from collections.abc import Iterable


class NotReadError(Exception):
    """The rest of a rule is not understood."""


class Cursor:
    """A place in a rule. Braces are words of their own, also where they are written beside others."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = [part for word in words for part in _apart(word)]
        self.at = 0

    def peek(self, further: int = 0) -> str:
        """The next word, or one behind it; "" at the end."""
        at = self.at + further
        return self.words[at] if at < len(self.words) else ""

    def done(self) -> bool:
        return self.at >= len(self.words)

    def take(self) -> str:
        if self.done():
            raise NotReadError
        self.at += 1
        return self.words[self.at - 1]

    def accept(self, *words: str) -> str:
        """The next word when it is one of these, else ""."""
        return self.take() if self.peek() in words and not self.done() else ""

    def negated(self) -> bool:
        """Whether `not` comes next, or its sign, which may stand before its word without a blank."""
        if self.accept("not", "!"):
            return True
        if not self.peek().startswith("!"):
            return False
        self.words[self.at] = self.words[self.at][1:]
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise NotReadError

    def rest(self) -> list[str]:
        found = self.words[self.at :]
        self.at = len(self.words)
        return found


def _apart(word: str) -> list[str]:
    opening = word[:1] if len(word) > 1 and word[0] in "{(" else ""
    inner = word[len(opening) :]
    closing = inner[-1:] if len(inner) > 1 and inner[-1] in "})" and not any(one in inner for one in "{(") else ""
    return [one for one in (opening, inner.removesuffix(closing), closing) if one]
