"""Decision diagrams against trying every value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.decision import LEAF, Diagram, Space, cubes, evaluate, levels, nodes, widest
from portgate.core.net import Interval, Intervals
from tests.engine.diagrams import (
    POINTS,
    TOPS,
    answers,
    boxed,
    diagram_of,
    first_of,
    inside,
    rules,
    set_of,
    sides,
    values_of,
    whole_boxes,
)

Rules = list[tuple[Mapping[int, Intervals], str]]
Box = tuple[Interval, ...]
ANSWERS = "abcd-"


# ------------------------------------------------------------------ making


@given(values_of(2))
def test_a_test_answers_inside_its_values_and_outside(values: Intervals) -> None:
    space = Space()
    found = space.test(2, values, TOPS[2], space.true, space.false)
    assert answers(found) == [inside(point, {2: values}) for point in POINTS]


@given(sides)
def test_a_box_holds_where_all_its_sides_do(box: Mapping[int, Intervals]) -> None:
    space = Space()
    assert answers(boxed(space, box, space.true, space.false)) == [inside(point, box) for point in POINTS]


@given(rules)
def test_a_chain_answers_as_its_first_rule_that_matches(some: Rules) -> None:
    assert answers(diagram_of(Space(), some)) == list(map(first_of(some), POINTS))


@given(st.lists(st.tuples(whole_boxes, st.sampled_from("abcd")), max_size=8))
def test_boxes_answer_as_the_first_that_holds_the_point(some: list[tuple[Box, str]]) -> None:
    space = Space()
    fields = [(level, top) for level, top in reversed(list(TOPS.items()))]  # any order of the fields will do
    rows = [(tuple(reversed(box)), space.leaf(answer)) for box, answer in some]
    found = space.boxes(fields, rows, space.leaf("-"))
    listed = [({level: (part,) for level, part in zip(TOPS, box, strict=True)}, answer) for box, answer in some]
    assert answers(found) == list(map(first_of(listed), POINTS))
    assert found is diagram_of(space, listed)


def test_boxes_that_cut_each_other_into_too_many_pieces_are_folded_instead() -> None:
    top, rng = 10_000, Random(3)
    space = Space()
    fields = [(level, top) for level in range(4)]

    def some() -> Interval:
        first, last = sorted((rng.randint(0, top), rng.randint(0, top)))
        return first, last

    rows = [(tuple(some() for _ in fields), space.leaf(rng.choice("ab"))) for _ in range(12)]
    assert space._slabs(fields, rows, 0, space.false, {}, 16 * len(rows) + 64) is None, "the budget should not do"
    found = space.boxes(fields, rows, space.false)
    for _ in range(500):
        box, _ = rng.choice(rows)
        point = [min(top, rng.choice((first, last, last + 1))) for first, last in box]
        expected = next(
            (
                leaf
                for box, leaf in rows
                if all(first <= value <= last for (first, last), value in zip(box, point, strict=True))
            ),
            space.false,
        )
        assert evaluate(found, dict(enumerate(point))) == expected.value


# ------------------------------------------------------------------ canonicity


@given(rules, rules)
def test_equal_functions_are_the_same_object(left: Rules, right: Rules) -> None:
    space = Space()
    one, other = diagram_of(space, left), diagram_of(space, right)
    assert (one is other) == (answers(one) == answers(other))


@given(rules, st.randoms(use_true_random=False))
def test_the_way_of_making_a_function_does_not_matter(some: Rules, rng: Random) -> None:
    space = Space()
    hole = space.leaf("-")
    made = diagram_of(space, some)
    one_by_one = hole
    for box, answer in reversed(some):
        one_by_one = (
            boxed(space, box, space.leaf(answer), one_by_one)
            if not box
            else space.choose(boxed(space, box, space.true, space.false), space.leaf(answer), one_by_one)
        )
    by_points = [(point, first_of(some)(point)) for point in POINTS]
    rng.shuffle(by_points)
    pieces = [({level: ((value, value),) for level, value in point.items()}, answer) for point, answer in by_points]
    assert made is one_by_one is diagram_of(space, [piece for piece in pieces if piece[1] != "-"])


@given(rules)
def test_no_node_has_neighbours_alike_and_levels_ascend(some: Rules) -> None:
    for node in nodes(diagram_of(Space(), some)):
        assert len(node.children) == len(node.cuts) + 1 >= 2
        assert all(left is not right for left, right in pairwise(node.children))
        assert list(node.cuts) == sorted(set(node.cuts))
        assert node.cuts[-1] < TOPS[node.level]
        assert all(child.level > node.level for child in node.children)


@given(rules, rules, rules)
def test_substitution_is_associative(first: Rules, second: Rules, third: Rules) -> None:
    space = Space()
    hole = space.leaf("-")
    a, b, c = (diagram_of(space, some) for some in (first, second, third))
    left = space.substitute(space.substitute(a, hole, b), hole, c)
    assert left is space.substitute(a, hole, space.substitute(b, hole, c))
    assert left is diagram_of(space, [*first, *second, *third])


# ------------------------------------------------------------------ operations


@given(rules, rules, st.sampled_from(ANSWERS))
def test_substitution_asks_the_other_where_the_first_answers_the_hole(left: Rules, right: Rules, hole: str) -> None:
    space = Space()
    one, other = diagram_of(space, left), diagram_of(space, right)
    found = space.substitute(one, space.leaf(hole), other)
    pairs = zip(answers(one), answers(other), strict=True)
    assert answers(found) == [theirs if mine == hole else mine for mine, theirs in pairs]


@given(rules, rules)
def test_sets_are_joined_cut_and_negated(left: Rules, right: Rules) -> None:
    space = Space()
    one, other = set_of(space, left), set_of(space, right)
    pairs = list(zip(answers(one), answers(other), strict=True))
    assert answers(space.both(one, other)) == [mine and theirs for mine, theirs in pairs]
    assert answers(space.either(one, other)) == [mine or theirs for mine, theirs in pairs]
    assert answers(space.negation(one)) == [not mine for mine, _ in pairs]
    assert space.negation(space.negation(one)) is one
    assert space.both(one, other) is space.negation(space.either(space.negation(one), space.negation(other)))


@given(rules, rules, rules)
def test_a_choice_takes_one_inside_the_condition_and_the_other_elsewhere(
    where: Rules, left: Rules, right: Rules
) -> None:
    space = Space()
    condition, one, other = set_of(space, where), diagram_of(space, left), diagram_of(space, right)
    found = space.choose(condition, one, other)
    rows = zip(answers(condition), answers(one), answers(other), strict=True)
    assert answers(found) == [mine if chosen else theirs for chosen, mine, theirs in rows]


@given(rules, st.fixed_dictionaries({one: st.sampled_from("abc") for one in ANSWERS}))
def test_mapped_leaves_may_fall_together(some: Rules, mapping: Mapping[object, str]) -> None:
    space = Space()
    made = diagram_of(space, some)
    found = space.map_leaves(made, lambda value: mapping[value])
    assert answers(found) == [mapping[answer] for answer in answers(made)]
    assert found is diagram_of(space, [(box, mapping[answer]) for box, answer in [*some, ({}, "-")]])


@given(rules, st.dictionaries(st.sampled_from(list(TOPS)), st.integers(0, 2), max_size=3))
def test_a_restricted_diagram_forgets_the_levels_that_are_fixed(some: Rules, fixed: Mapping[int, int]) -> None:
    made = diagram_of(space := Space(), some)
    found = space.restrict(made, fixed)
    assert levels(found).isdisjoint(fixed)
    assert answers(found) == [evaluate(made, {**point, **fixed}) for point in POINTS]


@given(rules, rules)
def test_a_comparison_is_true_where_both_agree_and_else_the_pair(left: Rules, right: Rules) -> None:
    space = Space()
    one, other = diagram_of(space, left), diagram_of(space, right)
    pairs = zip(answers(one), answers(other), strict=True)
    found = space.compare(one, other)
    assert answers(found) == [mine == theirs or (mine, theirs) for mine, theirs in pairs]
    assert (found is space.true) == (one is other)


# ------------------------------------------------------------------ reading


@given(rules)
def test_the_leaves_are_the_answers_that_some_point_gets(some: Rules) -> None:
    space = Space()
    made = diagram_of(space, some)
    assert {leaf.value for leaf in space.leaves(made)} == set(answers(made))
    assert all(leaf.level == LEAF for leaf in space.leaves(made))


@given(rules)
def test_the_levels_are_those_that_make_a_difference(some: Rules) -> None:
    made = diagram_of(Space(), some)
    for level, top in TOPS.items():
        differs = any(
            evaluate(made, point) != evaluate(made, {**point, level: value})
            for point in POINTS
            for value in range(top + 1)
        )
        assert (level in levels(made)) == differs


@given(rules)
def test_every_point_that_reaches_a_leaf_is_in_exactly_one_of_its_cubes(some: Rules) -> None:
    space = Space()
    made = diagram_of(space, some)
    for answer in ANSWERS:
        parts = list(cubes(made, space.leaf(answer), TOPS))
        for point in POINTS:
            assert sum(inside(point, part) for part in parts) == (evaluate(made, point) == answer)


@given(rules, sides, st.sampled_from(list(TOPS)))
def test_the_widest_side_of_a_cube_reaches_the_leaf_and_nothing_else(
    some: Rules, cube: Mapping[int, Intervals], level: int
) -> None:
    space = Space()
    made = set_of(space, some)
    found = widest(made, space.true, cube, level, TOPS)
    others = {other: values for other, values in cube.items() if other != level}
    for value in range(TOPS[level] + 1):
        whole = all(evaluate(made, {**point, level: value}) for point in POINTS if inside(point, others))
        assert inside({level: value}, {level: found}) == whole


def test_deep_and_wide_diagrams_of_many_rules_stay_exact() -> None:
    rng, space, top = Random(11), Space(), (1 << 128) - 1
    hole = space.false

    def interval() -> Interval:
        first = rng.randrange(1 << 16) << 100
        return first, min(top, first + (rng.randrange(1 << 8) << 96))

    listed = [(interval(), interval(), rng.random() < 0.5) for _ in range(400)]
    made = space.chain(
        [space.box([(0, (a,), top), (1, (b,), top)], space.leaf(("yes", good)), hole) for a, b, good in listed], hole
    )
    for _ in range(2000):
        (a, b, _), (c, _, _) = rng.choice(listed), rng.choice(listed)
        point = rng.choice((a[0], a[1], a[1] + 1, c[0])) & top, rng.choice((b[0], b[1], b[0] - 1)) & top
        expected = next((("yes", good) for a, b, good in listed if _in(a, point[0]) and _in(b, point[1])), False)
        assert evaluate(made, {0: point[0], 1: point[1]}) == expected


def _in(interval: Interval, value: int) -> bool:
    return interval[0] <= value <= interval[1]


@settings(max_examples=20)
@given(rules)
def test_diagrams_of_different_spaces_are_never_the_same_object(some: Rules) -> None:
    one, other = diagram_of(Space(), some), diagram_of(Space(), some)
    assert one is not other
    assert _shape(one) == _shape(other)


def _shape(diagram: Diagram) -> object:
    return diagram.value if diagram.level == LEAF else (diagram.level, diagram.cuts, *map(_shape, diagram.children))
