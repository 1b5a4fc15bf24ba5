"""Boxes of intervals, cut so that no two overlap: what the named sets of a firewall hold.

Theory
    A box is one interval for each field; a firewall's set is a union of boxes that must be pairwise disjoint.
    The cut goes field by field. Where the intervals of a field are equal or disjoint nothing is split;
    where they overlap in part, they are split at each other's ends. In the last field a union is enough.
    The order of the fields decides how much is split, so the field with the least to split goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter

from portgate.core.net import Interval
from portgate.core.ruleset import Box, Element

Labelled = tuple[Box, str]


def disjoint(boxes: Sequence[Labelled]) -> tuple[Element, ...]:
    """The same points in pairwise disjoint elements, sorted.

    **Shape** every box has the same number of fields. Where boxes overlap, the element takes the comment of
    the one that starts first.
    """
    if not boxes:
        return ()
    width = len(boxes[0][0])
    if width == 1:
        return tuple(Element(box, comment) for box, comment in _cut(sorted(boxes), 0, 0))
    order = _order(boxes, width)
    there, back = itemgetter(*order), itemgetter(*(order.index(column) for column in range(width)))
    ordered = sorted((there(box), comment) for box, comment in boxes)
    return tuple(sorted(Element(back(box), comment) for box, comment in _cut(ordered, 0, width - 1)))


def _cut(boxes: Sequence[Labelled], column: int, last: int) -> Iterator[Labelled]:
    """`boxes` are sorted and agree in all columns before this one."""
    if len(boxes) == 1:
        yield boxes[0]
    elif column == last:
        yield from _united(boxes, column)
    else:
        for members in _pieces(boxes, column):
            yield from _cut(members, column + 1, last)


def _united(boxes: Sequence[Labelled], column: int) -> Iterator[Labelled]:
    """Overlapping intervals become one; those that only touch stay apart, each with its own comment."""
    current, name = boxes[0]
    for box, comment in boxes[1:]:
        first, last = box[column]
        if first > current[column][1]:
            yield current, name
            current, name = box, comment
        elif last > current[column][1]:
            current = (*current[:column], (current[column][0], last))
    yield current, name


def _pieces(boxes: Sequence[Labelled], column: int) -> Iterator[Sequence[Labelled]]:
    """Boxes that agree in a column, after those that overlap in it were split at each other's ends."""
    start = 0
    for end, equal in _runs([box[column] for box, _ in boxes]):
        members = boxes[start:end]
        start = end
        if equal:
            yield members
            continue
        cuts = sorted({cut for box, _ in members for cut in (box[column][0], box[column][1] + 1)})
        for first, after in pairwise(cuts):
            over = sorted(
                ((*box[:column], (first, after - 1), *box[column + 1 :]), comment)
                for box, comment in members
                if box[column][0] <= first <= box[column][1]
            )
            if over:
                yield over


def _runs(intervals: Sequence[Interval]) -> Iterator[tuple[int, bool]]:
    """Ends of the runs of sorted intervals that overlap, and whether all of a run's intervals are equal."""
    leader, reach, equal = intervals[0], intervals[0][1], True
    for index, interval in enumerate(intervals):
        if interval[0] > reach:
            yield index, equal
            leader, reach, equal = interval, interval[1], True
        elif interval != leader:
            equal = False
            reach = max(reach, interval[1])
    yield len(intervals), equal


def _order(boxes: Sequence[Labelled], width: int) -> list[int]:
    """The columns in the order of cutting: from last to first; by cost where that would split much.

    The fixed order comes first so that an added grant does not cut the others in a new way.
    """
    columns = [*range(width - 1, -1, -1)]
    if all(_cost(boxes, column) <= 4 * len(boxes) for column in columns[:-1]):
        return columns
    return sorted(columns, key=lambda column: _cost(boxes, column))


def _cost(boxes: Sequence[Labelled], column: int) -> int:
    """How many boxes there are after a cut in this column."""
    distinct = Counter(box[column] for box, _ in boxes)
    if all(left[1] < right[0] for left, right in pairwise(sorted(distinct))):
        return len(boxes)
    change: dict[int, int] = {}
    for (first, last), count in distinct.items():
        change[first] = change.get(first, 0) + count
        change[last + 1] = change.get(last + 1, 0) - count
    total = covering = 0
    for _, step in sorted(change.items()):
        covering += step
        total += covering
    return total
