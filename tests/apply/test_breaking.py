"""Everything that an apply does fails once: by an error, by an interrupt, by the end of the process before it or after it.

However it ends, the host has the old rules or the new ones, whole; and the next command finishes or undoes what was begun.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from portgate import backends
from portgate.apply import boot, finish, guard, history, journal, record
from portgate.apply import state as state_module
from portgate.apply.journal import Entry, Journal
from portgate.apply.record import Record
from portgate.apply.state import State, opened
from portgate.apply.transaction import Transition, observe, run
from portgate.core.capture import Artifact, Loaded, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Ruleset
from tests.apply.scripted import NEW, FakeBackend

EFFECTS = ("open", "fsync", "rename", "unlink", "mkdir", "listdir")


class Killed(BaseException):
    """The process is gone: nothing that it would do has an effect any more."""


@dataclass
class Host:
    """What outlives the process: the kernel."""

    rules: str = "old"
    changes: int = 0
    staged: bool = False
    """What has no effect yet was loaded."""


class Faults:
    """Counts effects; something happens at one of them."""

    def __init__(self, at: int | None = None, kind: str = "") -> None:
        self.count = 0
        self._at, self._kind = at, kind
        self._dead = False

    def effect(self, host: Host, act: Callable[[], object], failure: Callable[[int], BaseException]) -> object:
        if self._dead:
            raise Killed
        self.count += 1
        if self.count != self._at:
            return act()
        match self._kind:
            case "killed before" | "killed after":
                result = act() if self._kind == "killed after" else None
                self._dead = True
                raise Killed from result if isinstance(result, BaseException) else None
            case "interrupted":
                raise KeyboardInterrupt
            case "foreign writer":
                host.changes += 1
                return act()
            case _:
                raise failure(getattr(errno, self._kind))


KINDS = ("killed before", "killed after", "interrupted", "foreign writer", "ENOSPC", "EIO", "EPERM")


class BreakingSession:
    def __init__(self, host: Host, faults: Faults) -> None:
        self._host, self._faults = host, faults

    def _effect(self, act: Callable[[], object]) -> object:
        return self._faults.effect(
            self._host, act, lambda number: PortgateError(Diagnostic("PG531", os.strerror(number)))
        )

    def generation(self) -> str | None:
        return str(self._effect(lambda: self._host.changes))

    def read(self) -> tuple[Reading, ...]:
        return (self.read_own(),)

    def read_own(self) -> Reading:
        return Reading("fake", str(self._effect(lambda: self._host.rules)), "test")

    def outline_after(self, generation: str | None) -> Reading | None:
        def act() -> str | None:
            return self._host.rules if generation == str(self._host.changes - 2) else None

        found = self._effect(act)
        return None if found is None else Reading("fake", str(found), "test")

    def check(self, artifact: Artifact) -> None:
        raise AssertionError("nobody asks")

    def load(self, artifact: Artifact) -> None:
        """In two transactions, as for long lists: the first has no effect, and is taken back if the second is not made."""

        def stage() -> None:
            self._host.staged, self._host.changes = True, self._host.changes + 1

        def enforce() -> None:
            self._host.rules, self._host.staged, self._host.changes = artifact.text, False, self._host.changes + 1

        def take_back() -> None:
            self._host.staged, self._host.changes = False, self._host.changes + 1

        self._effect(stage)
        done = False
        try:
            self._effect(enforce)
            done = True
        finally:
            if not done:
                self._effect(take_back)


class BreakingBackend(FakeBackend):
    def __init__(self, host: Host, faults: Faults) -> None:
        self.host, self.faults = host, faults

    def session(self, loaded: Loaded | None = None) -> BreakingSession:  # type: ignore[override]
        return BreakingSession(self.host, self.faults)


class BreakingOs:
    """`os`, as the state directory uses it."""

    def __init__(self, host: Host, faults: Faults) -> None:
        self._host, self._faults = host, faults

    def __getattr__(self, name: str) -> object:
        if name not in EFFECTS:
            return getattr(os, name)
        real = _no_power_failure if name == "fsync" else getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            return self._faults.effect(
                self._host, lambda: real(*arguments, **named), lambda number: OSError(number, os.strerror(number))
            )

        return call


def _no_power_failure(*descriptors: object, **named: object) -> None:
    """What is not on the disk survives a killed process all the same."""


@dataclass
class World:
    """A process that may break, on a host that stays."""

    directory: Path
    host: Host
    faults: Faults

    @property
    def backend(self) -> BreakingBackend:
        return BreakingBackend(self.host, self.faults)


def means_new(live: Ruleset) -> tuple[Diagnostic, ...]:
    return () if live == NEW else (Diagnostic("PG902", "it is not new"),)


def prepared() -> history.Generation:
    return history.Generation(
        "web", (("web.yaml", "portgate: 1"),), "fake", "new", "2026-11-21", "me", "", "", "closed"
    )


def recorded(generation: str | None) -> Record:
    return Record("web", (("web.yaml", "0"),), "2026-11-21", "now", "fake", generation, record.host_identity())


def unguarded(state: State, entry: Entry) -> None:
    assert journal.current(state) == entry


# ------------------------------------------------------------------ what is broken


def apply(world: World, state: State, window: float | None = None) -> None:
    finish.require_free(state)
    backend = world.backend
    session = backend.session()
    steps = Journal(state, journal.new("web", "fake", "ssh"), window, prepared, recorded, unguarded)
    run(session, backend, Transition(observe(session, backend), NEW, backend.emit(NEW)), means_new, steps)
    if window is None:
        finish.confirm(state, steps.entry)


def confirm(world: World, state: State) -> None:
    finish.confirm_from(state, "another", same_session=False)


def undo(world: World, state: State) -> None:
    entry = journal.current(state)
    assert entry is not None
    finish.undo(state, entry, "somebody rolled it back")


def watch(world: World, state: State) -> None:
    entry = journal.current(state)
    snapshot = journal.snapshot(state)
    assert entry is not None
    assert snapshot is not None
    guard.watch(state, entry, world.backend.session(), snapshot, sleep=lambda seconds: None)


@dataclass(frozen=True)
class Scenario:
    """`before` runs unbroken; `ends` are the rules that it may end with once the next command has run."""

    name: str
    act: Callable[[World, State], None]
    before: Callable[[World, State], None] | None = None
    ends: frozenset[str] = frozenset({"old", "new"})


SCENARIOS = (
    Scenario("apply", apply),
    Scenario("apply on trial", partial(apply, window=1000)),
    Scenario("confirm", confirm, partial(apply, window=1000), frozenset({"new"})),
    Scenario("rollback of a trial", undo, partial(apply, window=1000)),
    Scenario("guard at the deadline", watch, partial(apply, window=0), frozenset({"old"})),
)


def attempt(scenario: Scenario, directory: Path, at: int | None = None, kind: str = "") -> tuple[Host, int, bool]:
    """The host after the scenario, the number of its effects, and whether it came to its end."""
    host, quiet = Host(), Faults()
    with broken(World(directory, host, quiet)), opened(directory) as state:
        if scenario.before:
            scenario.before(World(directory, host, quiet), state)
    faults = Faults(at, kind)
    world = World(directory, host, faults)
    came_to_its_end = False
    with suppress(Killed, KeyboardInterrupt, PortgateError), broken(world), opened(directory) as state:
        scenario.act(world, state)
        came_to_its_end = True
    return host, faults.count, came_to_its_end


def machine_of(directory: Path) -> Path:
    """Where a service could be installed."""
    machine = directory.parent / "machine"
    (machine / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    return machine


class broken:
    """The process of a world, for a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        self._patch.setattr(state_module, "os", BreakingOs(self._world.host, self._world.faults))
        self._patch.setattr(boot, "os", BreakingOs(self._world.host, self._world.faults))
        self._patch.setattr(boot, "root", lambda: machine_of(self._world.directory))
        self._patch.setattr(backends, "get", lambda name: self._world.backend)

    def __exit__(self, *error: object) -> None:
        self._patch.undo()


@cache
def effects(scenario: Scenario) -> int:
    with TemporaryDirectory() as directory:
        return attempt(scenario, Path(directory) / "state")[1]


def injections() -> Iterator[object]:
    for scenario in SCENARIOS:
        for at in range(1, effects(scenario) + 1):
            for kind in KINDS:
                yield pytest.param(scenario, at, kind, id=f"{scenario.name}: {kind} at {at}")


INJECTIONS = list(injections())


@pytest.mark.parametrize(("scenario", "at", "kind"), INJECTIONS)
def test_whatever_breaks_the_old_rules_or_the_new_ones_are_in_force(
    scenario: Scenario, at: int, kind: str, tmp_path: Path
) -> None:
    directory = tmp_path / "state"
    host, count, came_to_its_end = attempt(scenario, directory, at, kind)
    assert count >= at
    assert host.rules in ("old", "new")
    with broken(World(directory, host, Faults())), opened(directory) as state:
        waiting, _ = finish.settle(state)
        assert host.rules in scenario.ends
        assert not host.staged
        assert (journal.current(state) is None) == (waiting is None)
        kept = len(list(history.generations(state)))
        if waiting is None:
            assert kept == (host.rules == "new")
        else:
            assert (host.rules, kept) == ("new", 0)
        assert finish.settle(state) == (waiting, ())
        assert state.read(f"{boot.RULES}.fake") in (None, b"new")
        assert kept == 1 or state.read(f"{boot.RULES}.fake") is None
        left = {name for name in state.names() if not name.startswith(".")}
        assert left <= {
            "journal",
            "snapshot",
            "pending",
            "history",
            "applied.json",
            "undone",
            "lock",
            "boot.fake",
            "closed.fake",
            "opened.sh",
        }
        assert waiting is None or not came_to_its_end or scenario.name == "apply on trial"


def test_there_are_more_than_five_hundred_of_them() -> None:
    assert len(INJECTIONS) > 500


# ------------------------------------------------------------------ time


@pytest.mark.parametrize("jump", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_setting_the_time_of_day_moves_no_deadline(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    world = World(tmp_path, host, Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        waiting, told = finish.settle(state)
        assert (waiting is not None, told, host.rules) == (True, (), "new")


def test_a_journal_of_another_boot_is_closed_without_touching_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    world = World(tmp_path, host, Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        monkeypatch.setattr(record, "host_identity", lambda: "another-boot/1")
        host.rules, changes = "of the boot", host.changes
        waiting, told = finish.settle(state)
        assert (waiting, [one.code for one in told]) == (None, ["PG547"])
        assert (host.rules, host.changes) == ("of the boot", changes)
        assert journal.current(state) is None


def test_a_journal_of_another_network_namespace_stops_an_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, Host(), Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        boot = (record.host_identity() or "/").partition("/")[0]
        monkeypatch.setattr(record, "host_identity", lambda: f"{boot}/another")
        with pytest.raises(PortgateError, match="PG544"):
            finish.require_free(state)


# ------------------------------------------------------------------ two at once


def test_a_guard_leaves_an_apply_alone_that_is_not_its_own(tmp_path: Path) -> None:
    world = World(tmp_path, Host(), Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=0)
        stale = journal.current(state)
        assert stale is not None
        finish.undo(state, stale, "somebody rolled it back")
        apply(world, state, window=1000)
        guard.watch(state, stale, world.backend.session(), Reading("fake", "old", "test"), sleep=lambda seconds: None)
        assert world.host.rules == "new"


def test_a_guard_stands_down_when_it_is_confirmed(tmp_path: Path) -> None:
    world = World(tmp_path, Host(), Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        entry = journal.current(state)
        assert entry is not None
        nobody_fails = list[tuple[Diagnostic, ...]]()

        def confirm_meanwhile(seconds: float) -> None:
            nobody_fails.append(finish.confirm(state, entry))

        guard.watch(state, entry, world.backend.session(), Reading("fake", "old", "test"), sleep=confirm_meanwhile)
        assert (world.host.rules, nobody_fails) == ("new", [()])
        assert [one.revision for one in history.generations(state)] == [1]


def test_an_apply_waits_for_the_confirmation_of_another(tmp_path: Path) -> None:
    world = World(tmp_path, Host(), Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        with pytest.raises(PortgateError, match="PG544"):
            finish.require_free(state)


def test_a_confirmation_counts_from_another_session_only(tmp_path: Path) -> None:
    world = World(tmp_path, Host(), Faults())
    with broken(world), opened(tmp_path / "state") as state:
        apply(world, state, window=1000)
        with pytest.raises(PortgateError, match="PG545"):
            finish.confirm_from(state, "ssh", same_session=False)
        confirmed, _ = finish.confirm_from(state, "ssh", same_session=True)
        assert confirmed.policy == "web"
        with pytest.raises(PortgateError, match="PG549"):
            finish.confirm_from(state, "another", same_session=False)


def test_a_journal_that_somebody_else_wrote_is_not_believed(tmp_path: Path) -> None:
    with opened(tmp_path / "state") as state:
        for text in (b"", b"{}", b"[]", b'{"schema": 2}', b"\xff"):
            state.write(journal.FILE, text)
            with pytest.raises(PortgateError, match="PG520"):
                finish.settle(state)
