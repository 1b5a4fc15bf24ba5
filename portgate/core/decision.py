"""Decision diagrams: one data type for every question about sets of packets. Knows nothing of firewalls.

Theory
    A diagram is a function from a tuple of numbers (one a *level*) to a value. A node tests one level and holds
    a partition of that level's whole domain into intervals, each with a child; on every path levels ascend.
    Nodes are hash-consed, neighbours with the same child are merged, and a node with one child is that child.
    So equal functions are the same object: equality is `is`, and a difference is found by walking.

    All operations are one: `substitute(a, hole, b)` asks `b` wherever `a` answers `hole`. It is conjunction and
    disjunction of sets, "the next rule where this one says continue", and "the next chain where this one accepts".
    It is associative, so a list of n rules is folded as a balanced tree (`chain`), not one by one: that, and
    intervals instead of bits, is what keeps ten thousand rules under a second.

Rules of this file
    Diagrams of different spaces never meet. Nothing here is cached beyond the life of its space.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from portgate.core.net import Interval, Intervals, intersect, normalize

LEAF = 1 << 30  # the level of leaves: below every test


class Diagram:
    """A node or a leaf. Made by a `Space` only; compare with `is`.

    **Shape** child i holds for values from cuts[i-1]+1 to cuts[i]; the last one for all above. A leaf has a value.
    """

    __slots__ = ("children", "cuts", "level", "value")

    def __init__(self, level: int, cuts: tuple[int, ...], children: tuple[Diagram, ...], value: Hashable) -> None:
        self.level = level
        self.cuts = cuts
        self.children = children
        self.value = value

    def at(self, value: int) -> Diagram:
        """The child that holds for a value of this node's level."""
        return self.children[bisect_left(self.cuts, value)]

    def parts(self, top: int) -> Iterator[tuple[Interval, Diagram]]:
        """The intervals of this node's level, which ends at `top`, with their children."""
        first = 0
        for last, child in zip((*self.cuts, top), self.children, strict=True):
            yield (first, last), child
            first = last + 1


Cube = Mapping[int, Intervals]  # level -> values; a level that is missing is free


class Space:
    """Makes diagrams, and remembers them: the unique table and the results of operations."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, tuple[int, ...], tuple[Diagram, ...]], Diagram] = {}
        self._leaves: dict[Hashable, Diagram] = {}
        self._substitutions: dict[Diagram, _Substitution] = {}
        self._leaf_sets: dict[Diagram, frozenset[Diagram]] = {}
        self._tested: dict[Diagram, int] = {}
        self.true = self.leaf(True)
        self.false = self.leaf(False)

    def __len__(self) -> int:
        """The number of nodes made so far."""
        return len(self._nodes)

    # -------------------------------------------------------------- making

    def leaf(self, value: Hashable) -> Diagram:
        found = self._leaves.get(value)
        if found is None:
            found = self._leaves[value] = Diagram(LEAF, (), (), value)
        return found

    def node(self, level: int, cuts: Iterable[int], children: Sequence[Diagram]) -> Diagram:
        """The node with these children, whose levels must be below; equal neighbours are merged."""
        kept = [children[0]]
        kept_cuts: list[int] = []
        for cut, child in zip(cuts, children[1:], strict=True):
            if child is not kept[-1]:
                kept_cuts.append(cut)
                kept.append(child)
        return self.unique(level, kept_cuts, kept)

    def unique(self, level: int, cuts: Sequence[int], children: Sequence[Diagram]) -> Diagram:
        """The node with these children, of which neighbours differ."""
        if not cuts:
            return children[0]
        key = (level, tuple(cuts), tuple(children))
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = Diagram(*key, None)
        return found

    def test(self, level: int, values: Intervals, top: int, inside: Diagram, outside: Diagram) -> Diagram:
        """`inside` where the level has one of the values, else `outside`; both must test lower levels only."""
        if inside is outside:
            return inside
        cuts: list[int] = []
        children: list[Diagram] = []
        for first, last in values:
            if first > 0:
                cuts.append(first - 1)
                children.append(outside)
            cuts.append(last)
            children.append(inside)
        if cuts and cuts[-1] == top:
            cuts.pop()
        else:
            children.append(outside)
        return self.unique(level, cuts, children)

    def box(self, tests: Iterable[tuple[int, Intervals, int]], inside: Diagram, outside: Diagram) -> Diagram:
        """`inside` where every (level, values, top) holds. Levels differ from each other."""
        result = inside
        for level, values, top in sorted(tests, reverse=True):
            result = self.test(level, values, top, result, outside)
        return result

    def boxes(
        self, fields: Sequence[tuple[int, int]], entries: Sequence[tuple[Sequence[Interval], Diagram]], miss: Diagram
    ) -> Diagram:
        """The leaf of the first box that holds the packet, else `miss`.

        **Shape** `fields` are (level, top); an entry is (an interval for each field, its leaf).
        """
        order = sorted(range(len(fields)), key=lambda index: fields[index][0])
        sorted_fields = [fields[index] for index in order]
        rows = [(tuple([box[index] for index in order]), leaf) for box, leaf in entries]
        found = self._slabs(sorted_fields, rows, 0, miss, {}, 16 * len(rows) + 64)
        if found is not None:
            return found
        return self.chain(
            [
                self.box(
                    [(level, (part,), top) for (level, top), part in zip(sorted_fields, box, strict=True)], leaf, miss
                )
                for box, leaf in rows
            ],
            miss,
        )

    def _slabs(
        self,
        fields: Sequence[tuple[int, int]],
        rows: list[tuple[tuple[Interval, ...], Diagram]],
        depth: int,
        miss: Diagram,
        memo: dict[tuple[int, tuple[int, ...]], Diagram],
        budget: int,
    ) -> Diagram | None:
        """Sweeps along one field and recurses into the boxes over each piece; None when the pieces grow too many.

        Quick for real sets, whose boxes are mostly equal or disjoint in each field; the caller has another way.
        """

        def build(active: tuple[int, ...], depth: int) -> Diagram | None:
            nonlocal budget
            if not active:
                return miss
            if depth == len(fields):
                return rows[active[0]][1]
            key = (depth, active)
            if key in memo:
                return memo[key]
            level, top = fields[depth]
            cuts: list[int] = []
            children: list[Diagram] = []
            for last, members in _sweep([rows[index][0][depth] for index in active], top):
                budget -= len(members) + 1
                child = build(tuple([active[member] for member in members]), depth + 1) if budget > 0 else None
                if child is None:
                    return None
                cuts.append(last)
                children.append(child)
            result = memo[key] = self.node(level, cuts[:-1], children)
            return result

        return build(tuple(range(len(rows))), depth)

    # -------------------------------------------------------------- the operation

    def substitute(self, diagram: Diagram, hole: Diagram, other: Diagram) -> Diagram:
        """`diagram`, but where it answers the leaf `hole`, what `other` answers."""
        substitution = self._substitutions.get(hole)
        if substitution is None:
            substitution = self._substitutions[hole] = _Substitution(hole, self)
        return substitution.walk(diagram, other)

    def chain(self, diagrams: Sequence[Diagram], hole: Diagram) -> Diagram:
        """Asks the diagrams in order: the first answer that is not `hole`."""
        row = list(diagrams)
        if not row:
            return hole
        while len(row) > 1:
            folded = [self.substitute(row[i], hole, row[i + 1]) for i in range(0, len(row) - 1, 2)]
            if len(row) % 2:
                folded.append(row[-1])
            row = folded
        return row[0]

    def map_leaves(self, diagram: Diagram, function: Callable[[Hashable], Hashable]) -> Diagram:
        """The diagram with every leaf's value replaced."""
        return self.rebuild(diagram, lambda leaf: self.leaf(function(leaf.value)))

    def rebuild(self, diagram: Diagram, leaf: Callable[[Diagram], Diagram]) -> Diagram:
        """The diagram with every leaf replaced by another leaf."""
        new = {one: leaf(one) for one in self.leaves(diagram)}
        if all(one is other for one, other in new.items()):
            return diagram

        def walk(node: Diagram) -> Diagram:
            found = new.get(node)
            if found is None:
                found = new[node] = self.replaced(node, {child: walk(child) for child in dict.fromkeys(node.children)})
            return found

        return walk(diagram)

    def replaced(self, node: Diagram, new: Mapping[Diagram, Diagram]) -> Diagram:
        """The node with each of its children replaced by what `new` has for it."""
        children = [new[child] for child in node.children]
        if len(set(new.values())) == len(new):  # then neighbours differ as before
            return self.unique(node.level, node.cuts, children)
        return self.node(node.level, node.cuts, children)

    def restrict(self, diagram: Diagram, values: Mapping[int, int]) -> Diagram:
        """The function that is left when these levels have these values."""
        if not any(self.tested(diagram) >> level & 1 for level in values):
            return diagram
        memo: dict[Diagram, Diagram] = {}
        last = max(values)

        def walk(node: Diagram) -> Diagram:
            if node.level > last:
                return node
            found = memo.get(node)
            if found is None:
                value = values.get(node.level)
                if value is not None:
                    found = walk(node.at(value))
                else:
                    found = self.replaced(node, {child: walk(child) for child in dict.fromkeys(node.children)})
                memo[node] = found
            return found

        return walk(diagram)

    # -------------------------------------------------------------- sets (diagrams with the leaves true and false)

    def both(self, left: Diagram, right: Diagram) -> Diagram:
        return self.substitute(left, self.true, right)

    def either(self, left: Diagram, right: Diagram) -> Diagram:
        return self.substitute(left, self.false, right)

    def negation(self, diagram: Diagram) -> Diagram:
        return self.rebuild(diagram, lambda leaf: self.false if leaf is self.true else self.true)

    def where(self, diagram: Diagram, accept: Callable[[Hashable], bool]) -> Diagram:
        """The set on which the diagram's value satisfies `accept`."""
        return self.map_leaves(diagram, accept)

    def choose(self, condition: Diagram, inside: Diagram, outside: Diagram) -> Diagram:
        """`inside` on the set `condition`, `outside` elsewhere."""
        memo: dict[tuple[Diagram, Diagram, Diagram], Diagram] = {}

        def walk(test: Diagram, yes: Diagram, no: Diagram) -> Diagram:
            if test.level == LEAF or yes is no:
                return no if test is self.false else yes
            key = (test, yes, no)
            found = memo.get(key)
            if found is None:
                level = min(test.level, yes.level, no.level)
                cuts = sorted({cut for one in key if one.level == level for cut in one.cuts})
                rows = [[one.at(point) if one.level == level else one for one in key] for point in (*cuts, _ABOVE_ALL)]
                found = memo[key] = self.node(level, cuts, [walk(*row) for row in rows])
            return found

        return walk(condition, inside, outside)

    def compare(self, left: Diagram, right: Diagram) -> Diagram:
        """True where they answer alike, elsewhere the pair of both answers."""

        def answer(a: Diagram, b: Diagram) -> Diagram | None:
            if a is b:
                return self.true
            return self.leaf((a.value, b.value)) if a.level == b.level == LEAF else None

        return self.combine(left, right, answer)

    def combine(self, left: Diagram, right: Diagram, answer: Callable[[Diagram, Diagram], Diagram | None]) -> Diagram:
        """What `answer` makes of both answers. It is asked about pairs of nodes too, and says None to be asked deeper."""
        return self._combined(left, right, answer, side_by_side)

    def within(
        self, part: Diagram, outside: Diagram, other: Diagram, answer: Callable[[Diagram, Diagram], Diagram | None]
    ) -> Diagram:
        """The same where `part` is not the leaf `outside`, which stays. Takes time for that part only, however large `other` is."""
        return part if part is outside else self._combined(part, other, answer, partial(_side_by_side_but, outside))

    def _combined(
        self,
        left: Diagram,
        right: Diagram,
        answer: Callable[[Diagram, Diagram], Diagram | None],
        pieces: Callable[[Diagram, Diagram], Iterable[tuple[int, Diagram, Diagram]]],
    ) -> Diagram:
        memo: dict[tuple[Diagram, Diagram], Diagram] = {}

        def walk(a: Diagram, b: Diagram) -> Diagram:
            found = memo.get((a, b))
            if found is None:
                found = answer(a, b)
                if found is not None:
                    pass
                elif a.level == b.level:
                    rows = [(cut, walk(x, y)) for cut, x, y in pieces(a, b)]
                    found = self.node(a.level, [cut for cut, _ in rows[:-1]], [child for _, child in rows])
                elif a.level < b.level:
                    found = self.replaced(a, {child: walk(child, b) for child in dict.fromkeys(a.children)})
                else:
                    found = self.replaced(b, {child: walk(a, child) for child in dict.fromkeys(b.children)})
                memo[a, b] = found
            return found

        return walk(left, right)

    # -------------------------------------------------------------- reading

    def leaves(self, diagram: Diagram) -> frozenset[Diagram]:
        """Every leaf that some tuple reaches."""
        found = self._leaf_sets.get(diagram)
        if found is None:
            if diagram.level == LEAF:
                found = frozenset((diagram,))
            else:
                found = frozenset().union(*[self.leaves(child) for child in dict.fromkeys(diagram.children)])
            self._leaf_sets[diagram] = found
        return found

    def tested(self, diagram: Diagram) -> int:
        """Every level that it tests, as the bits of a number: there may be hundreds."""
        if diagram.level == LEAF:
            return 0
        found = self._tested.get(diagram)
        if found is None:
            found = 1 << diagram.level
            for child in dict.fromkeys(diagram.children):
                found |= self.tested(child)
            self._tested[diagram] = found
        return found


class _Substitution:
    """`Space.substitute` for one hole, memoised by the two diagrams. The inner loop of everything: kept flat."""

    __slots__ = ("_hole", "_memo", "_replaced", "_unique")

    def __init__(self, hole: Diagram, space: Space) -> None:
        self._hole = hole
        self._replaced = space.replaced
        self._unique = space.unique
        self._memo: dict[tuple[Diagram, Diagram], Diagram] = {}

    def walk(self, a: Diagram, b: Diagram) -> Diagram:
        if a is self._hole:
            return b
        if a.level == LEAF or b is self._hole:
            return a
        key = (a, b)
        found = self._memo.get(key)
        if found is None:
            if a.level == b.level:
                found = self._merge(a, b)
            elif a.level < b.level:
                found = self._replaced(a, {child: self.walk(child, b) for child in dict.fromkeys(a.children)})
            else:
                found = self._replaced(b, {child: self.walk(a, child) for child in dict.fromkeys(b.children)})
            self._memo[key] = found
        return found

    def _merge(self, a: Diagram, b: Diagram) -> Diagram:
        """Both test the same level: their partitions are merged like sorted lists.

        Nearly all the time goes into this loop. Where `a` answers the hole, which is nearly everywhere, the pieces of `b`
        are taken over as they are, all at once; and `walk` is called for pairs that are neither leaves nor known.
        """
        walk, known, hole = self.walk, self._memo.get, self._hole
        b_ends, b_children, index = (*b.cuts, _ABOVE_ALL), b.children, 0
        ends: list[int] = []
        children: list[Diagram] = []
        previous = None
        for x, end in zip(a.children, (*a.cuts, _ABOVE_ALL), strict=True):
            if x is hole:
                child = b_children[index]
                if b_ends[index] < end:
                    last = bisect_left(b_ends, end, index + 1)
                    if child is previous:
                        children.pop()
                        ends.pop()
                    children += b_children[index:last]
                    ends += b_ends[index:last]
                    index, previous, child = last, children[-1], b_children[last]
            elif x.level == LEAF:
                child = x
                if b_ends[index] < end:
                    index = bisect_left(b_ends, end, index + 1)
            else:
                while True:
                    y = b_children[index]
                    child = x if y is hole else known((x, y)) or walk(x, y)
                    if b_ends[index] >= end:
                        break
                    if child is previous:
                        ends[-1] = b_ends[index]
                    else:
                        children.append(child)
                        ends.append(b_ends[index])
                        previous = child
                    index += 1
            if b_ends[index] == end:
                index += 1
            if child is previous:
                ends[-1] = end
            else:
                children.append(child)
                ends.append(end)
                previous = child
        return self._unique(a.level, ends[:-1], children)


def side_by_side(a: Diagram, b: Diagram) -> Iterator[tuple[int, Diagram, Diagram]]:
    """The pieces of the first level that two diagrams test, on which neither changes: (last value, child of a, child of b)."""
    i = j = 0
    level = min(a.level, b.level)
    a_cuts, a_children = ((*a.cuts, _ABOVE_ALL), a.children) if a.level == level else ((_ABOVE_ALL,), (a,))
    b_cuts, b_children = ((*b.cuts, _ABOVE_ALL), b.children) if b.level == level else ((_ABOVE_ALL,), (b,))
    while i < len(a_cuts) and j < len(b_cuts):
        cut = min(a_cuts[i], b_cuts[j])
        yield cut, a_children[i], b_children[j]
        i, j = i + (a_cuts[i] == cut), j + (b_cuts[j] == cut)


def _side_by_side_but(outside: Diagram, a: Diagram, b: Diagram) -> Iterator[tuple[int, Diagram, Diagram]]:
    """The same of two nodes of one level, but pieces on which `a` is the leaf `outside` stay whole."""
    first = 0
    for cut, x in zip((*a.cuts, _ABOVE_ALL), a.children, strict=True):
        if x is outside:
            yield cut, x, b.children[0]
        else:
            index = bisect_left(b.cuts, first)
            while index < len(b.cuts) and b.cuts[index] < cut:
                yield b.cuts[index], x, b.children[index]
                index += 1
            yield cut, x, b.children[index]
        first = cut + 1


_ABOVE_ALL = 1 << 129


def evaluate(diagram: Diagram, values: Mapping[int, int]) -> Hashable:
    """The answer for one tuple. Errors: KeyError when a level that decides has no value."""
    while diagram.level != LEAF:
        diagram = diagram.at(values[diagram.level])
    return diagram.value


def nodes(diagram: Diagram) -> set[Diagram]:
    """Every node of the diagram, without its leaves."""
    seen: set[Diagram] = set()
    stack = [diagram]
    while stack:
        node = stack.pop()
        if node.level != LEAF and node not in seen:
            seen.add(node)
            stack.extend(set(node.children) - seen)
    return seen


def levels(diagram: Diagram) -> frozenset[int]:
    """Every level that the diagram tests."""
    return frozenset(node.level for node in nodes(diagram))


def cubes(diagram: Diagram, leaf: Diagram, tops: Mapping[int, int]) -> Iterator[dict[int, Intervals]]:
    """Disjoint cubes that make up all tuples that reach `leaf`; intervals with the same child go together."""

    def walk(node: Diagram, cube: dict[int, Intervals]) -> Iterator[dict[int, Intervals]]:
        if node is leaf:
            yield dict(cube)
        elif node.level != LEAF:
            for child, values in _grouped(node, tops[node.level]):
                cube[node.level] = values
                yield from walk(child, cube)
            del cube[node.level]

    return walk(diagram, {})


def _grouped(node: Diagram, top: int) -> Iterator[tuple[Diagram, Intervals]]:
    groups: dict[Diagram, list[Interval]] = {}
    for interval, child in node.parts(top):
        groups.setdefault(child, []).append(interval)
    return ((child, tuple(intervals)) for child, intervals in groups.items())


def widest(diagram: Diagram, leaf: Diagram, cube: Cube, level: int, tops: Mapping[int, int]) -> Intervals:
    """All values of `level` with which the whole rest of the cube still reaches `leaf` and nothing else."""
    everything: Intervals = ((0, tops[level]),)
    memo: dict[Diagram, Intervals] = {}

    def walk(node: Diagram) -> Intervals:
        if node is leaf:
            return everything
        if node.level == LEAF:
            return ()
        found = memo.get(node)
        if found is None:
            found = memo[node] = here(node) if node.level == level else below(node)
        return found

    def here(node: Diagram) -> Intervals:
        return normalize(
            part for interval, child in node.parts(tops[level]) for part in intersect((interval,), walk(child))
        )

    def below(node: Diagram) -> Intervals:
        wanted = cube.get(node.level)
        children = set(node.children) if wanted is None else _children_at(node, wanted)
        result = everything
        for child in children:
            result = intersect(result, walk(child))
            if not result:
                break
        return result

    return walk(diagram)


def _children_at(node: Diagram, values: Intervals) -> set[Diagram]:
    """The children that hold for some of the values."""
    found: set[Diagram] = set()
    index = 0
    for first, last in values:
        index = bisect_left(node.cuts, first, index)
        found.add(node.children[index])
        while index < len(node.cuts) and node.cuts[index] < last:
            index += 1
            found.add(node.children[index])
    return found


def _sweep(intervals: Sequence[Interval], top: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Pieces of 0..top as (last value, indices of the intervals over the piece, ascending)."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for index, (first, last) in enumerate(intervals):
        starts.setdefault(first, []).append(index)
        ends.setdefault(last + 1, []).append(index)
    active: set[int] = set()
    points = sorted({0, top + 1, *starts, *ends})
    for point, following in pairwise(points):
        active.difference_update(ends.get(point, ()))
        active.update(starts.get(point, ()))
        yield following - 1, tuple(sorted(active))
