"""Folds simple list entries away before YAML is parsed.

Theory
    A large policy is thousands of entries like `- {port: 4242/tcp, from: 10.1.2.0/24}`, in braces or with each key on a line of its own.
    What such an entry means does not need a YAML parser: it is all words. Where it stands does: it could be inside of a block of text.
    So the first line of a run of entries is replaced by a marker, and the others are left empty. If the parser finds the marker as an entry
    of a list, the run is that list's; else nothing is folded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from portgate.core.diagnostics import Span
from portgate.language.nodes import BRACES, LINES, Entry

MARKER = "\ue000"
"""A private-use character; a text that holds it is not folded."""


def _pair(no: str) -> str:
    """A key with a word that YAML reads as it stands; a plain one holds none of the characters `no`."""
    plain = rf"(?!(?i:null)\b)\w[^\s:#{no}]*+(?:(?: ++[^\s:#{no}]|:(?=[\w:/]))[^\s:#{no}]*+)*+"
    return rf"""[a-z]++: ++(?:"[^"\\\n]++"|'[^'\n]++'|{plain})"""


_IN_BRACES, _ON_A_LINE = _pair(r",\[\]{}?"), _pair("")
_BRACES = rf"\{{ *+{_IN_BRACES}(?: *+, *+{_IN_BRACES})*+ *+(?P<brace>\}})"
_LINES = rf"(?P<first>{_ON_A_LINE})(?:\n(?P=indent)  (?P<last>{_ON_A_LINE}))*+"
_NOTHING = r"(?: ++#[^\n]*+| *+)\n(?: *+(?:#[^\n]*+)?+\n)*+"
_ENTRY = re.compile(rf"^(?P<indent> *+)- (?:{_BRACES}|{_LINES}){_NOTHING}(?!(?P=indent) )", re.MULTILINE)
"""With the comments and empty lines behind it, and only if no deeper line follows, which could belong to it."""


class Folded(NamedTuple):
    """**Shape** `text` has the lines of the original; `runs` are what the markers in it stand for."""

    text: str
    runs: dict[str, list[Entry]]


def fold(text: str, file: str) -> Folded:
    runs: dict[str, list[Entry]] = {}
    run: list[Entry] = []
    pieces: list[str] = []
    indent, done, line = "", 0, 1
    for match in _ENTRY.finditer("" if MARKER in text else text):
        start, end = match.span()
        above = text.count("\n", done, start)
        entry = _entry(match, file, line + above)
        if entry is None:
            continue
        if start > done or match[1] != indent:
            indent, marker, run = match[1], f"{MARKER}{len(runs)}", []
            runs[marker] = run
            pieces += text[done:start], f'{indent}- "{marker}"'
        run.append(entry)
        height = text.count("\n", start, end)
        pieces.append("\n" * height)
        done, line = end, line + above + height
    return Folded("".join([*pieces, text[done:]]), runs)


def _entry(match: re.Match[str], file: str, line: int) -> Entry | None:
    """None when a key is there twice, which the parser is left to find."""
    start, end = match.start(), match.end(match.lastindex or 0)
    text = match.string[start:end]
    pattern = BRACES if match["brace"] else LINES
    pairs = pattern.findall(text)
    words = dict(pairs)
    if len(words) < len(pairs):
        return None
    column = match.end("indent") - start + 3
    place = Span(file, line, column, line + text.count("\n"), len(text) - text.rfind("\n"))
    return Entry(words, place, text, pattern)
