"""Folds long runs of simple list entries away before YAML is parsed.

Theory
    A large policy is thousands of lines like `- {port: 4242/tcp, from: 10.1.2.0/24}`. What such a line means does not need a YAML parser:
    all of it is plain words. Where it stands does: it could be inside of a block of text. So the first line of a run is replaced by a marker and
    the others are left empty. If the parser finds the marker as an entry of a list, the run is that list's; else nothing is folded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from portgate.language.nodes import Line

MARKER = "\ue000"
"""A private-use character; a text that holds it is not folded."""
LEAST = 16

_WORD = r"[A-Za-z0-9][A-Za-z0-9./_-]*+"
_ENTRY = rf"- \{{[a-z]++: {_WORD}(?:, [a-z]++: {_WORD})*+\}}(?: ++#[^\n]*+)?\n"
_RUN = re.compile(rf"^(?P<indent> *+){_ENTRY}(?:(?P=indent){_ENTRY}){{{LEAST - 1},}}+", re.MULTILINE)


class Folded(NamedTuple):
    """**Shape** `text` has the lines of the original; `runs` are what the markers in it stand for."""

    text: str
    runs: dict[str, list[Line]]


def fold(text: str, file: str) -> Folded:
    runs: dict[str, list[Line]] = {}
    pieces: list[str] = []
    end = number = 0
    for match in _RUN.finditer("" if MARKER in text else text):
        number += text.count("\n", end, match.start())
        run = _lines(match.group(), file, number, len(match["indent"]))
        pieces.append(text[end : match.start()])
        marker = f"{MARKER}{len(runs)}"
        pieces.append(f'{match["indent"]}- "{marker}"' + "\n" * len(run) if run else match.group())
        if run:
            runs[marker] = run
        number += match.group().count("\n")
        end = match.end()
    return Folded("".join([*pieces, text[end:]]), runs)


def _lines(text: str, file: str, first: int, indent: int) -> list[Line]:
    """None of them when one has a key twice, which the parser is left to find."""
    found: list[Line] = []
    for number, line in enumerate(text.split("\n")[:-1], first):
        close = line.index("}")
        pairs = line[indent + 3 : close].split(", ")
        words = dict([pair.split(": ") for pair in pairs])
        if len(words) < len(pairs):
            return []
        found.append(Line(file, number, indent + 2, close + 1, words))
    return found
