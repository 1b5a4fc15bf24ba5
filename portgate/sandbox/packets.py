"""The packets worth sending: those by which a rule that is wrong gives itself away.

Theory
    A rule is wrong at its edges first: at the first and the last port and address that it names, and beside them. So
    each grant is asked about its own edges, and then everybody about every port. What is too much is left out evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import TypeVar

from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS, SCTP, TCP, UDP, Family, Interval, contains
from portgate.core.packets import SYN, Packet
from portgate.core.policy import Expectation, Grant, Peer, Policy, Traffic
from portgate.sandbox.frames import Probe
from portgate.sandbox.world import World, inside

LEAST_OF_A_GRANT = 8
MOST_EDGES = 32  # of the ports of a grant, and of its addresses
SOURCE_PORT = 2000  # below the ephemeral range, so that no conversation of the sandbox is continued by accident
ECHO_REQUEST = {Family.IPV4: 8, Family.IPV6: 128}
T = TypeVar("T")

Message = tuple[int, int]
"""A protocol, and a destination port or an ICMP type."""


STEPPED_OVER = frozenset({0, 43, 44, 59, 60})
"""Extension headers of IPv6, and the number for nothing behind them. The protocol is what stands behind, for the kernel; without it a packet is invalid."""


def of_policy(policy: Policy, world: World, most: int) -> list[Packet]:
    """At most so many: the edges of every grant and forward, and everybody's view of all ports."""
    grants = policy.arriving()
    asked = spread(grants, most // (2 * LEAST_OF_A_GRANT))
    share = most // (2 * max(1, len(asked)))
    found = [packet for grant in asked for packet in spread(list(_of_grant(grant, world)), share)]
    return spread(list(dict.fromkeys([*found, *_everybody(grants, world, most // 2)])), most)


def of_expectation(expectation: Expectation, policy: Policy, world: World, most: int) -> list[Packet]:
    """At most so many of those that an expectation is about; of `only:` those that everybody may try."""
    if expectation.outcome is None:
        return of_policy(policy, world, most)
    named = Grant("", expectation.traffic, expectation.sources, expectation.destinations)
    return spread(list(dict.fromkeys(_of_grant(named, world))), most)


def messages(traffic: Iterable[Traffic], family: Family) -> list[Message]:
    """The edges of each range, and what lies beside them."""
    found: dict[Message, None] = {}
    for protocol, first, last in traffic:
        if family is Family.IPV6 and protocol in STEPPED_OVER:
            continue
        if protocol in PORT_PROTOCOLS:
            ports = [one for one in (first - 1, first, last, last + 1) if 0 < one <= 0xFFFF]
            found |= dict.fromkeys((protocol, port) for port in ports)
        elif protocol in (ICMP, ICMPV6):
            found |= dict.fromkeys([(_icmp(family), ECHO_REQUEST[family])])
        else:
            found[protocol, 0] = None
    return list(found)


def spread(values: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly from beginning to end."""
    if len(values) <= most:
        return list(values)
    return [values[index * len(values) // most] for index in range(most)]


def probe(packet: Packet) -> Probe:
    """What is put on the cable for a packet that names its destination."""
    return Probe(
        packet.iif,
        packet.family,
        packet.protocol,
        packet.src,
        packet.dst or 0,
        packet.sport or 0,
        packet.dport or 0,
        packet.icmp_type or 0,
        packet.icmp_code or 0,
        packet.tcp_flags,
    )


# ------------------------------------------------------------------ whose, and where to


def _of_grant(grant: Grant, world: World) -> Iterator[Packet]:
    """What a grant is about: its sources and their neighbours, its traffic and its neighbours, on its links."""
    for family in Family:
        asked = spread(messages(grant.traffic, family), MOST_EDGES) or _usual(family)
        for peer in spread(grant.sources, MOST_EDGES) or (Peer(),):
            ways = product(_links(peer, world), _addresses(peer, family, world), _destinations(grant, family, world))
            for (link, source, destination), message in product(ways, asked):
                yield packet_of(family, link, source, destination, message)


def _everybody(grants: Iterable[Grant], world: World, most: int) -> Iterator[Packet]:
    """Each origin on each link, to the ports that anybody is granted, and to some that nobody is: about so many."""
    traffic = tuple(one for grant in grants for one in grant.traffic)
    for family in Family:
        sources = dict.fromkeys(one for origin in world.origins for of, one in origin.addresses if of is family)
        own = [None, *(address for of, address in world.destinations if of is family)]
        ways = len(world.links) * len(sources) * len(own)
        known = spread(messages(traffic, family), max(LEAST_OF_A_GRANT, most // (2 * max(1, ways))))
        asked = dict.fromkeys([*known, *_usual(family)])
        for link, source, destination, message in product(world.link_names, sources, own, asked):
            yield packet_of(family, link, source, destination, message)


def packet_of(family: Family, link: str, source: int, destination: int | None, message: Message) -> Packet:
    """The packet that begins a conversation."""
    protocol, number = message
    flags = SYN if protocol == TCP else 0
    if protocol in PORT_PROTOCOLS:
        return Packet(family, protocol, link, source, destination, SOURCE_PORT, number, tcp_flags=flags)
    kind, code = (number, 0) if protocol in (ICMP, ICMPV6) else (None, None)
    return Packet(family, protocol, link, source, destination, icmp_type=kind, icmp_code=code, tcp_flags=flags)


def _usual(family: Family) -> list[Message]:
    return [(TCP, 23), (UDP, 161), (SCTP, 2905), (_icmp(family), ECHO_REQUEST[family])]


def _icmp(family: Family) -> int:
    return ICMP if family is Family.IPV4 else ICMPV6


def _links(peer: Peer, world: World) -> Iterable[str]:
    """Its own, and one where it does not belong."""
    return dict.fromkeys([*world.links_of(peer), world.link_names[0], world.link_names[-1]])


def _addresses(peer: Peer, family: Family, world: World) -> list[int]:
    """The edges of its intervals and their neighbours, as far as such packets reach the rules."""
    foreign = world.foreign(family)
    if peer.addresses is None:
        near = [address for one in world.origins for of, address in one.addresses if of is family]
    else:
        near = [value for one in spread(peer.addresses.of_family(family), MOST_EDGES // 4) for value in _edges(one)]
    return [one for one in dict.fromkeys(near) if contains(foreign, one)]


def _edges(interval: Interval) -> Iterator[int]:
    first, last = interval
    yield from (first - 1, first, *islice(inside((interval,)), 1), last, last + 1)


def _destinations(grant: Grant, family: Family, world: World) -> list[int | None]:
    """The host's own address on the link, and those that the grant names."""
    named = [one.addresses.of_family(family) for one in grant.destinations if one.addresses]
    return [
        None,
        *(one for of, one in world.destinations if of is family and any(contains(each, one) for each in named)),
    ]
