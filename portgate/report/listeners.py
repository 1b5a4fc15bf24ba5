"""Listeners as a table for people and as fields for programs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from portgate.core.listener import Listener, Process
from portgate.core.net import format_address, protocol_name

HEADER = ("PROTO", "ADDRESS", "PROCESS", "USER", "UNIT", "CONTAINER", "PACKAGE", "CONNECTIONS")


def row(one: Listener) -> tuple[str, ...]:
    """The cells under `HEADER`."""
    programs, users, units, containers, packages = _holders(one.processes)
    connections = str(one.connections) if one.connections else ""
    return (
        protocol(one), one.where, programs, users or one.user or "", units or one.unit or "",
        containers or one.container or "", packages, connections,
    )  # fmt: skip


@lru_cache
def _holders(processes: tuple[Process, ...]) -> tuple[str, str, str, str, str]:
    """The cells that tell of them. Many sockets are held by the same ones."""
    return (
        _distinct(f"{process.program}({process.pid})" for process in processes),
        _distinct(process.user for process in processes),
        _distinct(process.unit for process in processes),
        _distinct(process.container for process in processes),
        _distinct(process.package for process in processes),
    )


def fields(one: Listener) -> dict[str, object]:
    """**Shape** of JSON: `address` null is the wildcard; `families` are those in which packets can reach it."""
    address = None if one.family is None or one.address is None else format_address(one.family, one.address)
    return {
        "kind": one.kind,
        "protocol": protocol(one),
        "families": [int(family) for family in one.families],
        "address": address,
        "port": one.port,
        "device": one.device,
        "connections": one.connections,
        "user": one.user,
        "unit": one.unit,
        "container": one.container,
        "processes": [_process_fields(process) for process in one.processes],
    }


def protocol(one: Listener) -> str:
    """`tcp`, `raw/icmp`, `packet/0x88cc`."""
    match one.kind:
        case "raw":
            return f"raw/{protocol_name(one.protocol)}"
        case "packet":
            return f"packet/{one.protocol:#06x}"
    return protocol_name(one.protocol)


def _process_fields(process: Process) -> dict[str, object]:
    return {name: getattr(process, name) for name in ("pid", "program", "user", "unit", "container", "package")}


def _distinct(values: Iterable[str | None]) -> str:
    return " ".join(dict.fromkeys(value for value in values if value))
