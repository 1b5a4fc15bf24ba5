"""Reading the interfaces, routes and kernel settings of the Linux host that portgate runs on; `core` understands the result.

Facts
    rtnetlink(7); linux/if_link.h and linux/if_addr.h of Linux 6.18. On a point-to-point link IFA_ADDRESS is the
    other end's address, and IFA_LOCAL the interface's own; IPv6 sends IFA_LOCAL on such links only.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct

from portgate import programs
from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic
from portgate.core.facts import FIELDS, ROUTES, check_interface_name, format_interfaces
from portgate.core.listener import Interface
from portgate.core.net import Family
from portgate.sockets.live.netlink import ROUTE, attributes, dump

_GET_LINK, _GET_ADDRESS = 18, 22
_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=BBBBI")
_LINK_NAME = 3
_ADDRESS_PEER, _ADDRESS_LOCAL = 1, 2
_UP = 1
_FAMILIES = {socket.AF_INET: Family.IPV4, socket.AF_INET6: Family.IPV6}
_ROUTING = (("rule",), ("route", "show", "table", "all"))


def read_interfaces() -> tuple[tuple[Reading, ...], tuple[Diagnostic, ...]]:
    """All interfaces of this network namespace and their addresses, and notes on what could not be read."""
    try:
        addresses = list(_addresses())
        links = list(_links())
    except OSError as error:
        return (), (
            Diagnostic("PG448", f"netlink route: {error.strerror}", remedy="name them with --from interfaces=..."),
        )
    interfaces = [
        Interface(name, tuple(address for owner, address in addresses if owner == index), up)
        for index, name, up in links
    ]
    known, notes = [], []
    for one in interfaces:
        try:
            check_interface_name(one.name)
            known.append(one)
        except ValueError as error:
            notes.append(Diagnostic("PG448", f"an interface was left out: {error}", remedy="rename the interface"))
    return (Reading("interfaces", format_interfaces(known), "netlink route"),), tuple(notes)


def read_settings() -> Reading:
    """The kernel settings that `Facts` knows. A setting that this kernel lacks has no line."""
    return Reading("sysctl", "".join(map(_setting, FIELDS)), "/proc/sys")


def read_routes() -> tuple[tuple[Reading, ...], tuple[Diagnostic, ...]]:
    """The routes of both families with the rules of routing, and notes on what could not be read."""
    readings, notes = [], []
    for family, kind in ROUTES.items():
        command = (programs.find("ip") or "ip", "-json", f"-{family.value}")
        try:
            told = "".join(programs.run((*command, *words)) for words in _ROUTING)
            readings.append(Reading(kind, told, " ".join((*command, "route"))))
        except programs.ProgramError as error:
            remedy = "install iproute2; without it, what rules look up in the routes is not decided"
            notes.append(Diagnostic("PG421", f"{' '.join(command)}: {error}", remedy=remedy))
    return tuple(readings), tuple(notes)


def _links() -> Iterator[tuple[int, str, bool]]:
    for body in dump(ROUTE, _GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, _, index, flags, _ = _LINK.unpack_from(body)
        names = [value for kind, value in attributes(body[_LINK.size :]) if kind == _LINK_NAME]
        yield index, names[0].rstrip(b"\0").decode(errors="backslashreplace"), bool(flags & _UP)


def _addresses() -> Iterator[tuple[int, tuple[Family, int, int]]]:
    """Interface index; family, address, prefix length."""
    for body in dump(ROUTE, _GET_ADDRESS, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, length, _, _, index = _ADDRESS.unpack_from(body)
        values = dict(attributes(body[_ADDRESS.size :]))
        own = values.get(_ADDRESS_LOCAL, values.get(_ADDRESS_PEER))
        if family in _FAMILIES and own is not None:
            yield index, (_FAMILIES[family], int.from_bytes(own, "big"), length)


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}") as file:
            return f"{name} = {file.read().strip()}\n"
    except OSError:
        return ""
