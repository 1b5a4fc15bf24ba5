"""Reading the sockets of the host that portgate runs on. The rest of `sockets` is pure; this acts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from portgate.core.capture import Capture, Reading
from portgate.sockets.linux import KINDS, SCHEMA, Connections, Row
from portgate.sockets.live import diag, owners, procnet

T = TypeVar("T")
Answers = dict[str, tuple[T | None, str | None]]
"""By protocol: what was found (None: nothing could be asked), and why not by netlink."""


def captured(with_packages: bool = False) -> Capture:
    """As the kernel itself tells it on Linux; elsewhere, and where it tells nothing, as the programs of the system do."""
    system = os.uname().sysname
    if system == "Linux":
        content = _content(with_packages)
        if not {"tcp", "udp"} <= content["unseen"].keys():
            return Capture((_reading(content),))
    from portgate.sockets.live import programs  # noqa: PLC0415 - subprocess is slow to import

    return programs.capture(system)


def capture(with_packages: bool = False) -> Reading:
    """All that listens in this network namespace of Linux, and who holds it, as far as this user may see."""
    return _reading(_content(with_packages))


def _reading(content: Mapping[str, Any]) -> Reading:
    return Reading(KINDS[0], json.dumps(content, separators=(",", ":")), "netlink sock_diag and /proc")


def _content(with_packages: bool) -> dict[str, Any]:
    devices = diag.Devices()
    answers: Answers[list[Row]] = {
        name: _ask(partial(diag.listening, name, devices), partial(procnet.listening, name)) for name in _protocols()
    }
    answers["packet"] = _ask(partial(diag.packet_sockets, devices), partial(procnet.packet_sockets, devices))
    sockets = {name: rows for name, (rows, _) in answers.items() if rows}
    return {
        "schema": SCHEMA,
        "sockets": sockets,
        "established": _established(sockets, devices),
        "fallbacks": {name: why for name, (rows, why) in answers.items() if rows and why},
        "unseen": {name: why for name, (rows, why) in answers.items() if rows is None},
        **_owners(list(chain.from_iterable(sockets.values())), with_packages),
    }


def _protocols() -> Iterable[str]:
    """Those that the kernel has loaded: to ask for another would make it load the module."""
    try:
        present = procnet.protocols()
    except OSError:
        present = frozenset({"tcp", "udp", "udplite", "raw"})
    return [name for name in diag.PROTOCOLS if name in present]


def _ask(netlink: Callable[[], T], files: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return netlink(), None
    except OSError as error:
        reason = str(error.strerror)
    try:
        return files(), reason
    except OSError:
        return None, reason


def _established(sockets: Mapping[str, list[Row]], devices: diag.Devices) -> dict[str, Connections]:
    found = {}
    for name in diag.STREAMS & sockets.keys():
        ports = {row[1] for row in sockets[name]}
        found[name], _ = _ask(
            partial(diag.established, name, ports, devices), partial(procnet.established, name, ports)
        )
    return {name: connections for name, connections in sorted(found.items()) if connections}


def _owners(rows: list[Row], with_packages: bool) -> dict[str, Any]:
    """The parts of the reading that tell who holds the sockets."""
    held, denied = owners.search(inode for _, _, _, _, inode, _, _ in rows if inode)
    orphans = [row for row in rows if row[4] not in held]
    holders = owners.describe(sorted(set(chain.from_iterable(held.values()))))
    packages = _packages(holders) if with_packages else {}
    users = {row[5] for row in rows} | {one.user for one in holders.values()}
    return {
        "owners": held,
        "processes": {pid: (*one, packages.get(pid)) for pid, one in holders.items()},
        "users": {user: owners.user_name(user) for user in users if user is not None},
        "cgroups": owners.cgroup_paths(row[6] for row in orphans),
        "hidden": bool(orphans) and (denied or os.geteuid() != 0),
    }


def _packages(pids: Iterable[int]) -> dict[int, str]:
    from portgate.sockets.live.packages import packages  # noqa: PLC0415 - rarely wanted, and subprocess is slow to import

    return packages(pids)
