"""Rules that could go without anything changing: those that never match, and redundant ones.

Theory
    A rule is redundant when every packet that it decides meets the same end without it. A chain is cut into blocks, a
    block is halved, and each half again, the later one first. What is known of a part is its *say*: the packets that
    reach it and that it decides, each with the end that it would meet behind the part. Of a part that is one rule
    that is the answer: no end but its own, and the rule is redundant. For most rules one packet shows that they are needed.

    What is told can go, each rule alone and all of them together: ends are looked up twice, among all rules that
    follow and without those that are told already. So of two equal rules one is told.

    An end is more than a verdict here. Packets that would be logged, counted against a limit, marked or translated
    only because a rule has gone fare otherwise, so a rule that does any such thing is an end of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from portgate.core.addresses import ANY_HOST
from portgate.core.chains import KINDS, ChainEvaluation, Kind, Leaf, leaf_of, plain_verdicts
from portgate.core.dataclasses import dataclass
from portgate.core.decision import LEAF, Diagram, Space, side_by_side
from portgate.core.matches import Doubts, Matches, State, exactly, guarded, merged, under
from portgate.core.net import Family, Interval, Intervals
from portgate.core.packets import UNTRACKED_STATE
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    Any,
    Chain,
    Container,
    Counter,
    Dnat,
    Drop,
    Field,
    Goto,
    Jump,
    Match,
    Not,
    NoTrack,
    Opaque,
    Place,
    Queue,
    RateLimit,
    Reject,
    ReversePath,
    Rule,
    Snat,
    Template,
    Unknown,
    Verdict,
)

BLOCK = 512
MOST_NODES = 20_000
"""Nodes of diagrams made for one chain, from which on no more rules are asked whether they are redundant."""
MOST_TAKERS = 3
DEFAULT = -1
_HIGHEST = 1 << 129


@dataclass(frozen=True, slots=True)
class Surplus:
    """A rule that could go. `takers` would decide its packets then: rules of its chain, or its DEFAULT.

    **Shape** () where it never matches. `more`: there are takers besides.
    """

    rule: int
    takers: tuple[int, ...] = ()
    more: bool = False

    @property
    def why(self) -> str:
        """`is redundant, rules 7, 9 and the default do the same`"""
        if not self.takers:
            return "never matches"
        rules = [str(taker + 1) for taker in self.takers if taker >= 0]
        whose = [f"rule{'s' * (len(rules) > 1)} {', '.join(rules)}"] if rules else []
        whose += ["others"] if self.more else []
        whose += ["the default"] if DEFAULT in self.takers else []
        alone = len(whose) == 1 and len(rules) < 2 and not self.more
        return f"is redundant, {' and '.join(whose)} {'does' if alone else 'do'} the same"


@dataclass(frozen=True, slots=True)
class Surpluses:
    """All of a chain, in its order. Not `complete`: too much work, some rules were only asked whether they match."""

    rules: tuple[Surplus, ...]
    complete: bool = True


class Surplusage:
    """Looks for them in the chains of one container."""

    def __init__(self, container: Container) -> None:
        self._families = [_Family(container, family) for family in container.families]

    def of(self, chain: Chain) -> Surpluses:
        """The rules of a chain that could go, all of them together."""
        return _Search(chain, [family.line(chain) for family in self._families]).found()


class _Search:
    """In one chain, in all families at once: a rule can go where it can in each."""

    def __init__(self, chain: Chain, lines: Sequence[_Line]) -> None:
        ending = {i for i, rule in enumerate(chain.rules) if isinstance(rule.verdict, Accept | Drop | Reject | Dnat)}
        self._lines = lines
        self._told: dict[int, Surplus] = {}
        self._dead = ending - {index for line in lines for block in line.blocks for index in block.points}
        self._asked = {index for index in ending - self._dead if not _is_noticed(chain.rules[index])}
        self._most = [len(line.space) + MOST_NODES for line in lines]
        self._complete = True

    def found(self) -> Surpluses:
        if self._dead or self._asked:
            self._search()
        return Surpluses(tuple(self._told[index] for index in sorted(self._told)), self._complete)

    def _search(self) -> None:
        for line in self._lines:
            line.follow()
            self._asked -= {index for block in line.blocks for index in block.needed(self._asked)}
        rest = [line.default for line in self._lines]
        for blocks in reversed(list(zip(*(line.blocks for line in self._lines), strict=True))):
            says = [block.say(self._asked, then) for block, then in zip(blocks, rest, strict=True)]
            left = self._left(blocks, _Part(blocks[0].top, 0), says)
            rest = [block.joined(one, then) for block, one, then in zip(blocks, left, rest, strict=True)]

    def _left(self, blocks: Sequence[_Block], part: _Part, says: Sequence[_Say]) -> list[Diagram]:
        """The ends of a part without the rules that are told."""
        rules = range(blocks[0].first + part.first, blocks[0].first + part.end)
        asked = self._are_asked(rules)
        if not asked and self._dead.isdisjoint(rules):
            return [block.ends(part) for block in blocks]
        if part.level == 0:
            return self._rule(blocks, part, says)
        if not blocks[0].has(part.later):
            return self._left(blocks, part.earlier, says)
        pairs = list(zip(blocks, says, strict=True))
        later = self._left(blocks, part.later, [block.behind(say, part) for block, say in pairs] if asked else says)
        before = (
            [block.before(say, part, ends) for (block, say), ends in zip(pairs, later, strict=True)] if asked else says
        )
        earlier = self._left(blocks, part.earlier, before)
        return [block.joined(one, other) for block, one, other in zip(blocks, earlier, later, strict=True)]

    def _are_asked(self, rules: range) -> bool:
        if any(len(line.space) > most for line, most in zip(self._lines, self._most, strict=True)) and self._asked:
            self._asked.clear()
            self._complete = False
        return not self._asked.isdisjoint(rules)

    def _rule(self, blocks: Sequence[_Block], part: _Part, says: Sequence[_Say]) -> list[Diagram]:
        number = blocks[0].first + part.first
        if number in self._dead:
            self._told[number] = Surplus(number)
        elif all(block.is_redundant(part, say) for block, say in zip(blocks, says, strict=True)):
            self._told[number] = self._taken(number, [say.then for say in says])
        else:
            return [block.ends(part) for block in blocks]
        return [block.go_on for block in blocks]

    def _taken(self, number: int, cells: Sequence[Diagram]) -> Surplus:
        takers = {
            taker
            for line, cell in zip(self._lines, cells, strict=True)
            for taker in line.takers(number, cell, self._told)
        }
        named = sorted(takers, key=lambda taker: (taker < 0, taker))
        return Surplus(number, tuple(named[:MOST_TAKERS]), len(named) > MOST_TAKERS)


class _Part(NamedTuple):
    """2 ** level rules of a block, less where the block ends before."""

    level: int
    number: int

    @property
    def first(self) -> int:
        return self.number << self.level

    @property
    def end(self) -> int:
        return self.number + 1 << self.level

    @property
    def earlier(self) -> _Part:
        return _Part(self.level - 1, 2 * self.number)

    @property
    def later(self) -> _Part:
        return _Part(self.level - 1, 2 * self.number + 1)


class _Say(NamedTuple):
    """The packets that a part decides, with their ends behind it: among all rules, and without those that are told."""

    now: Diagram
    then: Diagram

    def each(self, change: Callable[[Diagram], Diagram]) -> _Say:
        now = change(self.now)
        return _Say(now, now if self.then is self.now else change(self.then))


class _Line:
    """A chain in one family: the rows of its rules, as ways (which go on or do not) and as ends."""

    def __init__(
        self, space: Space, go_on: Diagram, default: Diagram, ways: list[Diagram], ends: list[Diagram]
    ) -> None:
        self.space = space
        self.default = default
        self.blocks: list[_Block] = []
        reached = go_on
        for first in range(0, len(ways), BLOCK):
            block = _Block(
                space, go_on, default, first, ways[first : first + BLOCK], ends[first : first + BLOCK], reached
            )
            reached = block.passing
            self.blocks.append(block)

    def follow(self) -> None:
        """Tells each block what follows it."""
        rest = self.default
        for block in reversed(self.blocks):
            block.rest = rest
            rest = block.joined(block.ends(_Part(block.top, 0)), rest)

    def takers(self, number: int, say: Diagram, told: Mapping[int, Surplus]) -> Iterator[int]:
        """The rules behind a rule that would decide the packets of its say."""
        nobody = self.blocks[0].nobody
        left = say
        if self.space.leaves(say) - {nobody} != {self.default}:
            for block in self.blocks[number // BLOCK :]:
                for index, rest in block.takers(_Part(block.top, 0), left, number, told):
                    left = rest
                    yield index
        if left is not nobody:
            yield DEFAULT


class _Block:
    """Up to BLOCK rules of a chain in one family.

    **Shape** `points`: of each rule that decides a packet, some of those packets, as an interval for each level.
    """

    def __init__(
        self,
        space: Space,
        go_on: Diagram,
        default: Diagram,
        first: int,
        ways: list[Diagram],
        ends: list[Diagram],
        reached: Diagram,
    ) -> None:
        self.space = space
        self.go_on = go_on
        self.first = first
        self.nobody = space.leaf("nobody")
        self.rest = default
        self._default = default
        self._decided = space.leaf("decided")
        self._ends = self._folded(ends)
        self._ways = self._ends if ends == ways else self._folded(ways)
        self._reached = reached
        self._which = space.chain([self._named(way, first + index) for index, way in enumerate(ways)], go_on)
        self.points = _points(space, reached, self._which, go_on)

    @property
    def top(self) -> int:
        return len(self._ends) - 1

    @property
    def passing(self) -> Diagram:
        """Whom the blocks up to this one let go on."""
        return self.joined(self._reached, self._ways[-1][0])

    def ends(self, part: _Part) -> Diagram:
        return self._ends[part.level][part.number]

    def has(self, part: _Part) -> bool:
        return part.number < len(self._ends[part.level])

    def joined(self, first: Diagram, second: Diagram) -> Diagram:
        return self.space.substitute(first, self.go_on, second)

    def _named(self, way: Diagram, number: int) -> Diagram:
        rule = self.space.leaf(_Named(number))
        return self.space.rebuild(way, lambda leaf: leaf if leaf is self.go_on else rule)

    def _folded(self, row: list[Diagram]) -> list[list[Diagram]]:
        levels = [row]
        while len(row) > 1:
            pairs = zip(row[::2], [*row[1::2], self.go_on], strict=False)
            row = [self.joined(one, other) for one, other in pairs]
            levels.append(row)
        return levels

    # -------------------------------------------------------------- one packet for each rule

    def needed(self, asked: Set[int]) -> Iterator[int]:
        """Rules without which one of their points meets another end."""
        for number, point in self.points.items():
            if number in asked:
                own = self._own(number - self.first)
                if any(not self._is_alike(own, self._met(number - self.first, point, side)) for side in (0, 1)):
                    yield number

    def _met(self, index: int, point: _Point, side: int) -> Diagram:
        """The end of a corner of a point behind a rule."""
        for level, row in enumerate(self._ends):
            part = index >> level
            if part % 2 == 0 and part + 1 < len(row):
                found = _at(row[part + 1], point, side)
                if found is not self.go_on:
                    return found
        return _at(self.rest, point, side)

    def _own(self, index: int) -> Diagram:
        """The end that a rule is itself."""
        (own,) = self.space.leaves(self._ends[0][index]) - {self.go_on}
        return own

    def _is_alike(self, own: Diagram, end: Diagram) -> bool:
        return end is own or (end is self._default and leaf_of(end).kind is leaf_of(own).kind)

    # -------------------------------------------------------------- all packets

    def say(self, asked: Set[int], rest: Diagram) -> _Say:
        """That of the whole block, about the rules that are asked about; `rest` are the ends behind it without those that are told."""
        cells = self.space.rebuild(self._which, lambda leaf: self._decided if _number(leaf) in asked else self.nobody)
        cells = self._passing(cells, self._reached)
        return _Say(self.rest, rest).each(lambda end: self.space.substitute(cells, self._decided, end))

    def behind(self, say: _Say, part: _Part) -> _Say:
        """The say of the later half of a part."""
        way = self._ways[part.level - 1][2 * part.number]
        return say.each(lambda one: self._passing(one, way))

    def before(self, say: _Say, part: _Part, rest: Diagram) -> _Say:
        """The say of its earlier half; `rest` are the ends of the later one without those that are told."""
        way = self._ways[part.level - 1][2 * part.number]
        cut = say.each(lambda one: self._decided_by(one, way))
        ends = self.ends(part.later)
        now = self._ending(cut.now, ends)
        return _Say(now, now if cut.then is cut.now and rest is ends else self._ending(cut.then, rest))

    def is_redundant(self, part: _Part, say: _Say) -> bool:
        ends = (self.space.leaves(say.now) | self.space.leaves(say.then)) - {self.nobody}
        return not ends or all(self._is_alike(self._own(part.number), end) for end in ends)

    def takers(
        self, part: _Part, say: Diagram, number: int, told: Mapping[int, Surplus]
    ) -> Iterator[tuple[int, Diagram]]:
        """Rules behind a rule that decide packets of a say, each with the packets that are left then."""
        left = self._passing(say, self.ends(part))
        if left is say or self.first + part.end <= number + 1:
            return
        if part.level == 0:
            if self.first + part.first not in told:
                yield self.first + part.first, left
            return
        asked = say
        for half in filter(self.has, (part.earlier, part.later)):
            for index, rest in self.takers(half, asked, number, told):
                asked = rest
                yield index, rest

    def _passing(self, say: Diagram, row: Diagram) -> Diagram:
        """The say about the packets that a row lets go on."""

        def answer(one: Diagram, other: Diagram) -> Diagram | None:
            if one is self.nobody or other is self.go_on:
                return one
            return self.nobody if other.level == LEAF else None

        return self.space.within(say, self.nobody, row, answer)

    def _decided_by(self, say: Diagram, row: Diagram) -> Diagram:
        """The say about the packets that it does not."""

        def answer(one: Diagram, other: Diagram) -> Diagram | None:
            if one is self.nobody or other is self.go_on:
                return self.nobody
            return one if other.level == LEAF else None

        return self.space.within(say, self.nobody, row, answer)

    def _ending(self, say: Diagram, ends: Diagram) -> Diagram:
        """The say where other rules are asked first."""

        def answer(one: Diagram, other: Diagram) -> Diagram | None:
            if one is self.nobody or other is self.go_on:
                return one
            return other if one.level == other.level == LEAF else None

        return self.space.within(say, self.nobody, ends, answer)


_Point = Mapping[int, Interval]


def _at(diagram: Diagram, point: _Point, side: int) -> Diagram:
    """The leaf at the lowest or the highest corner."""
    usual = (0, _HIGHEST)
    while diagram.level != LEAF:
        diagram = diagram.at(point.get(diagram.level, usual)[side])
    return diagram


def _number(leaf: Diagram) -> int:
    """The rule that a leaf names, -1 for none."""
    return leaf.value.number if isinstance(leaf.value, _Named) else -1


class _Named(NamedTuple):
    number: int


def _points(space: Space, reached: Diagram, which: Diagram, go_on: Diagram) -> Mapping[int, _Point]:
    """For each rule of `which` some packets that reach the block and that it decides. Looks no further once it has one for each."""
    found: dict[int, _Point] = {}
    known = {go_on}
    seen: set[tuple[Diagram, Diagram]] = set()
    path: dict[int, Interval] = {}

    def walk(one: Diagram, other: Diagram) -> None:
        if (one, other) in seen or space.leaves(other) <= known or (one.level == LEAF and one is not go_on):
            return
        seen.add((one, other))
        if one.level == other.level == LEAF:
            known.add(other)
            found[_number(other)] = dict(path)
            return
        level, first = min(one.level, other.level), 0
        for last, child, with_child in side_by_side(one, other):
            path[level] = (first, last)
            walk(child, with_child)
            first = last + 1
        del path[level]

    walk(reached, which)
    found.pop(-1, None)
    return found


# ------------------------------------------------------------------ rows


class _Family:
    """The chains of a container as packets of one family meet them."""

    def __init__(self, container: Container, family: Family) -> None:
        known = ((Field.FAMILY, exactly(family)), (Field.DNATED, ((0, 1),)))
        self._doubts = Doubts(Space())
        self._space = self._doubts.space
        # Where rules change the state of a packet it is read where they change it: before it is tracked. What it is at first is open.
        effects = (effect for chain in container.chains for rule in chain.rules for effect in rule.effects)
        early = any(isinstance(effect, NoTrack | Template) for effect in effects)
        matches = Matches(self._doubts, ANY_HOST, family, container, known=known, early=early)
        self._ways, self._ends = _Ways(matches, None), _Ends(matches, None)

    def line(self, chain: Chain) -> _Line:
        default = self._space.leaf(_default(chain))
        ways = self._ways.rows(chain)
        ends = self._ends.rows(chain) if any(map(_ends_otherwise, chain.rules)) else ways
        ways = self._unchanging(chain, ways)
        ends = ways if ends is ways else self._unchanging(chain, ends)
        return _Line(self._space, self._ways.go_on, default, ways, [self._returned(row, default) for row in ends])

    def _returned(self, row: Diagram, default: Diagram) -> Diagram:
        """The row where a return has the end of the chain's default."""
        return self._space.rebuild(row, lambda leaf: default if leaf_of(leaf).kind is Kind.RETURN else leaf)

    def _unchanging(self, chain: Chain, rows: Sequence[Diagram]) -> list[Diagram]:
        """Rows that change nothing. Behind one that did, the bits that it may have changed are doubts instead, and so is the state."""
        space, go_on = self._space, self._ways.go_on
        found: list[Diagram] = []
        state: State = ()
        tracking: list[tuple[Diagram, int]] = []
        for index, row in enumerate(rows):
            going = [leaf for leaf in space.leaves(row) if leaf is not go_on and leaf_of(leaf).kind is Kind.CONTINUE]
            plain = space.rebuild(row, lambda leaf: go_on if leaf in going else leaf) if going else row  # noqa: B023 - `rebuild` has called it when it returns, before the loop goes on
            for changed_here, value in tracking:
                plain = space.choose(changed_here, space.restrict(plain, {UNTRACKED_STATE: value}), plain)
            found.append(under(space, plain, state) if state else plain)
            changes = {(key, values) for leaf in going for key, values in leaf_of(leaf).state if isinstance(key, int)}
            for value in sorted(values[0][0] for key, values in changes if key == UNTRACKED_STATE):
                key = f"{chain.name} {index} state {value}"
                tracking.append((self._doubts.condition(key, "whether a rule has changed what is tracked"), value))
            bits = {key for key, _ in changes if key != UNTRACKED_STATE}
            state = merged(state, ((key, self._doubt(f"{chain.name} {index} {key}")) for key in bits))
        return found

    def _doubt(self, key: str) -> Intervals:
        return exactly(self._doubts.level(f"bit {key}", "a mark"))


def _default(chain: Chain) -> Leaf:
    kind = Kind.RETURN if chain.base is None else KINDS[type(chain.base.default)]
    return Leaf(kind, (), Place(0, chain.name, -1))


# ------------------------------------------------------------------ ends


class _Ways(ChainEvaluation):
    """The chains of a container as they are, but that answers to the sender are told apart."""

    def verdict(self, verdict: Verdict, place: Place | None, rule: tuple[str, int]) -> Diagram:
        if isinstance(verdict, Reject):
            return self.space.leaf(Leaf(Kind.REJECT, (), Place(0, verdict.answer, 0)))
        return super().verdict(verdict, place, rule)


class _Ends(_Ways):
    """The chains of a container as one asks them who ends otherwise: any rule of which something is noticed is an end."""

    def rule(self, rule: Rule, chain: str, index: int, *, calling: bool = True) -> Diagram:
        if not _is_noticed(rule):
            return super().rule(rule, chain, index, calling=calling)
        end = self.space.leaf(Leaf(Kind.DROP, (), Place(0, chain, index)))
        return guarded(self.space, self.matches.match(_loosened(rule.match)), end, self.go_on)


def _ends_otherwise(rule: Rule) -> bool:
    """Whether its ends are not just its ways."""
    return _is_noticed(rule) or any(isinstance(one, Jump | Goto) for one in plain_verdicts(rule))


def _is_noticed(rule: Rule) -> bool:
    """Whether the rule does more to packets that it is asked about than to decide."""
    return (
        any(not isinstance(one, Counter) for one in rule.effects)
        or any(isinstance(one, Dnat | Snat | Queue | Unknown) for one in plain_verdicts(rule))
        or _is_doubtful(rule.match)
    )


def _is_doubtful(match: Match) -> bool:
    match match:
        case Opaque() | ReversePath() | RateLimit():
            return True
        case Not(inner):
            return _is_doubtful(inner)
        case All(parts) | Any(parts):
            return any(map(_is_doubtful, parts))
        case _:
            return False


def _loosened(match: Match) -> Match:
    """All packets about which a match may ask what is not decidable."""
    match match:
        case All(parts):
            return All(tuple(map(_loosened, parts)))
        case Any(parts):
            return Any(tuple(map(_loosened, parts)))
        case _:
            return ALWAYS if _is_doubtful(match) else match
