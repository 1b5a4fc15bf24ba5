"""Boxes of intervals, cut so that no two overlap: what the named sets of a firewall hold.

Theory
    A box is one interval for each field; a firewall's set is a union of boxes that must be pairwise disjoint.
    Boxes that are apart in some field need no cut, so they are first divided into groups that are apart, by one
    field after the other, until nothing divides them. Such a knot is cut, in the field in which that makes the
    fewest pieces, at every end of an interval. Its pieces agree in this field, and are divided anew. Where all agree in
    all fields but one, their union is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from portgate.core.ruleset import Box, Element, elements_of

Labelled = tuple[Box, str]


def disjoint(boxes: Sequence[Labelled]) -> tuple[Element, ...]:
    """The same points in pairwise disjoint elements, sorted.

    **Shape** every box has the same number of fields. Where boxes overlap, an element takes the comment of the one
    that starts first.
    """
    done: list[Labelled] = []
    waiting: list[Sequence[Labelled]] = [boxes] if boxes else []
    while waiting:
        group = waiting.pop()
        if len(group) == 1:
            done.append(group[0])
            continue
        varied = _varied(group)
        if len(varied) <= 1:
            done += _united(group, *varied)
        else:
            waiting += _divided(group, varied) or _cut(group, varied)
    done.sort()
    return tuple(elements_of([box for box, _ in done], [comment for _, comment in done]))


def _varied(group: Sequence[Labelled]) -> list[int]:
    """The columns in which the boxes differ, the last first: ports and protocols divide better than addresses."""
    sample = group[0][0]
    columns = range(len(sample) - 1, -1, -1)
    return [column for column in columns if any(box[column] != sample[column] for box, _ in group)]


def _united(group: Sequence[Labelled], column: int = 0) -> Iterator[Labelled]:
    """Boxes that differ in one column: overlapping ones become one, those that only touch stay apart."""
    ordered = iter(sorted(group))
    current, name = next(ordered)
    for box, comment in ordered:
        first, last = box[column]
        reach = current[column][1]
        if first > reach:
            yield current, name
            current, name = box, comment
        elif last > reach:
            current = (*current[:column], (current[column][0], last), *current[column + 1 :])
    yield current, name


def _divided(group: Sequence[Labelled], varied: Sequence[int]) -> list[Sequence[Labelled]]:
    """The group as groups that are apart in some column; none when no column divides it."""
    for column in varied:
        ordered = sorted(group, key=lambda one: one[0][column])
        starts, reach = [0], -1
        for index, (box, _) in enumerate(ordered):
            first, last = box[column]
            if first > reach and index:
                starts.append(index)
            reach = max(reach, last)
        if len(starts) > 1:
            return [ordered[start:end] for start, end in pairwise([*starts, len(ordered)])]
    return []


def _cut(group: Sequence[Labelled], varied: Sequence[int]) -> list[Sequence[Labelled]]:
    """The pieces of each box, together with those of the others that agree with them in one column."""
    column = min(varied, key=lambda one: _pieces(group, one))
    cuts = sorted({cut for box, _ in group for cut in (box[column][0], box[column][1] + 1)})
    coming = sorted(group, key=lambda one: one[0][column], reverse=True)
    covering: list[Labelled] = []
    pieces: list[Sequence[Labelled]] = []
    for first, after in pairwise(cuts):
        covering = [one for one in covering if one[0][column][1] >= first]
        while coming and coming[-1][0][column][0] == first:
            covering.append(coming.pop())
        pieces.append([((*box[:column], (first, after - 1), *box[column + 1 :]), name) for box, name in covering])
    return pieces


def _pieces(group: Sequence[Labelled], column: int) -> int:
    """How many boxes there are after a cut in this column."""
    change: Counter[int] = Counter()
    for box, _ in group:
        change[box[column][0]] += 1
        change[box[column][1] + 1] -= 1
    total = covering = 0
    for _, step in sorted(change.items()):
        covering += step
        total += covering
    return total
