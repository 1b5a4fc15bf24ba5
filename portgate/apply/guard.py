"""The guard: a process of its own that restores the old rules at the deadline, unless it is told to stand down.

Theory
    Whoever applied may be cut off by what was applied, so the guard needs nobody: it is detached from terminal, session and parent,
    and has loaded all that it needs before anything is changed. It reads the journal again and again. When the
    journal is gone, is another's, or is confirmed, the guard ends; so of two guards one at most has anything to do. A
    journal that can't be read counts as not confirmed.

Facts
    systemd ends the processes of a login session with it where KillUserProcesses= is set (logind.conf(5)); a transient
    unit of systemd-run(1) is not one of them. Such a unit runs in the network namespace of the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from portgate import backends
from portgate.apply import boot, finish, journal, lock, record, state
from portgate.apply.journal import Entry, Phase
from portgate.backends import Session
from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, PortgateError

READY = "guard"
_PATIENCE = 20.0  # until it has started
_LOCK_PATIENCE = 10.0  # an apply that holds the lock longer than this does not answer any more
_PAUSE = 0.2
_TRIES = 300
_SYSTEMD = Path("/run/systemd/system")


# ------------------------------------------------------------------ who applies


def arm(opened: state.State, entry: Entry) -> None:
    """Starts a guard for the journal that is there, and waits until it is ready. Errors: PortgateError PG546."""
    command = command_of(os.path.realpath(opened.path), entry.id)
    environment = {**os.environ, "PYTHONPATH": _package_path()}
    try:
        starter = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=environment,
        )  # fmt: skip
        status = starter.wait(_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PortgateError(Diagnostic("PG546", f"{command[0]}: {error}")) from error
    if status != 0:
        raise PortgateError(Diagnostic("PG546", f"{command[0]} ended with status {status}"))
    deadline = time.monotonic() + _PATIENCE
    while opened.read(READY) != entry.id.encode():
        if time.monotonic() > deadline:
            raise PortgateError(Diagnostic("PG546", f"it did not start within {_PATIENCE:.0f} seconds"))
        time.sleep(0.005)


def command_of(directory: str, name: str) -> list[str]:
    """How the guard is started: as a unit of systemd where that runs in this network namespace."""
    program = [sys.executable, "-m", "portgate.apply.guard", directory, name]
    if _SYSTEMD.exists() and boot.in_machine():
        unit = ["systemd-run", "--quiet", "--collect", f"--unit=portgate-guard-{name}"]
        return [*unit, f"--setenv=PYTHONPATH={_package_path()}", "--property=IgnoreSIGPIPE=yes", *program]
    return [*program, "--detach"]


def _package_path() -> str:
    return os.pathsep.join(dict.fromkeys([str(Path(__file__).parents[2]), *filter(None, sys.path)]))


# ------------------------------------------------------------------ the guard itself


def main(arguments: Sequence[str]) -> int:
    """**Shape** the state directory, the id of the journal, and perhaps `--detach`."""
    directory, name, *detach = arguments
    if detach and os.fork():
        return 0
    for one in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(one, signal.SIG_IGN)
    with state.opened(directory) as opened:
        entry = journal.current(opened)
        snapshot = journal.snapshot(opened)
        if entry is None or entry.id != name or snapshot is None:
            return 1
        session = backends.get(entry.backend).session()
        journal.undoing(backends.get(entry.backend), snapshot, entry)  # it can, and all that it needs for it is loaded
        os.chdir("/")
        opened.write(READY, name.encode())
        watch(opened, entry, session, snapshot)
    return 0


def watch(
    opened: state.State, entry: Entry, session: Session, snapshot: Reading, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Waits for the deadline, or for the confirmation; then restores, until that succeeds or makes no sense any more."""
    while is_on_duty(opened, entry) and (entry.left or 0) > 0:
        sleep(min(_PAUSE, max(entry.left or 0, 0)))
    for _ in range(_TRIES):
        if not is_on_duty(opened, entry) or _restored(opened, entry, session, snapshot):
            return
        sleep(1)


def is_on_duty(opened: state.State, entry: Entry) -> bool:
    """Whether the journal is still that of this guard, and not confirmed."""
    try:
        found = journal.current(opened)
    except PortgateError:
        return True
    return found is not None and found.id == entry.id and found.phase is not Phase.CONFIRMED


def _restored(opened: state.State, entry: Entry, session: Session, snapshot: Reading) -> bool:
    try:
        with lock.exclusive(opened, _nobody, _LOCK_PATIENCE):
            return _relieved_or_restored(opened, entry, session, snapshot)
    except PortgateError:  # who holds the lock does not answer; it may have confirmed all the same
        return _relieved_or_restored(opened, entry, session, snapshot)


def _relieved_or_restored(opened: state.State, entry: Entry, session: Session, snapshot: Reading) -> bool:
    return not is_on_duty(opened, entry) or _restore(opened, entry, session, snapshot)


def _restore(opened: state.State, entry: Entry, session: Session, snapshot: Reading) -> bool:
    if entry.host != record.host_identity():
        return True
    try:
        session.load(journal.undoing(backends.get(entry.backend), snapshot, entry))
    except (PortgateError, OSError):  # out of memory or descriptors for now, it may be
        return False
    with suppress(PortgateError):  # the old rules are in force; who reads the journal next undoes it once more
        journal.remove(opened)
    finish.remember_undone(opened, entry, "nobody confirmed it in time")
    return True


def _nobody() -> None:
    """Nobody is told that the guard waits."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
