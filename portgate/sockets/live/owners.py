"""Who holds a socket: the descriptors of all processes, read through /proc.

Theory
    A readlink per descriptor is the cost of this, and servers open their listeners early. So the low descriptors of
    every process are read first, then bands that each reach four times as far, until every socket has an owner; the
    descriptors of thousands of connections are then never looked at. Within a band all holders of a socket are
    found, not just the first.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from portgate.core.cgroup import path_of

_FIRST_BAND = 32


class Owners(NamedTuple):
    """`held` maps inodes to the processes that hold them. `denied`: some process did not show its descriptors."""

    held: dict[int, list[int]]
    denied: bool


def search(inodes: Iterable[int]) -> Owners:
    """The owners of sockets. Processes that end meanwhile are passed over."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    held: dict[int, list[int]] = {}
    denied = False
    pids = sorted(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    first, end = 0, _FIRST_BAND
    while pids and len(held) < len(wanted):
        refused, pids = _search_band((first, end), pids, wanted, held)
        denied = denied or refused
        first, end = end, 4 * end
    return Owners(held, denied)


def _search_band(
    band: tuple[int, int], pids: list[int], wanted: dict[str, int], held: dict[int, list[int]]
) -> tuple[bool, list[int]]:
    """Adds to `held`. **Shape** whether a process refused, and those that have descriptors beyond this band."""
    refused = False
    deeper: list[int] = []
    for pid in pids:
        try:
            for target in _descriptors(pid, band, deeper):
                inode = wanted.get(target)
                if inode is None:
                    continue
                holders = held.setdefault(inode, [])
                if pid not in holders:
                    holders.append(pid)
        except PermissionError:
            refused = True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return refused, deeper


def _descriptors(pid: int, band: tuple[int, int], deeper: list[int]) -> Iterator[str]:
    """What the descriptors in the band point to. /proc lists them in ascending order."""
    first, end = band
    folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                number = int(entry.name)
                if number >= end:
                    deeper.append(pid)
                    return
                if number >= first:
                    try:
                        yield os.readlink(entry.name, dir_fd=folder)
                    except FileNotFoundError:
                        continue
    finally:
        os.close(folder)


class Holder(NamedTuple):
    """What /proc tells of a process. `user` is its effective user id."""

    program: str
    user: int
    cgroup: str


def describe(pids: Iterable[int]) -> dict[int, Holder]:
    """Those of the processes that are still there and described as Linux does it."""
    found = {}
    for pid in pids:
        try:
            found[pid] = _holder(_read(f"/proc/{pid}/status"), _read(f"/proc/{pid}/cgroup"))
        except (OSError, ValueError, LookupError):  # it has ended, or a sandbox writes other files
            continue
    return found


def _holder(status: str, cgroup: str) -> Holder:
    fields = dict(line.split(":\t", 1) for line in status.split("\n") if ":\t" in line)  # names may hold \x0c
    return Holder(fields["Name"], int(fields["Uid"].split()[1]), path_of(cgroup))


def user_name(user: int) -> str:
    """The name, or the number where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def cgroup_paths(ids: Iterable[int]) -> dict[int, str]:
    """The paths of control groups by id, which is the inode of their directory."""
    missing = set(ids) - {0}
    root = _cgroup2() if missing else None
    found: dict[int, str] = {}
    pending = [root] if root else []
    while pending and missing:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for entry in below:
            if entry.inode() in missing:
                missing.discard(entry.inode())
                found[entry.inode()] = entry.path.removeprefix(root or "")
        pending.extend(entry.path for entry in below)
    return found


def _cgroup2() -> str | None:
    """Where version 2 of the control groups is mounted."""
    mounts = (line.partition(" - ") for line in _read("/proc/self/mountinfo").split("\n"))
    return next((before.split()[4] for before, _, after in mounts if after.startswith("cgroup2 ")), None)


def _read(path: str) -> str:
    with open(path, errors="backslashreplace") as file:  # noqa: PTH123 - importing pathlib takes as long as the rest of this
        return file.read()
