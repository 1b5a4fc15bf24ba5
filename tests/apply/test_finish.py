"""What the next command does with an apply that is not finished, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portgate.apply import boot, finish, history, journal, lock, record, transaction
from portgate.apply.journal import Phase
from portgate.apply.state import State, opened
from portgate.core.diagnostics import Diagnostic, PortgateError
from tests.apply import test_breaking
from tests.apply.scripted import NEW, FakeBackend, FakeSession
from tests.apply.test_breaking import Faults, Host, World, apply, broken


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state", Host(), Faults())
    with broken(world):
        yield world


@pytest.fixture
def state(world: World) -> Iterator[State]:
    with opened(world.directory) as state:
        yield state


def test_where_nothing_was_begun_there_is_nothing_to_do(state: State) -> None:
    assert finish.settle_if_idle(state) == (None, ())


def test_who_only_looks_finishes_or_undoes_what_was_cut_off(world: World, state: State) -> None:
    apply(world, state, window=0)
    waiting, told = finish.settle_if_idle(state)
    assert (waiting, [one.code for one in told], world.host.rules) == (None, ["PG547"], "old")


def test_who_only_looks_leaves_an_apply_alone_that_is_running(world: World, state: State) -> None:
    apply(world, state, window=0)
    with opened(world.directory) as other, lock.exclusive(other, lambda: None):
        waiting, told = finish.settle_if_idle(state)
    assert (waiting and waiting.policy, told, world.host.rules) == ("web", (), "new")


def test_what_stands_in_the_way_of_finishing_is_told(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(world, state, window=0)
    here = record.host_identity()
    assert here is not None
    monkeypatch.setattr(record, "host_identity", lambda: f"{here.partition('/')[0]}/another")
    with pytest.raises(PortgateError, match="PG544"):
        finish.settle_if_idle(state)


def test_an_apply_that_was_not_to_be_started_with_leaves_the_start_as_it_is(
    world: World, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = replace(test_breaking.prepared(), closed="")
    monkeypatch.setattr(test_breaking, "prepared", lambda: passing)
    apply(world, state)
    assert (world.host.rules, state.read(boot.RULES)) == ("new", None)


def test_a_journal_without_a_record_is_confirmed_all_the_same(world: World, state: State) -> None:
    """As of one whose guard was told to stand down before its rules were proven."""
    apply(world, state, window=1000)
    entry = journal.current(state)
    assert entry is not None
    assert finish.confirm(state, replace(entry, phase=Phase.CONFIRMED, record=None)) == ()
    assert [one.revision for one in history.generations(state)] == [1]
    assert record.last(state) is None


def test_an_undo_without_a_snapshot_touches_no_rule(world: World, state: State) -> None:
    apply(world, state, window=1000)
    entry = journal.current(state)
    assert entry is not None
    state.remove(journal.SNAPSHOT)
    finish.undo(state, entry, "a test")
    assert (world.host.rules, journal.current(state)) == ("new", None)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'"x"', b"\xff"])
def test_a_note_that_cannot_be_read_says_nothing(state: State, content: bytes | None) -> None:
    if content is not None:
        state.write(finish.UNDONE, content)
    assert finish.undone(state) is None


def test_sessions_that_were_there_before_confirm_nothing(world: World, state: State) -> None:
    apply(world, state, window=1000)
    entry = journal.current(state)
    assert entry is not None
    journal.save(state, replace(entry, older=("ssh", "older")))
    for session in ("ssh", "older"):
        with pytest.raises(PortgateError, match="PG545"):
            finish.confirm_from(state, session, same_session=False)
    finish.confirm_from(state, "newer", same_session=False)


def test_a_journal_of_another_schema_is_not_believed(state: State) -> None:
    state.write(journal.FILE, b'{"schema": 2, "record": null}')
    with pytest.raises(PortgateError, match="another schema"):
        journal.current(state)


def test_a_count_that_cannot_be_asked_is_no_proof_that_nothing_changed() -> None:
    class Mute(FakeSession):
        def generation(self) -> str | None:
            if "load" in self.calls:
                raise PortgateError(Diagnostic("PG461", "no answer"))
            return "1"

    session = Mute({"load 1": PortgateError(Diagnostic("PG531", "refused"))})
    backend = FakeBackend()
    with pytest.raises(PortgateError, match="refused"):
        transition = transaction.Transition(transaction.observe(session, backend), NEW, backend.emit(NEW))
        transaction.run(session, backend, transition, test_breaking.means_new, Silent())
    assert (session.calls.count("load"), session.rules) == (2, "old")


class Silent:
    """Steps that nobody writes down."""

    def begin(self, snapshot: object) -> None: ...
    def loaded(self) -> None: ...
    def proven(self, generation: str | None) -> None: ...
    def undone(self) -> None: ...
