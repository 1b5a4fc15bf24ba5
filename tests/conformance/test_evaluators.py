"""pf and ipfw packet by packet, without the engine: an oracle reads the policy, an evaluator of its own the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

import pytest

from portgate import backends
from portgate.core.compile import compile as compile_policy
from portgate.core.ruleset import CtState
from tests.compile.worlds import TODAY, packets, policy, sayable
from tests.ipfw import evaluator as ipfw
from tests.ipfw import texts as ipfw_texts
from tests.packet import Packet
from tests.pf import evaluator as pf
from tests.pf import texts as pf_texts
from tests.policy_oracle import decide


class Evaluator(Protocol):
    """Reads a text as its firewall does."""

    def fate(self, packet: Packet, direction: Literal["in", "out"]) -> str: ...


EVALUATORS: dict[str, Callable[[str], Evaluator]] = {"pf": pf.Evaluator, "ipfw": ipfw.Evaluator}
WRITTEN = [("pf", one) for one in pf_texts.DIALECTS] + [("ipfw", one) for one in ipfw_texts.DIALECTS]
TURNED = [
    ("pf", "openbsd", "pass in quick inet proto icmp", "block drop in quick inet proto icmp"),
    ("ipfw", "file", "allow icmp from any", "deny icmp from any"),
]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(("name", "dialect"), WRITTEN)
def test_packets_fare_as_the_policy_says(name: str, dialect: str, seed: int) -> None:
    backend = backends.get(name)
    wanted = sayable(policy(seed), backend)
    evaluator = EVALUATORS[name](backend.emit(compile_policy(wanted, TODAY), dialect).text)
    for packet in packets(seed, 60):
        arriving = replace(packet, ct_state=CtState.NEW)
        assert evaluator.fate(arriving, "in") == decide(wanted, arriving, TODAY), arriving
        leaving = replace(arriving, iif="", oif=packet.iif)
        assert evaluator.fate(leaving, "out") == decide(wanted, leaving, TODAY, "out"), leaving


@pytest.mark.parametrize(("name", "dialect", "right", "wrong"), TURNED)
def test_an_evaluator_finds_a_verdict_that_was_turned_round(name: str, dialect: str, right: str, wrong: str) -> None:
    """So that the test before can fail."""
    backend = backends.get(name)
    wanted = sayable(policy(3), backend)
    text = backend.emit(compile_policy(wanted, TODAY), dialect).text
    assert right in text
    evaluator = EVALUATORS[name](text.replace(right, wrong))
    arriving = [replace(one, ct_state=CtState.NEW) for seed in range(20) for one in packets(seed, 60)]
    assert any(evaluator.fate(one, "in") != decide(wanted, one, TODAY) for one in arriving)
