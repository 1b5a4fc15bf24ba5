"""Small diagrams whose every value can be tried, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from hypothesis import strategies as st

from portgate.core.decision import Diagram, Space, evaluate
from portgate.core.net import Interval, Intervals, normalize

TOPS: Mapping[int, int] = {0: 3, 2: 5, 5: 2}  # level -> highest value; levels need not follow each other
POINTS = tuple(dict(zip(TOPS, values, strict=True)) for values in product(*(range(top + 1) for top in TOPS.values())))
Point = Mapping[int, int]


def _interval(top: int) -> st.SearchStrategy[Interval]:
    ends = st.tuples(st.integers(0, top), st.integers(0, top))
    return ends.map(lambda pair: (min(pair), max(pair)))


def values_of(level: int) -> st.SearchStrategy[Intervals]:
    """Some values of a level, at least one."""
    return st.lists(_interval(TOPS[level]), min_size=1, max_size=3).map(normalize)


sides = st.dictionaries(st.sampled_from(list(TOPS)), st.none(), max_size=3).flatmap(
    lambda levels: st.fixed_dictionaries({level: values_of(level) for level in levels})
)
"""Level -> values: the sides of a box."""

whole_boxes = st.tuples(*(_interval(top) for top in TOPS.values()))
"""One interval for each level."""

rules = st.lists(st.tuples(sides, st.sampled_from("abcd")), max_size=6)
"""Boxes with the answer in each."""


def inside(point: Point, box: Mapping[int, Intervals]) -> bool:
    return all(any(first <= point[level] <= last for first, last in values) for level, values in box.items())


def first_of(some: Sequence[tuple[Mapping[int, Intervals], str]], otherwise: str = "-") -> Callable[[Point], str]:
    """What a list of rules answers, by trying them in order."""
    return lambda point: next((answer for box, answer in some if inside(point, box)), otherwise)


def diagram_of(space: Space, some: Sequence[tuple[Mapping[int, Intervals], str]], otherwise: str = "-") -> Diagram:
    """The same as a diagram."""
    hole = space.leaf(otherwise)
    return space.chain([boxed(space, box, space.leaf(answer), hole) for box, answer in some], hole)


def boxed(space: Space, box: Mapping[int, Intervals], found: Diagram, missed: Diagram) -> Diagram:
    return space.box([(level, values, TOPS[level]) for level, values in box.items()], found, missed)


def set_of(space: Space, some: Sequence[tuple[Mapping[int, Intervals], str]]) -> Diagram:
    """The points in any of the boxes whose answer is a or b, and in no earlier box."""
    return space.where(diagram_of(space, some), lambda value: value in ("a", "b"))


def answers(diagram: Diagram) -> list[object]:
    """The answer for every point, in order."""
    return [evaluate(diagram, point) for point in POINTS]
