"""Expectations that follow from the grants of a policy, as a careful author would write them beside the grants.

Rules of this file
    They are worked out with intervals alone: no rules, no diagrams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from portgate.core.net import ANY_ADDRESS, AddressSet, normalize, subtract
from portgate.core.policy import Default, Expectation, Forward, Grant, Outcome, Peer, Policy, Traffic

ELSEWHERE = "nowhere0"  # an interface that no policy names
NOBODY = AddressSet()


def invariants(policy: Policy) -> Iterator[Expectation]:
    """Each grant lets in what it says, each block keeps out what it says, and nothing else gets in."""
    book = policy.inbound
    granted = [*book.allow, *(_of_its_family(one) for one in policy.forwards)]
    for grant in granted:
        for part in _unblocked_parts(grant, book.block):
            if sources := tuple(_without_blocked(part, book.block)):
                yield Expectation(part.traffic, Outcome.ACCEPTED, sources, grant.destinations)
    for grant in book.block:
        yield Expectation(grant.traffic, Outcome.BLOCKED, grant.sources, grant.destinations)
    if book.default is Default.ACCEPT:
        for grant in book.block:
            if sources := tuple(_without_blocked(Grant("", grant.traffic), book.block)):
                yield Expectation(grant.traffic, Outcome.ACCEPTED, sources)
    else:
        yield from (one for grant in granted for one in _nobody_else(grant, granted))
        if all(grant.traffic for grant in granted):
            yield Expectation(tuple(one for grant in granted for one in grant.traffic), None)


def _of_its_family(forward: Forward) -> Grant:
    """What is forwarded to an address is of that address's family."""
    if forward.address is None:
        return forward.grant
    family = AddressSet(ANY_ADDRESS.v4 if forward.address.v4 else (), ANY_ADDRESS.v6 if forward.address.v6 else ())
    peers = forward.grant.sources or (Peer(),)
    sources = (Peer(one.interfaces, family if one.addresses is None else one.addresses & family) for one in peers)
    return replace(forward.grant, sources=tuple(sources))


def _unblocked_parts(grant: Grant, blocks: tuple[Grant, ...]) -> Iterator[Grant]:
    """The grant, port by port, less the ports that are blocked for everybody."""
    if not grant.traffic:
        yield grant
    closed = [one for block in blocks if not block.sources for one in block.traffic]
    for one in grant.traffic:
        taken = normalize((each.first, each.last) for each in closed if each.protocol == one.protocol)
        for first, last in subtract(((one.first, one.last),), taken):
            yield replace(grant, traffic=(Traffic(one.protocol, first, last),))


def _without_blocked(grant: Grant, blocks: tuple[Grant, ...]) -> Iterator[Peer]:
    """The sources of a grant, less all that some block of the same traffic names.

    What comes in elsewhere is not touched by blocks of interfaces.
    """
    peers = [peer for one in blocks if _meet(one.traffic, grant.traffic) for peer in one.sources or (Peer(),)]
    for peer in grant.sources or (Peer(),):
        addresses = ANY_ADDRESS if peer.addresses is None else peer.addresses
        if left := addresses - _addresses(peers):
            yield Peer(peer.interfaces, left)
        if not peer.interfaces and (left := addresses - _addresses(one for one in peers if not one.interfaces)):
            yield Peer((ELSEWHERE,), left)


def _addresses(peers: Iterable[Peer]) -> AddressSet:
    found = NOBODY
    for peer in peers:
        found |= ANY_ADDRESS if peer.addresses is None else peer.addresses
    return found


def _nobody_else(grant: Grant, granted: list[Grant]) -> Iterator[Expectation]:
    """The grant's traffic from sources that no grant of any of it names: elsewhere, and where it comes from."""
    for traffic in grant.traffic:
        peers = [peer for one in granted if _meet(one.traffic, (traffic,)) for peer in one.sources or (Peer(),)]
        for interfaces in {(ELSEWHERE,), *(peer.interfaces for peer in peers if peer.interfaces)}:
            known = _addresses(one for one in peers if not one.interfaces or interfaces != (ELSEWHERE,))
            if rest := ANY_ADDRESS - known:
                yield Expectation((traffic,), Outcome.BLOCKED, (Peer(interfaces, rest),))


def _meet(left: tuple[Traffic, ...], right: tuple[Traffic, ...]) -> bool:
    if not left or not right:
        return True
    return any(a.protocol == b.protocol and a.first <= b.last and b.first <= a.last for a in left for b in right)
