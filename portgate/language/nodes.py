"""The nodes of a YAML document: what is written, and where.

Theory
    The events of PyYAML's parser carry all that is needed: the raw text of each scalar, and where it begins and ends. A scalar
    node *is* its event, so reading costs little more than parsing. Nothing is typed here: `22:22`, `no` and `2027-03-31` stay the
    text that they are, and what they mean depends on the key they stand at.
"""

from __future__ import annotations

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
    """**Shape** `lines` are the items as they were read, some of them perhaps folded into a Line."""

    __slots__ = ("end_mark", "lines", "start_mark")

    def __init__(self, start: Mark, end: Mark, lines: list[Node | Line]) -> None:
        self.start_mark = start
        self.end_mark = end
        self.lines = lines

    @property
    def items(self) -> list[Node]:
        return [one.expanded() if isinstance(one, Line) else one for one in self.lines]


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


class Line:
    """An entry of a list that fills a line: `- {port: 4242/tcp, from: 10.1.2.0/24}`, all of it plain words.

    **Units** `number` and the columns, that of the brace and that behind the other one, count from 0.
    """

    __slots__ = ("column", "end_column", "file", "number", "words")

    def __init__(self, file: str, number: int, column: int, end_column: int, words: dict[str, str]) -> None:
        self.file = file
        self.number = number
        self.column = column
        self.end_column = end_column
        self.words = words

    def span(self) -> Span:
        return Span(self.file, self.number + 1, self.column + 1, self.number + 1, self.end_column + 1)

    def expanded(self) -> Mapping:
        """The same as if it had been parsed."""
        pairs: dict[str, Pair] = {}
        column = self.column + 1
        for text, value in self.words.items():
            behind = column + len(text) + 2
            pairs[text] = self._scalar(text, column), self._scalar(value, behind)
            column = behind + len(value) + 2
        start, end = (Point(self.file, self.number, at) for at in (self.column, self.end_column))
        return Mapping(start, end, pairs)

    def _scalar(self, text: str, column: int) -> Scalar:
        start, end = (Point(self.file, self.number, at) for at in (column, column + len(text)))
        return Scalar(None, None, (True, False), text, start, end, "")


Node = Scalar | Mapping | Sequence | Broken
Pair = tuple[Scalar, Node]
