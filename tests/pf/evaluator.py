"""pf as pf.conf(5) tells it, one packet at a time, over the few forms that portgate writes. Nothing of portgate's is used.

Translations first where they are `rdr` rules; then the last filter rule that matches decides, or the first `quick` one.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple

from tests.packet import Packet

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58}
TABLE = re.compile(r"^table <(\S+)> \{(.*?)\}", re.M | re.S)
RULE = re.compile(
    r"^(?P<action>pass|block drop|block return|no rdr|rdr pass)(?: (?P<direction>in|out)\b)?(?P<log> log)?"
    r"(?P<quick> quick)?(?: on (?P<on>\S+))?(?: (?P<inet>inet6?))?(?: proto (?P<proto>\S+))?"
    r"(?: tagged (?P<tagged>\S+))?"
    r"(?: all| from (?P<src>.+?)(?: port (?P<sport>\d+))? to (?P<dst>any|\(self\)|<\S+>|[0-9a-f:./]+(?: - [0-9a-f:.]+)?)"
    r"(?: port (?P<dport>\{[^}]*\}|\S+))?)?(?: icmp6?-type (?P<type>\{[^}]*\}|\d+))?(?P<rest>.*)$"
)


class Line(NamedTuple):
    """One rule."""

    fields: dict[str, str | None]

    def __getattr__(self, name: str) -> str:
        return self.fields[name] or ""


class Evaluator:
    """A whole anchor."""

    def __init__(self, text: str) -> None:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        self.tables = {name: re.split(r"[\s,]+", body.strip(" \n,")) for name, body in TABLE.findall(text)}
        self.lines = []
        for line in TABLE.sub("", text).splitlines():
            if line:
                found = RULE.match(line)
                assert found is not None, line
                self.lines.append(Line(found.groupdict()))

    def fate(self, packet: Packet, direction: Literal["in", "out"]) -> str:
        """accept, drop, reject; depends on a rate limit."""
        if direction == "in":
            for line in self.lines:
                if line.action in ("no rdr", "rdr pass") and self.matches(line, packet, packet.iif):
                    if line.action == "rdr pass":
                        return "accept"
                    break
        decided = "accept"
        for line in self.lines:
            if line.direction == direction and self.matches(line, packet, packet.iif or packet.oif or ""):
                decided = verdict(line)
                if line.quick:
                    break
        return decided

    def matches(self, line: Line, packet: Packet, interface: str) -> bool:
        types = packet.icmp_type
        return (
            not line.tagged
            and line.on in ("", interface.replace("lo", "lo0"))
            and line.inet in ("", "inet" if packet.family == 4 else "inet6")
            and (not line.proto or PROTOCOLS.get(line.proto, line.proto) in (packet.proto, str(packet.proto)))
            and self.inside(line.src, packet.src, packet.family)
            and self.inside(line.dst, packet.dst, packet.family)
            and (not line.sport or packet.sport == int(line.sport))
            and (not line.dport or (packet.dport is not None and among(line.dport, packet.dport)))
            and (not line.type or (types is not None and among(line.type, types)))
        )

    def inside(self, host: str, address: int, family: int) -> bool:
        if host in ("", "any", "(self)"):  # the packets of these tests are for this host
            return True
        if host.startswith("<"):
            return any(self.inside(one, address, family) for one in self.tables[host[1:-1]])
        if " - " in host:
            first, last = (ip_address(one) for one in host.split(" - "))
            return first.version == family and int(first) <= address <= int(last)
        network = ip_network(host)
        return network.version == family and int(network[0]) <= address <= int(network[-1])


def verdict(line: Line) -> str:
    if line.action.startswith("block"):
        return "drop" if line.action == "block drop" else "reject"
    return "depends" if "max-src-conn-rate" in line.rest else "accept"


def among(text: str, value: int) -> bool:
    for part in text.strip("{ }").split(", "):
        first, _, last = part.partition(":")
        if int(first) <= value <= int(last or first):
            return True
    return False
