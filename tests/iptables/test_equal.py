"""What is written for iptables means the policy: by the engine, and packet by packet by another reader of both.

PORTGATE_POLICIES (60) says how many random policies are tried, PORTGATE_SEED (0) which.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import pytest

from portgate import engine
from portgate.backends import get
from portgate.core.capture import Reading
from portgate.core.compile import compile as compile_policy
from portgate.core.net import TCP, AddressSet
from portgate.core.policy import Default, Grant, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import Hook, Ruleset
from portgate.core.verify import Scope, differences
from tests.compile.test_meaning import at, fate
from tests.compile.worlds import TODAY, packets, policy, sayable
from tests.generate.policies import policy as written
from tests.policy_oracle import decide
from tests.written import loaded

BACKEND = get("iptables")
POLICIES = Path(__file__).parents[2] / "policies"
COUNT, SEED = int(os.environ.get("PORTGATE_POLICIES", "60")), int(os.environ.get("PORTGATE_SEED", "0"))
BATCHES = 4


def read(text: str) -> Ruleset:
    return BACKEND.parse((Reading("iptables", text, "what was written"),))


def assert_equal(wanted: Policy, today: date = TODAY) -> None:
    desired = compile_policy(wanted, today)
    artifact = BACKEND.emit(desired)
    again = read(artifact.text).owned()
    assert BACKEND.transaction(again, BACKEND.lower(desired)) is None
    assert BACKEND.emit(again).text == artifact.text
    found = differences(desired, again, known={})
    assert [one for one in found if one.scope is not Scope.ODD] == []


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.glob("*.yaml")))
def test_every_provided_policy_is_read_back_as_it_was_meant(name: str) -> None:
    file = engine.load(str(POLICIES / name), date(2027, 1, 1))
    assert_equal(file.policy, date(2027, 1, 1))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_policies_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(SEED + batch, SEED + COUNT, BATCHES):
        assert_equal(sayable(policy(seed), BACKEND))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_files_are_read_back_as_they_were_meant(batch: int) -> None:
    for seed in range(SEED + batch, SEED + COUNT, BATCHES):
        assert_equal(loaded(written(Random(seed))))


@pytest.mark.parametrize("seed", range(30))
def test_packets_fare_as_the_policy_says(seed: int) -> None:
    """Without the engine: the oracle reads the policy, the simulator the rules that were read from the text."""
    wanted = sayable(policy(seed), BACKEND)
    rules = read(BACKEND.emit(compile_policy(wanted, TODAY)).text)
    for packet in packets(seed, 60):
        assert fate(rules, packet) == decide(wanted, packet, TODAY), packet
        leaving = replace(packet, src=packet.dst, dst=packet.src, iif="none", oif=packet.iif)
        assert at(rules, leaving, Hook.OUTPUT) == decide(wanted, leaving, TODAY, "out"), leaving


def test_many_grants_are_a_set_and_each_member_names_its_grant() -> None:
    def grant(number: int) -> Grant:
        source = Peer((), AddressSet.of(f"10.0.{number}.0/24", f"2001:db8:{number}::/48"))
        return Grant(f"g{number}", (Traffic(TCP, 1000 + number, 1000 + number),), (source,))

    wanted = Policy("many", Rulebook(Default.DROP, allow=tuple(map(grant, range(100)))), Rulebook(Default.ACCEPT))
    text = BACKEND.emit(compile_policy(wanted, TODAY)).text
    assert text.count("-m set --match-set") == 2
    assert "10.0.7.0/24,tcp:1007 comment g7\n" in text
    assert_equal(wanted)


def test_many_ports_for_everybody_are_a_set_too() -> None:
    grants = tuple(Grant(f"g{port}", (Traffic(TCP, port, port),)) for port in range(1000, 1200, 2))
    wanted = Policy("ports", Rulebook(Default.DROP, allow=grants), Rulebook(Default.ACCEPT))
    assert "bitmap:port" in BACKEND.emit(compile_policy(wanted, TODAY)).text
    assert_equal(wanted)


def test_a_set_is_never_asked_for_all_addresses_at_once() -> None:
    """Two halves are: a hash of networks has no prefix of length 0."""
    sources = tuple(Peer((), AddressSet(((first, first + 255),))) for first in range(0, 20 << 9, 1 << 9))
    everything = Peer((), AddressSet(((0, (1 << 32) - 1),)))
    grants = (Grant("all", (Traffic(TCP, 80, 80),), (everything,)), Grant("some", (Traffic(TCP, 22, 22),), sources))
    wanted = Policy("all", Rulebook(Default.DROP, allow=grants), Rulebook(Default.ACCEPT))
    assert_equal(wanted)
    assert "0.0.0.0/0" not in BACKEND.emit(compile_policy(wanted, TODAY)).text
