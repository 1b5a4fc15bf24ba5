"""The anchor means the policy: by the engine, and packet by packet by an evaluator of its own."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from portgate import engine
from portgate.backends.pf import BACKEND
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import features_used, lacking
from portgate.core.policy import Policy
from portgate.core.ruleset import CtState, Ruleset
from tests.compile.worlds import packets, policy, sayable
from tests.generate.policies import policy as written
from tests.pf.evaluator import Evaluator
from tests.pf.texts import DIALECTS, POLICIES, TODAY, loaded, read, unequal
from tests.policy_oracle import decide

PROVIDED = sorted(path.name for path in POLICIES.glob("*.yaml"))
# What pf can't say of them, and where.
REFUSED = {"docker-host.yaml": "passes through", "wireguard-gateway.yaml": "wildcard"}
BATCH = 25


def assert_equal(desired: Ruleset, dialect: str) -> None:
    artifact = BACKEND.emit(desired, dialect)
    again = read(artifact.text)
    assert BACKEND.emit(again, dialect).text == artifact.text
    assert BACKEND.transaction(again, desired) is None
    assert unequal(desired, again) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", PROVIDED)
def test_every_provided_policy_is_read_back_as_it_was_meant(name: str, dialect: str) -> None:
    file = engine.load(str(POLICIES / name), TODAY)
    desired = compile_policy(file.policy, TODAY)
    if name not in REFUSED:
        assert_equal(desired, dialect)
        return
    with pytest.raises(PortgateError, match=REFUSED[name]) as refused:
        engine.compile_policy(str(POLICIES / name), "pf", dialect, TODAY)
    assert {one.code for one in refused.value.diagnostics} == {"PG301"}


@pytest.mark.parametrize("batch", range(4))
def test_random_policies_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        desired = compile_policy(sayable(policy(seed), BACKEND), TODAY)
        for dialect in DIALECTS:
            assert_equal(desired, dialect)


@pytest.mark.parametrize("batch", range(2))
def test_random_files_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        desired = compile_policy(sayable(loaded(written(Random(seed))), BACKEND), TODAY)
        for dialect in DIALECTS:
            assert_equal(desired, dialect)


@pytest.mark.parametrize("seed", range(60))
def test_what_pf_lacks_is_said_of_the_grants_that_need_it(seed: int) -> None:
    wanted = policy(seed)
    found = lacking(wanted, TODAY, BACKEND.features, "pf")
    missing = features_used(compile_policy(wanted, TODAY)) - BACKEND.features
    assert bool(found) == bool(missing)
    assert {feature for feature in missing if any(str(feature) in one.detail for one in found)} == missing
    assert not lacking(sayable(wanted, BACKEND), TODAY, BACKEND.features, "pf")


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_packets_fare_as_the_policy_says(dialect: str, seed: int) -> None:
    """Without the engine: the oracle reads the policy, the evaluator the text."""
    wanted = sayable(policy(seed), BACKEND)
    evaluator = Evaluator(BACKEND.emit(compile_policy(wanted, TODAY), dialect).text)
    for packet in packets(seed, 60):
        arriving = replace(packet, ct_state=CtState.NEW)
        assert evaluator.fate(arriving, "in") == decide(wanted, arriving, TODAY), arriving
        leaving = replace(arriving, iif="", oif=packet.iif)
        assert evaluator.fate(leaving, "out") == decide(wanted, leaving, TODAY, "out"), leaving


def test_the_evaluator_finds_a_verdict_that_was_turned_round() -> None:
    """So that the test before can fail."""
    wanted: Policy = sayable(policy(3), BACKEND)
    text = BACKEND.emit(compile_policy(wanted, TODAY), "openbsd").text
    assert "pass in quick inet proto icmp" in text
    wrong = Evaluator(text.replace("pass in quick inet proto icmp", "block drop in quick inet proto icmp"))
    arriving = [replace(one, ct_state=CtState.NEW) for seed in range(20) for one in packets(seed, 60)]
    assert any(wrong.fate(one, "in") != decide(wanted, one, TODAY) for one in arriving)
