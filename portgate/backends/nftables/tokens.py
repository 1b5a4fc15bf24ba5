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
