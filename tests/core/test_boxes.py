"""Sets hold pairwise disjoint boxes: the same points, none twice."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from portgate.core.boxes import disjoint
from portgate.core.ruleset import Box

interval = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda ends: (min(ends), max(ends)))


def boxes(width: int) -> st.SearchStrategy[list[tuple[Box, str]]]:
    box = st.tuples(*[interval] * width)
    return st.lists(st.tuples(box, st.sampled_from("abcdef")), max_size=8)


several = st.integers(1, 4).flatmap(boxes)


def points(box: Box) -> list[tuple[int, ...]]:
    return list(product(*(range(first, last + 1) for first, last in box)))


@given(several)
def test_no_point_is_lost_added_or_held_twice(given_boxes: list[tuple[Box, str]]) -> None:
    held = [point for element in disjoint(given_boxes) for point in points(element.box)]
    assert len(held) == len({*held})
    assert {*held} == {point for box, _ in given_boxes for point in points(box)}


@given(several)
def test_the_order_given_does_not_matter(given_boxes: list[tuple[Box, str]]) -> None:
    assert disjoint(given_boxes[::-1]) == disjoint(given_boxes)


@given(several)
def test_every_element_carries_the_name_of_one_that_it_overlaps(given_boxes: list[tuple[Box, str]]) -> None:
    for element in disjoint(given_boxes):
        inside = {*points(element.box)}
        assert element.comment in {name for box, name in given_boxes if not inside.isdisjoint(points(box))}


def test_boxes_that_are_disjoint_already_stay_as_they_are() -> None:
    apart = [(((1, 1), (80, 80)), "a"), (((1, 1), (81, 90)), "b"), (((2, 5), (80, 90)), "c")]
    assert [(element.box, element.comment) for element in disjoint(apart)] == apart


def test_many_wide_ranges_do_not_multiply() -> None:
    """Ten thousand ranges that overlap each other, of single addresses: cut by address, they stay what they are."""
    wide = [(((index, index), (index % 100, 60_000 + index % 100)), f"g{index}") for index in range(10_000)]
    assert len(disjoint(wide)) == len(wide)


def test_a_wide_box_over_many_small_ones_is_cut_quickly() -> None:
    small = [(((index * 4, index * 4 + 2), (index, index)), f"g{index}") for index in range(10_000)]
    assert len(disjoint([(((0, 50_000), (0, 20_000)), "all"), *small])) < 50_000
