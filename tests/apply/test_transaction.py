"""After any failure the host has the old rules or the new ones, whole; a scripted host fails at each step in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from portgate.apply.transaction import Observation, observe, run
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Container, Feature, Rule, Ruleset

OLD, NEW, ODD = (Ruleset((Container(name, owned=True),)) for name in ("old", "new", "odd"))
NATIVE = {"old": OLD, "new": NEW, "odd": ODD}


def native(ruleset: Ruleset) -> str:
    return ruleset.containers[0].name


class FakeBackend:
    """Its native language is the name of the one container."""

    name = "fake"
    features: frozenset[Feature] = frozenset()
    reading_kinds: tuple[str, ...] = ("fake",)

    def available(self) -> str | None:
        return None

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        return Artifact("fake", native(desired))

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        return NATIVE[readings[0].text]

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        return None if observed == desired else self.emit(desired)

    def restoring(self, own: Reading) -> Artifact:
        return Artifact("fake", own.text)

    def words(self, rule: Rule) -> str:
        return rule.comment

    def session(self) -> FakeSession:
        return FakeSession()


class FakeSession:
    """A host. `fails` maps the number of a call, as in `load 1`, to what happens then."""

    def __init__(self, fails: dict[str, BaseException] | None = None, counts: bool = True) -> None:
        self.rules = "old"
        self.calls: list[str] = []
        self.changes = 0
        self._fails = fails or {}
        self._counts = counts
        self.load_differs: str | None = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if error := self._fails.get(f"{name} {self.calls.count(name)}"):
            raise error

    def generation(self) -> str | None:
        return str(self.changes) if self._counts else None

    def read(self) -> tuple[Reading, ...]:
        return (self.read_own(),)

    def read_own(self) -> Reading:
        self._call("read")
        return Reading("fake", self.rules, "test")

    def check(self, artifact: Artifact) -> None:
        self._call("check")

    def load(self, artifact: Artifact) -> None:
        self._call("load")
        self.changes += 1
        self.rules = self.load_differs if self.load_differs and artifact.text == "new" else artifact.text
        self._call("loaded")


def means_new(live: Ruleset) -> tuple[Diagnostic, ...]:
    return () if live == NEW else (Diagnostic("PG902", f"live is {native(live)}"),)


def apply(
    session: FakeSession, desired: Ruleset = NEW, prove: Callable[..., tuple[Diagnostic, ...]] = means_new
) -> Observation:
    backend = FakeBackend()
    return run(session, backend, observe(session, backend), desired, prove)


def refusal(text: str = "refused") -> PortgateError:
    return PortgateError(Diagnostic("PG520", text))


def test_the_new_rules_are_loaded_between_a_reading_and_a_proof() -> None:
    session = FakeSession()
    after = apply(session)
    assert session.rules == "new"
    assert session.calls == ["read", "load", "loaded", "read"]
    assert (after.ruleset, after.generation) == (NEW, "1")


def test_nothing_to_do_is_nothing_done() -> None:
    session = FakeSession()
    before = observe(session, FakeBackend())
    after = run(session, FakeBackend(), before, OLD, lambda live: ())
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
