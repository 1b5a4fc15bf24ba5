"""Long lists of plain elements, which are read column by column and not word by word.

Theory
    A large set is thousands of elements like `10.1.2.0/24 . 4242 . 6 comment "web"`, all of one form. What they mean does not need the
    grammar of nft. Such a list is taken out of the text before that is tokenized, and a word takes its place. It is recognised
    by its lines, which begin with `elements = {`: that can't be inside of a string, for no string of nft goes over the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from portgate.backends.nftables.tokens import value
from portgate.backends.nftables.values import DataType, NotUnderstoodError, Run
from portgate.core.net import Family, Interval, intervals
from portgate.core.ruleset import Box, Element, elements_of

MARKER = "\ue000"
"""A private-use character; a text that holds it is not folded."""
LEAST = 16

_LIST = re.compile(r"^([ \t]*elements = \{)\s+([^{}]*+)\}$", re.MULTILINE)
_WORD = r"(?>tcp|udplite|udp|sctp|dccp|[0-9A-Fa-f:][0-9A-Fa-f:./-]*+)"  # protocols have names in what portgate writes
# Groups are repeated atomically, not possessively: Python 3.11.2 does not take back what a possessive group began to match in vain.
_ITEM = re.compile(rf'({_WORD}(?>(?: \. {_WORD})*))(?>( comment "[^"\n]*+")?)(,?\s+)')
_PLAIN = re.compile(r"[0-9A-Fa-f:./,\s-]+")
_COMMENT = slice(len(' comment "'), -1)


def fold(text: str) -> tuple[str, dict[str, Run]]:
    """The text, with its lines, and the words in it, in quotes, that stand for lists."""
    runs: dict[str, Run] = {}

    def replaced(found: re.Match[str]) -> str:
        keys, comments = columns_of(found[2])
        if len(keys) < LEAST:
            return found[0]
        word = Run(f"{MARKER}{len(runs)}")
        word.keys, word.comments = keys, comments
        runs[f'"{word}"'] = word
        return f'{found[1]} "{word}" }}' + "\n" * found[0].count("\n")

    return (text if any(one in text for one in _UNFIT) else _LIST.sub(replaced, text)), runs


_UNFIT = (MARKER, "\\\n", "\\\r", "delete element", "destroy element")


def columns_of(listed: str) -> tuple[Sequence[str], Sequence[str]]:
    """The keys of a list of plain elements and their comments, as in `Run`; none for a list with anything else."""
    return _plain(listed) or _commented(listed)


def _plain(listed: str) -> tuple[Sequence[str], Sequence[str]] | None:
    """Keys of one field without comments; None for others."""
    if " . " in listed or not _PLAIN.fullmatch(listed):
        return None
    keys = list(map(str.strip, listed.split(",")))
    return keys if keys[-1] else keys[:-1], ()


def _commented(listed: str) -> tuple[Sequence[str], Sequence[str]]:
    items = _ITEM.findall(listed)
    between = {separator for _, _, separator in items[:-1]}
    length = sum([len(key) + len(comment) + len(separator) for key, comment, separator in items])
    if not items or length != len(listed) or not all(one[0] == "," for one in between):
        return (), ()
    keys, comments, _ = zip(*items, strict=True)
    return keys, [one[_COMMENT] for one in comments]


def elements(types: tuple[DataType, ...], run: Run) -> Iterator[Element]:
    """Errors: NotUnderstoodError."""
    return elements_of(boxes(types, run.keys), run.comments)


def boxes(types: tuple[DataType, ...], keys: Sequence[str]) -> Iterator[Box]:
    """Of keys like `10.0.0.0/8 . 22 . 6`. Errors: NotUnderstoodError."""
    return zip(*columns(types, keys), strict=True)


def columns(types: tuple[DataType, ...], keys: Sequence[str]) -> list[Sequence[Interval]]:
    """The same, field by field. Errors: NotUnderstoodError."""
    rows = [key.split(" . ") for key in keys] if len(types) > 1 else [keys]
    if len(types) > 1 and {len(row) for row in rows} != {len(types)}:
        raise NotUnderstoodError("value of an unknown form")
    texts = zip(*rows, strict=True) if len(types) > 1 else rows
    return [_column(one, column) for one, column in zip(types, texts, strict=True)]


def _column(kind: DataType, texts: Sequence[str]) -> Sequence[Interval]:
    if kind.bits:
        return _addresses(kind.bits, texts)
    known = {
        text: kind.scalar(int(text)) if text.isdecimal() and text[0] != "0" else kind.interval(value(text))
        for text in {*texts}
    }
    if any(first > last for first, last in known.values()):
        raise NotUnderstoodError("a value that no packet has")
    return [known[text] for text in texts]


def _addresses(bits: int, texts: Sequence[str]) -> Sequence[Interval]:
    try:
        return intervals(Family.IPV4 if bits == Family.IPV4.bits else Family.IPV6, texts)
    except ValueError:
        raise NotUnderstoodError("not an address of this family") from None
