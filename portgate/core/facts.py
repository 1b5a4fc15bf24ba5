"""What portgate knows of a host beside rules and sockets: its interfaces, and the kernel settings that matter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from portgate.core.capture import Reading
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.listener import Interface
from portgate.core.net import Family, format_address, interface_interval, parse_address

# ------------------------------------------------------------------ interfaces

_ITEM = re.compile(r"([^:\n]*:[^,\n]*|[^\n]+),?")
_GROUP = "group="
_IN_GROUP = re.compile(_GROUP + r"[A-Za-z0-9_.-]{0,14}[A-Za-z_.-]")  # never ends in a digit


def parse_interfaces(reading: Reading) -> tuple[Interface, ...]:
    """Interfaces, each once, in the order in which they are first named.

    **Shape** items `NAME:ADDRESS/PREFIX`, `NAME:`, `NAME:down` or `NAME:group=GROUP`, separated by commas or line ends.
    The first colon ends the name, which may hold commas itself.
    **Errors** PortgateError with a PG446 for every item that is wrong.
    """
    values: dict[str, list[str]] = {}
    wrong: list[Diagnostic] = []
    for found in _ITEM.finditer(reading.text):
        item = found[1].strip()
        try:
            if item:
                name, value = _item(item)
                values.setdefault(name, []).append(value)
        except ValueError as error:
            remedy = "write items like eth0:192.0.2.1/24, separated by commas"
            wrong.append(Diagnostic("PG446", f"{reading.source}: {error}", remedy=remedy))
    if wrong:
        raise PortgateError(*wrong)
    return tuple(_interface(name, given) for name, given in values.items())


def format_interfaces(interfaces: Iterable[Interface]) -> str:
    """The text that `parse_interfaces` reads, an item a line."""
    return "".join(f"{one.name}:{value}\n" for one in interfaces for value in _values(one))


def _values(interface: Interface) -> Iterator[str]:
    if not interface.up:
        yield "down"
    elif not interface.addresses:
        yield ""
    for family, address, length in interface.addresses:
        yield f"{format_address(family, address)}/{length}"
    yield from (f"{_GROUP}{one}" for one in interface.groups)


def _item(item: str) -> tuple[str, str]:
    """Name and value, both found to be well formed. Errors: ValueError."""
    name, colon, value = item.partition(":")
    if not colon:
        raise ValueError(f"no colon ends the name in {item!r}")
    check_interface_name(name)
    if value not in ("", "down") and not _IN_GROUP.fullmatch(value):
        _address(value)
    return name, value


def check_interface_name(name: str) -> None:
    """Errors: ValueError when it is not the name of one interface that a rule can speak of."""
    if name.endswith("*"):
        raise ValueError(f"{name!r} is a pattern, not the name of one interface")
    interface_interval(name)


def _interface(name: str, values: list[str]) -> Interface:
    groups = dict.fromkeys(value.removeprefix(_GROUP) for value in values if value.startswith(_GROUP))
    addresses = (value for value in values if value not in ("", "down") and not value.startswith(_GROUP))
    return Interface(name, tuple(dict.fromkeys(map(_address, addresses))), "down" not in values, tuple(groups))


def _address(text: str) -> tuple[Family, int, int]:
    """An address of an interface and the length of its network's prefix. Errors: ValueError."""
    address, slash, length = text.partition("/")
    family, number = parse_address(address)
    if not slash:
        return family, number, family.bits
    if not (length.isascii() and length.isdigit() and int(length[:4]) <= family.bits):
        raise ValueError(f"the prefix length of {text!r} is not a number from 0 to {family.bits}")
    return family, number, int(length)


# ------------------------------------------------------------------ routes

ROUTES: Mapping[Family, str] = {Family.IPV4: "routes4", Family.IPV6: "routes6"}
"""The kinds of reading: what `ip -json -4 rule` and `ip -json -4 route show table all` print, one behind the other, and with -6."""

# ------------------------------------------------------------------ kernel settings


@dataclass(frozen=True, slots=True)
class Facts:
    """Settings of the kernel, by their sysctl names; None where the host did not tell.

    **Shape** `ephemeral_ports` is the closed range that the kernel takes ports of outgoing connections from.
    `reserved_ports` are intervals that it leaves out.
    """

    ephemeral_ports: tuple[int, int] | None = None
    reserved_ports: tuple[tuple[int, int], ...] = ()
    first_unprivileged_port: int | None = None
    forwards_ipv4: bool | None = None
    forwards_ipv6: bool | None = None
    ipv6_disabled: bool | None = None
    ipv6_only_by_default: bool | None = None
    conntrack_max: int | None = None


NO_FACTS = Facts()
"""Of a host that told nothing."""

FIELDS = {
    "net.ipv4.ip_local_port_range": "ephemeral_ports",
    "net.ipv4.ip_local_reserved_ports": "reserved_ports",
    "net.ipv4.ip_unprivileged_port_start": "first_unprivileged_port",
    "net.ipv4.ip_forward": "forwards_ipv4",
    "net.ipv6.conf.all.forwarding": "forwards_ipv6",
    "net.ipv6.conf.all.disable_ipv6": "ipv6_disabled",
    "net.ipv6.bindv6only": "ipv6_only_by_default",
    "net.netfilter.nf_conntrack_max": "conntrack_max",
}
"""The fields of `Facts` by the name of their setting."""


def parse_facts(reading: Reading) -> Facts:
    """From lines `name = value`, as `sysctl` prints them; other settings are passed over.

    **Errors** PortgateError with a PG447 for every value that is wrong.
    """
    found: dict[str, object] = {}
    wrong: list[Diagnostic] = []
    for line in reading.text.splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        try:
            if name in FIELDS:
                found[FIELDS[name]] = _READ.get(FIELDS[name], _number)(value)
        except ValueError:
            wrong.append(Diagnostic("PG447", f"{reading.source}: {name} can't be {value[:80]!r}"))
    if wrong:
        raise PortgateError(*wrong)
    return Facts(**found)  # type: ignore[arg-type]  # FIELDS pairs each name with its type


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(text)
    return int(text)


def _port_range(text: str) -> tuple[int, int]:
    first, last = (_number(part) for part in text.split())
    if not first <= last <= 0xFFFF:
        raise ValueError(text)
    return first, last


def _port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """`8080,9000-9100`, or nothing."""
    pairs = (part.split("-") for part in text.split(",") if part)
    return tuple(_port_range(f"{pair[0]} {pair[-1]}") for pair in pairs)


def _flag(text: str) -> bool:
    return _number(text) != 0


_READ: dict[str, Callable[[str], object]] = {
    "ephemeral_ports": _port_range,
    "reserved_ports": _port_ranges,
    "forwards_ipv4": _flag,
    "forwards_ipv6": _flag,
    "ipv6_disabled": _flag,
    "ipv6_only_by_default": _flag,
}
