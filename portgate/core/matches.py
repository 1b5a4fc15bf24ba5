"""A match as a set of packets: a decision diagram, where some of a packet's fields are known.

Theory
    A test on a field whose value is known is true or false at once; so a translated port, or a question about one
    port only, needs no diagram of its own. A match that is not decidable for a packet is a Boolean level below all
    header fields, one for each key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import assert_never

from portgate.core.addresses import MULTICAST, Host
from portgate.core.decision import LEAF, Diagram, Space, levels
from portgate.core.net import (
    DCCP,
    ICMPV6,
    PORT_PROTOCOLS,
    Family,
    Intervals,
    complement,
    contains,
    interface_interval,
    intersect,
    normalize,
    prefixes,
)
from portgate.core.packets import (
    CT_STATE,
    DOUBTS,
    DPORT,
    DST,
    ICMP_CODE,
    ICMP_TYPE,
    IIF,
    LOOPBACK,
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
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Box,
    Container,
    CtState,
    Field,
    InterfaceAddress,
    InterfaceGroup,
    Lookup,
    Match,
    Not,
    Opaque,
    RateLimit,
    ReversePath,
    Test,
)

# What is known of a packet at some point of its path: the values that a field may have, one for most. The bits
# of marks stand under their levels, each as the exclusive or of several values: 0, 1, and levels, which stand for what
# they held before, be they of other bits of marks or of a doubt.
State = tuple[tuple[Field | int, Intervals], ...]


def merged(state: State, changes: Iterable[tuple[Field | int, Intervals]]) -> State:
    """The state after changes, in an order of its own, so that equal states are equal tuples."""
    together = {**dict(state), **dict(changes)}
    return tuple(sorted(together.items(), key=lambda item: (isinstance(item[0], int), str(item[0]), item[1])))


def then(state: State, changes: State) -> State:
    """The state after changes that speak of the levels of marks as they are in it."""
    return merged(state, told_by(state, changes))


def told_by(state: State, changes: State) -> Iterator[tuple[Field | int, Intervals]]:
    """The changes, with what the state holds in place of levels of marks."""
    before = dict(state)
    for key, values in changes:
        if isinstance(key, int) and key >= MARK_BITS:
            yield key, exclusive_or(before.get(level, exactly(level)) for level, _ in values)
        else:
            yield key, values


def exclusive_or(bits: Iterable[Intervals]) -> Intervals:
    """The bit that is 1 where an odd number of these are."""
    odd: set[int] = set()
    for bit in bits:
        odd ^= {value for value, _ in bit if value}
    return tuple((value, value) for value in sorted(odd)) or exactly(0)


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
_WHICH = {Field.OIF: "the interface that it leaves by"}
_NOT_PLAIN = OF_A_CONNECTION | {Field.CT_STATE}  # need more than a look at their level
PROTOCOLS_WITH_PORTS = normalize((one, one) for one in PORT_PROTOCOLS)
# Where a translation changes a field, tests on the packet as it arrived still see the old value.
ORIGINALS = {
    Field.SRC4: Field.ORIGINAL_SRC4,
    Field.SRC6: Field.ORIGINAL_SRC6,
    Field.DST4: Field.ORIGINAL_DST4,
    Field.DST6: Field.ORIGINAL_DST6,
    Field.SPORT: Field.ORIGINAL_SPORT,
    Field.DPORT: Field.ORIGINAL_DPORT,
}
_MARKS: Mapping[Field, int] = {Field.MARK: MARK_BITS, Field.CT_MARK: MARK_BITS + 1}
_ELSEWHERE = frozenset({*_MARKS, Field.SRC_TYPE, Field.DST_TYPE})  # fields that have no level of their own
# What rules can change within a chain, by level, as it is before any rule has: a packet without a connection is
# invalid, and marks are 0.
UNCHANGED: Mapping[int, int] = {
    UNTRACKED_STATE: CtState.INVALID.value,
    NAT_DONE: 0,
    **dict.fromkeys(range(MARK_BITS, DOUBTS), 0),
}


def mark_bits(field: Field, mask: int, value: int) -> list[tuple[int, int]]:
    """(level, bit) of each bit in the mask."""
    return [(_MARKS[field] + 2 * bit, value >> 31 - bit & 1) for bit in range(32) if mask >> 31 - bit & 1]


def other_mark(level: int) -> int:
    """The level of the same bit in the other mark."""
    return level ^ 1


def of_connection(level: int) -> bool:
    """Whether the level is a bit of the connection's mark."""
    return level >= MARK_BITS and level % 2 == 1


def under(space: Space, diagram: Diagram, state: State) -> Diagram:
    """The diagram where the levels in the state have its values."""
    if diagram.level == LEAF:
        return diagram
    bits = {key: values for key, values in state if isinstance(key, int)}
    known = {level: values[0][0] for level, values in bits.items() if values[-1][1] < MARK_BITS}
    others = {level: values for level, values in bits.items() if level not in known}
    return _substituted(space, space.restrict(diagram, known), others)


def _substituted(space: Space, diagram: Diagram, bits: Mapping[int, Intervals]) -> Diagram:
    """The diagram with each of these bits replaced, all at once, by the exclusive or of others."""
    if levels(diagram).isdisjoint(bits):
        return diagram
    memo: dict[Diagram, Diagram] = {}

    def walk(node: Diagram) -> Diagram:
        if node.level == LEAF:
            return node
        found = memo.get(node)
        if found is None:
            new = {child: walk(child) for child in dict.fromkeys(node.children)}
            if node.level < MARK_BITS:
                found = space.replaced(node, new)
            else:
                found = space.choose(
                    _odd(space, bits.get(node.level, exactly(node.level))), new[node.at(1)], new[node.at(0)]
                )
            memo[node] = found
        return found

    return walk(diagram)


def _odd(space: Space, values: Intervals) -> Diagram:
    """Where the exclusive or of these is 1."""
    result = space.false
    for value, _ in values:
        one = space.true if value == 1 else space.test(value, exactly(1), 1, space.true, space.false)
        result = space.choose(one, space.negation(result), result)
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

    def sent_untracked(self) -> Diagram:
        """The packets that this host sends without tracking them."""
        return self.condition("sent untracked", "whether this host tracks what it sends to itself")

    def __len__(self) -> int:
        return len(self._levels)

    def reason(self, level: int) -> str:
        return self._reasons.get(level, "the mark of a connection")


def guarded(space: Space, condition: Diagram, verdict: Diagram, otherwise: Diagram) -> Diagram:
    """`verdict` on the set `condition`, the leaf `otherwise` elsewhere."""
    inside = verdict if verdict.level == LEAF else space.leaf(("hole", 0))
    result = space.rebuild(condition, lambda leaf: inside if leaf is space.true else otherwise)
    return result if inside is verdict else space.substitute(result, inside, verdict)


class Matches:
    """Reads the matches of one container, where some fields of a packet are known."""

    def __init__(
        self,
        doubts: Doubts,
        host: Host,
        family: Family,
        container: Container,
        *,
        known: State,
        early: bool,
        sends_untracked: bool = False,
    ) -> None:
        """`early`: before connection tracking has seen the packet, unless it comes from loopback: then it has, on the way out.

        `sends_untracked`: rules may have kept it from being tracked there.
        """
        self.doubts = doubts
        self.space = doubts.space
        self.host = host
        self.family = family
        self.container = container
        self.name = f"{container.store} {container.name}"
        self.known = {key: values for key, values in known if isinstance(key, Field)}
        asked = self.known.get(Field.CT_STATE)
        invalid, untracked = (exactly(one.value) for one in (CtState.INVALID, CtState.UNTRACKED))
        self._early = early and asked != invalid
        self._untracked = early or asked in (invalid, untracked)
        self._sends_untracked = sends_untracked
        self._sets = container.sets_by_name()
        self._lookups: dict[tuple[tuple[Field, ...], str], Diagram] = {}
        self._led_back: dict[ReversePath, Diagram] = {}

    def sides(self, match: Match) -> list[tuple[int, Intervals, int]] | None:
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
                return self.boxes(match.fields, [(box, space.true) for box in match.boxes], space.false)
            case RateLimit():
                limit = match.limit
                key = f"rate limit {match.set_name} {limit.amount}/{limit.unit} burst {limit.burst}"
                return self._if_present((match.source,), key, "rate limit")
            case Opaque():
                return self.doubts.condition(match.key, match.reason)
            case ReversePath():
                return self._reverse_path(match)
            case InterfaceAddress():
                return self._interface_address(match)
            case InterfaceGroup(field, name):
                return self._interface_group(field, name)
            case Not():
                return space.negation(self.match(match.match))
            case All():
                return space.chain([self.match(part) for part in match.matches], space.true)
            case Any():
                return space.chain([self.match(part) for part in match.matches], space.false)
            case _:
                assert_never(match)

    def test(self, field: Field, values: Intervals) -> Diagram:
        found = self._test(field, values)
        if field not in (Field.ORIGINAL_SPORT, Field.ORIGINAL_DPORT):
            return found
        zero = self.space.true if contains(values, 0) else self.space.false
        without = self._of_connection(f"{field.label} {values} without ports", zero)
        return self.space.choose(self.without_ports(), without, found)

    def without_ports(self) -> Diagram:
        """The packets of which connection tracking may know no ports: it takes them for 0, and translates none (DCCP, Linux 6.18)."""
        condition = self.doubts.condition("ports of DCCP", "whether the kernel knows the ports of a DCCP connection")
        return self.space.both(self._test(Field.PROTOCOL, exactly(DCCP)), condition)

    def _test(self, field: Field, values: Intervals) -> Diagram:
        space = self.space
        if field is Field.CT_STATE and self._untracked:
            untracked = space.test(UNTRACKED_STATE, values, field.top, space.true, space.false)
            return space.choose(self._from_loopback(), self._as_sent(values), untracked)
        if field in OF_A_CONNECTION:
            return self._of_connection(f"{field.label} {values}", self._as_told(field, values))
        return self._as_told(field, values)

    def _as_sent(self, values: Intervals) -> Diagram:
        """The test of the state that a packet from loopback has."""
        told, space = self._as_told(Field.CT_STATE, values), self.space
        if not self._sends_untracked:
            return told
        untracked = space.true if contains(values, CtState.UNTRACKED.value) else space.false
        return space.choose(self.doubts.sent_untracked(), untracked, told)

    def _as_told(self, field: Field, values: Intervals) -> Diagram:
        """By what is known of the field, else by its level."""
        space = self.space
        known = self.known.get(field)
        if known is not None:
            inside = intersect(known, values)
            if inside in (known, ()):
                return space.true if inside else space.false
            return self.doubts.condition(
                f"{field.label} {values} of {known}", _WHICH.get(field, f"which {field.label} it gets")
            )
        level = _LEVELS[self.family].get(field)
        if level is not None:
            return space.test(level, values, field.top, space.true, space.false)
        if field in _MARKS:
            return space.chain([self._bits(Bits(field, *part)) for part in _as_bits(values)], space.false)
        if field in (Field.SRC_TYPE, Field.DST_TYPE):
            return self._address_type(field, values)
        return space.false  # a field of the other family

    def has_connection(self) -> Diagram:
        """The set of packets that connection tracking follows, or that have the template of a connection."""
        return self.test(Field.CT_STATE, ((CtState.NEW.value, CtState.RELATED.value),))

    def has_template(self) -> Diagram:
        """The set of packets whose connection is a template, of which nothing is known."""
        if not self._untracked:
            return self.space.false
        return self.space.choose(self._from_loopback(), self.space.false, self.has_connection())

    def _from_loopback(self) -> Diagram:
        """The packets that have been tracked before they come in."""
        return self.test(Field.IIF, (LOOPBACK,)) if self._early else self.space.false

    def _of_connection(self, key: str, found: Diagram) -> Diagram:
        """`found` as a test of a connection: it never holds without one, and may hold for a template."""
        template, connected = self.has_template(), self.has_connection()
        if template is not self.space.false:
            unknown = self.doubts.condition(f"template {key}", "what is known of a connection before it is tracked")
            found = self.space.choose(template, unknown, found)
        return self.space.both(found, connected)

    def _bits(self, match: Bits) -> Diagram:
        space = self.space
        if match.field not in _MARKS:
            return self.test(match.field, _with_bits(match.field.top, match.mask, match.value))
        if match.value & ~match.mask:
            return space.false
        bits = mark_bits(match.field, match.mask, match.value)
        found = space.box([(level, exactly(bit), 1) for level, bit in bits], space.true, space.false)
        return self._of_connection(f"mark {bits}", found) if match.field is Field.CT_MARK else found

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

    def _reverse_path(self, match: ReversePath) -> Diagram:
        """Not known of loopback, of which hooks differ, and of an interface that this host has not got: it may come with routes."""
        space, unknown, source = self.space, self.match(match.otherwise), _SOURCE[self.family]
        routes = self.host.routes.get(self.family)
        if routes is None or self.host.interfaces is None:
            return unknown
        if (before := self._led_back.get(match)) is not None:
            return before
        found = unknown
        for one in self.host.interfaces:
            arriving = interface_interval(one.name)
            if arriving != LOOPBACK:
                ways = routes.back(one.name, loose=match.loose)
                perhaps = space.both(self.test(source, ways.perhaps), unknown)
                back = space.either(self.test(source, ways.surely), perhaps)
                found = space.choose(self.test(Field.IIF, (arriving,)), back, found)
        self._led_back[match] = space.choose(self._before_configuration(), unknown, found)
        return self._led_back[match]

    def _before_configuration(self) -> Diagram:
        """Packets of hosts that have no address yet, which are looked up in their own ways."""
        if self.family is Family.IPV6:
            return self.space.both(self.test(Field.SRC6, exactly(0)), self.test(Field.PROTOCOL, exactly(ICMPV6)))
        everybody = normalize([*MULTICAST[Family.IPV4], *self.host.broadcast(Family.IPV4)])
        return self.space.both(self.test(Field.SRC4, ((0, (1 << 24) - 1),)), self.test(Field.DST4, everybody))

    def _interface_address(self, match: InterfaceAddress) -> Diagram:
        if not self._may_have(match.field):
            return self.space.false
        found = self.host.of_interface(match, self.family)
        if found is not None:
            return self.test(match.field, found)
        reason = f"which addresses `{match.text}` stands for"
        return self.doubts.condition(f"{match.field.label} {match.text}", reason)

    def _interface_group(self, field: Field, name: str) -> Diagram:
        members = self.host.group(name)
        if members:
            return self.test(field, normalize(interface_interval(one.name) for one in members))
        return self.doubts.condition(
            f"interface group {name} {field.label}", f"which interfaces are in the group {name}"
        )

    def _lookup(self, match: Lookup) -> Diagram:
        key = (match.fields, match.set_name)
        found = self._lookups.get(key)
        if found is None:
            found = self._lookups[key] = self._read_set(match)
        return found

    def _read_set(self, match: Lookup) -> Diagram:
        space = self.space
        named = self._sets.get(match.set_name)
        key = f"set {match.set_name} of {self.name} {match.fields}"
        if named is None:
            return self._if_present(match.fields, key, f"the set {match.set_name}, which is not known")
        found = self.boxes(match.fields, [(element.box, space.true) for element in named.elements], space.false)
        if named.dynamic:
            added = self._if_present(match.fields, key, f"what rules add to the set {match.set_name}")
            found = space.either(found, added)
        return found

    def _if_present(self, fields: Sequence[Field], key: str, reason: str) -> Diagram:
        """A doubt about packets that have these fields at all."""
        having = self.match(All(tuple(Test(field, ((0, field.top),)) for field in fields)))
        return self.space.both(having, self.doubts.condition(key, reason))

    def boxes(self, fields: Sequence[Field], rows: Sequence[tuple[Box, Diagram]], miss: Diagram) -> Diagram:
        """The leaf of the first box in which the fields lie."""
        if not all(self._may_have(field) for field in fields):
            return miss
        levels_of = _LEVELS[self.family]
        columns = [levels_of[field] for field in fields if field in levels_of]
        plain = not any(field in self.known or field in _NOT_PLAIN for field in fields)
        if plain and len(set(columns)) == len(fields):
            leaves = {leaf for _, leaf in rows}
            if len(fields) == len(leaves) == 1:  # a list of addresses, which may be very long
                values = normalize(box[0] for box, _ in rows)
                return self.space.test(columns[0], values, fields[0].top, leaves.pop(), miss)
            sides = [(level, field.top) for level, field in zip(columns, fields, strict=True)]
            return self.space.boxes(sides, rows, miss)
        return self.space.chain([self._box(fields, box, leaf, miss) for box, leaf in rows], miss)

    def _may_have(self, field: Field) -> bool:
        """Whether packets of this family have the field."""
        return field in _LEVELS[self.family] or field in self.known or field in _ELSEWHERE

    def _box(self, fields: Sequence[Field], box: Box, leaf: Diagram, miss: Diagram) -> Diagram:
        inside = self.match(All(tuple(Test(field, (part,)) for field, part in zip(fields, box, strict=True))))
        return guarded(self.space, inside, leaf, miss)


@cache
def _with_bits(top: int, mask: int, value: int) -> Intervals:
    """The numbers that have these bits."""
    return normalize((number, number) for number in range(top + 1) if number & mask == value)


def _as_bits(values: Intervals) -> list[tuple[int, int]]:
    """Intervals of 32-bit numbers as (mask, value) pairs."""
    found = [part for interval in values for part in prefixes(Family.IPV4, interval)]
    return [(0xFFFFFFFF ^ (1 << 32 - length) - 1, network) for network, length in found]
