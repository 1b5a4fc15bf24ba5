"""One policy means the same in every language, or is refused at the lines that a language can't say.

PORTGATE_POLICIES (30) says how many random policies each is tried with; 2000 take some minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from portgate import engine, language
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import features_used, lacking
from portgate.core.policy import Policy
from tests.compile.worlds import TODAY, policy, sayable
from tests.conformance.writers import WRITERS, Writer
from tests.generate.policies import policy as file

COUNT = int(os.environ.get("PORTGATE_POLICIES", "30"))
POLICIES = Path(__file__).parents[2] / "policies"
PROVIDED = sorted(path.name for path in POLICIES.glob("*.yaml"))


@pytest.fixture(params=WRITERS, ids=str)
def writer(request: pytest.FixtureRequest) -> Writer:
    found: Writer = request.param
    return found


def generated(count: int) -> Iterator[Policy]:
    """Half of them as values, with limits, expiry and outgoing rules; half as files, with zones, names and services."""
    for seed in range(count // 2):
        yield policy(seed)
        yield loaded(file(Random(seed)))


def loaded(text: str) -> Policy:
    found = language.load("policy.yaml", lambda _: text.encode(), TODAY)
    assert found.policy is not None, found.diagnostics
    return found.policy


def assert_told(wanted: Policy, writer: Writer) -> None:
    """Each feature that is lacking is told, at a grant that needs it where one does by itself; no other."""
    missing = features_used(compile_policy(wanted, TODAY)) - writer.backend.features
    told = lacking(wanted, TODAY, writer.backend.features, writer.backend.name)
    assert all(one.code == "PG301" for one in told)
    assert all(any(str(feature) in one.detail for feature in missing) for one in told)
    assert {feature for feature in missing if any(str(feature) in one.detail for one in told)} == missing


def assert_same(wanted: Policy, writer: Writer) -> None:
    desired = compile_policy(sayable(wanted, writer.backend), TODAY)
    assert writer.unequal(desired, writer.text(desired)) == []


@pytest.mark.parametrize("name", PROVIDED)
def test_a_provided_policy_means_the_same_in_every_language_or_is_refused(writer: Writer, name: str) -> None:
    found = engine.load(str(POLICIES / name), TODAY)
    told = lacking(found.policy, TODAY, writer.backend.features, writer.backend.name)
    if told:
        with pytest.raises(PortgateError) as refused:
            engine.compile_policy(str(POLICIES / name), writer.backend.name, writer.dialect, TODAY)
        assert {one.code for one in refused.value.diagnostics} == {"PG301"}
        assert_told(found.policy, writer)
    assert_same(found.policy, writer)


def test_a_random_policy_means_the_same_in_every_language_or_is_refused(writer: Writer) -> None:
    for wanted in generated(COUNT):
        assert_told(wanted, writer)
        assert_same(wanted, writer)


def test_a_grant_that_a_language_lacks_is_refused_at_its_line(writer: Writer, tmp_path: Path) -> None:
    """What each of these needs is lacking somewhere, and then it is told where it stands, not of its neighbours."""
    lines = (
        "    - {port: 9/sctp, id: sctp}",
        "    - {port: dns, limit: 10/minute, id: limited}",
        "    - {port: ssh, from: vpn, id: wildcard}",
        "    - {port: https, id: plain}",
    )
    path = tmp_path / "policy.yaml"
    head = "portgate: 1\nname: t\nzones: {vpn: {interfaces: ['wg*']}}\ninbound:\n  allow:\n"
    path.write_text(head + "\n".join(lines) + "\n")
    found = engine.load(str(path), TODAY)
    for one in lacking(found.policy, TODAY, writer.backend.features, writer.backend.name):
        assert one.span is not None
        grant = lines[one.span.line - head.count("\n") - 1]
        assert f"id: {one.detail.split()[2]}}}" in grant
        assert "plain" not in grant
    sayable_alone = head + lines[-1] + "\n"
    path.write_text(sayable_alone)
    assert writer.text(compile_policy(engine.load(str(path), TODAY).policy, TODAY))
