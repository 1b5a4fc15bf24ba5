"""The sets of packets that the entries of a policy name."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.core.decision import Diagram, Space
from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS, Family, Intervals, interface_interval, intersect, normalize
from portgate.core.packets import DPORT, DST, ICMP_TYPE, IIF, OIF, PROTOCOL, SRC, tops
from portgate.core.policy import Peer, Traffic

Test = tuple[int, Intervals, int]
"""A level, its values, and its highest value: a side of a box."""


def packets_of(
    space: Space,
    family: Family,
    traffic: tuple[Traffic, ...] = (),
    sources: tuple[Peer, ...] = (),
    destinations: tuple[Peer, ...] = (),
) -> Diagram:
    """The set of packets of this traffic, from these sources to these destinations; () is all."""
    parts = (
        _union(space, (_of_protocol(space, *one) for one in _by_protocol(traffic))) if traffic else space.true,
        _union(space, (_of_peer(space, family, one, IIF, SRC) for one in sources)) if sources else space.true,
        _union(space, (_of_peer(space, family, one, OIF, DST) for one in destinations)) if destinations else space.true,
    )
    return space.both(space.both(parts[0], parts[1]), parts[2])


def _union(space: Space, parts: Iterator[Diagram]) -> Diagram:
    result = space.false
    for part in parts:
        result = space.either(result, part)
    return result


def _by_protocol(traffic: tuple[Traffic, ...]) -> Iterator[tuple[int, Intervals]]:
    for protocol in dict.fromkeys(one.protocol for one in traffic):
        yield protocol, normalize((one.first, one.last) for one in traffic if one.protocol == protocol)


def _of_protocol(space: Space, protocol: int, numbers: Intervals) -> Diagram:
    """`numbers` are destination ports, or types of ICMP; of other protocols they do not count."""
    tests: list[Test] = [(PROTOCOL, ((protocol, protocol),), 255)]
    if protocol in PORT_PROTOCOLS:
        tests.append((DPORT, numbers, 0xFFFF))
    elif protocol in (ICMP, ICMPV6):
        tests.append((ICMP_TYPE, intersect(numbers, ((0, 255),)), 255))
    return space.box(tests, space.true, space.false)


def _of_peer(space: Space, family: Family, peer: Peer, interface: int, address: int) -> Diagram:
    tests: list[Test] = []
    if peer.interfaces:
        tests.append((interface, normalize(map(interface_interval, peer.interfaces)), tops(family)[interface]))
    if peer.addresses is not None:
        tests.append((address, peer.addresses.of_family(family), family.top))
    return space.box(tests, space.true, space.false)
