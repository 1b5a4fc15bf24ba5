"""What of a policy can be loaded and still has no effect on this host as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter

from portgate.core.addresses import Host
from portgate.core.diagnostics import Diagnostic
from portgate.core.facts import Facts
from portgate.core.net import Family
from portgate.core.policy import Forward, Grant, Peer, Policy


def shortfalls(policy: Policy, host: Host, facts: Facts) -> Iterator[Diagnostic]:
    """Warnings only: an interface may come up, and forwarding be switched on, after the rules are loaded."""
    if host.interfaces is not None:
        yield from _missing_interfaces(policy, [one.name for one in host.interfaces])
    yield from _not_forwarded(policy, facts)


def concerns(policy: Policy) -> bool:
    """Whether the policy speaks of anything that a host could lack, so that it is worth asking."""
    grants = policy.grants()
    peers = chain(policy.management, *map(_SOURCES, grants), *map(_DESTINATIONS, grants))
    return any(map(_INTERFACES, peers)) or any(forward.address is not None for forward in policy.forwards)


_SOURCES, _DESTINATIONS, _INTERFACES = attrgetter("sources"), attrgetter("destinations"), attrgetter("interfaces")


def _peers(policy: Policy) -> Iterator[tuple[Peer, Grant | None]]:
    for grant in policy.grants():
        yield from ((peer, grant) for peer in (*grant.sources, *grant.destinations))
    yield from ((peer, None) for peer in policy.management)


def _missing_interfaces(policy: Policy, there: list[str]) -> Iterator[Diagnostic]:
    """PG451 for each name, where it is first used. A pattern like `wg*` is made for interfaces that come and go."""
    reported = set(there)
    for peer, grant in _peers(policy):
        for name in peer.interfaces:
            if not name.endswith("*") and name not in reported:
                reported.add(name)
                user = f"zone {peer.name}" if peer.name else "the entry"
                detail = f"{user} names the interface {name}, which this host has not got"
                span = grant.span if grant else None
                yield Diagnostic("PG451", detail, span, _remedy(name, there))


def _remedy(name: str, there: list[str]) -> str:
    from difflib import get_close_matches

    if near := get_close_matches(name, there, 3):
        return f"did you mean {' or '.join(near)}?"
    return f"the interfaces of this host are {', '.join(there[:12])}" + (" and more" if len(there) > 12 else "")


def _not_forwarded(policy: Policy, facts: Facts) -> Iterator[Diagnostic]:
    """PG452 for each forward to another host in a family that the kernel does not forward."""
    for forward in policy.forwards:
        for family in _families(forward):
            forwards, setting = _SETTINGS[family]
            if getattr(facts, forwards) is False:
                detail = f"{forward.grant.id} sends IPv{family.value} to another host, and {setting} is 0"
                remedy = f"sysctl -w {setting}=1, and a line in /etc/sysctl.d/ to keep it"
                yield Diagnostic("PG452", detail, forward.grant.span, remedy)


_SETTINGS = {
    Family.IPV4: ("forwards_ipv4", "net.ipv4.ip_forward"),
    Family.IPV6: ("forwards_ipv6", "net.ipv6.conf.all.forwarding"),
}


def _families(forward: Forward) -> Iterator[Family]:
    if forward.address is not None:
        yield from (
            family for family, part in zip(Family, (forward.address.v4, forward.address.v6), strict=True) if part
        )
