"""What portgate asks of every backend. To know what a backend must do, read the names of these tests.

Each law holds for every backend that discovery finds. Those about a live host run in a network namespace of
their own, and are skipped, with the backend's reason, where this machine does not have it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from portgate import backends
from portgate.backends import Backend, Session
from portgate.backends.iptables import Iptables
from portgate.core.capture import Artifact, Reading
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import features_used, lacking
from portgate.core.net import ICMP, TCP, UDPLITE
from portgate.core.policy import Default, Forward, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Accept, CtState, Feature, Field, Ruleset
from portgate.core.semantics import NEW_CONNECTION
from portgate.core.verify import Scope, differences, equivalent
from tests.compile.worlds import TODAY, policy, sayable
from tests.conformance.conftest import Inside

BACKENDS = [backends.get(name) for name in sorted(backends.names())]
STORES = [Iptables("legacy")]  # which is taken only where the host uses it
ID = {id(one): "iptables-legacy" for one in STORES}
POLICIES = range(41)
FEW = range(0, 41, 5)
SSH = Grant("ssh", (Traffic(TCP, 22, 22),), limit=Limit(10, Unit.MINUTE))
# What no random policy has: interfaces of odd names, protocols of odd numbers, and a limit that every backend can keep.
ODD = (
    Grant("lan", sources=(Peer(("lan",)),)),
    Grant("plus", sources=(Peer(("wan+",)),)),
    Grant("zero", (Traffic(0),)),
    Grant("rare", (Traffic(ICMP, 40, 40),)),
    Grant("often", (Traffic(TCP, 23, 23),), limit=Limit(1001, Unit.SECOND, 1001)),
)
NAMES = Policy(
    "names",
    Rulebook(Default.DROP, allow=(*ODD, SSH)),
    Rulebook(Default.ACCEPT),
    forwards=(Forward(Grant("udplite", (Traffic(UDPLITE, 9000, 9000),)), None, 8080),),
)
EMPTY = Ruleset()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Stores of one firewall differ on a host only."""
    if "backend" in metafunc.fixturenames:
        live = metafunc.definition.get_closest_marker("kernel") is not None
        metafunc.parametrize(
            "backend", [*BACKENDS, *(STORES if live else ())], ids=lambda one: ID.get(id(one), one.name)
        )


def desired(backend: Backend, seed: int) -> Ruleset:
    """The rules of a random policy, without the grants that this backend can't say."""
    return backend.lower(compile_policy(sayable(wanted(seed), backend), TODAY))


def wanted(seed: int) -> Policy:
    return NAMES if seed == len(POLICIES) - 1 else policy(seed)


def speaks_of_states(rules: Ruleset) -> bool:
    """Whether a rule is about packets of no connection; a backend that keeps states by itself has none."""
    invalid = f"{Field.CT_STATE}, values=(({CtState.INVALID.value}, "
    return any(invalid in str(one) for one in rules.containers)


def read_own_output(backend: Backend, artifact: Artifact) -> Ruleset:
    kind = backend.reading_kinds[-1]
    return backend.parse((Reading(kind, artifact.text, "what was emitted"),))


# ------------------------------------------------------------------ of text alone


@pytest.mark.parametrize("seed", POLICIES)
def test_1_what_is_emitted_is_read_as_what_was_meant(backend: Backend, seed: int) -> None:
    rules = desired(backend, seed)
    read = read_own_output(backend, backend.emit(rules)).owned()
    assert backend.transaction(read, rules) is None


@pytest.mark.parametrize("seed", FEW)
def test_1_and_means_the_same_for_every_packet(backend: Backend, seed: int) -> None:
    rules = compile_policy(sayable(wanted(seed), backend), TODAY)
    read = read_own_output(backend, backend.emit(rules)).owned()
    known = {} if speaks_of_states(read) else NEW_CONNECTION
    # ICMP of the other family exists on no network, and not every backend can speak of it.
    assert [one for one in differences(rules, read, known=known) if one.scope is not Scope.ODD] == []
    if backend.lower(rules) == rules and speaks_of_states(read):
        assert equivalent(read, rules)


@pytest.mark.parametrize("seed", POLICIES)
def test_2_what_was_read_is_emitted_as_it_was(backend: Backend, seed: int) -> None:
    artifact = backend.emit(desired(backend, seed))
    assert backend.emit(read_own_output(backend, artifact)).text == artifact.text


@pytest.mark.parametrize("text", ["", "\n", "# nothing but a comment\n", "\x00", "no such word;", "{", '"', "é"])
def test_3_a_text_that_is_no_ruleset_is_understood_or_refused(backend: Backend, text: str) -> None:
    for kind in backend.reading_kinds:
        try:
            backend.parse((Reading(kind, text, "a test"),))
        except PortgateError as error:
            assert error.diagnostics[0].code.startswith("PG4")


def test_4_every_claimed_feature_is_exercised_here(backend: Backend) -> None:
    said = (compile_policy(sayable(wanted(seed), backend), TODAY) for seed in POLICIES)
    used = {feature for rules in said for feature in features_used(rules)}
    # No policy asks for these: a user opens a port for an hour.
    assert backend.features - {Feature.TIMED_ELEMENTS} <= used


def test_4_what_a_backend_lacks_is_reported_at_the_grant_that_needs_it(backend: Backend) -> None:
    for seed in POLICIES:
        used = features_used(compile_policy(wanted(seed), TODAY))
        for feature in used:
            found = lacking(wanted(seed), TODAY, frozenset(Feature) - {feature}, backend.name)
            assert found
            assert all(str(feature) in one.detail for one in found)


@pytest.mark.parametrize("seed", POLICIES)
def test_4_and_of_every_feature_and_of_nothing_else(backend: Backend, seed: int) -> None:
    found = lacking(wanted(seed), TODAY, backend.features, backend.name)
    missing = features_used(compile_policy(wanted(seed), TODAY)) - backend.features
    assert {feature for feature in missing if any(str(feature) in one.detail for one in found)} == missing
    assert bool(found) == bool(missing)
    assert not lacking(sayable(wanted(seed), backend), TODAY, backend.features, backend.name)


# ------------------------------------------------------------------ of a live host


@pytest.mark.kernel
def test_5_what_is_loaded_is_read_back_as_what_was_meant(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        for seed in POLICIES:
            rules = desired(backend, seed)
            session.load(backend.emit(rules))
            live = observed(backend, session)
            assert backend.transaction(live, rules) is None
            assert backend.transaction(backend.parse((session.read_own(),)), rules) is None
            if seed in FEW:
                assert equivalent(live.owned(), rules)

    inside(body)


@pytest.mark.kernel
def test_6_check_refuses_what_load_refuses_and_changes_nothing(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        session.load(backend.emit(desired(backend, 0)))
        before, generation = session.read_own(), session.generation()
        good = backend.emit(desired(backend, 1))
        session.check(good)
        for broken in broken_variants(good):
            with pytest.raises(PortgateError):
                session.check(broken)
            with pytest.raises(PortgateError):
                session.load(broken)
        assert (session.read_own(), session.generation()) == (before, generation)

    inside(body)


def broken_variants(good: Artifact) -> list[Artifact]:
    """Wrong at the end, so that everything before it could have been done already."""
    lines = good.text.splitlines(keepends=True)
    return [replace(good, text=good.text + "this is no rule\n"), replace(good, text="".join(lines[:-1]))]


@pytest.mark.kernel
def test_7_a_failing_load_leaves_the_old_rules_in_force(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        old = desired(backend, 0)
        session.load(backend.emit(old))
        for broken in broken_variants(backend.emit(desired(backend, 1))):
            with pytest.raises(PortgateError):
                session.load(broken)
            assert backend.transaction(observed(backend, session), old) is None

    inside(body)


@pytest.mark.kernel
def test_8_what_others_own_is_left_as_it_was(backend: Backend, inside: Inside) -> None:
    """Their objects are read back as they were; the tests of each backend compare native listings, too."""

    def body() -> None:
        session = backend.session()
        before = deciding(observed(backend, session).foreign())
        for seed in FEW:
            session.load(backend.emit(desired(backend, seed)))
            assert deciding(observed(backend, session).foreign()) == before
        removal = backend.transaction(observed(backend, session), EMPTY)
        assert removal is not None
        session.load(removal)
        assert deciding(observed(backend, session)) == before

    inside(body)


def deciding(rules: Ruleset) -> Ruleset:
    """Without tables that do nothing: a firewall may make its own chains when it is first used."""
    return Ruleset(
        tuple(
            one
            for one in rules.containers
            if any(chain.rules or (chain.base and chain.base.default != Accept()) for chain in one.chains)
        )
    )


@pytest.mark.kernel
def test_9_restoring_what_was_there_is_the_identity(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        nothing = backend.restoring(session.read_own())
        for seed in FEW:
            session.load(backend.emit(desired(backend, seed)))
            was = backend.restoring(session.read_own())
            session.load(backend.emit(desired(backend, seed + 1)))
            session.load(was)
            assert backend.restoring(session.read_own()) == was
        session.load(nothing)
        assert backend.restoring(session.read_own()) == nothing

    inside(body)


@pytest.mark.kernel
def test_10_a_second_apply_of_a_policy_has_nothing_to_do(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        for seed in POLICIES:
            apply(backend, session, desired(backend, seed))
            generation = session.generation()
            assert not apply(backend, session, desired(backend, seed))
            assert session.generation() == generation

    inside(body)


@pytest.mark.kernel
def test_a_host_can_go_from_any_policy_to_any_other(backend: Backend, inside: Inside) -> None:
    def body() -> None:
        session = backend.session()
        for seed in (*POLICIES, *reversed(POLICIES)):
            apply(backend, session, desired(backend, seed))
            assert backend.transaction(observed(backend, session), desired(backend, seed)) is None

    inside(body)


def observed(backend: Backend, session: Session) -> Ruleset:
    return backend.parse(session.read())


def apply(backend: Backend, session: Session, rules: Ruleset) -> bool:
    """Whether something was to be done."""
    artifact = backend.transaction(observed(backend, session), rules)
    if artifact is not None:
        session.check(artifact)
        session.load(artifact)
    return artifact is not None
