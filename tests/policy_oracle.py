"""What a policy says of one packet, read straight from its values: no rules, no sets, no diagrams.

Slow and plain on purpose. Whatever portgate makes of a policy must agree with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Literal

from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS, UDP, UDPLITE
from portgate.core.policy import Default, Forward, Grant, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import CtState
from tests.packet import Packet

Answer = Literal["accept", "drop", "reject", "depends"]
Direction = Literal["in", "out"]


def decide(policy: Policy, packet: Packet, today: date, direction: Direction = "in") -> Answer:
    """The fate of a packet that arrives for this host, or leaves it.

    "accept" of forwarded traffic means that the policy grants it; "depends" is a rate limit.
    """
    interface = packet.iif if direction == "in" else packet.oif
    if packet.ct_state in (CtState.ESTABLISHED, CtState.RELATED) or interface == "lo":
        return "accept"
    if essential(packet, direction):
        return "accept"
    untracked_by_some_kernels = packet.proto == UDPLITE
    if packet.ct_state is CtState.INVALID and direction == "in" and not untracked_by_some_kernels:
        return "drop"
    book = policy.inbound if direction == "in" else policy.outbound
    if any(matches(grant, packet) for grant in in_force(book.block, today)):
        return "drop"
    otherwise = by_rulebook(book, policy.forwards if direction == "in" else (), packet, today)
    # Translation happens to tracked connections only.
    forwards = policy.forwards if direction == "in" and packet.ct_state is CtState.NEW else ()
    for forward in sorted(forwards, key=lambda one: one.grant.id):
        if not forward.grant.expired(today) and moves(forward, packet) and matches(forward.grant, packet):
            return "accept" if forward.grant.limit is None or otherwise == "accept" else "depends"
    return otherwise


def by_rulebook(book: Rulebook, forwards: Iterable[Forward], packet: Packet, today: date) -> Answer:
    """A forward to the port of this host at which a packet arrives anyway is a grant like others."""
    unmoved = [one.grant for one in forwards if one.address is None and one.port in (None, packet.dport)]
    granted = [grant for grant in in_force((*book.allow, *unmoved), today) if matches(grant, packet)]
    if any(grant.limit is None for grant in granted) or book.default is Default.ACCEPT:
        return "accept"
    if granted:
        return "depends"
    return "reject" if book.default is Default.REJECT else "drop"


def in_force(grants: Iterable[Grant], today: date) -> list[Grant]:
    return [grant for grant in grants if not grant.expired(today)]


def moves(forward: Forward, packet: Packet) -> bool:
    """Whether the forward changes the destination, to an address of the packet's family."""
    if forward.address is None:
        return forward.port not in (None, packet.dport)
    return bool(forward.address.v4 if packet.family == 4 else forward.address.v6)


def essential(packet: Packet, direction: Direction) -> bool:
    kind = packet.icmp_type if packet.icmp_type is not None else -1
    if packet.proto == ICMP:
        return kind in (3, 11, 12)
    if packet.proto == ICMPV6:
        return kind in (1, 2, 3, 4, *range(130, 137), 141, 142, 143, 148, 149, 151, 152, 153)
    if packet.proto != UDP:
        return False
    ports = (packet.sport, packet.dport)
    if direction == "out":
        return ports in ((68, 67), (546, 547))
    return ports == (67, 68) or (ports == (547, 546) and packet.family == 6 and packet.src >> 118 == 0xFE80 >> 6)


def matches(grant: Grant, packet: Packet) -> bool:
    return any(
        hits(traffic, packet) and comes_from(source, packet) and goes_to(destination, packet)
        for traffic in grant.traffic or (None,)
        for source in grant.sources or (Peer(),)
        for destination in grant.destinations or (Peer(),)
        if not foreign_icmp(traffic, (source, destination), packet)
    )


def foreign_icmp(traffic: Traffic | None, peers: tuple[Peer, ...], packet: Packet) -> bool:
    """An ICMP type, granted to addresses, is about the ICMP of their family."""
    if traffic is None or whole(traffic) or all(peer.addresses is None for peer in peers):
        return False
    return traffic.protocol == (ICMPV6 if packet.family == 4 else ICMP)


def whole(traffic: Traffic) -> bool:
    if traffic.protocol in PORT_PROTOCOLS:
        return (traffic.first, traffic.last) == (0, 65535)
    return traffic.protocol not in (ICMP, ICMPV6) or (traffic.first == 0 and traffic.last >= 255)


def hits(traffic: Traffic | None, packet: Packet) -> bool:
    if traffic is None:
        return True
    if traffic.protocol != packet.proto:
        return False
    if whole(traffic):
        return True
    number = packet.dport if packet.proto in PORT_PROTOCOLS else packet.icmp_type
    return number is not None and traffic.first <= number <= traffic.last


def comes_from(peer: Peer, packet: Packet) -> bool:
    return through(peer.interfaces, packet.iif) and has(peer, packet.family, packet.src)


def goes_to(peer: Peer, packet: Packet) -> bool:
    return through(peer.interfaces, packet.oif or "") and has(peer, packet.family, packet.dst)


def through(patterns: tuple[str, ...], name: str) -> bool:
    if not patterns:
        return True
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns) and name != ""


def has(peer: Peer, family: int, address: int) -> bool:
    if peer.addresses is None:
        return True
    intervals = peer.addresses.v4 if family == 4 else peer.addresses.v6
    return any(first <= address <= last for first, last in intervals)
