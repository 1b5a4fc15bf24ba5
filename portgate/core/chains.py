"""One chain of rules as a decision diagram, where some of a packet's fields are known.

Theory
    A rule answers its verdict inside its match and *continue* outside. A chain composes its rules; a jump is the
    callee's diagram with *return* read as *continue*; a goto reads both as *return*. What a rule changes and goes on
    (marks) is carried by its *continue* leaf, and whatever follows is restricted to the new values.

    A match that is not decidable for a packet is a Boolean level below all header fields, one for each key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, assert_never

from portgate.core.addresses import MULTICAST, Host
from portgate.core.decision import LEAF, Diagram, Space, levels
from portgate.core.net import (
    PORT_PROTOCOLS,
    Family,
    Intervals,
    complement,
    interface_interval,
    intersect,
    normalize,
    prefixes,
)
from portgate.core.packets import (
    CT_MARK_BITS,
    CT_STATE,
    DOUBTS,
    DPORT,
    DST,
    ICMP_CODE,
    ICMP_TYPE,
    IIF,
    MARK_BITS,
    NAT_DONE,
    OIF,
    PROTOCOL,
    SPORT,
    SRC,
    TCP_FLAGS,
    UNTRACKED_STATE,
)
from portgate.core.ruleset import (
    Accept,
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Box,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Field,
    Goto,
    Jump,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    Place,
    PlainVerdict,
    Queue,
    RateLimit,
    Reject,
    Return,
    Rule,
    SetMark,
    Snat,
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


# What is known of a packet at some point of its path: the values that a field may have, one for most. The bits
# of marks stand under their levels.
State = tuple[tuple[Field | int, Intervals], ...]


class Leaf(NamedTuple):
    """An end: what was changed on the way, and the rule that decided."""

    kind: Kind
    state: State = ()
    place: Place | None = None


def merged(state: State, changes: Iterable[tuple[Field | int, Intervals]]) -> State:
    """The state after changes, in an order of its own, so that equal states are equal tuples."""
    together = {**dict(state), **dict(changes)}
    return tuple(sorted(together.items(), key=lambda item: (isinstance(item[0], int), str(item[0]), item[1])))


def exactly(value: int) -> Intervals:
    """This value alone."""
    return ((value, value),)


_PORT_LEVELS: Mapping[Field, int] = {
    Field.PROTOCOL: PROTOCOL,
    Field.IIF: IIF,
    Field.OIF: OIF,
    Field.SPORT: SPORT,
    Field.DPORT: DPORT,
    Field.ORIGINAL_SPORT: SPORT,
    Field.ORIGINAL_DPORT: DPORT,
    Field.ICMP_TYPE: ICMP_TYPE,
    Field.ICMP_CODE: ICMP_CODE,
    Field.TCP_FLAGS: TCP_FLAGS,
    Field.CT_STATE: CT_STATE,
}
_LEVELS: Mapping[Family, Mapping[Field, int]] = {
    Family.IPV4: {
        **_PORT_LEVELS,
        Field.SRC4: SRC,
        Field.DST4: DST,
        Field.ORIGINAL_SRC4: SRC,
        Field.ORIGINAL_DST4: DST,
    },
    Family.IPV6: {
        **_PORT_LEVELS,
        Field.SRC6: SRC,
        Field.DST6: DST,
        Field.ORIGINAL_SRC6: SRC,
        Field.ORIGINAL_DST6: DST,
    },
}
_SOURCE = {Family.IPV4: Field.SRC4, Family.IPV6: Field.SRC6}
DESTINATION = {Family.IPV4: Field.DST4, Family.IPV6: Field.DST6}
# Fields that only a packet with a connection has; without one no test on them holds.
OF_A_CONNECTION = frozenset(
    {
        Field.DNATED,
        Field.ORIGINAL_SRC4,
        Field.ORIGINAL_SRC6,
        Field.ORIGINAL_DST4,
        Field.ORIGINAL_DST6,
        Field.ORIGINAL_SPORT,
        Field.ORIGINAL_DPORT,
    }
)
_NOT_PLAIN = OF_A_CONNECTION | {Field.CT_STATE}  # need more than a look at their level
_PROTOCOLS_WITH_PORTS = normalize((one, one) for one in PORT_PROTOCOLS)
# Where a translation changes a field, tests on the packet as it arrived still see the old value.
ORIGINALS = {
    Field.SRC4: Field.ORIGINAL_SRC4,
    Field.SRC6: Field.ORIGINAL_SRC6,
    Field.DST4: Field.ORIGINAL_DST4,
    Field.DST6: Field.ORIGINAL_DST6,
    Field.SPORT: Field.ORIGINAL_SPORT,
    Field.DPORT: Field.ORIGINAL_DPORT,
}
_MARKS: Mapping[Field, int] = {Field.MARK: MARK_BITS, Field.CT_MARK: CT_MARK_BITS}
BOTH: Intervals = ((0, 1),)
_ELSEWHERE = frozenset({*_MARKS, Field.SRC_TYPE, Field.DST_TYPE})  # fields that have no level of their own
# What rules can change within a chain, by level, as it is before any rule has: a packet without a connection is
# invalid, and marks are 0.
UNCHANGED: Mapping[int, int] = {
    UNTRACKED_STATE: CtState.INVALID.value,
    NAT_DONE: 0,
    **{first + bit: 0 for first in (MARK_BITS, CT_MARK_BITS) for bit in range(32)},
}


def _mark_bits(field: Field, mask: int, value: int) -> list[tuple[int, int]]:
    """(level, bit) of each bit in the mask."""
    return [(_MARKS[field] + bit, value >> 31 - bit & 1) for bit in range(32) if mask >> 31 - bit & 1]


def under(doubts: Doubts, diagram: Diagram, state: State) -> Diagram:
    """The diagram where the mark bits in the state have its values; both values of a bit make it a doubt."""
    space = doubts.space
    bits = {key: values for key, values in state if isinstance(key, int)}
    result = space.restrict(diagram, {level: values[0][0] for level, values in bits.items() if values != BOTH})
    for level in levels(result) & {level for level, values in bits.items() if values == BOTH}:
        unknown = doubts.condition(f"bit {level}", "a mark that is not known")
        result = space.choose(unknown, space.restrict(result, {level: 1}), space.restrict(result, {level: 0}))
    return result


class Doubts:
    """The Boolean levels of what is not known. The same key is the same level, in every ruleset compared."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._levels: dict[str, int] = {}
        self._reasons: dict[int, str] = {}

    def level(self, key: str, reason: str) -> int:
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = DOUBTS + len(self._levels)
            self._reasons[level] = reason
        return level

    def condition(self, key: str, reason: str) -> Diagram:
        """The set of packets for which it holds."""
        return self.space.test(self.level(key, reason), exactly(1), 1, self.space.true, self.space.false)

    def reason(self, level: int) -> str:
        return self._reasons.get(level, "the mark of a connection")


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


KINDS: Mapping[type[PlainVerdict], Kind] = {Accept: Kind.ACCEPT, Drop: Kind.DROP, Reject: Kind.REJECT}


# ------------------------------------------------------------------ one chain


class ChainEvaluation:
    """Evaluates the chains of one container where some fields are known."""

    def __init__(
        self,
        doubts: Doubts,
        host: Host,
        family: Family,
        container: Container,
        *,
        known: State,
        early: bool,
        number: int | None,
    ) -> None:
        """`early`: before connection tracking has seen the packet. `number` is the container's index in its ruleset when answers shall name the deciding rule, else None."""
        self.doubts = doubts
        self.space = doubts.space
        self.host = host
        self.family = family
        self.container = container
        self.number = number
        self.known = {key: values for key, values in known if isinstance(key, Field)}
        self.untracked = early or self.known.get(Field.CT_STATE) == exactly(CtState.INVALID.value)
        if self.untracked:
            self.known.pop(Field.CT_STATE, None)
        self.sets = container.sets_by_name()
        self.go_on = self.space.leaf(Leaf(Kind.CONTINUE))
        self._chains: dict[str, Diagram] = {}
        self._lookups: dict[tuple[tuple[Field, ...], str], Diagram] = {}
        self._open: set[str] = set()

    def place(self, chain: str, rule: int) -> Place | None:
        return None if self.number is None else Place(self.number, chain, rule)

    def chain(self, name: str) -> Diagram:
        """What the chain answers; *continue* where it falls off its end."""
        found = self._chains.get(name)
        if found is None:
            chain = self.container.chain(name)
            if chain is None or name in self._open:
                return self._unknown(f"chain {name}", "a chain that is missing or calls itself")
            self._open.add(name)
            rows = [self._rule(rule, name, index) for index, rule in enumerate(chain.rules)]
            found = self._chains[name] = self._compose([row for row in rows if row is not self.go_on])
            self._open.remove(name)
        return found

    def _compose(self, rows: list[Diagram]) -> Diagram:
        if not any(_continues_changed(self.space, row) for row in rows):
            return self.space.chain(rows, self.go_on)
        while len(rows) > 1:
            folded = [self._then(rows[i], rows[i + 1]) for i in range(0, len(rows) - 1, 2)]
            rows = folded + rows[len(rows) - len(rows) % 2 :]
        return rows[0]

    def _then(self, first: Diagram, second: Diagram) -> Diagram:
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
            return self.space.leaf(value._replace(state=merged(state, value.state)))

        return self.space.rebuild(under(self.doubts, diagram, state), add)

    # -------------------------------------------------------------- rules

    def _rule(self, rule: Rule, chain: str, index: int) -> Diagram:
        place = self.place(chain, index)
        verdict = self._verdict(rule.verdict, place, (chain, index))
        if rule.effects:
            verdict = self._changed(verdict, self.effects(rule))
        if verdict is self.go_on:
            return verdict
        tests = self._tests(rule.match)
        if tests is not None:
            if verdict.level == LEAF:
                return self.space.box(tests, verdict, self.go_on)
            return self._guarded(self.space.box(tests, self.space.true, self.space.false), verdict, self.go_on)
        return self._guarded(self.match(rule.match), verdict, self.go_on)

    def _guarded(self, condition: Diagram, verdict: Diagram, otherwise: Diagram) -> Diagram:
        """`verdict` on the set `condition`, the leaf `otherwise` elsewhere."""
        space = self.space
        inside = verdict if verdict.level == LEAF else space.leaf(("hole", 0))
        result = space.rebuild(condition, lambda leaf: inside if leaf is space.true else otherwise)
        return result if inside is verdict else space.substitute(result, inside, verdict)

    def effects(self, rule: Rule) -> State:
        """What the rule changes of a packet and of what is known of it."""
        changes: dict[Field | int, Intervals] = {}
        for effect in rule.effects:
            if isinstance(effect, SetMark):
                bits = _mark_bits(effect.field, effect.mask, effect.value or 0)
                changes |= {level: BOTH if effect.value is None else exactly(bit) for level, bit in bits}
            elif isinstance(effect, NoTrack) and self.untracked:
                changes |= dict.fromkeys((Field.CT_STATE, UNTRACKED_STATE), exactly(CtState.UNTRACKED.value))
        return merged((), changes.items())

    def _verdict(self, verdict: Verdict, place: Place | None, rule: tuple[str, int]) -> Diagram:
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
            case Jump():
                return self._called(verdict.chain, Kind.CONTINUE)
            case Goto():
                return self._called(verdict.chain, Kind.RETURN)
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

    def _called(self, chain: str, returning: Kind) -> Diagram:
        """A callee's answers, where falling off its end and returning are the caller's `returning`."""

        def back(leaf: Diagram) -> Diagram:
            value = leaf_of(leaf)
            if value.kind in (Kind.CONTINUE, Kind.RETURN):
                return self.space.leaf(value._replace(kind=returning))
            return leaf

        return self.space.rebuild(self.chain(chain), back)

    def translation(self, verdict: Dnat, place: Place | None) -> Diagram:
        """Accepts with the new destination; without a change where the packet has that destination already."""
        space = self.space
        result = self._translated(verdict, self.host.own(self.family), place)
        if verdict.address is not None:
            return self._translated(verdict, (verdict.address,), place)
        for interface in self.host.interfaces or ():
            address = self.host.address_of(interface.name, self.family)
            if address is not None:  # a redirect leads to the first address of the interface
                came_in = self.test(Field.IIF, (interface_interval(interface.name),))
                result = space.choose(came_in, self._translated(verdict, exactly(address), place), result)
        return result

    def _translated(self, verdict: Dnat, addresses: Intervals, place: Place | None) -> Diagram:
        moved = self._moved({DESTINATION[self.family]: addresses}, place)
        if verdict.port is None:
            return moved
        both = self._moved({DESTINATION[self.family]: addresses, Field.DPORT: (verdict.port,)}, place)
        return self.space.choose(self.test(Field.PROTOCOL, _PROTOCOLS_WITH_PORTS), both, moved)

    def _moved(self, changes: Mapping[Field | int, Intervals], place: Place | None) -> Diagram:
        """Accepts with these new values of fields; a packet that has them already counts as not translated."""
        done: State = ((NAT_DONE, exactly(1)),)
        state = merged(done, {**changes, Field.DNATED: exactly(1)}.items())
        translated = self.space.leaf(Leaf(Kind.ACCEPT, state, place))
        unchanged = self.space.leaf(Leaf(Kind.ACCEPT, done, place))
        same = All(tuple(Test(field, values) for field, values in changes.items() if isinstance(field, Field)))
        return self._guarded(self.match(same), unchanged, translated)

    def _verdict_map(self, verdict: VerdictMap, place: Place | None, rule: tuple[str, int]) -> Diagram:
        space = self.space
        holes = {
            plain: space.leaf(("hole", number))
            for number, plain in enumerate(dict.fromkeys(v for _, v in verdict.entries))
        }
        result = self._boxes(verdict.fields, [(box, holes[plain]) for box, plain in verdict.entries], self.go_on)
        for plain, hole in holes.items():
            result = space.substitute(result, hole, self._verdict(plain, place, rule))
        return result

    def looked_up(self, verdict: VerdictMap) -> PlainVerdict:
        """The verdict of the first box that holds for certain, else Continue."""
        for box, plain in verdict.entries:
            tests = tuple(Test(field, (part,)) for field, part in zip(verdict.fields, box, strict=True))
            if self.match(All(tests)) is self.space.true:
                return plain
        return Continue()

    def _either(self, key: str, reason: str, one: Kind, other: Kind, place: Place | None = None) -> Diagram:
        condition = self.doubts.condition(f"{self._here()} {key}", reason)
        return self._guarded(condition, self.space.leaf(Leaf(one, (), place)), self.space.leaf(Leaf(other, (), place)))

    def _unknown(self, key: str, reason: str) -> Diagram:
        """It may accept, drop or do nothing."""
        decided = self._either(key, reason, Kind.ACCEPT, Kind.DROP)
        return self._guarded(self.doubts.condition(f"{self._here()} {key} decides", reason), decided, self.go_on)

    def _here(self) -> str:
        return f"{self.container.store} {self.container.name}"

    # -------------------------------------------------------------- matches

    def _tests(self, match: Match) -> list[tuple[int, Intervals, int]] | None:
        """A conjunction of plain header tests, the usual rule, as the sides of one box; None for anything else."""
        parts = match.matches if isinstance(match, All) else (match,)
        sides: dict[int, tuple[int, Intervals, int]] = {}
        levels_of = _LEVELS[self.family]
        for part in parts:
            if not isinstance(part, Test) or part.field in self.known or part.field in _NOT_PLAIN:
                return None
            level = levels_of.get(part.field)
            if level is None or level in sides:
                return None
            sides[level] = (level, part.values, part.field.top)
        return list(sides.values())

    def match(self, match: Match) -> Diagram:
        """The set of packets that match."""
        space = self.space
        match match:
            case Test():
                return self.test(match.field, match.values)
            case Bits():
                return self._bits(match)
            case Lookup():
                return self._lookup(match)
            case AnonymousLookup():
                return self._boxes(match.fields, [(box, space.true) for box in match.boxes], space.false)
            case RateLimit():
                limit = match.limit
                key = f"{match.set_name} {match.source.label} {limit.amount}/{limit.unit} burst {limit.burst}"
                return self.doubts.condition(f"rate limit {key}", "rate limit")
            case Opaque():
                return self.doubts.condition(match.key, match.reason)
            case Not():
                return space.negation(self.match(match.match))
            case All():
                return space.chain([self.match(part) for part in match.matches], space.true)
            case Any():
                return space.chain([self.match(part) for part in match.matches], space.false)
            case _:
                assert_never(match)

    def test(self, field: Field, values: Intervals) -> Diagram:
        space = self.space
        known = self.known.get(field)
        if known is not None:
            inside = intersect(known, values)
            if inside == known:
                return self._has_connection() if field in OF_A_CONNECTION else space.true
            return (
                self.doubts.condition(f"{field.label} {values} of {known}", f"which {field.label} it gets")
                if inside
                else space.false
            )
        if field is Field.CT_STATE and self.untracked:
            return space.test(UNTRACKED_STATE, values, field.top, space.true, space.false)
        level = _LEVELS[self.family].get(field)
        if level is not None:
            found = space.test(level, values, field.top, space.true, space.false)
            return space.both(found, self._has_connection()) if field in OF_A_CONNECTION else found
        if field in _MARKS:
            return space.chain([self._bits(Bits(field, *part)) for part in _as_bits(values)], space.false)
        if field in (Field.SRC_TYPE, Field.DST_TYPE):
            return self._address_type(field, values)
        return space.false  # a field of the other family

    def _has_connection(self) -> Diagram:
        return self.test(Field.CT_STATE, ((CtState.NEW.value, CtState.RELATED.value),))

    def _bits(self, match: Bits) -> Diagram:
        space = self.space
        if match.field not in _MARKS:
            hits = [(value, value) for value in range(match.field.top + 1) if value & match.mask == match.value]
            return self.test(match.field, normalize(hits))
        if match.value & ~match.mask:
            return space.false
        bits = _mark_bits(match.field, match.mask, match.value)
        return space.box([(level, exactly(bit), 1) for level, bit in bits], space.true, space.false)

    def _address_type(self, field: Field, values: Intervals) -> Diagram:
        host, family = self.host, self.family
        local = host.local(family)
        if local is None:
            return self.doubts.condition(f"{field.label} {values}", "whether the address is this host's")
        special = normalize([*local, *host.broadcast(family), *MULTICAST[family]])
        of_type: dict[int, Intervals] = {
            AddressType.UNICAST.value: complement(special, family.top),
            AddressType.LOCAL.value: local,
            AddressType.BROADCAST.value: host.broadcast(family),
            AddressType.MULTICAST.value: MULTICAST[family],
        }
        wanted = normalize(
            part for first, last in values for kind in range(first, last + 1) for part in of_type.get(kind, ())
        )
        return self.test((_SOURCE if field is Field.SRC_TYPE else DESTINATION)[family], wanted)

    def _lookup(self, match: Lookup) -> Diagram:
        key = (match.fields, match.set_name)
        found = self._lookups.get(key)
        if found is None:
            found = self._lookups[key] = self._read_set(match)
        return found

    def _read_set(self, match: Lookup) -> Diagram:
        space = self.space
        named = self.sets.get(match.set_name)
        key = f"set {match.set_name} of {self._here()} {match.fields}"
        if named is None:
            return self._if_present(match.fields, key, f"the set {match.set_name}, which is not known")
        found = self._boxes(match.fields, [(element.box, space.true) for element in named.elements], space.false)
        if named.dynamic:
            added = self._if_present(match.fields, key, f"what rules add to the set {match.set_name}")
            found = space.either(found, added)
        return found

    def _if_present(self, fields: Sequence[Field], key: str, reason: str) -> Diagram:
        """A doubt about packets that have these fields at all."""
        having = self.match(All(tuple(Test(field, ((0, field.top),)) for field in fields)))
        return self.space.both(having, self.doubts.condition(key, reason))

    def _boxes(self, fields: Sequence[Field], rows: Sequence[tuple[Box, Diagram]], miss: Diagram) -> Diagram:
        """The leaf of the first box in which the fields lie."""
        if not all(self._may_have(field) for field in fields):
            return miss
        levels_of = _LEVELS[self.family]
        columns = [levels_of[field] for field in fields if field in levels_of]
        plain = not any(field in self.known or field in _NOT_PLAIN for field in fields)
        if plain and len(set(columns)) == len(fields):
            sides = [(level, field.top) for level, field in zip(columns, fields, strict=True)]
            return self.space.boxes(sides, rows, miss)
        return self.space.chain([self._box(fields, box, leaf, miss) for box, leaf in rows], miss)

    def _may_have(self, field: Field) -> bool:
        """Whether packets of this family have the field."""
        return field in _LEVELS[self.family] or field in self.known or field in _ELSEWHERE

    def _box(self, fields: Sequence[Field], box: Box, leaf: Diagram, miss: Diagram) -> Diagram:
        inside = self.match(All(tuple(Test(field, (part,)) for field, part in zip(fields, box, strict=True))))
        return self._guarded(inside, leaf, miss)


def _continues_changed(space: Space, row: Diagram) -> bool:
    return any(leaf_of(leaf).kind is Kind.CONTINUE and leaf_of(leaf).state for leaf in space.leaves(row))


def _as_bits(values: Intervals) -> list[tuple[int, int]]:
    """Intervals of 32-bit numbers as (mask, value) pairs."""
    found = [part for interval in values for part in prefixes(Family.IPV4, interval)]
    return [(0xFFFFFFFF ^ (1 << 32 - length) - 1, network) for network, length in found]
