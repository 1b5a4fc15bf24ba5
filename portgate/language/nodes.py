"""The nodes of a YAML document: what is written, and where.

Theory
    The events of PyYAML's parser carry all that is needed: the raw text of each scalar, and where it begins and ends. A scalar
    node *is* its event, so reading costs little more than parsing. Nothing is typed here: `22:22`, `no` and `2027-03-31` stay the
    text that they are, and what they mean depends on the key they stand at.
"""

from __future__ import annotations

import collections.abc
import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from yaml.events import ScalarEvent

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Span
from portgate.language.mistakes import Mark, Placed

if TYPE_CHECKING:

    class Scalar:
        """What a ScalarEvent that is not an alias holds. `style` is the quote or block sign, none for a plain scalar."""

        start_mark: Mark
        end_mark: Mark
        value: str
        style: str | None
        anchor: str | None
        tag: str | None

        def __init__(
            self, anchor: None, tag: None, implicit: tuple[bool, bool], value: str, start: Mark, end: Mark, style: str
        ) -> None: ...
else:
    Scalar = ScalarEvent


class Mapping:
    """**Shape** `pairs` is key text -> (key, value), in order; of equal keys the first."""

    __slots__ = ("end_mark", "pairs", "start_mark")

    def __init__(self, start: Mark, end: Mark, pairs: dict[str, Pair]) -> None:
        self.start_mark = start
        self.end_mark = end
        self.pairs = pairs


class Sequence:
    """**Shape** `parts` are the items as they were read, some of them perhaps not parsed."""

    __slots__ = ("end_mark", "parts", "start_mark")

    def __init__(self, start: Mark, end: Mark, parts: list[Part]) -> None:
        self.start_mark = start
        self.end_mark = end
        self.parts = parts

    @property
    def entries(self) -> list[Node | Entry]:
        """One by one."""
        return [entry for part in self.parts for entry in entries_of(part)]

    @property
    def items(self) -> list[Node]:
        """As if all of it had been parsed."""
        return [expanded(entry) for entry in self.entries]


class Broken:
    """Stands where a value was that is already reported."""

    __slots__ = ("end_mark", "start_mark")

    def __init__(self, place: Placed) -> None:
        self.start_mark = place.start_mark
        self.end_mark = place.end_mark


@dataclass(frozen=True, slots=True)
class Point:
    """A mark of our own."""

    name: str
    line: int
    column: int


_QUOTED = r"""(?<=")[^"]++|(?<=')[^']++"""


class Style(StrEnum):
    """How an entry that is all words is written: alone, in braces, each pair on a line of its own."""

    WORD = rf"""^(?P<key>) *+- ["']?+(?P<value>{_QUOTED}|[^\n]++)"""
    BRACES = rf"""(?P<key>[a-z]++): ++["']?+(?P<value>{_QUOTED}|[^\s,}}]++(?>(?: ++[^\s,}}]++)*))"""
    LINES = rf"""(?P<key>[a-z]++): ++["']?+(?P<value>{_QUOTED}|[^\n]++)"""

    def pairs(self, text: str) -> list[tuple[str, str]]:
        """Keys and words; a word alone is its port."""
        found = _compiled(self).findall(text)
        return [("port", word) for _, word in found] if self is Style.WORD else found

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Each pair, with its place."""
        return _compiled(self).finditer(text)


_compiled = cache(re.compile)


class Entry:
    """An entry of a list that did not have to be parsed: a mapping of keys to words.

    **Shape** `text` begins at the first column and ends where the entry does.
    """

    __slots__ = ("_style", "_text", "span", "words")

    def __init__(self, words: dict[str, str], span: Span, text: str, style: Style) -> None:
        self.words = words
        self.span = span
        self._text = text
        self._style = style

    @property
    def start_mark(self) -> Mark:
        return _start(self.span)

    @property
    def end_mark(self) -> Mark:
        return _end(self.span)

    def expanded(self) -> Mapping:
        """The same as if it had been parsed."""
        pairs: dict[str, Pair] = {}
        for number, line in enumerate(self._text.split("\n"), self.span.line - 1):
            for match in self._style.finditer(line):
                pairs[match["key"]] = (
                    _scalar(self.span, number, match, "key"),
                    _scalar(self.span, number, match, "value"),
                )
        return Mapping(self.start_mark, self.end_mark, pairs)


class Run:
    """Entries that follow each other and have one style and the same keys.

    **Shape** `columns` are the words by key, a word alone being its port; `texts` as an Entry has them.
    """

    __slots__ = ("_style", "_texts", "columns", "spans")

    def __init__(
        self,
        columns: collections.abc.Mapping[str, Collection[str]],
        spans: list[Span],
        texts: Collection[str],
        style: Style,
    ) -> None:
        self.columns = columns
        self.spans = spans
        self._texts = texts
        self._style = style

    @property
    def start_mark(self) -> Mark:
        return _start(self.spans[0])

    @property
    def end_mark(self) -> Mark:
        return _end(self.spans[-1])

    def entries(self) -> list[Scalar | Entry]:
        """One by one."""
        rows = zip(zip(*self.columns.values(), strict=True), self.spans, self._texts, strict=True)
        return [
            entry_of(dict(zip(self.columns, words, strict=True)), span, text, self._style) for words, span, text in rows
        ]


def entry_of(words: dict[str, str], span: Span, text: str, style: Style) -> Scalar | Entry:
    """A word alone as if it had been parsed."""
    if style is Style.WORD:
        return _scalar(span, span.line - 1, next(style.finditer(text)), "value")
    return Entry(words, span, text, style)


def _start(span: Span) -> Mark:
    return Point(span.file, span.line - 1, span.column - 1)


def _end(span: Span) -> Mark:
    return Point(span.file, span.end_line - 1, span.end_column - 1)


def _scalar(within: Span, number: int, match: re.Match[str], group: str) -> Scalar:
    """What was found in a line."""
    start, end = match.span(group)
    quote = match.string[start - 1]
    style = quote if quote in "'\"" else ""
    first, behind = Point(within.file, number, start - len(style)), Point(within.file, number, end + len(style))
    return Scalar(None, None, (True, False), match[group], first, behind, style)


@dataclass(frozen=True, slots=True)
class Folded:
    """**Shape** `text` has the lines of the original; `stretches` are what the markers in it stand for."""

    text: str
    stretches: dict[str, list[Part]]


Node = Scalar | Mapping | Sequence | Broken
Part = Node | Entry | Run
"""One item of a list or several, parsed or not."""
Pair = tuple[Scalar, Node]


def entries_of(part: Part) -> Collection[Node | Entry]:
    """One by one."""
    return part.entries() if isinstance(part, Run) else (part,)


def expanded(item: Node | Entry) -> Node:
    return item.expanded() if isinstance(item, Entry) else item


NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def is_null(node: Node) -> bool:
    """A key with nothing behind it, or with YAML's words for nothing."""
    return type(node) is Scalar and node.value in NULLS and not node.style


def is_merge(key: str, value: Node) -> bool:
    """YAML's key for "all that stands there", whose value is an alias and reported already."""
    return key == "<<" and type(value) is Broken


def words_of(item: Node | Entry) -> dict[str, str]:
    """What an entry says that is all words; empty for any other. A word alone is its port."""
    if type(item) is Entry:
        return item.words
    if type(item) is Scalar:
        return {"port": item.value}
    words: dict[str, str] = {}
    if type(item) is Mapping:
        for key, (_, value) in item.pairs.items():
            if type(value) is not Scalar or value.value in NULLS:
                return {}
            words[key] = value.value
    return words
