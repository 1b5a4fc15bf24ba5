"""After any failure the host has the old rules or the new ones, whole; a scripted host fails at each step in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from portgate.apply.transaction import Observation, Transition, observe, run
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Container, Element, Field, NamedSet, Ruleset
from tests.apply.scripted import NEW, OLD, FakeBackend, FakeSession, native


def means_new(live: Ruleset) -> tuple[Diagnostic, ...]:
    return () if live == NEW else (Diagnostic("PG902", f"live is {native(live)}"),)


class Told:
    """Steps that are remembered; `refuses` is the one that raises."""

    def __init__(self, refuses: str = "") -> None:
        self.steps: list[str] = []
        self._refuses = refuses

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self._refuses:
            raise refusal()

    def begin(self, snapshot: Reading) -> None:
        self._step(f"begin {snapshot.text}")

    def loaded(self) -> None:
        self._step("loaded")

    def proven(self, generation: str | None) -> None:
        self._step(f"proven {generation}")

    def undone(self) -> None:
        self._step("undone")


def apply(
    session: FakeSession,
    desired: Ruleset = NEW,
    prove: Callable[..., tuple[Diagnostic, ...]] = means_new,
    steps: Told | None = None,
) -> Observation:
    backend = FakeBackend()
    before = observe(session, backend)
    transition = Transition(before, desired, backend.transaction(before.ruleset, desired))
    return run(session, backend, transition, prove, steps or Told())


def refusal(text: str = "refused") -> PortgateError:
    return PortgateError(Diagnostic("PG520", text))


def test_the_new_rules_are_loaded_between_a_reading_and_a_proof() -> None:
    session = FakeSession()
    after = apply(session)
    assert session.rules == "new"
    assert session.calls == ["read", "load", "loaded", "read"]
    assert (after.ruleset, after.generation) == (NEW, "1")


def test_every_step_is_told_in_its_order() -> None:
    steps = Told()
    apply(FakeSession(), steps=steps)
    assert steps.steps == ["begin old", "loaded", "proven 1"]


@pytest.mark.parametrize("refused", ["begin old", "loaded", "proven 1"])
def test_a_step_that_cannot_be_written_down_brings_the_old_rules_back(refused: str) -> None:
    steps, session = Told(refused), FakeSession()
    with pytest.raises(PortgateError, match="refused"):
        apply(session, steps=steps)
    assert session.rules == "old"
    assert steps.steps[-2:] == [refused, "undone"]


def test_a_restore_that_fails_is_not_told_as_undone() -> None:
    steps, session = Told(), FakeSession({"read 2": refusal(), "load 2": refusal()})
    with pytest.raises(PortgateError, match="PG523"):
        apply(session, steps=steps)
    assert steps.steps == ["begin old", "loaded"]


def test_nothing_to_do_is_nothing_done() -> None:
    session = FakeSession()
    before = observe(session, FakeBackend())
    after = run(session, FakeBackend(), Transition(before, OLD, None), lambda live: (), Told())
    assert after is before
    assert session.calls == ["read"]


@pytest.mark.parametrize("step", ["read 1", "load 1"])
@pytest.mark.parametrize("counts", [True, False])
def test_a_failure_before_the_load_leaves_the_old_rules(step: str, counts: bool) -> None:
    session = FakeSession({step: refusal()}, counts)
    with pytest.raises(PortgateError, match="refused"):
        apply(session)
    assert session.rules == "old"


def test_a_refused_load_that_changed_nothing_is_not_answered_with_another_load() -> None:
    session = FakeSession({"load 1": refusal()})
    with pytest.raises(PortgateError):
        apply(session)
    assert session.calls.count("load") == 1


@pytest.mark.parametrize("step", ["loaded 1", "read 2"])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("error", [refusal(), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_failure_after_the_load_brings_the_old_rules_back(step: str, counts: bool, error: BaseException) -> None:
    session = FakeSession({step: error}, counts)
    with pytest.raises(type(error)):
        apply(session)
    assert session.rules == "old"


def test_rules_that_do_not_mean_the_policy_are_taken_back_and_the_difference_is_told() -> None:
    session = FakeSession()
    session.load_differs = "odd"
    with pytest.raises(PortgateError) as refused:
        apply(session)
    assert session.rules == "old"
    assert [one.code for one in refused.value.diagnostics] == ["PG522", "PG902"]


def test_a_proof_that_fails_by_itself_brings_the_old_rules_back() -> None:
    session = FakeSession()

    def prove(live: Ruleset) -> tuple[Diagnostic, ...]:
        raise RecursionError

    with pytest.raises(RecursionError):
        apply(session, prove=prove)
    assert session.rules == "old"


def test_a_restore_that_fails_is_told_with_all_that_led_to_it() -> None:
    session = FakeSession({"read 2": refusal("no reading"), "load 2": refusal("no restoring")})
    with pytest.raises(PortgateError) as refused:
        apply(session)
    assert [one.detail for one in refused.value.diagnostics] == [
        "no reading",
        "the snapshot was refused",
        "no restoring",
    ]
    assert session.rules == "new"


def test_a_change_by_others_while_rules_are_read_makes_the_observation_stale_not_wrong() -> None:
    session = FakeSession()

    def prove(live: Ruleset) -> tuple[Diagnostic, ...]:
        session.changes += 1
        return ()

    after = apply(session, prove=prove)
    assert after.generation != session.generation()
    assert replace(after, generation=None).ruleset == NEW


# ------------------------------------------------------------------ what is concluded, not read


def test_where_the_kernel_counts_one_transaction_only_an_outline_is_read() -> None:
    session = FakeSession()
    session.outlines = True
    after = apply(session)
    assert session.calls == ["read", "load", "loaded", "outline"]
    assert (after.ruleset, after.generation) == (NEW, "1")


def test_after_a_transaction_of_somebody_else_everything_is_read() -> None:
    session = FakeSession()
    session.outlines, session.writers = True, 1
    apply(session)
    assert session.calls == ["read", "load", "loaded", "read"]


def test_an_outline_that_is_not_what_was_wanted_brings_the_old_rules_back() -> None:
    session = FakeSession()
    session.outlines, session.load_differs = True, "odd"
    with pytest.raises(PortgateError, match="PG522"):
        apply(session)
    assert session.rules == "old"


def test_only_the_elements_of_our_own_sets_are_concluded() -> None:
    element = Element(((1, 1),))
    ours, theirs = (NamedSet(name, (Field.DPORT,)) for name in ("ours", "theirs"))
    full = replace(ours, elements=(element,))
    wanted = Ruleset((Container("portgate", sets=(full, replace(theirs, elements=(element,))), owned=True),))

    class Backend(FakeBackend):
        def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
            if readings[0].text == "old":
                return OLD
            return Ruleset((Container("portgate", sets=(ours,), owned=True), Container("x", sets=(theirs,))))

    session = FakeSession()
    session.outlines = True
    transition = Transition(observe(session, Backend()), wanted, Artifact("fake", "new"))
    after = run(session, Backend(), transition, lambda live: (), Told())
    assert [one.sets for one in after.ruleset.containers] == [(full,), (theirs,)]
