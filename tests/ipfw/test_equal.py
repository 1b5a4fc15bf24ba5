"""The rules mean the policy: by the engine, and packet by packet by an evaluator of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest

from portgate import engine
from portgate.backends.ipfw import BACKEND
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import features_used, lacking
from portgate.core.policy import Policy
from portgate.core.ruleset import CtState, Ruleset
from tests.compile.worlds import packets, policy, sayable
from tests.generate.policies import policy as written
from tests.ipfw.evaluator import Evaluator
from tests.ipfw.texts import DIALECTS, POLICIES, TODAY, loaded, read, unequal
from tests.policy_oracle import decide

PROVIDED = sorted(path.name for path in POLICIES.glob("*.yaml"))
# What ipfw can't say of them, and where.
REFUSED = {
    "docker-host.yaml": "passes through",
    "mail-server.yaml": "rate limits",
    "ssh-only.yaml": "rate limits",
    "wireguard-gateway.yaml": "another host",
}
RANDOM = int(os.environ.get("PORTGATE_POLICIES", "80"))  # 2,000 and more on demand
BATCHES = 4


def assert_equal(desired: Ruleset) -> None:
    for dialect in DIALECTS:
        artifact = BACKEND.emit(desired, dialect)
        again = read(artifact.text)
        assert BACKEND.emit(again, dialect).text == artifact.text
        assert BACKEND.transaction(again, desired) is None
    assert unequal(desired, again) == []


@pytest.mark.parametrize("name", PROVIDED)
def test_every_provided_policy_is_read_back_as_it_was_meant(name: str) -> None:
    file = engine.load(str(POLICIES / name), TODAY)
    if name not in REFUSED:
        assert_equal(compile_policy(file.policy, TODAY))
        return
    with pytest.raises(PortgateError, match=REFUSED[name]) as refused:
        engine.compile_policy(str(POLICIES / name), "ipfw", None, TODAY)
    assert {one.code for one in refused.value.diagnostics} == {"PG301"}
    assert all(one.span is not None for one in refused.value.diagnostics if "the grant" in one.detail)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_policies_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(batch, RANDOM, BATCHES):
        assert_equal(compile_policy(sayable(policy(seed), BACKEND), TODAY))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_files_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(batch, RANDOM, BATCHES):
        assert_equal(compile_policy(sayable(loaded(written(Random(seed))), BACKEND), TODAY))


@pytest.mark.parametrize("seed", range(60))
def test_what_ipfw_lacks_is_said_of_the_grants_that_need_it(seed: int) -> None:
    wanted = policy(seed)
    found = lacking(wanted, TODAY, BACKEND.features, "ipfw")
    missing = features_used(compile_policy(wanted, TODAY)) - BACKEND.features
    assert {feature for feature in missing if any(str(feature) in one.detail for one in found)} == missing
    assert bool(found) == bool(missing)
    assert not lacking(sayable(wanted, BACKEND), TODAY, BACKEND.features, "ipfw")


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
    text = BACKEND.emit(compile_policy(wanted, TODAY), "file").text
    assert "allow icmp from any" in text
    wrong = Evaluator(text.replace("allow icmp from any", "deny icmp from any"))
    arriving = [replace(one, ct_state=CtState.NEW) for seed in range(20) for one in packets(seed, 60)]
    assert any(wrong.fate(one, "in") != decide(wanted, one, TODAY) for one in arriving)
