"""The small world in which random rules and packets meet: one host, four links, a few dozen addresses and ports.

Small on purpose: two rules picked at random must often speak of the same packets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portgate.core.listener import Interface
from portgate.core.net import Family, parse_address
from portgate.sandbox import Link

LINKS = (
    Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.2/24", "2001:db8:1::2/64")),
    Link("eth1", ("10.0.0.1/24", "2001:db8:2::1/64"), ("10.0.0.2/24", "2001:db8:2::2/64")),
    Link("wg0", ("10.9.0.1/24", "2001:db8:9::1/64"), ("10.9.0.2/24", "2001:db8:9::2/64")),
    Link("wg1", ("10.9.1.1/24", "2001:db8:a::1/64"), ("10.9.1.2/24", "2001:db8:a::2/64")),
)


# Ends of the address intervals that rules use, in order; a packet's addresses lie on them, beside them and between.
CUTS = {
    Family.IPV4: tuple(
        parse_address(text)[1]
        for text in [
            "10.0.0.0",
            "10.0.0.7",
            "10.0.0.128",
            "10.1.0.0",
            "10.9.0.0",
            "10.9.0.64",
            "10.9.1.0",
            "10.255.255.255",
            "192.0.2.1",
            "192.0.2.10",
            "192.0.2.64",
            "192.0.2.128",
            "198.51.100.0",
            "198.51.100.7",
            "198.51.100.64",
            "198.51.100.128",
            "198.51.101.0",
            "203.0.113.0",
            "203.0.113.9",
            "203.0.113.128",
            "203.0.114.0",
        ]
    ),
    Family.IPV6: tuple(
        parse_address(text)[1]
        for text in [
            "2001:db8:1::1",
            "2001:db8:1::10",
            "2001:db8:1::8000",
            "2001:db8:2::",
            "2001:db8:2::7",
            "2001:db8:2::ff00",
            "2001:db8:9::",
            "2001:db8:9:0:8000::",
            "2001:db8:a::",
            "2001:db8:42::",
            "2001:db8:42::7",
            "2001:db8:42:8000::",
            "2001:db8:43::",
            "2001:db8:ff00::",
            "2001:db9::",
        ]
    ),
}
PORTS = (22, 25, 53, 80, 81, 443, 1023, 1024, 8000, 8080, 8100, 40000)


@dataclass(frozen=True, slots=True)
class World:
    """A host and what it is connected to."""

    links: tuple[Link, ...]

    def host(self) -> tuple[Interface, ...]:
        return tuple(_interface(link) for link in self.links)

    def own(self, family: Family) -> tuple[int, ...]:
        return tuple(address for one in self.host() for each, address, _ in one.addresses if each is family)

    def peers(self, family: Family) -> tuple[int, ...]:
        addresses = (parse_address(address.split("/")[0]) for link in self.links for address in link.peer)
        return tuple(address for each, address in addresses if each is family)

    def strangers(self, family: Family, addresses: Iterable[int]) -> list[int]:
        """Those from which routing lets packets in: sources that it refuses never reach any rule of a later hook.

        Nor the first address of an IPv6 network of ours: it is every router's own (RFC 4291, 2.6.1), and gets no rejection.
        """
        own = self.own(family)
        if family is Family.IPV6:
            refused = {*own, *(one >> 64 << 64 for one in own)}
            return [one for one in addresses if one >> 125 == 1 and one not in refused]
        refused = {*own, *(one | 0xFF for one in own), *(one & ~0xFF for one in own)}
        return [one for one in addresses if 0 < one >> 24 < 224 and one >> 24 != 127 and one not in refused]


def _interface(link: Link) -> Interface:
    """The host's end of a link."""
    parts = (address.split("/") for address in link.host)
    return Interface(link.name, tuple((*parse_address(address), int(length)) for address, length in parts))


WORLD = World(LINKS)
HOST = WORLD.host()
own_addresses = WORLD.own
peers = WORLD.peers
