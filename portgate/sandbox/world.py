"""The world that a policy speaks of, made up for a sandbox: the host's links, and somebody from everywhere.

Theory
    A policy names interfaces and addresses. Each interface becomes a link, and one that nobody names stands for all
    others. From each zone and each literal source somebody comes who has an address in it, and on each link a stranger
    whom no grant names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from portgate.core.broken import peer_text
from portgate.core.dataclasses import dataclass, replace
from portgate.core.net import (
    Family,
    Intervals,
    complement,
    contains,
    format_address,
    interface_interval,
    intersect,
    normalize,
    parse_address,
    subtract,
    union,
)
from portgate.core.packets import Packet
from portgate.core.policy import Expectation, Grant, Peer, Policy
from portgate.sandbox.sandbox import Link

MOST_LINKS = 12
MOST_ORIGINS = 32
MOST_DESTINATIONS = 8
MOST_TRIED = 256  # addresses, until one is found that nobody has
STRANGER = "anybody else"

_POSSIBLE = re.compile(r"(?!(?:all|default)$)[A-Za-z0-9_][A-Za-z0-9_.-]*")  # for `ip -batch`, and for the kernel

# Sources that routing lets in: others never reach a rule (net/ipv4/fib_frontend.c). Link-local ones belong to a link.
_ROUTED = {
    Family.IPV4: ((1 << 24, (127 << 24) - 1), (128 << 24, (224 << 24) - 1)),
    Family.IPV6: ((1 << 125, (1 << 126) - 1), (0x7E << 121, (0x7F << 121) - 1)),
}
_TYPICAL = {
    Family.IPV4: ("203.0.113.9", "198.51.100.7", "9.9.9.9", "45.45.45.45"),
    Family.IPV6: ("2001:db8:ffff::9", "2001:db8:fffe::9", "2a00::9", "2400::9"),
}


Addresses = tuple[tuple[Family, int], ...]
Behind = tuple[str, Family, int]
"""A machine behind the host: its link, its address."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Somebody who meets the host: `name` as the policy calls them, at the end of a link, with an address or two."""

    name: str
    link: str
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class World:
    """**Shape** `destinations` are addresses of the host that the policy names; `behind` are machines that it forwards to;
    `left_out` are interfaces that are too many, or that have names that can't be made.
    """

    links: tuple[Link, ...]
    origins: tuple[Origin, ...]
    destinations: Addresses = ()
    behind: tuple[Behind, ...] = ()
    left_out: tuple[str, ...] = ()

    def own(self, link: str, family: Family) -> int:
        """The host's own address on a link, to which its peer sends."""
        return _own(self.link_names.index(link), family)

    def addressed(self, packet: Packet) -> Packet:
        """The packet, to the host's own address on its link where it names no other."""
        return packet if packet.dst is not None else replace(packet, dst=self.own(packet.iif, packet.family))

    def links_of(self, peer: Peer) -> tuple[str, ...]:
        """Where somebody comes in; the first link where the policy does not say."""
        return _links_of(peer, self.link_names)

    def holds(self, peer: Peer, origin: Origin) -> bool:
        """Whether somebody is one of those that the policy names."""
        there = origin.link in self.links_of(peer) or not peer.interfaces
        return there and (
            peer.addresses is None
            or any(contains(peer.addresses.of_family(family), address) for family, address in origin.addresses)
        )

    @property
    def link_names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.links)

    def foreign(self, family: Family) -> Intervals:
        """Addresses from which packets reach the host's rules."""
        return _foreign(family, len(self.links), self.destinations)


def world_of(policy: Policy) -> World:
    """A world in which every zone of the policy is somewhere."""
    peers = tuple(_peers(policy))
    wanted = _links(policy, peers)
    names = tuple(filter(_POSSIBLE.fullmatch, wanted))[:MOST_LINKS] or ("eth0",)
    destinations = tuple(_destinations(policy))
    settlers = _Settlers(peers, names, {family: _foreign(family, len(names), destinations) for family in Family})
    behind = tuple(dict.fromkeys(settlers.behind(policy)))
    origins = tuple(settlers.origins())
    links = tuple(
        Link(name, tuple(_host_end(number, destinations)), tuple(_far_end(number, name, origins, behind)))
        for number, name in enumerate(names)
    )
    return World(links, origins, destinations, behind, tuple(one for one in wanted if one not in names))


# ------------------------------------------------------------------ what a policy names


def _peers(policy: Policy) -> Iterable[Peer]:
    """Everybody that it names, zones first, each once."""
    named = [*(peer for _, peer in policy.zones), *(peer for grant in policy.arriving() for peer in grant.sources)]
    named += policy.management
    distinct: dict[tuple[object, object], Peer] = {}
    for peer in named:
        if peer.interfaces or peer.addresses is not None:
            distinct.setdefault((peer.interfaces, peer.addresses), peer)
    return distinct.values()


def _links(policy: Policy, peers: Iterable[Peer]) -> tuple[str, ...]:
    """One that nobody names first, where that is possible, for the default route."""
    outbound: tuple[Grant, ...] = (*policy.outbound.block, *policy.outbound.allow)
    leaving = (peer for grant in outbound for peer in grant.destinations)
    patterns = dict.fromkeys(pattern for peer in (*peers, *leaving) for pattern in peer.interfaces)
    named = dict.fromkeys(map(_name, patterns))
    taken = [interface_interval(one) for one in patterns]
    strangers = (f"eth{number}" for number in range(10))
    free = [one for one in (*strangers, "outside0") if not _matched(one, taken) and one not in named]
    return *free[:1], *(one for one in named if one != "lo")


def _name(pattern: str) -> str:
    """A name that fits the pattern."""
    if not pattern.endswith("*"):
        return pattern
    start = pattern[:-1] or "eth"
    try:
        interface_interval(f"{start}0")
    except ValueError:
        return start
    return f"{start}0"


def _links_of(peer: Peer, links: tuple[str, ...]) -> tuple[str, ...]:
    if not peer.interfaces:
        return links[:1]
    patterns = [interface_interval(one) for one in peer.interfaces]
    return tuple(one for one in links if _matched(one, patterns))


def _matched(name: str, patterns: Iterable[tuple[int, int]]) -> bool:
    value, _ = interface_interval(name)
    return any(first <= value <= last for first, last in patterns)


def _destinations(policy: Policy) -> Iterator[tuple[Family, int]]:
    """The host's addresses that grants name."""
    named: tuple[Grant | Expectation, ...] = (*policy.arriving(), *policy.expectations)
    peers = [peer for one in named for peer in one.destinations]
    for family in Family:
        values = union(*(peer.addresses.of_family(family) for peer in peers if peer.addresses))
        found = dict.fromkeys(first + (first < last) for first, last in intersect(values, _ROUTED[family]))
        yield from [(family, one) for one in found][:MOST_DESTINATIONS]


# ------------------------------------------------------------------ who has which address


def _own(number: int, family: Family) -> int:
    """The host's address on its link of that number, in a network for tests (RFC 2544, RFC 5180); its peer has the next one."""
    start = "198.18.0.1" if family is Family.IPV4 else "2001:2::1"
    return parse_address(start)[1] + (number << (8 if family is Family.IPV4 else 64))


def _foreign(family: Family, links: int, taken: Addresses) -> Intervals:
    """Sources that reach the rules: not the host's own, nor the first and last of its networks (RFC 4291, 2.6.1)."""
    own = [_own(number, family) for number in range(links)]
    refused = [(one - 1, one) for one in own] + [(one, one) for of, one in taken if of is family]
    if family is Family.IPV4:
        refused += [(one + 254, one + 254) for one in own]
    return subtract(_ROUTED[family], normalize(refused))


class _Settlers:
    """Hands out addresses, each to one link, so that the host's answers find their way."""

    def __init__(self, peers: tuple[Peer, ...], links: tuple[str, ...], routed: Mapping[Family, Intervals]) -> None:
        self._peers = peers
        self._links = links
        self._routed = routed
        self._claimed: dict[tuple[Family, int], str] = {}

    def behind(self, policy: Policy) -> Iterator[tuple[str, Family, int]]:
        """The machines that ports are forwarded to, each where the zone is to which it belongs."""
        for forward in policy.forwards:
            for family in Family:
                for address, _ in forward.address.of_family(family) if forward.address else ():
                    link = next(self._homes(family, address), self._links[0])
                    yield self._claimed.setdefault((family, address), link), family, address

    def _homes(self, family: Family, address: int) -> Iterator[str]:
        for peer in self._peers:
            if peer.interfaces and peer.addresses and contains(peer.addresses.of_family(family), address):
                yield from _links_of(peer, self._links)

    def origins(self) -> Iterator[Origin]:
        """Somebody of each peer, and a stranger on each link where nobody of them is like one."""
        named = [(peer_text(peer), peer, link) for peer in self._peers for link in _links_of(peer, self._links)]
        unnamed = any(intersect(self._unnamed(family), self._routed[family]) for family in Family)
        places = [*named, *((STRANGER, Peer(), link) for link in self._links if unnamed)]
        known: set[tuple[str, Addresses]] = set()
        for name, peer, link in places[:MOST_ORIGINS]:
            found = [(family, self._settled(peer, link, family)) for family in Family]
            addresses = tuple((family, address) for family, address in found if address is not None)
            if addresses and (link, addresses) not in known:
                known.add((link, addresses))
                yield Origin(name, link, addresses)

    def _settled(self, peer: Peer, link: str, family: Family) -> int | None:
        """An address that nobody has, else one of this link that somebody has."""
        routed = self._routed[family]
        if peer.addresses is None:
            free = intersect(self._unnamed(family), routed) or routed
        else:
            free = intersect(peer.addresses.of_family(family), routed)
        typical = (one for one in _typical(family) if contains(free, one))
        possible = [*typical, *islice(inside(free), MOST_TRIED)]
        mine = [one for one in possible if self._claimed.get((family, one), link) == link]
        unclaimed = [one for one in mine if (family, one) not in self._claimed]
        found = next(iter(mine if peer.addresses is None else [*unclaimed, *mine]), None)
        if found is not None:
            self._claimed[family, found] = link
        return found

    def _unnamed(self, family: Family) -> Intervals:
        named = union(*(peer.addresses.of_family(family) for peer in self._peers if peer.addresses))
        return complement(named, family.top)


def inside(values: Intervals) -> Iterator[int]:
    """A few addresses of each interval; not its first, which is that of a network."""
    for first, last in values:
        yield from range(min(first + 1, last), min(last, first + 8) + 1)


def _typical(family: Family) -> list[int]:
    return [parse_address(text)[1] + number for number in range(MOST_LINKS) for text in _TYPICAL[family]]


# ------------------------------------------------------------------ the ends of a cable


def _host_end(number: int, destinations: Addresses) -> Iterator[str]:
    yield f"{format_address(Family.IPV4, _own(number, Family.IPV4))}/24"
    yield f"{format_address(Family.IPV6, _own(number, Family.IPV6))}/64"
    if number == 0:
        yield from (f"{format_address(family, address)}/{family.bits}" for family, address in destinations)


def _far_end(number: int, name: str, origins: Iterable[Origin], behind: Iterable[Behind]) -> Iterator[str]:
    yield f"{format_address(Family.IPV4, _own(number, Family.IPV4) + 1)}/24"
    yield f"{format_address(Family.IPV6, _own(number, Family.IPV6) + 1)}/64"
    there = [one for origin in origins if origin.link == name for one in origin.addresses]
    there += [(family, address) for link, family, address in behind if link == name]
    for family, address in dict.fromkeys(there):
        yield f"{format_address(family, address)}/{family.bits}"
