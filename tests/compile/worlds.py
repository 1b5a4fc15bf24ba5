"""Random policies as values, and packets near what they speak of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from random import Random

from portgate.backends import Backend
from portgate.core.compile import compile as compile_policy
from portgate.core.features import features_used, lacking
from portgate.core.net import DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, AddressSet, Family
from portgate.core.policy import (
    Containers,
    Default,
    Forward,
    Grant,
    Limit,
    Peer,
    Policy,
    Rulebook,
    Traffic,
    Unit,
)
from portgate.core.ruleset import CtState, Feature
from tests.generate.world import own_addresses
from tests.packet import Packet

TODAY = date(2026, 11, 21)
PORTS = (22, 53, 80, 81, 443, 8080, 8100)
SOURCES = ("10.0.0.0/8", "10.9.0.0/16", "10.9.0.7", "198.51.100.0/24", "2001:db8:9::/48", "2001:db8:9::7", "fd00::/8")
INTERFACES = ("eth0", "eth1", "wg*", "wg0")
BIG = AddressSet(
    tuple((0x0B000000 + 512 * index, 0x0B000000 + 512 * index + 255) for index in range(80)),
    tuple(((0xFD << 120) + (index << 64), (0xFD << 120) + (index << 64) + 9) for index in range(80)),
)


def policy(seed: int) -> Policy:
    rng = Random(seed)
    counter = iter(range(1000))

    def grant() -> Grant:
        return Grant(
            f"g{next(counter)}",
            tuple(traffic(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))),
            tuple(peer(rng) for _ in range(rng.choice((0, 1, 1, 2)))),
            tuple(peer(rng, own=True) for _ in range(rng.choice((0, 0, 0, 1)))),
            limit=Limit(rng.randint(1, 9), rng.choice(list(Unit))) if rng.random() < 0.1 else None,
            log=rng.random() < 0.2,
            expires=TODAY + timedelta(rng.choice((-1, 0, 1))) if rng.random() < 0.2 else None,
        )

    def book(block: int, allow: int) -> Rulebook:
        blocks = tuple(replace(grant(), limit=None) for _ in range(rng.randint(0, block)))
        return Rulebook(rng.choice(list(Default)), blocks, tuple(grant() for _ in range(rng.randint(0, allow))))

    forwards = tuple(forward(rng, grant(), 9000 + 10 * index) for index in range(rng.choice((0, 0, 1, 2))))
    return Policy("random", book(3, 6), book(2, 3), forwards=forwards, containers=rng.choice(list(Containers)))


def sayable(policy: Policy, backend: Backend) -> Policy:
    """The policy without what the backend has not got."""
    missing = features_used(compile_policy(policy, TODAY)) - backend.features
    if Feature.FORWARDED in missing:
        return sayable(replace(policy, containers=Containers.IGNORE), backend)
    refused = [one.detail for one in lacking(policy, TODAY, backend.features, backend.name)]

    def kept(grant: Grant) -> bool:
        """One that needs nothing alone may still be one too many."""
        alone = any(f"the grant {grant.id} " in detail for detail in refused)
        together = any("this policy" in detail for detail in refused) and grant.limit is not None
        return not alone and not together

    inbound = replace(policy.inbound, allow=tuple(filter(kept, policy.inbound.allow)))
    outbound = replace(policy.outbound, allow=tuple(filter(kept, policy.outbound.allow)))
    return replace(
        policy,
        inbound=replace(inbound, block=tuple(filter(kept, inbound.block))),
        outbound=replace(outbound, block=tuple(filter(kept, outbound.block))),
        forwards=tuple(one for one in policy.forwards if kept(one.grant)),
    )


def traffic(rng: Random) -> Traffic:
    kind = rng.random()
    if kind < 0.15:
        return rng.choice((Traffic(ICMP, 8, 8), Traffic(ICMPV6, 128, 128), Traffic(ICMP, 13, 17)))
    if kind < 0.25:
        return rng.choice((Traffic(47), Traffic(TCP), Traffic(ICMP), Traffic(132)))
    first = rng.choice(PORTS)
    last = first if rng.random() < 0.6 else min(65535, first + rng.choice((1, 40, 8000)))
    return Traffic(rng.choice((TCP, TCP, UDP, SCTP, DCCP)), first, last)


def peer(rng: Random, own: bool = False) -> Peer:
    if own:
        family = rng.choice(list(Family))
        address = rng.choice(own_addresses(family))
        intervals = ((address, address),)
        return Peer((), AddressSet(intervals, ()) if family is Family.IPV4 else AddressSet((), intervals))
    interfaces = tuple(rng.sample(INTERFACES, rng.choice((0, 0, 0, 1, 2))))
    kind = rng.random()
    if kind < 0.15:
        return Peer(interfaces, BIG, "abusers")
    if kind < 0.3:
        return Peer(interfaces or ("eth1",), None, "lan")
    return Peer(interfaces, AddressSet.of(*rng.sample(SOURCES, rng.randint(1, 3))))


def forward(rng: Random, grant: Grant, port: int) -> Forward:
    """Each arrives at ports of its own, because no packet can go two ways."""
    arrival = (Traffic(rng.choice((TCP, UDP)), port, port + rng.choice((0, 0, 5))),)
    grant = replace(grant, traffic=arrival, destinations=())
    target = rng.choice((None, None, AddressSet.of("10.0.0.7"), AddressSet.of("2001:db8:2::7", "10.0.0.9")))
    return Forward(grant, target, rng.choice((8080, port, port + 3, None)))


def packets(seed: int, count: int) -> list[Packet]:
    rng = Random(seed)
    return [packet(rng) for _ in range(count)]


def packet(rng: Random) -> Packet:
    family = rng.choice(list(Family))
    source = _near(rng, family)
    proto = rng.choice((TCP, TCP, TCP, UDP, UDP, SCTP, DCCP, 47, ICMP if family is Family.IPV4 else ICMPV6))
    state = rng.choice((CtState.NEW,) * 8 + (CtState.ESTABLISHED, CtState.INVALID, CtState.UNTRACKED))
    iif = rng.choice(("eth0", "eth1", "wg0", "wg1", "wg1", "lo"))
    one = Packet(family, proto, iif, source, rng.choice(own_addresses(family)), ct_state=state)
    if proto in (ICMP, ICMPV6):
        return replace(one, icmp_type=rng.choice((3, 8, 13, 15, 128, 135, 137)), icmp_code=0)
    if proto == 47:
        return one
    port = rng.choice((*PORTS, 9000, 9003, 9005, 9010, 67, 547)) + rng.choice((0, 0, 0, 1, -1))
    return replace(one, sport=rng.choice((40000, 67, 68, 547)), dport=port)


def _near(rng: Random, family: Family) -> int:
    named = AddressSet.of(*SOURCES).of_family(family) + BIG.of_family(family)[:3]
    return min(max(rng.choice(rng.choice(named)) + rng.choice((-1, 0, 0, 1)), 0), family.top)
