"""The nodes of a YAML document: what is written, and where.

Theory
    The events of PyYAML's parser carry all that is needed: the raw text of each scalar, and where it begins and ends. A scalar
    node *is* its event, so reading costs little more than parsing. Nothing is typed here: `22:22`, `no` and `2027-03-31` stay the
    text that they are, and what they mean depends on the key they stand at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from yaml.events import ScalarEvent

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
    """**Shape** `entries` are the items as they were read, some of them perhaps not parsed."""

    __slots__ = ("end_mark", "entries", "start_mark")

    def __init__(self, start: Mark, end: Mark, entries: list[Node | Entry]) -> None:
        self.start_mark = start
        self.end_mark = end
        self.entries = entries

    @property
    def items(self) -> list[Node]:
        return [expanded(entry) for entry in self.entries]


class Broken:
    """Stands where a value was that is already reported."""

    __slots__ = ("end_mark", "start_mark")

    def __init__(self, place: Placed) -> None:
        self.start_mark = place.start_mark
        self.end_mark = place.end_mark


class Point(NamedTuple):
    """A mark of our own."""

    name: str
    line: int
    column: int


_QUOTED = r"""(?<=")[^"]++|(?<=')[^']++"""
BRACES = re.compile(rf"""(?P<key>[a-z]++): ++["']?+(?P<value>{_QUOTED}|[^\s,}}]++(?: ++[^\s,}}]++)*+)""")
LINES = re.compile(rf"""(?P<key>[a-z]++): ++["']?+(?P<value>{_QUOTED}|[^\n]++)""")


class Entry:
    """An entry of a list that did not have to be parsed: a mapping of keys to words.

    **Shape** `text` begins at the first column and ends where the entry does; `pairs` finds the keys and words in it.
    """

    __slots__ = ("_pairs", "_text", "span", "words")

    def __init__(self, words: dict[str, str], span: Span, text: str, pairs: re.Pattern[str]) -> None:
        self.words = words
        self.span = span
        self._text = text
        self._pairs = pairs

    @property
    def start_mark(self) -> Mark:
        return Point(self.span.file, self.span.line - 1, self.span.column - 1)

    @property
    def end_mark(self) -> Mark:
        return Point(self.span.file, self.span.end_line - 1, self.span.end_column - 1)

    def expanded(self) -> Mapping:
        """The same as if it had been parsed."""
        pairs: dict[str, Pair] = {}
        for number, line in enumerate(self._text.split("\n"), self.span.line - 1):
            for match in self._pairs.finditer(line):
                pairs[match["key"]] = self._scalar(number, match, "key"), self._scalar(number, match, "value")
        return Mapping(self.start_mark, self.end_mark, pairs)

    def _scalar(self, number: int, match: re.Match[str], group: str) -> Scalar:
        start, end = match.span(group)
        quote = match.string[start - 1]
        style = quote if quote in "'\"" else ""
        file, width = self.span.file, len(style)
        first, behind = Point(file, number, start - width), Point(file, number, end + width)
        return Scalar(None, None, (True, False), match[group], first, behind, style)


Node = Scalar | Mapping | Sequence | Broken
Pair = tuple[Scalar, Node]


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
