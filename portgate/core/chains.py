"""One chain of rules as a decision diagram.

Theory
    A rule answers its verdict inside its match and *continue* outside. A chain composes its rules; a jump is the
    callee's diagram with *return* read as *continue*; a goto reads both as *return*. What a rule changes and goes on
    (marks) is carried by its *continue* leaf, and whatever follows is restricted to the new values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, assert_never

from portgate.core.dataclasses import replace
from portgate.core.decision import LEAF, Diagram, Space, levels
from portgate.core.matches import (
    DESTINATION,
    PROTOCOLS_WITH_PORTS,
    Doubts,
    Matches,
    State,
    exactly,
    exclusive_or,
    guarded,
    mark_bits,
    merged,
    other_mark,
    then,
    under,
)
from portgate.core.net import Intervals, interface_interval
from portgate.core.packets import DOUBTS, MARK_BITS, NAT_DONE, UNTRACKED_STATE
from portgate.core.ruleset import (
    Accept,
    All,
    Chain,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Jump,
    NoTrack,
    Place,
    PlainVerdict,
    Queue,
    Reject,
    Return,
    Rule,
    SetMark,
    Snat,
    Template,
    Test,
    Unknown,
    Verdict,
    VerdictMap,
)


class Kind(StrEnum):
    """How a chain, or a part of it, ends for a packet."""

    CONTINUE = "continue"
    RETURN = "return"
    ACCEPT = "accept"
    REJECT = "reject"
    DROP = "drop"


class Leaf(NamedTuple):
    """An end: what was changed on the way, and the rule that decided."""

    kind: Kind
    state: State = ()
    place: Place | None = None


def leaf_of(diagram: Diagram) -> Leaf:
    """What a leaf of a chain's diagram holds."""
    if not isinstance(diagram.value, Leaf):
        raise TypeError(f"not a leaf of a path: {diagram.value!r}")
    return diagram.value


def keeping_place(space: Space, leaf: Diagram, after: Diagram) -> Diagram:
    """Where the next chain merely accepts by default, the rule that accepted before is the one to name."""
    before, then = leaf_of(leaf), leaf_of(after)
    if then.kind is Kind.ACCEPT and (then.place is None or then.place.rule < 0):
        return space.leaf(then._replace(place=before.place))
    return after


ALL_BITS = Field.MARK.top


def plain_verdicts(rule: Rule) -> Iterator[PlainVerdict]:
    """What a rule may decide, each once."""
    if isinstance(rule.verdict, VerdictMap):
        yield from dict.fromkeys(verdict for _, verdict in rule.verdict.entries)
    else:
        yield rule.verdict


def callees_first(container: Container, name: str) -> Iterator[str]:
    """The chains that one leads to, then itself: an order in which no evaluation goes deep, for there may be thousands."""
    seen = {name}
    walk = [iter(_led_to(container, name))]
    path = [name]
    while walk:
        callee = next(walk[-1], None)
        if callee is None:
            walk.pop()
            yield path.pop()
        elif callee not in seen:
            seen.add(callee)
            path.append(callee)
            walk.append(iter(_led_to(container, callee)))


def _led_to(container: Container, name: str) -> Iterator[str]:
    chain = container.chain(name)
    for rule in chain.rules if chain else ():
        yield from (one.chain for one in plain_verdicts(rule) if isinstance(one, Jump | Goto))


class Merging:
    """Keeps what hangs on doubts small: where more of them matter for one packet than can be kept apart, they are merged.

    Theory
        Doubts are levels below the header, so what is left of a diagram for one packet is a function of doubts, and its
        size may grow with all their combinations. Beyond a bound it becomes one in which every answer that it had is
        possible, on new doubts that are its own: fewer combinations are told apart, none is lost, so what does not depend on doubts
        afterwards did not before. Equal functions are merged into equal ones, different ones never.
    """

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts
        self._space = doubts.space
        self._known: dict[Diagram, Diagram] = {}

    def bounded(self, diagram: Diagram) -> Diagram:
        """The diagram, with what is too much merged."""
        if len(self._doubts) <= FEW_DOUBTS:
            return diagram
        return self._walk(diagram)

    def _walk(self, node: Diagram) -> Diagram:
        if not self._space.tested(node) >> MARK_BITS:
            return node
        found = self._known.get(node)
        if found is None:
            new = node
            if node.level < DOUBTS:
                new = self._space.replaced(node, {child: self._walk(child) for child in dict.fromkeys(node.children)})
            if new.level >= MARK_BITS and self._is_too_much(new):
                new = self._merged(new)
            found = self._known[node] = self._known[new] = new
        return found

    def _is_too_much(self, node: Diagram) -> bool:
        states = {leaf_of(leaf).state for leaf in self._space.leaves(node)}
        return len(states) > MOST_STATES or _has_more(node, MOST_DOUBTFUL if node.level >= DOUBTS else MOST_MARKED)

    def _merged(self, node: Diagram) -> Diagram:
        """Every answer of the node, whatever its doubts are. Of very many rules that decide one is named."""
        leaves = sorted(map(leaf_of, self._space.leaves(node)), key=str)
        named = len({leaf.place for leaf in leaves}) <= MOST_PLACES
        groups: dict[tuple[Kind, Place | None, State], list[Leaf]] = {}
        for leaf in leaves:
            rest = tuple(item for item in leaf.state if not _is_mark_bit(item[0]))
            groups.setdefault((leaf.kind, leaf.place if named else None, rest), []).append(leaf)
        reason = self._reason(node)
        first, *others = [
            self._space.leaf(some[0]._replace(state=self._joined(some, f"merged {id(node)} {number}", reason)))
            for number, some in enumerate(groups.values())
        ]
        result: Diagram = first
        for number, other in enumerate(others):
            condition = self._doubts.condition(f"merged {id(node)} is {number}", reason)
            result = self._space.choose(condition, other, result)
        return result

    def _reason(self, node: Diagram) -> str:
        reasons = sorted({self._doubts.reason(level) for level in levels(node) if level >= DOUBTS}) or ["marks"]
        told = ", ".join(one.removeprefix(TOGETHER) for one in reasons[:MOST_REASONS])
        return TOGETHER + told + (", ..." if len(reasons) > MOST_REASONS else "")

    def _joined(self, leaves: Sequence[Leaf], key: str, reason: str) -> State:
        """A state that may be any of theirs: a bit of a mark in which they differ is a doubt."""
        known = [dict(leaf.state) for leaf in leaves]
        bits = {level for one in known for level in one if _is_mark_bit(level)}
        values = {level: {one.get(level, exactly(level)) for one in known} for level in bits if isinstance(level, int)}
        changes = (
            (level, some.pop() if len(some) == 1 else exactly(self._doubts.level(f"{key} {level}", reason)))
            for level, some in sorted(values.items())
        )
        return merged(leaves[0].state, changes)


FEW_DOUBTS = 5
"""So many never make anything large."""
MOST_DOUBTFUL = 256
"""Nodes of doubts, for one packet."""
MOST_MARKED = 1024
"""Nodes of doubts and of the bits of marks, which may hang on them."""
MOST_STATES = 32
"""Ways in which a packet may have been marked, or translated."""
MOST_PLACES = 64
MOST_REASONS = 5
TOGETHER = "many doubts together: "
"""Begins the reason of doubts that are not told apart."""


def _has_more(node: Diagram, most: int) -> bool:
    """Whether a diagram has more nodes than that."""
    seen = {node}
    stack = [node]
    while stack and len(seen) <= most:
        new = {child for child in stack.pop().children if child.level != LEAF} - seen
        seen |= new
        stack.extend(new)
    return len(seen) > most


def _is_mark_bit(key: Field | int) -> bool:
    return isinstance(key, int) and key >= MARK_BITS


KINDS: Mapping[type[PlainVerdict], Kind] = {Accept: Kind.ACCEPT, Drop: Kind.DROP, Reject: Kind.REJECT}


class ChainEvaluation:
    """Evaluates the chains of one container where some fields are known."""

    def __init__(self, matches: Matches, number: int | None) -> None:
        """`number` is the container's index in its ruleset when answers shall name the deciding rule, else None."""
        self.matches = matches
        self.doubts = matches.doubts
        self.space = matches.space
        self.host = matches.host
        self.family = matches.family
        self.container = matches.container
        self.number = number
        self.go_on = self.space.leaf(Leaf(Kind.CONTINUE))
        self.bounded = Merging(matches.doubts).bounded
        self._chains: dict[str, Diagram] = {}
        self._open: set[str] = set()

    def place(self, chain: str, rule: int) -> Place | None:
        return None if self.number is None else Place(self.number, chain, rule)

    def chain(self, name: str) -> Diagram:
        """What the chain answers; *continue* where it falls off its end."""
        for callee in () if name in self._chains else callees_first(self.container, name):
            self._one_chain(callee)
        return self._one_chain(name)

    def _one_chain(self, name: str) -> Diagram:
        found = self._chains.get(name)
        if found is None:
            chain = self.container.chain(name)
            if chain is None or name in self._open:
                return self.missing(name)
            found = self._chains[name] = self.compose([row for row in self._rows(chain) if row is not self.go_on])
        return found

    def rows(self, chain: Chain) -> list[Diagram]:
        """What each rule of a chain answers."""
        for callee in callees_first(self.container, chain.name):
            if callee != chain.name:
                self._one_chain(callee)
        return self._rows(chain)

    def _rows(self, chain: Chain) -> list[Diagram]:
        self._open.add(chain.name)
        rows = [self.rule(rule, chain.name, index) for index, rule in enumerate(chain.rules)]
        self._open.remove(chain.name)
        return rows

    def missing(self, name: str) -> Diagram:
        """The answers of a chain that is not there, or calls itself."""
        return self._unknown(f"chain {name}", "a chain that is missing or calls itself")

    def compose(self, rows: list[Diagram]) -> Diagram:
        """One after the other, each where those before it continue."""
        changing = any(_continues_changed(self.space, row) for row in rows)
        if not changing and not self._many_doubts(rows):
            return self.space.chain(rows, self.go_on)
        join = self.then if changing else self._next
        while len(rows) > 1:
            folded = [self.bounded(join(rows[i], rows[i + 1])) for i in range(0, len(rows) - 1, 2)]
            rows = folded + rows[len(rows) - len(rows) % 2 :]
        return rows[0] if rows else self.go_on

    def _many_doubts(self, rows: Sequence[Diagram]) -> bool:
        tested = 0
        for row in rows:
            tested |= self.space.tested(row)
        return (tested >> DOUBTS).bit_count() > FEW_DOUBTS

    def _next(self, first: Diagram, second: Diagram) -> Diagram:
        """`second` where `first` continues, which has changed nothing."""
        return self.space.substitute(first, self.go_on, second)

    def then(self, first: Diagram, second: Diagram) -> Diagram:
        """`second` where `first` continues, under what `first` has changed."""
        space = self.space
        going = [leaf for leaf in space.leaves(first) if leaf_of(leaf).kind is Kind.CONTINUE]
        holes = {leaf: space.leaf(("hole", number)) for number, leaf in enumerate(going)}
        result = space.rebuild(first, lambda leaf: holes.get(leaf, leaf))
        for leaf, hole in holes.items():
            result = space.substitute(result, hole, self._changed(second, leaf_of(leaf).state))
        return result

    def _changed(self, diagram: Diagram, state: State) -> Diagram:
        if not state:
            return diagram

        def add(leaf: Diagram) -> Diagram:
            value = leaf_of(leaf)
            return self.space.leaf(value._replace(state=then(state, value.state)))

        return self.space.rebuild(under(self.space, diagram, state), add)

    # -------------------------------------------------------------- rules

    def rule(self, rule: Rule, chain: str, index: int, *, calling: bool = True) -> Diagram:
        """What the rule answers, *continue* where it does not match. Without `calling`, a leaf with its call stands for a callee."""
        place = self.place(chain, index)
        if isinstance(rule.verdict, Jump | Goto) and not (calling or rule.effects):
            verdict = self.space.leaf(rule.verdict)
        else:
            verdict = self.verdict(rule.verdict, place, (chain, index))
        if rule.effects:
            verdict = self.after_effects(rule, chain, index, verdict)
        if verdict is self.go_on:
            return verdict
        tests = self.matches.sides(rule.match)
        if tests is not None:
            if verdict.level == LEAF:
                return self.space.box(tests, verdict, self.go_on)
            return guarded(self.space, self.space.box(tests, self.space.true, self.space.false), verdict, self.go_on)
        return guarded(self.space, self.matches.match(rule.match), verdict, self.go_on)

    def after_effects(self, rule: Rule, chain: str, index: int, following: Diagram) -> Diagram:
        """What follows, under what the rule changes of a packet and of what is known of it."""
        place = f"{self.matches.name} {chain} {index}"
        for effect in reversed(rule.effects):
            following = self._after(effect, place, following)
        return following

    def _after(self, effect: Effect, place: str, following: Diagram) -> Diagram:
        space, matches = self.space, self.matches
        match effect:
            case SetMark() if _needs_connection(effect):
                marked, template = self._changed(following, tuple(self._marked(effect, place))), matches.has_template()
                if template is not space.false:
                    unknown = self._changed(following, tuple(self._marked(_from_template(effect), place)))
                    marked = space.choose(template, unknown, marked)
                return space.choose(matches.has_connection(), marked, following)
            case SetMark():
                return self._changed(following, tuple(self._marked(effect, place)))
            case NoTrack():
                return space.choose(matches.has_connection(), following, self._as(CtState.UNTRACKED, following))
            case Template():
                invalid = matches.test(Field.CT_STATE, exactly(CtState.INVALID.value))
                kept = matches.has_connection() if effect.untracked else space.negation(invalid)
                return space.choose(kept, following, self._as(CtState.NEW, following))
            case _:
                return following

    def _as(self, state: CtState, following: Diagram) -> Diagram:
        """What follows, for packets without a connection that get this state."""
        return self._changed(following, ((UNTRACKED_STATE, exactly(state.value)),))

    def _marked(self, effect: SetMark, place: str) -> Iterator[tuple[int, Intervals]]:
        """The new value of each bit that changes."""
        value = effect.value
        if value is None:
            for level, _ in mark_bits(effect.field, effect.mask, 0):
                yield level, exactly(self.doubts.level(f"{place} sets bit {level}", "a mark that is not known"))
            return
        cleared, copied = (dict(mark_bits(effect.field, ALL_BITS, mask)) for mask in (effect.mask, effect.copied))
        for level, bit in mark_bits(effect.field, effect.mask | value | effect.copied, value):
            kept = () if cleared[level] else exactly(level)
            yield level, exclusive_or((exactly(bit), kept, exactly(other_mark(level)) if copied[level] else ()))

    def verdict(self, verdict: Verdict, place: Place | None, rule: tuple[str, int]) -> Diagram:
        """What a verdict answers; `rule` is the chain and the index of the rule that has it."""
        leaf = self.space.leaf
        match verdict:
            case Continue():
                return self.go_on
            case Accept() | Snat():
                return leaf(Leaf(Kind.ACCEPT, (), place))
            case Drop():
                return leaf(Leaf(Kind.DROP, (), place))
            case Reject():
                return leaf(Leaf(Kind.REJECT, (), place))
            case Return():
                return leaf(Leaf(Kind.RETURN))
            case Jump() | Goto():
                return self.returned(self._one_chain(verdict.chain), verdict)
            case Dnat():
                other_family = verdict.family not in (None, self.family)
                return self.go_on if other_family else self.translation(verdict, place)
            case Queue():
                return self._either(f"queue {rule}", "a program that decides", Kind.ACCEPT, Kind.DROP, place)
            case Unknown():
                return self._unknown(f"statement {rule} {verdict.text}", verdict.text)
            case VerdictMap():
                return self._verdict_map(verdict, place, rule)
            case _:
                assert_never(verdict)

    def returned(self, answers: Diagram, call: Jump | Goto) -> Diagram:
        """A callee's answers in the caller: after a jump, falling off its end and returning go on; after a goto they return."""
        returning = Kind.CONTINUE if isinstance(call, Jump) else Kind.RETURN

        def back(leaf: Diagram) -> Diagram:
            value = leaf_of(leaf)
            if value.kind in (Kind.CONTINUE, Kind.RETURN):
                return self.space.leaf(value._replace(kind=returning))
            return leaf

        return self.space.rebuild(answers, back)

    def translation(self, verdict: Dnat, place: Place | None) -> Diagram:
        """Accepts with the new destination; without a change where the packet has that destination already."""
        space = self.space
        result = self._translated(verdict, self.host.own(self.family), place)
        if verdict.address is not None:
            return self._translated(verdict, (verdict.address,), place)
        for interface in self.host.interfaces or ():
            address = self.host.address_of(interface.name, self.family)
            if address is not None:  # a redirect leads to the first address of the interface
                came_in = self.matches.test(Field.IIF, (interface_interval(interface.name),))
                result = space.choose(came_in, self._translated(verdict, exactly(address), place), result)
        return result

    def _translated(self, verdict: Dnat, addresses: Intervals, place: Place | None) -> Diagram:
        changes = {DESTINATION[self.family]: addresses}
        guessed = verdict.address == (0, self.family.top) or verdict.port == (0, Field.DPORT.top)
        moved = self._moved(changes, place, guessed)
        if verdict.port is None:
            return moved
        both = self._moved({**changes, Field.DPORT: (verdict.port,)}, place, guessed)
        with_ports = self.space.choose(self.matches.test(Field.PROTOCOL, PROTOCOLS_WITH_PORTS), both, moved)
        return self.space.choose(self.matches.without_ports(), moved, with_ports)

    def _moved(self, changes: Mapping[Field, Intervals], place: Place | None, guessed: bool) -> Diagram:
        """Accepts with these new values of fields; a packet that has them already counts as not translated.

        `guessed`: the values are all that it may be, so a packet among them may still get another.
        """
        done: State = ((NAT_DONE, exactly(1)),)
        state = merged(done, {**changes, Field.DNATED: ((0, 1),) if guessed else exactly(1)}.items())
        translated = self.space.leaf(Leaf(Kind.ACCEPT, state, place))
        if guessed:
            return translated
        unchanged = self.space.leaf(Leaf(Kind.ACCEPT, done, place))
        same = All(tuple(Test(field, values) for field, values in changes.items()))
        return guarded(self.space, self.matches.match(same), unchanged, translated)

    def _verdict_map(self, verdict: VerdictMap, place: Place | None, rule: tuple[str, int]) -> Diagram:
        space = self.space
        holes = {
            plain: space.leaf(("hole", number))
            for number, plain in enumerate(dict.fromkeys(v for _, v in verdict.entries))
        }
        result = self.matches.boxes(verdict.fields, [(box, holes[plain]) for box, plain in verdict.entries], self.go_on)
        for plain, hole in holes.items():
            result = space.substitute(result, hole, self.verdict(plain, place, rule))
        return result

    def looked_up(self, verdict: VerdictMap) -> PlainVerdict:
        """The verdict of the first box that holds for certain, else Continue."""
        for box, plain in verdict.entries:
            tests = tuple(Test(field, (part,)) for field, part in zip(verdict.fields, box, strict=True))
            if self.matches.match(All(tests)) is self.space.true:
                return plain
        return Continue()

    def _either(self, key: str, reason: str, one: Kind, other: Kind, place: Place | None = None) -> Diagram:
        condition = self.doubts.condition(f"{self.matches.name} {key}", reason)
        return guarded(
            self.space, condition, self.space.leaf(Leaf(one, (), place)), self.space.leaf(Leaf(other, (), place))
        )

    def _unknown(self, key: str, reason: str) -> Diagram:
        """It may accept, drop or do nothing."""
        decided = self._either(key, reason, Kind.ACCEPT, Kind.DROP)
        return guarded(
            self.space, self.doubts.condition(f"{self.matches.name} {key} decides", reason), decided, self.go_on
        )


def _needs_connection(effect: SetMark) -> bool:
    return effect.field is Field.CT_MARK or effect.copied != 0


def _from_template(effect: SetMark) -> SetMark:
    """What becomes of the mark where the connection is a template, whose mark is not known and does not last."""
    if effect.field is Field.CT_MARK:
        return replace(effect, mask=0, value=0, copied=0)
    return replace(effect, mask=effect.mask | (effect.value or 0) | effect.copied, value=None, copied=0)


def _continues_changed(space: Space, row: Diagram) -> bool:
    return any(leaf_of(leaf).kind is Kind.CONTINUE and leaf_of(leaf).state for leaf in space.leaves(row))
