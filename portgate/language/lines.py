"""Folds simple list entries away before YAML is parsed.

Theory
    A large policy is thousands of entries like `- 4242/tcp` and `- {port: 4242/tcp, from: 10.1.2.0/24}`, in braces or with each key on a
    line of its own. What such an entry means does not need a YAML parser: it is all words. Where it stands does: it could be inside of a
    block of text. So the first line of a stretch of entries is replaced by a marker, and the others are left empty. If the parser finds
    the marker as an entry of a list, the stretch is that list's; else nothing is folded.
    Where entries of one form follow each other, with the same keys in the same order, one pattern reads them all in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import accumulate, repeat
from operator import itemgetter, methodcaller
from typing import NamedTuple

from portgate.core.diagnostics import Span
from portgate.language.nodes import Folded, Part, Run, Style, entry_of

MARKER = "\ue000"
"""A private-use character; a text that holds it is not folded."""
FORMS = 32  # of which a pattern is made; the entries of others are read one by one

# Groups are repeated atomically, not possessively: Python 3.11.2 does not take back what a possessive group began to match in vain.
_QUOTED = r""""[^"\\\n]++"|'[^'\n]++'"""


def _word(no: str) -> str:
    """A word that YAML reads as it stands; a plain one holds none of the characters `no`."""
    return rf"(?:{_QUOTED}|(?!(?i:null)\b)\w[^\s:#{no}]*+(?>(?:(?: ++[^\s:#{no}]|:(?=[\w:/]))[^\s:#{no}]*+)*))"


_IN_BRACES, _ON_A_LINE = _word(r",\[\]{}?"), _word("")
_BRACES = rf"\{{ *+[a-z]++: ++{_IN_BRACES}(?>(?: *+, *+[a-z]++: ++{_IN_BRACES})*) *+\}}"
_LINES = rf"[a-z]++: ++{_ON_A_LINE}(?>(?:\n(?P=indent)  [a-z]++: ++{_ON_A_LINE})*)"
_BEHIND = r"(?: ++#[^\n]*+| *+)\n(?>(?: *+(?:#[^\n]*+)?\n)*)"
"""The comments and empty lines behind an entry."""
_ENTRY = re.compile(
    rf"^(?P<entry>(?P<indent> *+)- (?:(?P<braces>{_BRACES})|(?P<lines>{_LINES})|{_ON_A_LINE}))"
    rf"{_BEHIND}(?!(?P=indent) )",
    re.MULTILINE,
)
"""Only if no deeper line follows, which could belong to it."""


def fold(text: str, file: str) -> Folded:
    if MARKER in text:
        return Folded(text, {})
    stretches: dict[str, list[Part]] = {}
    stretch: list[Part] = []
    pieces: list[str] = []
    indent, done = "", 0
    for start, end, height, here, part in _parts(text, file):
        if start > done or here != indent:
            indent, marker, stretch = here, f"{MARKER}{len(stretches)}", []
            stretches[marker] = stretch
            pieces += text[done:start], f'{indent}- "{marker}"'
        stretch.append(part)
        pieces.append("\n" * height)
        done = end
    return Folded("".join([*pieces, text[done:]]), stretches)


# ------------------------------------------------------------------ entries


class _Form(NamedTuple):
    """What entries have in common that are read in one go."""

    indent: str
    style: Style
    keys: tuple[str, ...]


class _Found(NamedTuple):
    """Part of a list, and where in the text it stands. **Units** `height` counts lines."""

    start: int
    end: int
    height: int
    indent: str
    part: Part


def _parts(text: str, file: str) -> Iterator[_Found]:
    """All of a text, in order; but for entries with a key that is there twice, which the parser is left to find."""
    forms: set[_Form] = set()
    before: _Form | None = None
    end, line = 0, 1
    while match := _ENTRY.search(text, end):
        line += text.count("\n", end, match.start())
        style = Style.BRACES if match["braces"] else Style.LINES if match["lines"] else Style.WORD
        pairs = style.pairs(match["entry"])
        words = dict(pairs)
        if len(words) < len(pairs):
            line += match.group().count("\n")
            end = match.end()
            continue
        form = _Form(match["indent"], style, tuple(words))
        if form == before and (form in forms or len(forms) < FORMS):
            forms.add(form)
            found = _run(form, text, match.start(), file, line)
        else:
            found = _single(match, words, style, file, line)
        yield found
        before, end = form, found.end
        line += found.height


def _single(match: re.Match[str], words: dict[str, str], style: Style, file: str, line: int) -> _Found:
    whole, text, indent = match.group(), match["entry"], match["indent"]
    place = Span(file, line, len(indent) + 3, line + text.count("\n"), len(text) - text.rfind("\n"))
    return _Found(*match.span(), whole.count("\n"), indent, entry_of(words, place, text, style))


def _run(form: _Form, text: str, start: int, file: str, line: int) -> _Found:
    """The entries of a form that follow each other from there on."""
    rows = _pattern(form).findall(text, start)
    if not rows[-1][0]:
        rows.pop()
    texts, *words, behind = zip(*rows, strict=True)
    more = len(form.keys) - 1 if form.style is Style.LINES else 0
    lines = [*accumulate([more + one for one in map(_newlines, behind)], initial=line)]
    last = [one + more for one in lines] if more else lines
    ends = [len(one) - one.rfind("\n") for one in texts] if more else [len(one) + 1 for one in texts]
    spans = zip(repeat(file, len(texts)), lines, repeat(len(form.indent) + 3), last, ends)
    columns = dict(zip(form.keys, map(_unquoted, words), strict=True))
    run = Run(columns, [*map(_SPAN, spans)], texts, form.style)
    return _Found(start, start + sum(map(len, texts)) + sum(map(len, behind)), lines[-1] - line, form.indent, run)


_SPAN = partial(tuple.__new__, Span)
_newlines = methodcaller("count", "\n")


@cache
def _pattern(form: _Form) -> re.Pattern[str]:
    """Finds the entries of a form, their words and what is behind them, then all that follows."""
    word = _IN_BRACES if form.style is Style.BRACES else _ON_A_LINE
    pairs = [f"{key}: ++({word})" for key in form.keys]
    entry = {
        Style.WORD: f"({word})",
        Style.BRACES: rf"\{{ *+{' *+, *+'.join(pairs)} *+\}}",
        Style.LINES: f"\n{form.indent}  ".join(pairs),
    }[form.style]
    return re.compile(rf"^({form.indent}- {entry})({_BEHIND})(?!{form.indent} )|[\s\S]++", re.MULTILINE)


def _unquoted(words: Sequence[str]) -> Sequence[str]:
    if {'"', "'"}.isdisjoint(map(itemgetter(0), words)):
        return words
    return [one[1:-1] if one[0] in "\"'" else one for one in words]
