"""The guard: how it is started, when it acts, and that nothing that may happen to it keeps the old rules away."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portgate.apply import boot, finish, guard, journal, lock, record
from portgate.apply.journal import Entry, Phase
from portgate.apply.state import State, opened
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from tests.apply.test_breaking import BreakingSession, Faults, Host, World, apply, broken

OLD = Reading("fake", "old", "test")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A host on which an apply waits for its confirmation, behind its deadline."""
    world = World(tmp_path / "state", Host(), Faults())
    with broken(world), opened(world.directory) as state:
        apply(world, state, window=0)
        assert world.host.rules == "new"
        yield world


@pytest.fixture
def state(world: World) -> Iterator[State]:
    with opened(world.directory) as state:
        yield state


def waiting(state: State) -> Entry:
    entry = journal.current(state)
    assert entry is not None
    return entry


def watch(world: World, state: State, session: BreakingSession | None = None) -> list[float]:
    """The naps that it took."""
    naps: list[float] = []
    guard.watch(state, waiting(state), session or world.backend.session(), OLD, sleep=naps.append)
    return naps


class Refusing(BreakingSession):
    """A kernel that refuses so many loads."""

    def __init__(self, world: World, times: int, error: Exception) -> None:
        super().__init__(world.host, Faults())
        self.left, self.error = times, error

    def load(self, artifact: Artifact) -> None:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        super().load(artifact)


REFUSALS = [PortgateError(Diagnostic("PG531", "busy")), OSError("no descriptors")]


@pytest.mark.parametrize("error", REFUSALS, ids=["refused", "out of descriptors"])
def test_it_tries_again_where_the_kernel_refuses(world: World, state: State, error: Exception) -> None:
    assert watch(world, state, Refusing(world, 3, error)) == [1, 1, 1]
    assert (world.host.rules, journal.current(state)) == ("old", None)
    assert finish.undone(state) == ("web", "nobody confirmed it in time")


def test_it_gives_up_at_last_and_the_next_command_goes_on(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_TRIES", 3)
    assert watch(world, state, Refusing(world, 99, REFUSALS[0])) == [1, 1, 1]
    assert world.host.rules == "new"
    assert [one.code for one in finish.settle(state)[1]] == ["PG547"]
    assert world.host.rules == "old"


def test_it_acts_without_a_lock_that_nobody_gives_back(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_LOCK_PATIENCE", 0.05)
    with opened(world.directory) as other, lock.exclusive(other, lambda: None):
        watch(world, state)
    assert world.host.rules == "old"


def test_a_confirmation_that_holds_the_lock_for_long_still_counts(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down, but whoever wrote it is slow to give the lock back."""
    monkeypatch.setattr(guard, "_LOCK_PATIENCE", 0.05)
    entry = waiting(state)

    def confirm_first(state: State, on_wait: Callable[[], None], patience: float) -> object:
        journal.save(state, replace(entry, phase=Phase.CONFIRMED))
        raise PortgateError(Diagnostic("PG521", "it waits"))

    monkeypatch.setattr(lock, "exclusive", confirm_first)
    watch(world, state)
    assert world.host.rules == "new"


def test_a_journal_that_cannot_be_read_counts_as_not_confirmed(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = waiting(state)
    state.write(journal.FILE, b"nonsense")
    assert guard.is_on_duty(state, entry)


def test_in_another_boot_it_touches_nothing(world: World, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "host_identity", lambda: "another/1")
    watch(world, state)
    assert world.host.rules == "new"


def test_a_full_disk_does_not_keep_the_old_rules_away(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(state: State) -> None:
        raise PortgateError(Diagnostic("PG520", "no space"))

    monkeypatch.setattr(journal, "remove", refused)
    watch(world, state)
    assert world.host.rules == "old"


# ------------------------------------------------------------------ its process


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The signals and the folder of this process stay as they are."""
    monkeypatch.chdir(Path.cwd())
    kept = {one: signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE)}
    yield
    for one, handler in kept.items():
        signal.signal(one, handler)


@pytest.mark.usefixtures("quiet")
def test_its_process_says_that_it_is_ready_and_restores_at_the_deadline(world: World, state: State) -> None:
    name = waiting(state).id
    assert guard.main([str(world.directory), name]) == 0
    assert state.read(guard.READY) == name.encode()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert (world.host.rules, Path.cwd()) == ("old", Path("/"))


@pytest.mark.usefixtures("quiet")
def test_it_detaches_by_leaving_its_parent(world: World, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: 4242)
    assert guard.main([str(world.directory), waiting(state).id, "--detach"]) == 0
    assert world.host.rules == "new"
    monkeypatch.setattr(os, "fork", lambda: 0)
    assert guard.main([str(world.directory), waiting(state).id, "--detach"]) == 0
    assert world.host.rules == "old"


@pytest.mark.usefixtures("quiet")
def test_it_is_no_guard_of_another_apply(world: World, state: State) -> None:
    assert guard.main([str(world.directory), "another"]) == 1
    finish.undo(state, waiting(state), "somebody rolled it back")
    assert guard.main([str(world.directory), "another"]) == 1
    assert state.read(guard.READY) is None


@pytest.mark.usefixtures("quiet")
def test_it_is_a_program(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["guard", str(world.directory), "another"])
    monkeypatch.delitem(sys.modules, guard.__name__)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(guard.__name__, run_name="__main__")
    assert ended.value.code == 1


# ------------------------------------------------------------------ who starts it


def starting(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    monkeypatch.setattr(guard, "command_of", lambda directory, name: list(command))
    monkeypatch.setattr(guard, "_PATIENCE", 5.0)


def test_an_apply_waits_until_it_is_ready(world: World, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = waiting(state)
    ready = f"(sleep 0.05; printf %s {entry.id} >{world.directory}/guard) &"
    starting(monkeypatch, "sh", "-c", ready)
    guard.arm(state, entry)
    assert state.read(guard.READY) == entry.id.encode()


@pytest.mark.parametrize(
    ("command", "patience", "why"),
    [
        (["/nowhere/python"], 5.0, "No such file"),
        (["sh", "-c", "exit 3"], 5.0, "ended with status 3"),
        (["true"], 0.05, "did not start within"),
        (["sleep", "9"], 0.05, "timed out"),
    ],
)
def test_a_guard_that_does_not_come_up_is_told(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch, command: list[str], patience: float, why: str
) -> None:
    starting(monkeypatch, *command)
    monkeypatch.setattr(guard, "_PATIENCE", patience)
    with pytest.raises(PortgateError, match=why) as refused:
        guard.arm(state, waiting(state))
    assert [one.code for one in refused.value.diagnostics] == ["PG546"]


@pytest.mark.parametrize(("systemd", "machine"), [(True, True), (True, False), (False, True)])
def test_it_is_a_unit_of_systemd_where_that_runs_in_this_network_namespace(
    systemd: bool, machine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_SYSTEMD", tmp_path if systemd else tmp_path / "nothing")
    monkeypatch.setattr(boot, "in_machine", lambda: machine)
    command = guard.command_of("/state", "1a2b")
    program = [sys.executable, "-m", "portgate.apply.guard", "/state", "1a2b"]
    if systemd and machine:
        assert command[0] == "systemd-run"
        assert "--unit=portgate-guard-1a2b" in command
        assert command[-len(program) :] == program
    else:
        assert command == [*program, "--detach"]
