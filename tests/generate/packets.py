"""Random packets near the boundaries of rules: where an engine that is wrong by one shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random

from portgate.core.net import (
    DCCP,
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    Family,
    Interval,
)
from portgate.core.ruleset import (
    All,
    AnonymousLookup,
    Any,
    CtState,
    Field,
    Lookup,
    Match,
    Not,
    Ruleset,
    Test,
    VerdictMap,
)
from portgate.sandbox import Probe
from tests.generate.world import CUTS, PORTS, WORLD, World
from tests.packet import Packet

GRE, ESP = 47, 50
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
PROTOCOLS = {
    Family.IPV4: ((TCP, UDP, SCTP, DCCP, UDPLITE, ICMP, GRE, ESP), (30, 25, 6, 4, 3, 8, 2, 2)),
    Family.IPV6: ((TCP, UDP, SCTP, DCCP, UDPLITE, ICMPV6, GRE, ESP), (30, 25, 6, 4, 3, 8, 2, 2)),
}

# What conntrack calls the first packet that it sees of a connection (nf_conntrack_proto_tcp.c, _icmp.c, _icmpv6.c).
TCP_STATES = {
    SYN: CtState.NEW, SYN | PSH: CtState.NEW, SYN | URG: CtState.NEW, ACK: CtState.NEW, ACK | PSH: CtState.NEW,
    SYN | ACK: CtState.INVALID, RST: CtState.INVALID, RST | ACK: CtState.INVALID, FIN: CtState.INVALID,
    FIN | ACK: CtState.INVALID, 0: CtState.INVALID, SYN | FIN: CtState.INVALID, FIN | PSH | URG: CtState.INVALID,
}  # fmt: skip
ICMP_STATES = {8: CtState.NEW, 13: CtState.NEW, 15: CtState.NEW, 17: CtState.NEW} | dict.fromkeys(
    (0, 3, 5, 9, 11, 12, 14, 42), CtState.INVALID
)
ICMPV6_STATES = (
    {128: CtState.NEW, 139: CtState.NEW}
    | dict.fromkeys((1, 3, 4, 129, 140), CtState.INVALID)
    | dict.fromkeys((130, 133, 135, 136), CtState.UNTRACKED)
)


class Packets:
    """A source of packets for one ruleset. `states` corrects what conntrack calls a protocol on this kernel."""

    def __init__(
        self, rng: Random, ruleset: Ruleset, states: Mapping[int, CtState] | None = None, world: World = WORLD
    ) -> None:
        self._rng = rng
        self._values = near_boundaries(ruleset)
        self._states = states or {}
        self._world = world
        self._own = {family: world.own(family) for family in Family}
        self._sources = {family: self._strangers(family, Field.SRC4, Field.SRC6) for family in Family}
        self._remote = {family: self._strangers(family, Field.DST4, Field.DST6) for family in Family}

    def take(self, count: int) -> list[Packet]:
        return [self._packet() for _ in range(count)]

    def _packet(self) -> Packet:
        rng = self._rng
        family = rng.choice((Family.IPV4, Family.IPV6))
        link = rng.choice(self._world.links)
        protocol = rng.choices(*PROTOCOLS[family])[0]
        sport = dport = icmp_type = icmp_code = None
        flags, state = SYN, self._states.get(protocol, CtState.NEW)
        if protocol in PORT_PROTOCOLS:
            sport, dport = self._port(Field.SPORT, (40000, 1024)), self._port(Field.DPORT, PORTS)
        if protocol == TCP and rng.random() < 0.3:
            flags, state = rng.choice(tuple(TCP_STATES.items()))
        if protocol in {ICMP, ICMPV6}:
            icmp_type, state = rng.choice(tuple((ICMP_STATES if protocol == ICMP else ICMPV6_STATES).items()))
            icmp_code = rng.choice((0, 0, 1, 3))
        return Packet(
            family, protocol, link.name, rng.choice(self._sources[family]), self._destination(family),
            sport, dport, icmp_type, icmp_code, flags, state,
        )  # fmt: skip

    def _port(self, field: Field, usual: Sequence[int]) -> int:
        known = [value for value in self._values.get(field, ()) if value > 0]
        return self._rng.choice(known if known and self._rng.random() < 0.7 else usual)

    def _destination(self, family: Family) -> int:
        own = self._own[family]
        return self._rng.choice(own if self._rng.random() < 0.6 else (*self._remote[family], *own))

    def _strangers(self, family: Family, v4: Field, v6: Field) -> list[int]:
        """Addresses near the boundaries of these fields that are not the host's own."""
        near = self._values.get(v4 if family is Family.IPV4 else v6, ())
        return self._world.strangers(family, (*near, *CUTS[family], *self._world.peers(family)))


def probe(packet: Packet) -> Probe:
    """What is put on the cable for it."""
    return Probe(
        packet.iif,
        Family(packet.family),
        packet.proto,
        packet.src,
        packet.dst,
        packet.sport or 0,
        packet.dport or 0,
        packet.icmp_type or 0,
        packet.icmp_code or 0,
        packet.tcp_flags,
    )


def near_boundaries(ruleset: Ruleset) -> dict[Field, tuple[int, ...]]:
    """For each field that the rules test: the ends of all intervals, and their neighbours."""
    found: defaultdict[Field, set[int]] = defaultdict(set)
    for field, (first, last) in _intervals(ruleset):
        found[field] |= {first - 1, first, last, last + 1}
    return {field: tuple(sorted(one for one in values if 0 <= one <= field.top)) for field, values in found.items()}


def _intervals(ruleset: Ruleset) -> Iterator[tuple[Field, Interval]]:
    for container in ruleset.containers:
        for named in container.sets:
            yield from _of_boxes(named.fields, (element.box for element in named.elements))
        for rule in (rule for chain in container.chains for rule in chain.rules):
            yield from _of_match(rule.match)
            if isinstance(rule.verdict, VerdictMap):
                yield from _of_boxes(rule.verdict.fields, (box for box, _ in rule.verdict.entries))


def _of_match(match: Match) -> Iterator[tuple[Field, Interval]]:
    match match:
        case Test(field, values):
            yield from ((field, interval) for interval in values)
        case AnonymousLookup(fields, boxes):
            yield from _of_boxes(fields, boxes)
        case Not(inner):
            yield from _of_match(inner)
        case All(parts) | Any(parts):
            for part in parts:
                yield from _of_match(part)
        case Lookup():
            pass  # its set's elements are found in the container


def _of_boxes(fields: Sequence[Field], boxes: Iterable[Sequence[Interval]]) -> Iterator[tuple[Field, Interval]]:
    for box in boxes:
        yield from zip(fields, box, strict=True)
