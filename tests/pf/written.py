"""Random pf.conf files, and what pf does with one packet under them, told from pf.conf(5).

The text and the verdicts come from the same values, and none of portgate's: rules in their order, the last that matches
decides, a quick one at once; anchors are entered where their own conditions hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from random import Random

from portgate.core.net import Family, parse_address
from portgate.core.packets import Packet

INTERFACES = ("em0", "em1")
SOURCES = {4: ("10.0.0.1", "10.9.0.7", "10.9.3.3", "198.51.100.7"), 6: ("2001:db8::7", "2001:db8:9::1", "fd00::1")}
NETWORKS = {
    4: ("10.0.0.0/8", "10.9.0.0/16", "10.9.0.7", "198.51.100.0/25"),
    6: ("2001:db8::/32", "2001:db8:9::/48", "fd00::1"),
}
TABLES = {"inside": ("10.0.0.0/8", "!10.9.0.0/16", "10.9.0.7", "2001:db8::/32", "!2001:db8:9::/48"), "none": ()}
PORTS = (21, 22, 23, 80, 81, 443)
HOME = {4: "192.0.2.1", 6: "2001:db8::1"}


@dataclass(frozen=True)
class Host:
    """A member of `from`: a network or `<table>`, perhaps negated."""

    text: str
    negated: bool = False

    def __str__(self) -> str:
        return "! " * self.negated + self.text

    def holds(self, address: str) -> bool:
        if self.text.startswith("<"):
            return in_table(TABLES[self.text[1:-1]], address) is not self.negated
        network, one = ip_network(self.text), ip_address(address)
        return network.version == one.version and (one in network) is not self.negated


def in_table(entries: tuple[str, ...], address: str) -> bool:
    """The most specific entry decides."""
    one = ip_address(address)
    found = [(ip_network(entry.lstrip("!")), entry[0] != "!") for entry in entries]
    inside = [(network.prefixlen, good) for network, good in found if network.version == one.version and one in network]
    return max(inside)[1] if inside else False


@dataclass(frozen=True)
class Port:
    """A member of `port`."""

    operator: str
    first: int
    last: int = 0

    def __str__(self) -> str:
        if self.operator in (":", "><", "<>"):
            blank = "" if self.operator == ":" else " "
            return f"{self.first}{blank}{self.operator}{blank}{self.last}"
        return f"{self.operator} {self.first}"

    def holds(self, port: int) -> bool:
        match self.operator:
            case ":":
                return self.first <= port <= self.last
            case "><":
                return self.first < port < self.last
            case "<>":
                return port < self.first or port > self.last
            case "=":
                return port == self.first
            case "!=":
                return port != self.first
            case "<":
                return port < self.first
            case _:
                return port >= self.first


@dataclass(frozen=True)
class Conditions:
    """What a rule or an anchor tests."""

    direction: str = ""
    interface: str = ""
    family: int = 0
    protocols: tuple[str, ...] = ()
    sources: tuple[Host, ...] = ()
    ports: tuple[Port, ...] = ()

    def words(self, between: str = "") -> str:
        found = [self.direction, between]
        if self.interface:
            found.append(f"on {self.interface}")
        found.append({0: "", 4: "inet", 6: "inet6"}[self.family])
        if self.protocols:
            found.append(f"proto {listed(self.protocols)}")
        if self.sources or self.ports:
            found.append(f"from {listed(self.sources) if self.sources else 'any'} to any")
        if self.ports:
            found.append(f"port {listed(self.ports)}")
        return " ".join(one for one in found if one)

    def holds(self, packet: Packet) -> bool:
        source = str(ip_address(packet.src.to_bytes(4 if packet.family == 4 else 16, "big")))
        return (
            self.direction in ("", "in")
            and (
                not self.interface or (packet.iif == self.interface.lstrip("! ")) is not self.interface.startswith("!")
            )
            and self.family in (0, packet.family)
            and (not self.protocols or {6: "tcp", 17: "udp", 47: "gre"}[packet.protocol] in self.protocols)
            and (not self.sources or any(one.holds(source) for one in self.sources))
            and (not self.ports or (packet.dport is not None and any(one.holds(packet.dport) for one in self.ports)))
        )


def listed(members: tuple[object, ...]) -> str:
    return str(members[0]) if len(members) == 1 else f"{{ {', '.join(map(str, members))} }}"


@dataclass(frozen=True)
class Rule:
    """One that filters, or with `anchor` the rules of an anchor."""

    action: str
    conditions: Conditions
    quick: bool = False
    anchor: tuple[Rule, ...] | None = None
    tag: str = ""
    tagged: str = ""

    def lines(self) -> Iterator[str]:
        quick = "quick" * self.quick
        if self.anchor is None:
            tags = f" tag {self.tag}" * bool(self.tag) + f" tagged {self.tagged}" * bool(self.tagged)
            yield f"{self.action} {self.conditions.words(quick)}{tags}".rstrip()
            return
        yield f"anchor {self.conditions.words(quick)} {{"
        for one in self.anchor:
            yield from (f"  {line}" for line in one.lines())
        yield "}"


def fate(rules: tuple[Rule, ...], packet: Packet) -> str:
    """accept, drop or reject, of a packet that arrives and begins a connection."""
    decided, _ = _evaluated(rules, packet, set())
    return {"": "accept", "pass": "accept", "block": "drop", "block return": "reject"}[decided]


def _evaluated(rules: tuple[Rule, ...], packet: Packet, tags: set[str]) -> tuple[str, bool]:
    """The action of the last rule that matches, and whether it was the end."""
    decided = ""
    for rule in rules:
        if not rule.conditions.holds(packet) or (rule.tagged and rule.tagged not in tags):
            continue
        if rule.anchor is not None:
            inner, ended = _evaluated(rule.anchor, packet, tags)
            decided = inner or decided
            if ended or (rule.quick and inner):
                return decided, True
        elif rule.action == "match":
            tags.add(rule.tag)
        else:
            decided = rule.action
            if rule.quick:
                return decided, True
    return decided, False


# ------------------------------------------------------------------ at random


def random_rules(rng: Random, depth: int = 0) -> tuple[Rule, ...]:
    found = [_rule(rng, depth) for _ in range(rng.randint(1, 4 if depth else 9))]
    if not depth and rng.random() < 0.7:
        found.insert(0, Rule("block", Conditions()))
    return tuple(found)


def _rule(rng: Random, depth: int) -> Rule:
    conditions = _conditions(rng)
    quick = rng.random() < 0.25
    if depth < 2 and rng.random() < 0.15:
        return Rule("", conditions, quick, random_rules(rng, depth + 1))
    return Rule(rng.choice(("pass", "pass", "block", "block return")), conditions, quick)


def with_tags(rng: Random, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Some packets get a tag, and some rules ask for it."""
    marked = Rule("match", _conditions(rng), tag="seen")
    asking = [replace(one, tagged="seen") if one.anchor is None and rng.random() < 0.3 else one for one in rules]
    return (marked, *asking)


def _conditions(rng: Random) -> Conditions:
    family = rng.choice((0, 0, 4, 6))
    ports = tuple(_port(rng) for _ in range(rng.choice((0, 0, 1, 2))))
    return Conditions(
        direction=rng.choice(("in", "in", "in", "", "out")),
        interface=rng.choice(("", "", "em0", "! em1")),
        family=family,
        protocols=tuple(sorted(rng.sample(("tcp", "udp"), rng.choice((1, 2)))))
        if ports
        else rng.choice(((), (), ("gre",), ("tcp",))),
        sources=_sources(rng, family or rng.choice((4, 6))),
        ports=ports,
    )


def _sources(rng: Random, family: int) -> tuple[Host, ...]:
    """Lists hold no negations, which pf takes for a mistake in most cases."""
    if rng.random() < 0.4:
        return ()
    if rng.random() < 0.5:
        some = rng.sample(NETWORKS[family], rng.choice((1, 2)))
        return tuple(Host(one) for one in some)
    return (Host(rng.choice((*NETWORKS[family], "<inside>", "<none>")), rng.random() < 0.5),)


def _port(rng: Random) -> Port:
    first, last = sorted(rng.sample(PORTS, 2))
    return Port(rng.choice((":", "><", "<>", "=", "=", "!=", "<", ">=")), first, last)


def text(rules: tuple[Rule, ...]) -> str:
    tables = [f"table <{name}> {{ {', '.join(entries)} }}" for name, entries in TABLES.items() if entries]
    return "\n".join([*tables, "table <none> const { }", *(line for one in rules for line in one.lines())]) + "\n"


def random_packets(rng: Random, count: int) -> list[Packet]:
    return [_packet(rng) for _ in range(count)]


def _packet(rng: Random) -> Packet:
    family = rng.choice((4, 6))
    protocol = rng.choice((6, 6, 17, 47))
    port = rng.choice(PORTS) + rng.choice((0, 0, 1)) if protocol != 47 else None
    return Packet(
        family=Family(family), protocol=protocol, iif=rng.choice(INTERFACES), src=parse_address(rng.choice(SOURCES[family]))[1],
        dst=parse_address(HOME[family])[1], sport=40000 if port else None, dport=port, icmp_type=None, icmp_code=None,
    )  # fmt: skip
