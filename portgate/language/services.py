"""The built-in services: names to ports, ports to names, and which of them should not be open to everybody.

**Source** the table `services.txt` beside this file, read when the first name is looked up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cache

from portgate.core.dataclasses import dataclass
from portgate.core.net import PROTOCOLS
from portgate.core.policy import Traffic

NARROW = 100
"""Wider ranges (RTP, node ports) don't say what a single port of them is used for."""


@dataclass(frozen=True, slots=True)
class Service:
    """**Shape** `risk` is why it should not be open to everybody, "" if nothing speaks against it."""

    name: str
    traffic: tuple[Traffic, ...]
    aliases: tuple[str, ...] = ()
    risk: str = ""


@cache
def table() -> tuple[Service, ...]:
    """Every built-in service, in the order of the table."""
    import pkgutil

    data = pkgutil.get_data(__package__, "services.txt")
    if data is None:
        raise FileNotFoundError("portgate is installed without services.txt")
    return tuple(_service(line) for line in data.decode().splitlines() if line and not line.startswith("#"))


@cache
def by_name() -> Mapping[str, Service]:
    """By name and by alias."""
    return {name: service for service in table() for name in (service.name, *service.aliases)}


def lookup(name: str) -> tuple[Traffic, ...] | None:
    service = by_name().get(name)
    return service.traffic if service else None


def at(port: int) -> tuple[Service, ...]:
    """The services that use a port, whatever the protocol."""
    return tuple(one for one in table() if any(part.first <= port <= part.last for part in one.traffic))


@cache
def risks(traffic: Traffic) -> tuple[Service, ...]:
    """The risky services that lie within some traffic.

    A port that a harmless service uses too proves nothing, and neither does the whole range of a harmless service.
    """
    if any(traffic in one.traffic and not one.risk for one in table()):
        return ()
    risky, firsts = _risky().get(traffic.protocol, ((), ()))
    near = risky[bisect_left(firsts, traffic.first - NARROW) : bisect_right(firsts, traffic.last)]
    found = (service for part, service in near if part.last >= traffic.first and not _harmless(part, traffic))
    return tuple(dict.fromkeys(found))


def _service(line: str) -> Service:
    row, _, risk = line.partition("!")
    name, ports, *rest = row.split()
    aliases = rest[0].removeprefix("=").split(",") if rest else ()
    return Service(name, tuple(_traffic(port) for port in ports.split(",")), tuple(aliases), risk.strip())


def _traffic(text: str) -> Traffic:
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    return Traffic(PROTOCOLS[protocol], int(first), int(last or first))


@cache
def _risky() -> Mapping[int, tuple[tuple[tuple[Traffic, Service], ...], tuple[int, ...]]]:
    """By protocol: the narrow parts of risky services by their first port, and those first ports."""
    parts = sorted(
        ((part, one) for one in table() if one.risk for part in one.traffic if part.last - part.first <= NARROW),
        key=lambda row: row[0],
    )
    protocols = {part.protocol for part, _ in parts}
    rows = {number: tuple(row for row in parts if row[0].protocol == number) for number in protocols}
    return {number: (mine, tuple(part.first for part, _ in mine)) for number, mine in rows.items()}


@cache
def _harmless_parts() -> tuple[Traffic, ...]:
    return tuple(part for one in table() if not one.risk for part in one.traffic if part.last - part.first <= NARROW)


def _harmless(part: Traffic, within: Traffic) -> bool:
    """A harmless service uses every port that the two have in common."""
    first, last = max(part.first, within.first), min(part.last, within.last)
    return any(
        other.protocol == part.protocol and other.first <= first and last <= other.last for other in _harmless_parts()
    )
