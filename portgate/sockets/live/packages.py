"""Which package installed a program, asked from dpkg or rpm, all programs at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SECONDS = 20
_PATTERN = frozenset("*?[]\\")  # dpkg-query takes these for a pattern


def packages(pids: Iterable[int]) -> dict[int, str]:
    """The package of each process that runs a program of this host's packages.

    A process in another mount namespace is passed over: its program is a file of its container, not of the host.
    """
    programs = {pid: program for pid in pids if (program := _program(pid))}
    paths = sorted(set(programs.values()))
    owners = _ask_dpkg(paths) | _ask_rpm(paths)
    return {pid: owners[program] for pid, program in programs.items() if program in owners}


def _program(pid: int) -> str | None:
    try:
        if Path(f"/proc/{pid}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink():
            return None
        return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return None


def _ask_dpkg(paths: list[str]) -> dict[str, str]:
    """Lines of `dpkg-query -S` are `package[:arch][, package...]: path`."""
    asked = {name: path for path in paths if not _PATTERN & set(path) for name in _names(path)}
    found: dict[str, str] = {}
    for line in _run("dpkg-query", "-S", "--", *asked):
        owners, separator, name = line.partition(": ")
        if separator and name in asked and not owners.startswith("diversion by "):
            found[asked[name]] = owners.split(",")[0].split(":")[0]
    return found


def _names(path: str) -> Iterable[str]:
    """Where /bin is a link to /usr/bin, dpkg may know a file of /usr/bin by its old name."""
    yield path
    old = path.removeprefix("/usr")
    if old != path and Path(old).exists() and Path(old).samefile(path):
        yield old


def _ask_rpm(paths: list[str]) -> dict[str, str]:
    """One run a path: rpm's answers do not name the file they are about."""
    if not shutil.which("rpm") or not Path("/var/lib/rpm").exists():
        return {}
    answers = {path: list(_run("rpm", "-qf", "--queryformat", "%{NAME}\\n", path)) for path in paths}
    return {path: lines[0] for path, lines in answers.items() if lines and " " not in lines[0]}


def _run(program: str, *arguments: str) -> Iterable[str]:
    """The lines that it prints; none when it is not there, or does not end."""
    if not shutil.which(program):
        return []
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
