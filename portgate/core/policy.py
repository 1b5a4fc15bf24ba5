"""What was asked for: the values that a policy file becomes. Names are resolved, places are kept.

A policy is a *set* of permitted traffic: `block` wins over `allow`, and everything else gets the default.
"""

from __future__ import annotations

from dataclasses import field
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Span
from portgate.core.net import AddressSet


class Default(StrEnum):
    """What happens to traffic that no grant names."""

    DROP = "drop"
    REJECT = "reject"
    ACCEPT = "accept"


class Traffic(NamedTuple):
    """One IP protocol, and a range of it.

    `first` and `last` are destination ports for the protocols that have ports, types for ICMP and ICMPv6;
    0 to 65535 is all of the protocol.
    """

    protocol: int
    first: int = 0
    last: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Peer:
    """Where traffic comes from or goes to: through these interfaces *and* with these addresses.

    **Shape** `interfaces` are names or prefixes of names (`wg*`), () is every interface;
    `addresses` None is every address of both families. `name` is what the policy calls it, "" for a literal.
    """

    interfaces: tuple[str, ...] = ()
    addresses: AddressSet | None = None
    name: str = ""


class Unit(StrEnum):
    """The time of a rate limit."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        return {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600, Unit.DAY: 86400}[self]


@dataclass(frozen=True, slots=True)
class Limit:
    """New connections for each source address. **Units** `amount` per `unit`; `burst` connections."""

    amount: int
    unit: Unit
    burst: int = 5

    def window(self) -> tuple[int, int] | None:
        """The burst, and the seconds in which so many are permitted; None unless that tells the limit exactly."""
        seconds, rest = divmod(self.burst * self.unit.seconds, self.amount)
        return (self.burst, seconds) if not rest and Limit.of_window(self.burst, seconds) == self else None

    @classmethod
    def of_window(cls, burst: int, seconds: int) -> Limit | None:
        """The limit that permits so many in so many seconds, by the shortest unit; None when no unit fits."""
        exact = next((unit for unit in Unit if unit.seconds == seconds), None)
        for unit in (exact,) if exact else Unit:
            if burst and seconds and burst * unit.seconds % seconds == 0:
                return cls(burst * unit.seconds // seconds, unit, burst)
        return None


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of the policy: who may (allow) or may not (block) reach what.

    **Shape** each of `traffic`, `sources`, `destinations` empty means all. `id` is unique in the policy, at
    most 48 characters of `[A-Za-z0-9._-]`, and does not depend on other entries.
    """

    id: str
    traffic: tuple[Traffic, ...] = ()
    sources: tuple[Peer, ...] = ()
    destinations: tuple[Peer, ...] = ()
    limit: Limit | None = None
    log: bool = False
    note: str | None = None
    owner: str | None = None
    expires: date | None = None
    span: Span | None = field(default=None, compare=False)

    def expired(self, today: date) -> bool:
        """A grant holds through the whole of its `expires` day."""
        return self.expires is not None and self.expires < today


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The grants of one direction."""

    default: Default
    block: tuple[Grant, ...] = ()
    allow: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Port forwarding, which also grants the traffic that it forwards.

    **Shape** `grant.traffic` is what arrives (protocols with ports only); `address` None is this host itself;
    `port` None keeps the port.
    """

    grant: Grant
    address: AddressSet | None
    port: int | None


class Outcome(StrEnum):
    """What an expectation says about its traffic."""

    ACCEPTED = "accepted"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Expectation:
    """A test of the policy, which must hold for every packet that it names.

    Either `outcome` of all `traffic` from `sources` to `destinations`; or, where `outcome` is None (`only:`),
    nothing but `traffic` is open to anybody.
    """

    traffic: tuple[Traffic, ...]
    outcome: Outcome | None
    sources: tuple[Peer, ...] = ()
    destinations: tuple[Peer, ...] = ()
    span: Span | None = field(default=None, compare=False)


class Containers(StrEnum):
    """Whether published container ports obey the policy, or are left to the container engine."""

    ENFORCE = "enforce"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy file with its includes. `files` are all files that it was read from, the main one first."""

    name: str
    inbound: Rulebook
    outbound: Rulebook
    description: str = ""
    forwards: tuple[Forward, ...] = ()
    management: tuple[Peer, ...] = ()
    containers: Containers = Containers.IGNORE
    expectations: tuple[Expectation, ...] = ()
    files: tuple[str, ...] = ()
    zones: tuple[tuple[str, Peer], ...] = ()

    def grants(self) -> tuple[Grant, ...]:
        """Every entry that has an id, in the order inbound, outbound, forward; blocks first."""
        return (
            *self.inbound.block,
            *self.inbound.allow,
            *self.outbound.block,
            *self.outbound.allow,
            *(forward.grant for forward in self.forwards),
        )

    def arriving(self) -> tuple[Grant, ...]:
        """Every entry about what arrives: blocks, grants, and those of forwards."""
        return (*self.inbound.block, *self.inbound.allow, *(forward.grant for forward in self.forwards))
