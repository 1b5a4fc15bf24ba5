"""Packets and sets of packets: the header layout on top of the decision diagrams.

Facts
    The order of the levels decides how large diagrams become. Ports, then destinations, then sources was the robust
    one (benchmarks/bench_engine.py): sources before destinations took twice the time, and sources before ports ran out
    of memory on rules of which many name a port for everybody and many a source.
    The bits of the two marks take turns, because rules combine equal bits of them; one mark after the other would need a
    node for each of their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NoReturn

from portgate.core.dataclasses import dataclass, replace
from portgate.core.decision import Diagram, Space, cubes, nodes, widest
from portgate.core.net import (
    ICMP,
    ICMP_TYPES,
    ICMPV6,
    ICMPV6_TYPES,
    PORT_PROTOCOLS,
    PROTOCOLS,
    TCP,
    UDP,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    interface_interval,
    interface_name,
    interface_pattern,
    intersect,
    normalize,
    parse_address,
    prefixes,
    protocol_name,
    subtract,
)
from portgate.core.ruleset import CtState, Field

PROTOCOL, IIF, OIF, DPORT, SPORT, DST, SRC, ICMP_TYPE, ICMP_CODE, TCP_FLAGS, CT_STATE = range(11)
UNTRACKED_STATE = 11  # CT_STATE where the packet has no connection: invalid, until a rule says `notrack`
NAT_DONE = 12  # 1 when a nat chain has decided about the destination, even if it left it as it was
MARK_BITS = 16  # 64 levels: the highest bit of the mark, that of the connection's mark, the next bit of each, ...
DOUBTS = 80  # from here on: Boolean levels for what is not known; `packets` do not have them

SYN = 2
LOOPBACK = interface_interval("lo")


def tops(family: Family) -> dict[int, int]:
    """The highest value of each level."""
    return {
        PROTOCOL: 255,
        IIF: Field.IIF.top,
        OIF: Field.OIF.top,
        SRC: family.top,
        DST: family.top,
        DPORT: 0xFFFF,
        SPORT: 0xFFFF,
        ICMP_TYPE: 255,
        ICMP_CODE: 255,
        TCP_FLAGS: 255,
        CT_STATE: 4,
    }


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. What its protocol does not have is None; `dst` None is an address of the receiving interface."""

    family: Family
    protocol: int
    iif: str
    src: int
    dst: int | None = None
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    tcp_flags: int = SYN
    ct_state: CtState = CtState.NEW
    oif: str = ""

    def levels(self) -> dict[int, int]:
        """The packet as a tuple of numbers. What it does not have counts as 0, which no rule can see."""
        return {
            PROTOCOL: self.protocol,
            IIF: interface_interval(self.iif)[0] if self.iif else 0,
            OIF: interface_interval(self.oif)[0] if self.oif else 0,
            SRC: self.src,
            DST: self.dst or 0,
            DPORT: self.dport or 0,
            SPORT: self.sport or 0,
            ICMP_TYPE: self.icmp_type or 0,
            ICMP_CODE: self.icmp_code or 0,
            TCP_FLAGS: self.tcp_flags,
            CT_STATE: self.ct_state.value,
        }

    def fields(self) -> dict[str, object]:
        """The packet for programs; what it does not have is null, what is usual is left out."""
        found: dict[str, object] = {
            "family": self.family.value,
            "proto": protocol_name(self.protocol),
            "iif": self.iif or None,
            "src": format_address(self.family, self.src),
            "dst": None if self.dst is None else format_address(self.family, self.dst),
            "sport": self.sport,
            "dport": self.dport,
        }
        if self.icmp_type is not None:
            found |= {"icmp_type": self.icmp_type, "icmp_code": self.icmp_code}
        if self.oif:
            found["oif"] = self.oif
        if self.protocol == TCP and self.tcp_flags != SYN:
            found["tcp_flags"] = self.tcp_flags
        if self.ct_state is not CtState.NEW:
            found["state"] = self.ct_state.name.lower()
        return found

    @classmethod
    def of_fields(cls, fields: Mapping[str, object]) -> Packet:
        """The packet that `fields` describes; `family` may be left out. Errors: ValueError with what is wrong."""
        return _Fields(fields).packet()

    def __str__(self) -> str:
        source = endpoint(self.family, self.src, self.sport)
        words = [protocol_name(self.protocol), source]
        if self.dst is not None:
            words += ["to", endpoint(self.family, self.dst, self.dport)]
        elif self.dport is not None:
            words += ["to port", str(self.dport)]
        if self.icmp_type is not None:
            words += [f"type {self.icmp_type}"]
        if self.iif:
            words += ["in", self.iif]
        if self.oif:
            words += ["out", self.oif]
        if self.ct_state is not CtState.NEW:
            words += [f"({self.ct_state.name.lower()})"]
        return " ".join(words)


class _Fields:
    """Reads a packet from values that anybody may have written."""

    KNOWN = frozenset(
        (
            "family",
            "proto",
            "iif",
            "oif",
            "src",
            "dst",
            "sport",
            "dport",
            "icmp_type",
            "icmp_code",
            "tcp_flags",
            "state",
        )
    )

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields
        if unknown := sorted(set(fields) - self.KNOWN):
            raise ValueError(
                f"unknown fields: {', '.join(map(repr, unknown))}; known are {', '.join(sorted(self.KNOWN))}"
            )

    def packet(self) -> Packet:
        family, src = self._address("src") or _missing("src")
        if self._fields.get("family") not in (None, family.value):
            raise ValueError(f"family {self._fields['family']!r} does not fit the address {self._fields['src']!r}")
        dst = self._address("dst")
        if dst is not None and dst[0] is not family:
            raise ValueError("src and dst are of different families")
        protocol = self._protocol()
        has_ports, is_icmp = protocol in PORT_PROTOCOLS, protocol in (ICMP, ICMPV6)
        return Packet(
            family=family,
            protocol=protocol,
            iif=self._interface("iif"),
            src=src,
            dst=None if dst is None else dst[1],
            sport=self._number("sport", 0xFFFF, 40000) if has_ports else None,
            dport=self._number("dport", 0xFFFF, None) if has_ports else None,
            icmp_type=self._icmp_type(ICMPV6_TYPES if protocol == ICMPV6 else ICMP_TYPES) if is_icmp else None,
            icmp_code=self._number("icmp_code", 255, 0) if is_icmp else None,
            tcp_flags=self._number("tcp_flags", 255, SYN) if protocol == TCP else 0,
            ct_state=self._state(),
            oif=self._interface("oif"),
        )

    def _address(self, name: str) -> tuple[Family, int] | None:
        value = self._fields.get(name)
        return None if value is None else parse_address(str(value))

    def _protocol(self) -> int:
        value = self._fields.get("proto")
        number = PROTOCOLS.get(value) if isinstance(value, str) else value
        if isinstance(value, str) and value.isdecimal():
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 255:
            raise ValueError(f"proto is a protocol's name or its number, not {value!r}")
        return number

    def _interface(self, name: str) -> str:
        value = self._fields.get(name)
        if value is None or value == "":
            return ""
        interface_interval(str(value))
        return str(value)

    def _number(self, name: str, top: int, usual: int | None) -> int:
        value = self._fields.get(name)
        if value is None:
            value = _missing(name) if usual is None else usual
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= top:
            raise ValueError(f"{name} is a number from 0 to {top}, not {value!r}")
        return value

    def _icmp_type(self, names: Mapping[str, int]) -> int:
        value = self._fields.get("icmp_type", "echo-request")
        if isinstance(value, str) and value not in names:
            raise ValueError(f"icmp_type is a number or one of {', '.join(names)}, not {value!r}")
        return names[value] if isinstance(value, str) else self._number("icmp_type", 255, names["echo-request"])

    def _state(self) -> CtState:
        value = self._fields.get("state")
        if value is None:
            return CtState.NEW
        try:
            return CtState[str(value).upper()]
        except KeyError:
            raise ValueError(
                f"state is one of {', '.join(one.name.lower() for one in CtState)}, not {value!r}"
            ) from None


def _missing(name: str) -> NoReturn:
    raise ValueError(f"{name} is missing")


def endpoint(family: Family, address: int, port: int | None) -> str:
    """`10.0.0.7:22`, `[2001:db8::7]:22`; without a port just the address."""
    text = format_address(family, address)
    if port is None:
        return text
    return f"[{text}]:{port}" if family is Family.IPV6 else f"{text}:{port}"


# ------------------------------------------------------------------ witnesses


# What a person would think of first; a witness takes the first value that is possible.
_TYPICAL: dict[int, tuple[int, ...]] = {
    PROTOCOL: (TCP, UDP, ICMP, ICMPV6, 132, 47),
    DPORT: (443, 80, 22, 53, 25, 8080, 5432, 3306),
    SPORT: (40000, 50000),
    ICMP_TYPE: (8, 128, 3, 1),
    TCP_FLAGS: (SYN,),
    CT_STATE: (CtState.NEW.value,),
}
_TYPICAL_INTERFACES = tuple(interface_interval(name)[0] for name in ("eth0", "eth1", "wg0"))
_TYPICAL_ADDRESSES = {
    Family.IPV4: tuple(
        int.from_bytes(bytes(octets), "big")
        for octets in ((198, 51, 100, 7), (203, 0, 113, 9), (192, 0, 2, 33), (10, 0, 0, 5), (192, 168, 1, 20))
    ),
    Family.IPV6: (0x20010DB8 << 96 | 7, 0xFE80 << 112 | 7, 0xFD << 120 | 5),
}


@dataclass(frozen=True, slots=True)
class Likely:
    """What packets on this host look like: its interfaces and addresses, for witnesses that read like real packets.

    **Shape** `leaving`: they are packets that the host sends.
    """

    interfaces: tuple[str, ...] = ()
    addresses: tuple[tuple[Family, int], ...] = ()
    leaving: bool = False


NOTHING_LIKELY = Likely()


def witness(
    space: Space,
    family: Family,
    diagram: Diagram,
    leaf: Diagram,
    likely: Likely = NOTHING_LIKELY,
    known: Mapping[int, int] = MappingProxyType({}),
) -> Packet | None:
    """One realistic packet that reaches the leaf, or None when none does.

    `known` are levels that the question has fixed, so that the diagram does not test them.
    """
    if leaf not in space.leaves(diagram):
        return None
    near, far = tuple(address for of, address in likely.addresses if of is family), _TYPICAL_ADDRESSES[family]
    names = (*(interface_interval(name)[0] for name in likely.interfaces if name != "lo"), *_TYPICAL_INTERFACES)
    ends = {SRC: near or far, DST: far} if likely.leaving else {SRC: far, DST: near}
    typical = {**_TYPICAL, **ends, IIF: names, OIF: names}
    highest = tops(family)
    found = dict(known)
    node = diagram
    while node is not leaf:
        level = node.level
        value = next(
            (value for value in typical.get(level, ()) if leaf in space.leaves(node.at(value))),
            None,
        )
        if value is None:
            value = next(
                first + (level in (SRC, DST) and first < last)  # the first address of a network is nobody's
                for (first, last), child in node.parts(highest.get(level, 1))
                if leaf in space.leaves(child)
            )
        found[level] = value
        node = node.at(value)
    return _packet(family, found, typical, likely.leaving)


def _packet(family: Family, found: Mapping[int, int], typical: Mapping[int, tuple[int, ...]], leaving: bool) -> Packet:
    """Fills what the diagram left open with what is typical."""

    def get(level: int) -> int:
        return found[level] if level in found else typical[level][0]

    protocol = found.get(PROTOCOL, TCP)
    has_ports = protocol in PORT_PROTOCOLS
    is_icmp = protocol in (ICMP, ICMPV6)
    return Packet(
        family=family,
        protocol=protocol,
        iif="" if leaving else interface_name(get(IIF)),
        src=get(SRC),
        dst=found.get(DST, typical[DST][0] if typical[DST] else None),
        sport=get(SPORT) if has_ports else None,
        dport=get(DPORT) if has_ports else None,
        icmp_type=found.get(ICMP_TYPE, 128 if protocol == ICMPV6 else 8) if is_icmp else None,
        icmp_code=found.get(ICMP_CODE, 0) if is_icmp else None,
        tcp_flags=found.get(TCP_FLAGS, SYN),
        ct_state=CtState(found.get(CT_STATE, CtState.NEW.value)),
        oif=interface_name(get(OIF)) if leaving or OIF in found else "",
    )


# ------------------------------------------------------------------ readable cubes


@dataclass(frozen=True, slots=True)
class Cube:
    """A product of value sets; a level that is missing is free. Reads as "tcp 443 from 198.51.100.0/24"."""

    family: Family
    values: Mapping[int, Intervals]

    def __str__(self) -> str:
        return " ".join(self._words())

    def _words(self) -> Iterator[str]:
        yield self._protocol_and_ports()
        if SRC in self.values:
            yield "from " + _addresses_text(self.family, self.values[SRC])
        if DST in self.values:
            yield "to " + _addresses_text(self.family, self.values[DST])
        if SPORT in self.values:
            yield "source port " + _numbers(self.values[SPORT], 0xFFFF)
        if IIF in self.values:
            yield "in " + _interfaces_text(self.values[IIF])
        if OIF in self.values:
            yield "out " + _interfaces_text(self.values[OIF])
        if TCP_FLAGS in self.values:
            yield "tcp flags " + _numbers(self.values[TCP_FLAGS], 255)
        if CT_STATE in self.values:
            yield "state " + ",".join(CtState(state).name.lower() for state in _each(self.values[CT_STATE]))

    def _protocol_and_ports(self) -> str:
        protocols = self.values.get(PROTOCOL)
        words = "any protocol" if protocols is None else _protocols_text(self.family, protocols)
        if DPORT in self.values:
            words += " " + _numbers(self.values[DPORT], 0xFFFF)
        if ICMP_TYPE in self.values:
            words += " type " + _numbers(self.values[ICMP_TYPE], 255)
        return words


def _each(values: Intervals) -> Iterator[int]:
    for first, last in values:
        yield from range(first, last + 1)


def _protocols_text(family: Family, values: Intervals) -> str:
    """ICMP of the other family goes without saying: no real network has it."""
    odd = ICMPV6 if family is Family.IPV4 else ICMP
    sensible = [one for one in _each(values) if one != odd]
    if len(sensible) > 128:
        missing = [one for one in _each(subtract(((0, 255),), values)) if one != odd]
        return "any protocol" + (" but " + ",".join(map(protocol_name, missing)) if missing else "")
    return ",".join(map(protocol_name, sensible or [odd]))


def _numbers(values: Intervals, top: int) -> str:
    rest = subtract(((0, top),), values)
    if len(rest) < len(values):
        return "all but " + _numbers(rest, top) if rest else "all"
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in values)


def _addresses_text(family: Family, values: Intervals, most: int = 6) -> str:
    rest = subtract(((0, family.top),), values)
    if rest and shorter(family, rest, values):
        return "anywhere but " + _addresses_text(family, rest, most)
    texts = [text for interval in values[: most + 1] for text in _as_prefixes(family, interval)]
    if len(texts) > most:
        return ", ".join(texts[:most]) + f" and more ({len(values)} ranges)"
    return ", ".join(texts)


def shorter(family: Family, rest: Intervals, values: Intervals) -> bool:
    """Whether addresses are told more briefly by what is missing."""
    if len(values) > _MANY:
        return values[0][0] == 0 and values[-1][1] == family.top
    return _pieces(family, rest) < _pieces(family, values)


_MANY = 64


def _pieces(family: Family, values: Intervals) -> int:
    return sum(len(list(prefixes(family, one))) for one in values)


def _as_prefixes(family: Family, interval: Interval) -> list[str]:
    parts = list(prefixes(family, interval))
    if len(parts) > 3:
        return [format_interval(family, interval)]
    return [
        format_address(family, network) + ("" if length == family.bits else f"/{length}") for network, length in parts
    ]


def _interfaces_text(values: Intervals) -> str:
    rest = subtract(((0, Field.IIF.top),), values)
    if rest and len(rest) < len(values):
        return "any but " + _interfaces_text(rest)
    return ",".join(interface_pattern(interval) or "others" for interval in values)


@dataclass(frozen=True, slots=True)
class Description:
    """A set of packets in a few wide cubes, which may overlap.

    **Shape** with `but`, all packets except the cubes. `complete` false: there are more than the cubes tell.
    """

    cubes: tuple[Cube, ...]
    but: bool = False
    complete: bool = True


def describe(space: Space, family: Family, packets: Diagram, within: Diagram, most: int = 50) -> Description:
    """The set `packets`, of which only the part `within` a larger set matters: what lies outside is not spoken of.

    Told as itself or as all but the others, whichever is shorter. Of very large sets fewer cubes are told.
    """
    most = max(2, min(most, _MOST_WORK // (1 + len(nodes(packets)))))
    told = _covered(space, family, packets, within, most)
    others = _covered(space, family, space.negation(packets), within, most)
    return min((told, replace(others, but=True)), key=_length)


_MOST_WORK = 200_000  # nodes walked for one description; more would keep people waiting


def _length(one: Description) -> tuple[bool, bool, int]:
    parts = sum(len(values) for cube in one.cubes for values in cube.values.values())
    return not one.complete, one.but and not one.cubes, parts + len(one.cubes)


def _covered(space: Space, family: Family, packets: Diagram, within: Diagram, most: int) -> Description:
    highest = tops(family)
    need = space.both(packets, within)
    free = space.either(packets, space.negation(within))
    possible_values = {level: possible(within, level, highest[level]) for level in (IIF, DST)}
    found = list(covering(space, family, free, need, most + 1))
    told = [
        Cube(family, {level: _brief(values, possible_values.get(level)) for level, values in cube.items()})
        for cube in found[:most]
    ]
    return Description(tuple(told), complete=len(found) <= most)


def covering(space: Space, family: Family, free: Diagram, need: Diagram, most: int) -> Iterator[dict[int, Intervals]]:
    """Wide cubes, which may overlap, that hold all packets of `need` and none outside of `free`; `most` at most."""
    highest = tops(family)
    for _ in range(most):
        if need is space.false:
            return
        wide = _widen(free, space.true, next(cubes(need, space.true, highest)), highest)
        yield wide
        inside = space.box([(level, values, highest[level]) for level, values in wide.items()], space.true, space.false)
        need = space.both(space.negation(inside), need)


def possible(within: Diagram, level: int, top: int) -> Intervals:
    """The values of a level that occur in a set."""
    if within.level > level:
        return () if within.value is False else ((0, top),)
    if within.level == level:
        return normalize(values for values, child in within.parts(top) if child.value is not False)
    return normalize(part for child in within.children for part in possible(child, level, top))


def _brief(values: Intervals, possible: Intervals | None) -> Intervals:
    """Without values that do not occur, where that is shorter."""
    return values if possible is None else min(values, intersect(values, possible), key=len)


_WIDEN_ORDER = (SRC, IIF, OIF, DST, SPORT, TCP_FLAGS, ICMP_CODE, CT_STATE, ICMP_TYPE, DPORT, PROTOCOL)


_NAMED = frozenset((PROTOCOL, DPORT, ICMP_TYPE))


def _widen(
    diagram: Diagram, leaf: Diagram, cube: Mapping[int, Intervals], highest: Mapping[int, int]
) -> dict[int, Intervals]:
    """The cube, each level in turn made as wide as the set allows; levels that become free are left out.

    Ports and protocols are not widened to longer lists: people look for `tcp 22 from ...`, even if 80 is open to all.
    """
    wide = dict(cube)
    for level in _WIDEN_ORDER:
        if level in wide:
            widened = widest(diagram, leaf, wide, level, highest)
            if level not in _NAMED or len(widened) <= len(cube[level]):
                wide[level] = widened
            if wide[level] == ((0, highest[level]),):
                del wide[level]
    return wide
