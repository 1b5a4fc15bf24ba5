"""ipfw as ipfw(8) tells it, one packet at a time, over the forms that portgate writes. Nothing of portgate's is used.

Commands change sets, rules and tables; then the first rule of an enabled set that matches decides.
"""

from __future__ import annotations

import shlex
from ipaddress import ip_network
from typing import Literal, NamedTuple

from tests.packet import Packet

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "sctp": 132}
WITH_PORTS = (6, 17, 132, 136)


class Rule(NamedTuple):
    """One rule, its words behind the set."""

    number: int
    set: int
    words: list[str]


class Evaluator:
    """A whole file or script."""

    def __init__(self, text: str) -> None:
        self.rules: list[Rule] = []
        self.tables: dict[str, list[str]] = {}
        self.disabled: set[int] = set()
        for line in text.splitlines():
            words = shlex.split(line, comments=False) if line.startswith("ipfw") else line.split()
            if words and not line.startswith("#") and line != "set -e":
                self.command(words[2:] if words[0] == "ipfw" else words)

    def command(self, words: list[str]) -> None:
        match words:
            case ["set", "disable", one]:
                self.disabled.add(int(one))
            case ["set", "move", "rule", number, "to", target]:
                self.rules = [
                    rule._replace(set=int(target)) if rule.number == int(number) else rule for rule in self.rules
                ]
            case ["set", "swap", one, other]:
                places = {int(one): int(other), int(other): int(one)}
                self.rules = [rule._replace(set=places.get(rule.set, rule.set)) for rule in self.rules]
            case ["delete", "set", *sets]:
                self.rules = [rule for rule in self.rules if str(rule.set) not in sets]
            case ["table", name, "create", "type", "addr", "missing"]:
                self.tables.setdefault(name, [])
            case ["table", name, "add", *pairs]:
                self.tables[name] += pairs[::2]
            case ["add", number, "set", one, *rest]:
                assert 0 < int(number) < 65535 and len(" ".join(words)) < 4000
                self.rules.append(Rule(int(number), int(one), rest))
            case _:
                raise AssertionError(f"no command: {words}")

    def fate(self, packet: Packet, direction: Literal["in", "out"]) -> str:
        """accept, drop, reject of a new connection's packet."""
        for rule in sorted(self.rules, key=lambda one: one.number):
            if rule.set not in self.disabled and self.matches(rule, packet, direction):
                return {"deny": "drop", "unreach": "reject"}.get(rule.words[0], "accept")
        return "drop"

    def matches(self, rule: Rule, packet: Packet, direction: str) -> bool:
        words = rule.words[: rule.words.index("//")]
        if words[0] == "check-state":
            return False
        words = words[2:] if words[0] in ("fwd", "unreach") else words[1:]
        words = words[1:] if words[0] == "log" else words
        protocol, at_from, source, *rest = words
        assert at_from == "from"
        sport, rest = ("", rest) if rest[0] == "to" else (rest[0], rest[1:])
        destination, *rest = rest[1:]
        dport, rest = (rest[0], rest[1:]) if rest[0][:1].isdigit() else ("", rest)
        return (
            self.of_protocol(protocol, packet)
            and self.inside(source, packet.src, packet.family)
            and self.inside(destination, packet.dst, packet.family)
            and among_ports(sport, packet.sport, packet.proto)
            and among_ports(dport, packet.dport, packet.proto)
            and options(rest, packet, direction)
        )

    def of_protocol(self, word: str, packet: Packet) -> bool:
        if word in ("ip", "ip4", "ip6"):
            return word in ("ip", f"ip{packet.family}")
        return packet.proto == PROTOCOLS.get(word, 0) or word == str(packet.proto)

    def inside(self, word: str, address: int, family: int) -> bool:
        if word in ("any", "me"):  # the packets of these tests are for this host
            return True
        if word == "me6":
            return family == 6
        if word.startswith("table("):
            return any(self.inside(one, address, family) for one in self.tables[word[6:-1]])
        network = ip_network(word)
        return network.version == family and int(network[0]) <= address <= int(network[-1])


def options(words: list[str], packet: Packet, direction: str) -> bool:
    """All that stands behind the destination."""
    rest = iter(words)
    for word in rest:
        match word:
            case "in" | "out":
                holds = word == direction
            case "recv" | "xmit":
                name = next(rest).replace("lo0", "lo")
                real = (packet.iif if direction == "in" else packet.oif) or ""
                holds = real.startswith(name[:-1]) if name.endswith("*") else real == name
            case "ip4" | "ip6":
                holds = word == f"ip{packet.family}"
            case "icmptypes" | "icmp6types":
                version = 4 if word == "icmptypes" else 6
                holds = packet.family == version and str(packet.icmp_type) in next(rest).split(",")
            case "keep-state":
                holds = next(rest) == ":portgate"
            case _:
                raise AssertionError(f"no option: {word}")
        if not holds:
            return False
    return True


def among_ports(text: str, port: int | None, protocol: int) -> bool:
    if not text:
        return True
    if protocol not in WITH_PORTS or port is None:
        return False
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(first) <= port <= int(last or first):
            return True
    return False
