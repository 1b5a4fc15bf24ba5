"""The rules mean the policy, by the engine."""

from __future__ import annotations

import os
from random import Random

import pytest

from portgate import engine
from portgate.backends.ipfw import BACKEND
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import Ruleset
from tests.compile.worlds import policy, sayable
from tests.generate.policies import policy as written
from tests.ipfw.texts import DIALECTS, read
from tests.written import POLICIES, TODAY, loaded, unequal

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
