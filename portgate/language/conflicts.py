"""Forwards that contradict each other: a packet can be sent to one place only, and the order of entries means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from portgate.core.net import Family, interface_interval, intersect, normalize
from portgate.core.policy import Forward, Peer

EVERYBODY = (Peer(),)


def contradictions(forwards: tuple[Forward, ...]) -> Iterator[tuple[Forward, Forward]]:
    """The later one of each pair that sends the same packet to different places, with the earlier one."""
    waiting = sorted(
        (
            (part.protocol, part.first, part.last, number)
            for number, one in enumerate(forwards)
            for part in one.grant.traffic
        )
    )
    reaching: list[tuple[int, int, int]] = []
    found: set[tuple[int, int]] = set()
    for protocol, first, last, number in waiting:
        reaching = [one for one in reaching if one[0] == protocol and one[1] >= first]
        found |= {(max(number, other), min(number, other)) for _, _, other in reaching}
        reaching.append((protocol, last, number))
    for later, earlier in sorted(found):
        if later != earlier and _contradict(forwards[later], forwards[earlier]):
            yield forwards[later], forwards[earlier]


def _contradict(one: Forward, other: Forward) -> bool:
    if (one.address, one.port) == (other.address, other.port):
        return False
    families = [family for family in Family if _leads(one, family) and _leads(other, family)]
    pairs = list(product(one.grant.sources or EVERYBODY, other.grant.sources or EVERYBODY))
    return any(_meet(*pair, family) for family in families for pair in pairs)


def _leads(forward: Forward, family: Family) -> bool:
    return forward.address is None or bool(forward.address.of_family(family))


def _meet(one: Peer, other: Peer, family: Family) -> bool:
    """Whether a packet can come from both."""
    interfaces = [normalize(map(interface_interval, peer.interfaces)) for peer in (one, other) if peer.interfaces]
    addresses = [peer.addresses.of_family(family) for peer in (one, other) if peer.addresses is not None]
    return all(bool(intersect(ends[0], ends[-1])) for ends in (interfaces, addresses) if ends)
