"""Which addresses are this host's: what the path of a packet depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from portgate.core.dataclasses import dataclass
from portgate.core.listener import Interface
from portgate.core.net import Family, Interval, Intervals, contains, normalize
from portgate.core.ruleset import InterfaceAddress, Part

if TYPE_CHECKING:
    from portgate.core.routes import Routes


@dataclass(frozen=True, slots=True)
class Host:
    """What the path needs to know of a host. `interfaces` None: unknown, so packets are taken to be for this host.

    **Shape** `others` are addresses that are its own, too, though no interface is known to have them. `routes` are those of
    the families of which they are known.
    """

    interfaces: tuple[Interface, ...] | None = None
    others: tuple[tuple[Family, int], ...] = ()
    routes: Mapping[Family, Routes] = field(default_factory=dict)

    def local(self, family: Family) -> Intervals | None:
        """Its own addresses; () where this family has none."""
        if self.interfaces is None:
            return None
        own = [(a, a) for one in self.interfaces for of, a, _ in one.addresses if of is family]
        others = [(a, a) for of, a in self.others if of is family]
        return normalize([*own, *others, *LOOPBACKS[family]])

    def broadcast(self, family: Family) -> Intervals:
        """Broadcast addresses of its networks."""
        if family is Family.IPV6:
            return ()
        networks = [
            address | (1 << 32 - length) - 1
            for one in self.interfaces or ()
            for of, address, length in one.addresses
            if of is family and length < 31
        ]
        return normalize([(one, one) for one in [0, *networks, Family.IPV4.top]])

    def own(self, family: Family) -> Intervals:
        """Its own addresses; all, where they are unknown."""
        local = self.local(family)
        return ((0, family.top),) if local is None else local

    def addressed(self, family: Family) -> Intervals:
        """All destinations of packets for this host: its own, broadcast and multicast."""
        return normalize([*self.own(family), *self.broadcast(family), *MULTICAST[family]])

    def is_local(self, family: Family, address: int) -> bool:
        """Whether packets to this address are for this host; true where its addresses are unknown."""
        return contains(self.addressed(family), address)

    def group(self, name: str) -> tuple[Interface, ...]:
        """The interfaces that are known to be in a group."""
        return tuple(one for one in self.interfaces or () if name in one.groups)

    def of_interface(self, wanted: InterfaceAddress, family: Family) -> Intervals | None:
        """The addresses that are meant, as pf reads an interface; None where they are not known."""
        found = self._named(wanted.interface)
        if not found or wanted.part is Part.PEER:
            return None
        return normalize(one for interface in found for one in _of_interface(interface, wanted, family))

    def _named(self, name: str) -> tuple[Interface, ...]:
        if name == "self":
            return self.interfaces or ()
        return tuple(one for one in self.interfaces or () if one.name == name) or self.group(name)

    def address_of(self, interface: str, family: Family) -> int | None:
        """The first address of an interface, else None."""
        return next(
            (
                address
                for one in self.interfaces or ()
                if one.name == interface
                for of, address, _ in one.addresses
                if of is family
            ),
            None,
        )

    def networks(self, family: Family) -> dict[Interval, str]:
        """The networks that it is connected to, larger ones first, and their interfaces. Of two with the same the first counts."""
        found: dict[Interval, str] = {}
        for one in self.interfaces or ():
            for of, own, length in one.addresses:
                if of is family:
                    found.setdefault(_network(family, own, length), one.name)
        return dict(sorted(found.items(), key=lambda item: item[0][0] - item[0][1]))

    def way_out(self, family: Family, address: int) -> str | None:
        """The interface whose network holds an address, else None."""
        holding = (name for (first, last), name in self.networks(family).items() if first <= address <= last)
        return next(reversed(list(holding)), None)


def _of_interface(interface: Interface, wanted: InterfaceAddress, family: Family) -> list[Interval]:
    """**Source** pfi_instance_add() in pf_if.c of FreeBSD 14: without link-local addresses of IPv6 where networks or first ones are meant."""
    routed = wanted.first or wanted.part is Part.NETWORK
    own = [
        (address, length)
        for of, address, length in interface.addresses
        if of is family and not (routed and family is Family.IPV6 and contains(LINK_LOCAL, address))
    ][: 1 if wanted.first else None]
    if wanted.part is Part.BROADCAST:
        ends = [_network(family, *one)[1] for one in own if family is Family.IPV4]
        return [(end, end) for end in ends]
    given = family.bits if wanted.length is None else min(wanted.length, family.bits)
    return [_network(family, address, length if wanted.part is Part.NETWORK else given) for address, length in own]


def _network(family: Family, address: int, length: int) -> Interval:
    rest = (1 << family.bits - length) - 1
    return address & ~rest, address | rest


LINK_LOCAL: Intervals = ((0xFE80 << 112, (0xFEC0 << 112) - 1),)
LOOPBACKS: Mapping[Family, Intervals] = {
    Family.IPV4: ((127 << 24, (128 << 24) - 1),),
    Family.IPV6: ((1, 1),),
}
MULTICAST: Mapping[Family, Intervals] = {
    Family.IPV4: ((0xE0 << 24, (0xF0 << 24) - 1),),
    Family.IPV6: ((0xFF << 120, Family.IPV6.top),),
}

ANY_HOST = Host()
