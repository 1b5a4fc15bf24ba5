"""The sockets of a host as its own programs list them: on systems other than Linux, and where the kernel does not tell.

Facts
    sockstat of FreeBSD, DragonFly and NetBSD and pfiles of Solaris tell everything at once. fstat of OpenBSD does not tell which
    TCP sockets listen, its netstat does not tell whose they are. lsof of macOS shows other users' sockets to root only,
    its netstat shows all. pfiles stops each process for a moment (proc(1)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from portgate.core.capture import Capture, Reading
from portgate.core.diagnostics import Diagnostic

_SECONDS = 60


class Listing(NamedTuple):
    """A program's output, and the kind of reading that it is."""

    kind: str
    command: tuple[str, ...]


_SOCKSTAT = Listing("sockstat", ("sockstat", "-46ln"))
_BSD_NETSTAT = Listing("netstat-bsd", ("netstat", "-an"))
_FSTAT = Listing("fstat", ("fstat", "-n"))
_LSOF = Listing("lsof", ("lsof", "-nP", "-i"))

WAYS: dict[str, tuple[tuple[Listing, ...], ...]] = {
    "Linux": ((Listing("ss", ("ss", "-tulpne")),), (Listing("netstat-linux", ("netstat", "-tulpneW")),), (_LSOF,)),
    "FreeBSD": ((_SOCKSTAT,), (_LSOF,), (_BSD_NETSTAT,)),
    "DragonFly": ((_SOCKSTAT,), (_BSD_NETSTAT,)),
    "NetBSD": ((_SOCKSTAT,), (_FSTAT,), (_BSD_NETSTAT,)),
    "OpenBSD": ((_BSD_NETSTAT, _FSTAT), (_FSTAT,)),
    "Darwin": ((Listing("netstat-macos", ("netstat", "-anv")), _LSOF), (_LSOF,)),
    "SunOS": ((Listing("pfiles", ("pfiles",)),), (_LSOF,)),
}
"""By the name of the system: what to read, the most telling first. The listings of one way are read together."""


def capture(system: str, processes: Path = Path("/proc")) -> Capture:
    """What the first way tells whose programs are all here; else what the first tells that is here at all."""
    ways = WAYS.get(system, ((_LSOF,), (_BSD_NETSTAT,)))
    present = [[one for one in way if shutil.which(one.command[0])] for way in ways]
    chosen = next((way for way, all_of_it in zip(present, ways, strict=True) if len(way) == len(all_of_it)), None)
    chosen = chosen or next(filter(None, present), [])
    parts = [_run(one, processes) for one in chosen]
    readings = tuple(part for part in parts if isinstance(part, Reading))
    notes = tuple(part for part in parts if isinstance(part, Diagnostic))
    if not chosen:
        names = ", ".join(dict.fromkeys(one.command[0] for way in ways for one in way))
        notes = (Diagnostic("PG421", f"sockets: none of {names} is here"),)
    return Capture(readings, notes)


def _run(listing: Listing, processes: Path) -> Reading | Diagnostic:
    command = [*listing.command, *(_every(processes) if listing.kind == "pfiles" else ())]
    shown = " ".join(listing.command)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Diagnostic("PG421", f"`{shown}`: {error}")
    if not done.stdout:
        return Diagnostic("PG421", f"`{shown}` printed nothing: {_last(done.stderr)}")
    return Reading(listing.kind, done.stdout, f"`{shown}`")


def _every(processes: Path) -> Iterator[str]:
    yield from sorted((one.name for one in processes.iterdir() if one.name.isdigit()), key=int)


def _last(complaint: str) -> str:
    lines: Sequence[str] = complaint.strip().splitlines()
    return lines[-1][:200] if lines else "nothing was said why"
