"""The words of nft's language.

**Shape** tokens are plain strings: words, `"quoted"` with its quotes, signs, newlines, and `# handle N`, the only comment
that means something. An address of IPv6 and a MAC are one word although they hold colons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_COLONS = r"(?:[0-9A-Fa-f]*:){2,7}[0-9A-Fa-f]*(?:\.\d+){0,3}(?:/\d+)?"
_TOKEN = re.compile(
    r"(?:[ \t\r]|\#(?![ ]handle[ ]\d+[ \t]*(?:\n|\Z))[^\n]*)*("
    r"\n|\\\r?\n|\#[^\n]*"
    r'|"[^"\n]*"'
    r"|==|!=|<=|>=|<<|>>|[{}()\[\];,=<>!|&^]"
    rf"|{_COLONS}(?:-{_COLONS})?(?![\w:.])"
    r"|\$\w[\w./-]*"
    r'|[^\s{}()\[\];,"\#=<>!|&^$:\\]+(?:\\\*)?'
    r"|[^ \t\r])"
)
_GROWTH = 1_000_000
_TIME = r"(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9})s)?(?:\d{1,9}ms)?"
_DIGITS = frozenset("0123456789")
SIGNS = frozenset("{}()[];,=<>!|&^$#@\\\n")


def tokenize(text: str) -> tuple[list[str], list[int]]:
    """The tokens; and for each line but the first, how many tokens stand before it."""
    found = _TOKEN.findall(text)
    if "\\\n" not in text and "\\\r\n" not in text:
        return found, [i + 1 for i, word in enumerate(found) if word == "\n"]
    tokens: list[str] = []
    lines: list[int] = []
    for word in found:
        if not word.startswith("\\"):
            tokens.append(word)
        if word.endswith("\n"):
            lines.append(len(tokens))
    return tokens, lines


def expand(tokens: list[str], variables: Mapping[str, Sequence[str]]) -> list[str]:
    """With the values of variables in place; those that are not defined stay."""
    result: list[str] = []
    for word in tokens:
        result.extend(variables.get(word, (word,)) if word[0] == "$" else (word,))
        if len(result) > _GROWTH:
            return tokens
    return result


def unquote(word: str) -> str:
    return word[1:-1] if word[0] == '"' and len(word) > 1 else word


def native(tokens: Sequence[str]) -> str:
    return " ".join(word for word in tokens if word != "\n")


def is_sign(word: str) -> bool:
    """Whether it stands for itself, and is no constant."""
    return word in (".", "-", ":") or word[0] in SIGNS


class UnreadableError(Exception):
    """The grammar ends here."""


def value(word: str) -> object:
    """A constant: number, string, prefix `a/n` or range `a-b`."""
    head = word[0]
    if head == '"':
        return unquote(word)
    if head in _DIGITS and word.isdigit():
        # A leading 0 makes it octal for nft: rather not understood than taken for another number.
        return int(word) if len(word) < 19 and (head != "0" or len(word) == 1) else word
    if "-" in word and (head in _DIGITS or ":" in word):
        first, _, last = word.partition("-")
        return {"range": [value(first or "-"), value(last or "-")]}
    if word.startswith("0x"):
        return _hexadecimal(word)
    if "/" in word and ("." in word or ":" in word):
        address, _, length = word.partition("/")
        if address and length.isdigit() and len(length) < 4:
            return {"prefix": {"addr": address, "len": int(length)}}
    return word


def _hexadecimal(word: str) -> object:
    try:
        return int(word, 16) if len(word) < 35 else word
    except ValueError:
        return word


def seconds(word: str) -> int:
    """`1h30m`, `30s`, `90`. Errors: UnreadableError."""
    if word.isdigit() and len(word) < 12:
        return int(word)
    found = re.fullmatch(_TIME, word)
    if not found:
        raise UnreadableError
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


class Cursor:
    """A place in the words of one rule. Errors of every method: UnreadableError."""

    __slots__ = ("index", "now", "words")

    def __init__(self, words: Sequence[str]) -> None:
        self.words = [*words, "", "", ""]
        self.index = 0
        self.now = self.words[0]

    def next(self) -> str:
        """The word at the cursor, which moves on."""
        word = self.now
        if not word:
            raise UnreadableError
        self.index += 1
        self.now = self.words[self.index]
        return word

    def move(self, index: int) -> None:
        self.index = index
        self.now = self.words[index]

    def has(self, word: str) -> bool:
        """Reads `word` if it comes next."""
        if self.now != word:
            return False
        self.next()
        return True

    def need(self, word: str) -> None:
        if not self.has(word):
            raise UnreadableError

    def number(self) -> int:
        found = value(self.next())
        if not isinstance(found, int):
            raise UnreadableError
        return found

    @property
    def after(self) -> str:
        """The word after the next one."""
        return self.words[self.index + 1]

    def rest(self, start: int) -> list[str]:
        """From `start` to the end of the rule."""
        return self.words[start:-3]
