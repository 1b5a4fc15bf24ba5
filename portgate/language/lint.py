"""Grants that are right as text and questionable as policy: redundant, shadowed, in the ephemeral range, risky.

Theory
    A grant is redundant or shadowed when one other covers all of it. To find that one without comparing each with each, grants
    are indexed by the prefixes of their sources and destinations and by their ports: what covers a grant also holds its
    first source, its first destination and its first port, and few others do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from itertools import accumulate, product

from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.net import (
    PORT_MAX,
    PORT_PROTOCOLS,
    AddressSet,
    Family,
    Interval,
    Intervals,
    interface_interval,
    prefixes,
    protocol_name,
)
from portgate.core.numbers import EPHEMERAL
from portgate.core.policy import Grant, Peer, Policy, Traffic
from portgate.language import services, values

MANY_PREFIXES = 8
SHOWN = 3

Peers = tuple[Peer, ...]
SideKey = tuple[int, int]
"""What one side of a grant is indexed by: (prefix length and family, network), or (LARGE, identity of the set)."""
EVERYWHERE: SideKey = (-1, 0)
LARGE = -2
ALL_PROTOCOLS = -1


def lint(policy: Policy, today: date, ephemeral: Interval = EPHEMERAL) -> tuple[Diagnostic, ...]:
    """What is worth a second look in a policy without errors. Expired grants are passed over: `load` reports them."""
    found: list[Diagnostic] = []
    forwards = tuple(forward.grant for forward in policy.forwards)
    for book, more in ((policy.inbound, forwards), (policy.outbound, ())):
        allow, block = _alive(book.allow, today), _alive(book.block, today)
        shadowed = list(_shadowed((*allow, *_alive(more, today)), _Index(block)))
        found += (_shadow_found(grant, by) for grant, by in shadowed)
        hidden = {grant.id for grant, _ in shadowed}
        found += _redundant([grant for grant in allow if grant.id not in hidden])
    for grant in _alive(policy.inbound.allow, today):
        found += _ephemeral(grant, ephemeral)
    found += risky(policy, today)
    return tuple(sorted(found, key=lambda one: one.span or _NOWHERE))


def risky(policy: Policy, today: date) -> Iterator[Diagnostic]:
    """Grants that open to everybody what was made for trusted networks, with the reason."""
    for grant in _alive(policy.inbound.allow, today):
        yield from _risky(grant)


_NOWHERE = Span("", 0, 0, 0, 0)


def _alive(grants: Iterable[Grant], today: date) -> list[Grant]:
    return [grant for grant in grants if not grant.expired(today)]


def _related(grant: Grant, told: str) -> tuple[tuple[Span, str], ...]:
    return ((grant.span, told),) if grant.span else ()


# ------------------------------------------------------------------ one grant covers another


def _shadowed(grants: Iterable[Grant], blocks: _Index) -> Iterator[tuple[Grant, Grant]]:
    for grant in grants:
        for by in blocks.near(grant):
            if _covers(by, grant):
                yield grant, by
                break


def _shadow_found(grant: Grant, by: Grant) -> Diagnostic:
    detail = f"the block `{by.id}` takes all of it"
    return Diagnostic(
        "PG232", detail, grant.span, "remove the grant, or narrow the block", _related(by, "blocked here")
    )


def _redundant(grants: Sequence[Grant]) -> Iterator[Diagnostic]:
    index = _Index(grants)
    order = {grant.id: number for number, grant in enumerate(grants)}
    for grant in grants:
        for other in index.near(grant):
            if other is not grant and _covers(other, grant) and _keeps(other, grant, order):
                detail = f"`{other.id}` already allows all of it"
                yield Diagnostic("PG231", detail, grant.span, "remove one of the two", _related(other, "allowed here"))
                break


def _keeps(other: Grant, grant: Grant, order: dict[str, int]) -> bool:
    """Of two that cover each other the first stays."""
    return order[other.id] < order[grant.id] or not _covers(grant, other)


def _covers(big: Grant, small: Grant) -> bool:
    """All that `small` matches, `big` matches too, without a condition that `small` lacks."""
    return (
        (big.limit is None or big.limit == small.limit)
        and (big.log or not small.log)
        and (big.expires is None or (small.expires is not None and small.expires <= big.expires))
        and _traffic_covers(big.traffic, small.traffic)
        and _peers_cover(big.sources, small.sources)
        and _peers_cover(big.destinations, small.destinations)
    )


def _traffic_covers(big: tuple[Traffic, ...], small: tuple[Traffic, ...]) -> bool:
    if not big:
        return True
    return bool(small) and all(
        any(one.protocol == part.protocol and one.first <= part.first and part.last <= one.last for one in big)
        for part in small
    )


def _peers_cover(big: Peers, small: Peers) -> bool:
    if not big:
        return True
    return bool(small) and all(any(_peer_covers(one, peer) for one in big) for peer in small)


def _peer_covers(big: Peer, small: Peer) -> bool:
    if big is small:
        return True
    if big.interfaces and not (small.interfaces and all(_arrives(name, big.interfaces) for name in small.interfaces)):
        return False
    if big.addresses is None or big.addresses is small.addresses:
        return True
    return small.addresses is not None and _inside(small.addresses, big.addresses)


def _arrives(name: str, patterns: tuple[str, ...]) -> bool:
    first, last = interface_interval(name)
    return any(low <= first and last <= high for low, high in map(interface_interval, patterns))


def _inside(small: AddressSet, big: AddressSet) -> bool:
    return all(_holds(big.v4, interval) for interval in small.v4) and all(_holds(big.v6, one) for one in small.v6)


def _holds(intervals: Intervals, interval: Interval) -> bool:
    index = bisect_right(intervals, (interval[0], 1 << 129)) - 1
    return index >= 0 and interval[1] <= intervals[index][1]


# ------------------------------------------------------------------ who could cover it


class _Index:
    """Grants by sources, destinations and ports."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._sources = _Side()
        self._destinations = _Side()
        self._buckets: dict[tuple[SideKey, SideKey], _Ports] = defaultdict(_Ports)
        for grant in grants:
            sides = product(self._sources.add(grant.sources), self._destinations.add(grant.destinations))
            for key in sides:
                self._buckets[key].add(grant)

    def near(self, grant: Grant) -> Iterator[Grant]:
        """The grants that hold its first source, destination and port."""
        for key in product(self._sources.keys(grant.sources), self._destinations.keys(grant.destinations)):
            bucket = self._buckets.get(key)
            if bucket is not None:
                yield from bucket.near(grant.traffic)


class _Side:
    """One side of the index: which keys are in use."""

    def __init__(self) -> None:
        self._lengths: set[tuple[Family, int]] = set()
        self._large: dict[int, AddressSet] = {}

    def add(self, peers: Peers) -> list[SideKey]:
        if not peers or any(peer.addresses is None for peer in peers):
            return [EVERYWHERE]
        keys: dict[SideKey, None] = {}
        for peer in peers:
            keys.update(dict.fromkeys(self._add_set(peer.addresses or AddressSet())))
        return list(keys)

    def keys(self, peers: Peers) -> list[SideKey]:
        """Of everything that holds the first address."""
        point = _first_address(peers)
        if point is None:
            return [EVERYWHERE]
        family, value = point
        found = [EVERYWHERE]
        found += (
            _prefix_key(family, value >> family.bits - length, length) for of, length in self._lengths if of is family
        )
        found += ((LARGE, key) for key, one in self._large.items() if _holds(one.of_family(family), (value, value)))
        return found

    def _add_set(self, addresses: AddressSet) -> list[SideKey]:
        if len(addresses) <= MANY_PREFIXES:
            parts = [
                (family, length, network >> family.bits - length)
                for family in Family
                for interval in addresses.of_family(family)
                for network, length in prefixes(family, interval)
            ]
            if len(parts) <= 2 * MANY_PREFIXES:
                self._lengths.update((family, length) for family, length, _ in parts)
                return [_prefix_key(family, network, length) for family, length, network in parts]
        self._large[id(addresses)] = addresses
        return [(LARGE, id(addresses))]


def _prefix_key(family: Family, network: int, length: int) -> SideKey:
    return (family << 8 | length, network)


def _first_address(peers: Peers) -> tuple[Family, int] | None:
    addresses = peers[0].addresses if peers else None
    if not addresses:
        return None
    family = Family.IPV4 if addresses.v4 else Family.IPV6
    return family, addresses.of_family(family)[0][0]


class _Ports:
    """Grants by protocol and ports."""

    def __init__(self) -> None:
        self._rows: dict[int, list[tuple[int, int, Grant]]] = defaultdict(list)
        self._sorted: dict[int, tuple[list[int], list[int]]] = {}

    def add(self, grant: Grant) -> None:
        for part in grant.traffic or (Traffic(ALL_PROTOCOLS),):
            self._rows[part.protocol].append((part.first, part.last, grant))

    def near(self, traffic: tuple[Traffic, ...]) -> Iterator[Grant]:
        """The grants that hold the first part; of equal ones the earliest first."""
        if traffic:
            yield from self._around(traffic[0])
        yield from self._around(Traffic(ALL_PROTOCOLS))

    def _around(self, part: Traffic) -> Iterator[Grant]:
        rows = self._rows.get(part.protocol)
        if rows is None:
            return
        if part.protocol not in self._sorted:
            rows.reverse()
            rows.sort(key=lambda row: row[:2])
            self._sorted[part.protocol] = [row[0] for row in rows], list(accumulate((row[1] for row in rows), max))
        firsts, tops = self._sorted[part.protocol]
        index = bisect_right(firsts, part.first) - 1
        while index >= 0 and tops[index] >= part.last:
            if rows[index][1] >= part.last:
                yield rows[index][2]
            index -= 1


# ------------------------------------------------------------------ ports that deserve a thought


def _ephemeral(grant: Grant, ephemeral: Interval) -> Iterator[Diagnostic]:
    for part in grant.traffic:
        everything = part.last == PORT_MAX and part.first <= 1
        apart = part.last < ephemeral[0] or part.first > ephemeral[1]
        if part.protocol not in PORT_PROTOCOLS or everything or apart or _well_known(part):
            continue
        detail = f"{_port_text(part)} lies in {ephemeral[0]}-{ephemeral[1]}"
        yield Diagnostic("PG233", detail, grant.span, "move the service to a lower port, or reserve this one")


def _well_known(traffic: Traffic) -> bool:
    """A number that is not the author's to choose, such as WireGuard's."""
    return traffic in _assigned()


@cache
def _assigned() -> frozenset[Traffic]:
    return frozenset(part for service in services.table() for part in service.traffic)


def _risky(grant: Grant) -> Iterator[Diagnostic]:
    if not _from_everybody(grant.sources):
        return
    remedy = "say with `from` who needs it"
    if not grant.traffic:
        yield Diagnostic("PG234", "it opens every port and protocol", grant.span, remedy)
        return
    found = list(dict.fromkeys(service for part in grant.traffic for service in services.risks(part)))
    if found:
        told = "; ".join(f"{service.name}: {service.risk}" for service in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield Diagnostic("PG234", told + more, grant.span, remedy)


def _from_everybody(peers: Peers) -> bool:
    return not peers or any(
        not peer.interfaces and (peer.addresses is None or values.everything(peer.addresses)) for peer in peers
    )


def _port_text(traffic: Traffic) -> str:
    ports = str(traffic.first) if traffic.first == traffic.last else f"{traffic.first}-{traffic.last}"
    return f"{ports}/{protocol_name(traffic.protocol)}"
