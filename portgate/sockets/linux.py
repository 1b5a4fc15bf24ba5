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
from collections.abc import Iterable, Mapping
from functools import cache
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
_KIND_OF = {"udp": "datagram", "udplite": "datagram", "raw": "raw", "packet": "packet"}


def parse(reading: Reading) -> Sockets:
    """All listeners of the host. Errors: PortgateError (PG445) when the text was damaged."""
    try:
        content = json.loads(reading.text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA}")
        return Sockets(tuple(sorted(_listeners(content), key=lambda one: one.sort_key)), tuple(_notes(content)))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise PortgateError(_damaged(reading, error)) from error


def _damaged(reading: Reading, error: Exception) -> Diagnostic:
    detail = f"{reading.source} is no list of sockets that portgate wrote: {type(error).__name__}: {error}"
    return Diagnostic("PG445", detail, remedy="take it again with `portgate capture`")


def _listeners(content: Mapping[str, Any]) -> Iterable[Listener]:
    kinds = [_KIND_OF.get(name, "stream") for name, rows in content["sockets"].items() for _ in rows]
    rows = [row for rows in content["sockets"].values() for row in rows]
    told = [_endpoint(name, row) for name, rows in content["sockets"].items() for row in rows]
    endpoints = assume_dual(told) if any(one[4] is None for one in told) else told
    counts = count_connections(endpoints, _established(content["established"]))
    holders = _holders(content)
    users, cgroups = content["users"], content["cgroups"]
    nobody: tuple[Process, ...] = ()
    nowhere = Place(None, None)
    places = {key: place(path) for key, path in cgroups.items()}
    for kind, row, endpoint in zip(kinds, rows, endpoints, strict=True):
        _, _, _, _, inode, user, cgroup = row
        unit, container = places.get(str(cgroup), nowhere)
        yield Listener(
            kind,
            *endpoint,  # type: ignore[arg-type]
            holders.get(str(inode), nobody),
            counts.get(endpoint, 0),
            inode,
            users.get(str(user)),
            unit,
            container,
        )


def _endpoint(name: str, row: Row) -> Endpoint:
    address, port, device, v6only, _, _, _ = row
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
    return {
        (_PROTOCOLS[name], *_address(address), port, device): count
        for name, connections in sections.items()
        for address, port, device, count in connections
    }


def _holders(content: Mapping[str, Any]) -> dict[str, tuple[Process, ...]]:
    """The processes that hold each inode."""
    users = content["users"]
    known: dict[int, Process] = {}
    for pid, (program, user, cgroup, package) in content["processes"].items():
        unit, container = place(cgroup)
        known[int(pid)] = Process(int(pid), program, users.get(str(user)), unit, container, package)
    return {inode: tuple(known[pid] for pid in pids if pid in known) for inode, pids in content["owners"].items()}


def _notes(content: Mapping[str, Any]) -> Iterable[Diagnostic]:
    if content["hidden"]:
        yield Diagnostic(
            "PG440", "processes of other users hold some of the sockets", remedy="run as root to see who they are"
        )
    if content["fallbacks"]:
        names = ", ".join(content["fallbacks"])
        why = next(iter(content["fallbacks"].values()))
        yield Diagnostic("PG441", f"netlink sock_diag does not tell of {names} sockets ({why}); read /proc/net")
    for name, why in content["unseen"].items():
        yield Diagnostic(
            "PG442", f"sockets of {name} are not known: {why}", remedy=f"as root: modprobe {name}_diag, then try again"
        )
