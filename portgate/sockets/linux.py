"""The sockets of a live Linux host: a `linux-sockets` reading, as `live/` writes it, to listeners.

Theory
    The reading holds what the kernel said, one row a socket, and beside it who holds which inode, so that all
    conclusions (who took a connection, which socket takes both families, what unit a process belongs to)
    are drawn here, from text that can be saved, sent and tested. JSON: `schema`, then
    `sockets` {protocol: [Row]}, `established` {protocol: [[address, port, device, count]]}, `owners` {inode: [pid]},
    `processes` {pid: [program, user id, cgroup, package]}, `users` {user id: name}, `cgroups` {cgroup id: path},
    `fallbacks` and `unseen` {protocol: why}, `hidden` (this user may not see all owners).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

from portgate.core.capture import Reading
from portgate.core.cgroup import Place, place
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.listener import (
    Endpoint,
    Listener,
    Local,
    Process,
    Sockets,
    assume_dual,
    count_connections,
    unmap,
)
from portgate.core.net import DCCP, SCTP, TCP, UDP, UDPLITE, Family, parse_address

KINDS = ("linux-sockets",)
SCHEMA = 1

Row = tuple[str | None, int, str | None, bool | None, int, int | None, int]
"""A socket: address, port (raw: IP protocol; packet: EtherType), device, IPV6_V6ONLY, inode, user id, cgroup id."""

Connections = list[tuple[str, int, str | None, int]]
"""Local address, port, device, and how many connections are established there."""

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "udplite": UDPLITE, "sctp": SCTP, "dccp": DCCP}
_KIND_OF = {name: "datagram" if name.startswith("udp") else "stream" for name in _PROTOCOLS} | {
    "raw": "raw",
    "packet": "packet",
}
_NOWHERE = Place(None, None)


def parse(reading: Reading) -> Sockets:
    """All listeners of the host. Errors: PortgateError (PG445) when the text was damaged."""
    try:
        content = json.loads(reading.text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA}")
        listeners = sorted(_listeners(content), key=attrgetter("sort_key"))
        return Sockets(tuple(listeners), tuple(_notes(content)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise PortgateError(_damaged(reading, error)) from error


def _damaged(reading: Reading, error: Exception) -> Diagnostic:
    detail = f"{reading.source} is no list of sockets that portgate wrote: {type(error).__name__}: {error}"
    return Diagnostic("PG445", detail, remedy="take it again with `portgate capture`")


def _listeners(content: Mapping[str, Any]) -> Iterator[Listener]:
    rows = [(name, row) for name, rows in content["sockets"].items() for row in rows]
    endpoints = assume_dual([_endpoint(name, row) for name, row in rows])
    counts = count_connections(endpoints, _established(content["established"]))
    holders = _holders(content)
    users = _users(content)
    places = {cgroup: place(path) for cgroup, path in content["cgroups"].items()}
    for (name, row), endpoint in zip(rows, endpoints, strict=True):
        _, _, _, _, inode, user, cgroup = row
        protocol, family, address, port, dual, device = endpoint
        held = holders.get(str(inode), ())
        unit, container = (None, None) if held else places.get(str(cgroup), _NOWHERE)
        yield Listener(
            _KIND_OF[name], protocol, family, address, port, bool(dual), device, held,
            counts.get(endpoint, 0), inode, users.get(str(user)), unit, container,
        )  # fmt: skip


def _endpoint(name: str, row: Row) -> Endpoint:
    address, port, device, v6only, _, _, _ = row
    if not 0 <= port <= 0xFFFF or not (device is None or isinstance(device, str)):
        raise ValueError(f"{row!r} is no socket")
    if address is None:
        return port, None, None, None, False, device
    family, number = _address(address)
    dual = False if family is Family.IPV4 or number else (None if v6only is None else not v6only)
    if name == "raw":
        return port, family, number or None, None, False, device
    return _PROTOCOLS[name], family, number or None, port, dual, device


@cache
def _address(text: str) -> tuple[Family, int]:
    return unmap(*parse_address(text))


def _established(sections: Mapping[str, Connections]) -> dict[Local, int]:
    """By near end. Two rows can have one: 192.0.2.1 and ::ffff:192.0.2.1."""
    counts: dict[Local, int] = {}
    for name, connections in sections.items():
        for address, port, device, count in connections:
            local = (_PROTOCOLS[name], *_address(address), port, device)
            counts[local] = counts.get(local, 0) + count
    return counts


def _holders(content: Mapping[str, Any]) -> dict[str, tuple[Process, ...]]:
    """The processes that hold each inode."""
    users = _users(content)
    known: dict[int, Process] = {}
    for pid, (program, user, cgroup, package) in content["processes"].items():
        unit, container = place(cgroup)
        name = None if package is None else str(package)
        known[int(pid)] = Process(int(pid), str(program), users.get(str(user)), unit, container, name)
    return {inode: tuple(known[pid] for pid in pids if pid in known) for inode, pids in content["owners"].items()}


def _users(content: Mapping[str, Any]) -> dict[str, str]:
    return {user: str(name) for user, name in content["users"].items()}


def _notes(content: Mapping[str, Any]) -> Iterator[Diagnostic]:
    if content["hidden"]:
        yield Diagnostic(
            "PG440",
            "processes of other users hold some of the sockets",
            remedy="run as root, outside of a container or sandbox",
        )
    if content["fallbacks"]:
        names = ", ".join(content["fallbacks"])
        why = next(iter(content["fallbacks"].values()))
        yield Diagnostic("PG441", f"netlink sock_diag does not tell of {names} sockets ({why}); read /proc/net")
    for name, why in content["unseen"].items():
        remedy = f"as root: modprobe {name}_diag" if name in ("sctp", "dccp") else "run as root, outside of a sandbox"
        yield Diagnostic("PG442", f"sockets of {name} are not known: {why}", remedy=remedy)
