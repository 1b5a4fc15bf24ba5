"""The anchor means the policy, by the engine."""

from __future__ import annotations

from random import Random

import pytest

from portgate import engine
from portgate.backends.pf import BACKEND
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import Ruleset
from tests.compile.worlds import policy, sayable
from tests.generate.policies import policy as written
from tests.pf.texts import DIALECTS, read
from tests.written import POLICIES, TODAY, loaded, unequal

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
