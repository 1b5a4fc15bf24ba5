"""A second opinion: what nftables does with one packet, told step by step.

Written from the behaviour of the kernel (nf_tables, nf_conntrack, nf_nat), without regard to portgate's engine, to
be its referee. One packet, one table of fields, and the chains in the order in which the kernel visits them.

Rules of this file
    Plain before fast. What can't be known for a packet is a doubt with a name: a question that the caller
    answers, or that `verdicts` answers both ways.

Facts
    nat chains share one place in the order of a hook, whatever their priorities: -100 before routing, 100 on input.
    They see only the first packet of a tracked connection, and stop after the first translation.
    Before conntrack (-200) a packet's `ct state` is invalid; `notrack` matters only while it has no connection. A template
    makes it new until then, and what else is said of that connection is nobody's business: it can't be told.
    A packet on loopback has been seen by conntrack when it was sent.
    Without a connection `ct mark`, `ct status` and `ct original` do not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from portgate.core.listener import Interface
from portgate.core.net import DCCP, ICMP, ICMPV6, PORT_PROTOCOLS, TCP, Family, contains, interface_interval
from portgate.core.packets import LOOPBACK
from portgate.core.ruleset import (
    Accept,
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Base,
    Bits,
    Box,
    Chain,
    ChainKind,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Hook,
    InterfaceAddress,
    InterfaceGroup,
    Jump,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    PlainVerdict,
    Queue,
    RateLimit,
    Reject,
    Return,
    ReversePath,
    Rule,
    Ruleset,
    SetMark,
    Snat,
    Template,
    Test,
    Unknown,
    Verdict,
    VerdictMap,
)  # fmt: skip
from tests.packet import Packet

Doubts = Mapping[str, bool]
ANYTHING = frozenset({"accept", "drop", "reject"})
NO_DOUBTS: Doubts = MappingProxyType({})

CONNTRACK_PRIORITY = -200
NAT_PRIORITY = {Hook.PREROUTING: -100, Hook.INPUT: 100, Hook.OUTPUT: -100, Hook.POSTROUTING: 100}
WITH_CONNECTION = {CtState.NEW.value, CtState.ESTABLISHED.value, CtState.RELATED.value}
CONNECTION_FIELDS = frozenset(
    {
        Field.DNATED, Field.CT_MARK, Field.ORIGINAL_SRC4, Field.ORIGINAL_SRC6, Field.ORIGINAL_DST4, Field.ORIGINAL_DST6,
        Field.ORIGINAL_SPORT, Field.ORIGINAL_DPORT,
    }
)  # fmt: skip


class Undecided(Exception):
    """The answer depends on this doubt."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


WITHOUT_PORTS = "connections of DCCP have no ports"
"""What is to be known of the kernel; it is so with Linux 6.18."""


class Anywhere(Exception):
    """The packet is sent to an address that cannot be told from the rules."""


def verdicts(
    ruleset: Ruleset, packet: Packet, host: Sequence[Interface], doubts: Doubts = NO_DOUBTS, most: int | None = None
) -> frozenset[str]:
    """All that can become of the packet, over all answers to the doubts that are not given.

    With more than `most` doubts behind each other it may be anything: a mark that is not known has 32 of them.
    """
    if len(doubts) == most:
        return ANYTHING
    try:
        return frozenset({travel(ruleset, packet, host, doubts)})
    except Anywhere:
        return ANYTHING
    except Undecided as doubt:
        answers = ({**doubts, doubt.key: answer} for answer in (True, False))
        return frozenset().union(*(verdicts(ruleset, packet, host, one, most) for one in answers))


def travel(ruleset: Ruleset, packet: Packet, host: Sequence[Interface], doubts: Doubts = NO_DOUBTS) -> str:
    """ "accept", "drop" or "reject", for a packet from outside: up to the host's sockets, or through `forward`."""
    way = Way(ruleset, packet, host, doubts)
    for hook in (Hook.INGRESS, Hook.PREROUTING):
        if (verdict := way.through(hook)) != "accept":
            return verdict
    return way.through(way.routed())


def decide(ruleset: Ruleset, packet: Packet, hook: Hook, host: Sequence[Interface], doubts: Doubts = NO_DOUBTS) -> str:
    """ "accept", "drop" or "reject" at one hook alone."""
    return Way(ruleset, packet, host, doubts).through(hook)


class Way:
    """A packet on its way through the host: its fields as they are now."""

    def __init__(self, ruleset: Ruleset, packet: Packet, host: Sequence[Interface], doubts: Doubts) -> None:
        self.ruleset = ruleset
        self.family = Family(packet.family)
        self.host = host
        self.doubts = doubts
        self.known = dict(_fields(packet))
        self.tracked_state = packet.ct_state.value
        self.tracked = False
        self.template = False
        self.oif = packet.oif
        self.hook = Hook.INGRESS
        self._classify()

    # ---- the order of things

    def through(self, hook: Hook) -> str:
        """All base chains of the hook must accept."""
        self.hook = hook
        translated = False
        for container, chain, base in self._visited(hook):
            self._look_at_connection(base)
            if base.kind is ChainKind.NAT and (translated or not self._new_connection() or self._was_sent()):
                continue
            verdict = self._walk(container, chain) or base.default
            if isinstance(verdict, Drop | Reject):
                return "drop" if isinstance(verdict, Drop) else "reject"
            if isinstance(verdict, Dnat | Snat):
                translated = True
            if isinstance(verdict, Dnat):
                self._translate(verdict)
        return "accept"

    def _visited(self, hook: Hook) -> list[tuple[Container, Chain, Base]]:
        chains = [one for one in self.ruleset.base_chains(hook, self.family) if self._attached(one[2])]
        nat = NAT_PRIORITY.get(hook)
        kinds = {
            base.kind is ChainKind.NAT for _, _, base in chains if base.kind is ChainKind.NAT or base.priority == nat
        }
        last = len(kinds) == 2 and self._doubted(f"{hook}: chains of the priority of nat run before it")

        def place(one: tuple[Container, Chain, Base]) -> tuple[int, bool, int]:
            base = one[2]
            is_nat = base.kind is ChainKind.NAT
            return NAT_PRIORITY[hook] if is_nat else base.priority, is_nat is last, base.priority

        return sorted(chains, key=place)

    def _attached(self, base: Base) -> bool:
        return not base.devices or any(interface_interval(one)[0] == self.known[Field.IIF] for one in base.devices)

    def routed(self) -> Hook:
        if self.known[Field.DST_TYPE] != AddressType.UNICAST.value:
            return Hook.INPUT
        self.known[Field.OIF] = interface_interval(self.oif or self._route())[0]
        return Hook.FORWARD

    def _route(self) -> str:
        """The interface in whose network the destination lies, else the first."""
        destination = self.known[Field.DST4 if self.family is Family.IPV4 else Field.DST6]
        for interface in self.host:
            for family, address, length in interface.addresses:
                if family is self.family and not (destination ^ address) >> family.bits - length:
                    return interface.name
        return self.host[0].name

    # ---- the connection

    def _look_at_connection(self, base: Base) -> None:
        """Conntrack looks at each packet once, between the chains before -200 and those after."""
        early = self.hook in {Hook.INGRESS, Hook.PREROUTING, Hook.OUTPUT} and base.priority < CONNTRACK_PRIORITY
        if early and not self._is_own():
            self.known.setdefault(Field.CT_STATE, CtState.INVALID.value)
        elif not self.tracked:
            self.tracked = True
            self.template = False
            if self.known.get(Field.CT_STATE) != CtState.UNTRACKED.value:
                self.known[Field.CT_STATE] = self.tracked_state

    def _was_sent(self) -> bool:
        """What comes in from loopback has been translated on the way out."""
        return self.hook is Hook.PREROUTING and self._is_own()

    def _is_own(self) -> bool:
        return self.known[Field.IIF] == LOOPBACK[0]

    def _new_connection(self) -> bool:
        return self.known[Field.CT_STATE] in {CtState.NEW.value, CtState.RELATED.value}

    def _translate(self, dnat: Dnat) -> None:
        """The destination becomes another; `ct status dnat` tells if that changed anything."""
        if dnat.address == (0, self.family.top):
            raise Anywhere
        where = Field.DST4 if self.family is Family.IPV4 else Field.DST6
        before = self.known[where], self.known.get(Field.DPORT)
        self.known[where] = self._picked(dnat.address, before[0]) if dnat.address else self._own_address()
        if dnat.port is not None and before[1] is not None and not self._without_ports():
            self.known[Field.DPORT] = self._picked(dnat.port, before[1])
        if before != (self.known[where], self.known.get(Field.DPORT)):
            self.known[Field.DNATED] = 1
        self._classify()

    def _picked(self, choice: tuple[int, int], current: int) -> int:
        first, last = choice
        if first <= current <= last:
            return current
        return next((value for value in range(first, last) if self._doubted(f"picks {value}")), last)

    def _own_address(self) -> int:
        """A redirected packet goes to the first address of the interface on which it came."""
        arrived = self.known[Field.IIF]
        mine = (one for one in self.host if interface_interval(one.name)[0] == arrived)
        return next(address for one in mine for family, address, _ in one.addresses if family is self.family)

    def _classify(self) -> None:
        v4 = self.family is Family.IPV4
        self.known[Field.SRC_TYPE] = self._type(self.known[Field.SRC4 if v4 else Field.SRC6]).value
        self.known[Field.DST_TYPE] = self._type(self.known[Field.DST4 if v4 else Field.DST6]).value

    def _type(self, address: int) -> AddressType:
        """What the host's routes call it (`fib daddr type`)."""
        v4 = self.family is Family.IPV4
        networks = [one[1:] for interface in self.host for one in interface.addresses if one[0] is self.family]
        if address in {own for own, _ in networks} or (address >> 24 == 127 if v4 else address == 1):
            return AddressType.LOCAL
        if address >> 28 == 0xE if v4 else address >> 120 == 0xFF:
            return AddressType.MULTICAST
        if v4 and (
            address in {0, 0xFFFFFFFF} or any(address == own | 0xFFFFFFFF >> n for own, n in networks if n < 31)
        ):
            return AddressType.BROADCAST
        return AddressType.UNICAST

    # ---- chains, rules, matches

    def _walk(self, container: Container, chain: Chain) -> PlainVerdict | None:
        """The verdict that ends the walk through this hook; None to go on after the jump that led here."""
        for rule in chain.rules:
            if not self._holds(container, rule.match):
                continue
            for effect in rule.effects:
                self._happen(effect)
            match self._plain(container, rule):
                case Continue():
                    pass
                case Return():
                    return None
                case Jump(name):
                    if ended := self._walk(container, _called(container, name)):
                        return ended
                case Goto(name):
                    return self._walk(container, _called(container, name))
                case Dnat(family=other) if other not in (None, self.family):
                    pass  # nft_nat does nothing for packets of the other family
                case Accept() | Drop() | Reject() | Dnat() | Snat() as final:
                    return final
        return None

    def _plain(self, container: Container, rule: Rule) -> PlainVerdict:
        """The verdict without maps and doubts."""
        verdict: Verdict = rule.verdict
        if isinstance(verdict, VerdictMap):
            values = self._values(verdict.fields)
            verdict = next((each for box, each in verdict.entries if values and _inside(values, box)), Continue())
        match verdict:
            case Queue():
                return Accept() if self._doubted(f"{container.name}: a program accepts it") else Drop()
            case Unknown(text):
                if self._doubted(f"{text}: accepts"):
                    return Accept()
                return Drop() if self._doubted(f"{text}: drops") else Continue()
        return verdict

    def _happen(self, effect: Effect) -> None:
        match effect:
            case NoTrack():
                if self.known[Field.CT_STATE] not in WITH_CONNECTION:
                    self.known[Field.CT_STATE] = CtState.UNTRACKED.value
            case Template(_, untracked):
                states = {CtState.INVALID.value, CtState.UNTRACKED.value} if untracked else {CtState.INVALID.value}
                if self.known[Field.CT_STATE] in states:
                    self.known[Field.CT_STATE] = CtState.NEW.value
                    self.template = True
            case SetMark(mark, mask, value, copied):
                other = Field.CT_MARK if mark is Field.MARK else Field.MARK
                if self.template and mark is Field.CT_MARK:
                    return
                if self.template and copied:
                    mask, value, copied = mask | (value or 0) | copied, None, 0
                if (mark is not Field.CT_MARK and not copied) or self._has(Field.CT_MARK):
                    amount = self._unknown_bits(mark, mask) if value is None else value
                    self.known[mark] = self.known[mark] & ~mask ^ amount ^ self.known[other] & copied

    def _unknown_bits(self, mark: Field, mask: int) -> int:
        bits = (1 << place for place in range(mask.bit_length()))
        return sum(bit for bit in bits if mask & bit and self._doubted(f"{mark.label} gets bit {bit:#x}"))

    def _holds(self, container: Container, match: Match) -> bool:
        if self.template and not CONNECTION_FIELDS.isdisjoint(_looked_at(match)):
            return self._doubted(f"of a template: {match}")
        match match:
            case Test(field, allowed):
                return self._has(field) and contains(allowed, self._at(field))
            case Bits(field, mask, value):
                return self._has(field) and self.known[field] & mask == value
            case AnonymousLookup(fields, boxes):
                return self._in_any(fields, boxes)
            case Lookup(fields, name):
                return self._in_set(container, fields, name)
            case Not(inner):
                return not self._holds(container, inner)
            case All(parts):
                return all(self._holds(container, part) for part in parts)
            case Any(parts):
                return any(self._holds(container, part) for part in parts)
            case Opaque(key) | ReversePath(
                Opaque(key)
            ):  # the routes are never told here; tests/kernel/test_routes.py has them
                return self._doubted(key)
            case InterfaceAddress() | InterfaceGroup():
                raise AssertionError("only pf's rules speak of what an interface has")
            case RateLimit(source, _, name):
                return self._has(source) and self._doubted(f"{container.name} {name}: within the limit")

    def _in_set(self, container: Container, fields: Sequence[Field], name: str) -> bool:
        named = container.sets_by_name()[name]
        if named.dynamic:
            return self._values(fields) is not None and self._doubted(f"{container.name} {name}: contains it")
        return self._in_any(fields, (element.box for element in named.elements))

    def _in_any(self, fields: Sequence[Field], boxes: Iterable[Box]) -> bool:
        values = self._values(fields)
        return values is not None and any(_inside(values, box) for box in boxes)

    def _values(self, fields: Sequence[Field]) -> tuple[int, ...] | None:
        """None when the packet lacks one of them: then the rule does not match."""
        return tuple(map(self._at, fields)) if all(map(self._has, fields)) else None

    def _at(self, field: Field) -> int:
        original = field in (Field.ORIGINAL_SPORT, Field.ORIGINAL_DPORT)
        return 0 if original and self._without_ports() else self.known[field]

    def _without_ports(self) -> bool:
        """Connection tracking may know no ports of DCCP."""
        return self.known[Field.PROTOCOL] == DCCP and self._doubted(WITHOUT_PORTS)

    def _has(self, field: Field) -> bool:
        return field in self.known and (field not in CONNECTION_FIELDS or self.known[Field.CT_STATE] in WITH_CONNECTION)

    def _doubted(self, key: str) -> bool:
        if key not in self.doubts:
            raise Undecided(key)
        return self.doubts[key]


def _looked_at(match: Match) -> Sequence[Field]:
    """The fields of a match that is not made up of others."""
    match match:
        case Test(field) | Bits(field):
            return (field,)
        case AnonymousLookup(fields) | Lookup(fields):
            return fields
    return ()


def _called(container: Container, name: str) -> Chain:
    chain = container.chain(name)
    assert chain is not None, f"a jump to a chain that does not exist: {name}"
    return chain


def _inside(values: Sequence[int], box: Box) -> bool:
    return all(first <= value <= last for value, (first, last) in zip(values, box, strict=True))


def _fields(packet: Packet) -> Iterable[tuple[Field, int]]:
    yield Field.FAMILY, packet.family
    yield Field.PROTOCOL, packet.proto
    yield Field.IIF, interface_interval(packet.iif)[0]
    yield Field.MARK, packet.mark
    yield Field.CT_MARK, 0
    yield Field.DNATED, 0
    if packet.family == Family.IPV4:
        yield from ((Field.SRC4, packet.src), (Field.ORIGINAL_SRC4, packet.src))
        yield from ((Field.DST4, packet.dst), (Field.ORIGINAL_DST4, packet.dst))
    else:
        yield from ((Field.SRC6, packet.src), (Field.ORIGINAL_SRC6, packet.src))
        yield from ((Field.DST6, packet.dst), (Field.ORIGINAL_DST6, packet.dst))
    if packet.proto in PORT_PROTOCOLS and packet.sport is not None and packet.dport is not None:
        yield from ((Field.SPORT, packet.sport), (Field.ORIGINAL_SPORT, packet.sport))
        yield from ((Field.DPORT, packet.dport), (Field.ORIGINAL_DPORT, packet.dport))
    if packet.proto == TCP:
        yield Field.TCP_FLAGS, packet.tcp_flags
    if packet.proto in {ICMP, ICMPV6} and packet.icmp_type is not None and packet.icmp_code is not None:
        yield from ((Field.ICMP_TYPE, packet.icmp_type), (Field.ICMP_CODE, packet.icmp_code))
