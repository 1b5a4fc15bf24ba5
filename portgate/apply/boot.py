"""What the machine loads when it starts: the confirmed rules, before its network comes up and without Python.

Theory
    The service loads two texts, one after the other. The first closes everything but the management; the second replaces it by
    the policy's rules. If the second can't be loaded, the first stays: closed, yet reachable. Which programs load a text is for
    its backend to say; each gets a file. What is opened for a time is added behind them, for as long as it has left by the
    clock of the machine.

Facts
    What must be there before a network is goes before network-pre.target and wants it (systemd.special(7)). The services
    of the distributions, nftables.service and its like, begin with `flush ruleset`, so ours comes after them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from portgate import backends
from portgate.apply import history
from portgate.apply.history import Generation
from portgate.apply.record import Kept
from portgate.apply.state import State
from portgate.core.capture import Step
from portgate.core.diagnostics import Diagnostic, PortgateError

RULES, CLOSED, OPENED = "boot", "closed", "opened.sh"
_UNIT = """\
# Made by portgate; `portgate apply` writes it anew.
[Unit]
Description=Firewall rules of portgate
DefaultDependencies=no
RequiresMountsFor={directory}
After=nftables.service netfilter-persistent.service firewalld.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=TZ=UTC
{commands}
ExecStart=-/bin/sh {directory}/{opened}

[Install]
WantedBy=sysinit.target
"""
_OPENRC = """\
#!/sbin/openrc-run
# Made by portgate; `portgate apply` writes it anew.
description="Firewall rules of portgate"

depend() {{
    need localmount
    after nftables iptables
    before net
}}

start() {{
    ebegin "Loading the rules of portgate"
    {commands}
    eend $? && /bin/sh {directory}/{opened}
}}
"""


_OPENING = """\
# Made by portgate: what was opened for a time is opened again, for as long as it has left.
now=$(date +%s)
open() {{  # SET KEY NAME UNTIL
    [ "$now" -ge {since} ] && [ "$now" -lt "$4" ] || return 0  # a clock that is behind proves nothing
    {nft} "add element inet portgate $1 {{ $2 timeout $(($4 - now))s comment \\"$3\\" }}"
}}
"""


def root() -> Path | None:
    """Below which the machine's /etc lies: $PORTGATE_BOOT_ROOT, else /; None in a network namespace that is not the machine's."""
    if chosen := os.environ.get("PORTGATE_BOOT_ROOT"):
        return Path(chosen)
    return Path("/") if in_machine() else None


def in_machine() -> bool:
    """Whether this network namespace is that of the first process."""
    try:
        return Path("/proc/1/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return False


def install(state: State, generation: Generation, openings: Sequence[Kept], top: Path) -> tuple[Diagnostic, ...]:
    """Makes a generation what the machine starts with. What could not be written, as warnings."""
    steps = _steps(generation)
    try:
        state.write(OPENED, _script(openings).encode())
        for name, step in steps:
            state.write(name, step.text.encode(errors="surrogateescape"))
        for name in {*_written(state)} - {name for name, _ in steps}:
            state.remove(name)
        services = _install_services(state.path.resolve(), steps, top)
    except OSError as error:
        return (Diagnostic("PG550", f"{error.filename or top}: {error.strerror}"),)
    except PortgateError as error:
        return (Diagnostic("PG550", "; ".join(one.detail for one in error.diagnostics)),)
    if not services:
        return (Diagnostic("PG550", f"neither systemd nor OpenRC was found below {top}"),)
    return ()


def _script(openings: Sequence[Kept]) -> str:
    """The words of an opening are numbers, addresses and a name of plain letters, so they can be quoted."""
    if not openings:
        return ""
    calls = (f"open {one.set} '{one.key}' '{one.name}' {one.until}\n" for one in openings)
    return _OPENING.format(since=int(time.time()), nft=_nft()) + "".join(calls)


def _nft() -> str:
    return _program("nft")


def _program(name: str) -> str:
    return shutil.which(name) or f"/usr/sbin/{name}"


def _steps(generation: Generation) -> list[tuple[str, Step]]:
    """What is run when the machine starts, with the names of its files."""
    closing, opening = backends.get(generation.backend).starting(generation.closed, generation.artifact)
    return [(f"{name}.{step.suffix}", step) for name, steps in ((CLOSED, closing), (RULES, opening)) for step in steps]


def _install_services(directory: Path, steps: Sequence[tuple[str, Step]], top: Path) -> int:
    """**Shape** how many systems of starting services the machine has."""
    commands = [" ".join((_program(step.argv[0]), *step.argv[1:], f"{directory}/{name}")) for name, step in steps]
    names = {"directory": directory, "opened": OPENED}
    units, scripts, found = top / "etc/systemd/system", top / "etc/init.d", 0
    if units.is_dir():
        starts = "\n".join(f"ExecStart={command}" for command in commands)
        _write(units / "portgate.service", _UNIT.format(**names, commands=starts), 0o644)
        _link(units / "sysinit.target.wants" / "portgate.service", "../portgate.service")
        found += 1
    if scripts.is_dir() and (top / "sbin/openrc-run").exists():
        chain = " && ".join(f"TZ=UTC {command}" for command in commands)
        _write(scripts / "portgate", _OPENRC.format(**names, commands=chain), 0o755)
        _link(top / "etc/runlevels/boot/portgate", "/etc/init.d/portgate")
        found += 1
    return found


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all; not again where it is there already."""
    if path.is_file() and not path.is_symlink() and path.read_text(errors="replace") == text:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(mode)
    beside.replace(path)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target)


# ------------------------------------------------------------------ status


def told(state: State) -> str:
    """What the machine starts with, in words."""
    top = root()
    if top is None:
        return "nothing: this network namespace is not the machine's"
    enabled = [
        path
        for path in (
            top / "etc/systemd/system/sysinit.target.wants/portgate.service",
            top / "etc/runlevels/boot/portgate",
        )
        if path.is_symlink() and (path.parent / path.readlink()).exists()
    ]
    if not enabled or not _written(state):
        return "nothing of portgate's"
    return f"{_whose(state)}, by {enabled[0].name}"


def _written(state: State) -> list[str]:
    """The files of all steps."""
    return sorted(name for name in state.names() if name.startswith((f"{RULES}.", f"{CLOSED}.")))


def _whose(state: State) -> str:
    content = {name: state.read(name, limit=None) for name in _written(state)}
    for one in history.generations(state):
        if one.closed and content == {name: step.text.encode(errors="surrogateescape") for name, step in _steps(one)}:
            return f"{one.policy}, revision {one.revision}"
    return f"{state.path / min(content)}, which is of no generation that is kept"
