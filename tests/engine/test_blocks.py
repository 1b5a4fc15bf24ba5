"""Packets that are led through blocks of rules meet the same end as in the diagram of all rules."""

from __future__ import annotations

from random import Random

import pytest

from portgate.core import blocks
from portgate.core.addresses import Host
from portgate.core.decision import evaluate
from portgate.core.ruleset import Chain, Field, Goto, Rule
from portgate.core.semantics import Analysis
from portgate.core.trace import trace
from tests.engine.rules import ACCEPT, DROP, always, base, fate, jump, port, rule, rules, table, to_port
from tests.engine.test_simulator import asked
from tests.generate.packets import Packets
from tests.generate.rulesets import ruleset
from tests.generate.world import HOST

RULESETS = 80


@pytest.mark.parametrize("long", [1, 3])
def test_blocks_answer_as_the_whole_does(long: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONG", long)
    for seed in range(RULESETS):
        rng = Random(seed)
        some = ruleset(rng)
        packets = [asked(one) for one in Packets(rng, some).take(15)]
        for family, state in {(one.family, one.ct_state) for one in packets}:
            analysis = Analysis(family, Host(HOST))
            known = {Field.CT_STATE: state.value}
            whole = analysis.settle(analysis.inbound(some, known, places=True))
            ask = analysis.each(some, known, outbound=False)
            for packet in (one for one in packets if (one.family, one.ct_state) == (family, state)):
                levels = packet.levels()
                assert ask(levels).value == evaluate(whole, levels), f"seed {seed}: {packet}"


def test_a_long_chain_that_is_called_returns_to_its_caller() -> None:
    many = Chain("many", tuple(rule(port(number), DROP) for number in range(1000, 1000 + 2 * blocks.LONG)))
    one = rules(table(base(jump("many"), rule(port(22), ACCEPT), default=DROP), many))
    assert [fate(one, to_port(number)) for number in (1000, 1000 + 2 * blocks.LONG - 1, 22, 23)] == [
        "drop", "drop", "accept", "drop",
    ]  # fmt: skip


def test_a_goto_to_a_long_chain_does_not_return() -> None:
    many = Chain("many", tuple(rule(port(number), DROP) for number in range(1000, 1000 + 2 * blocks.LONG)))
    going = Rule(port(22), Goto("many"))
    one = rules(table(base(going, always(ACCEPT), default=DROP), many))
    assert (fate(one, to_port(22)), fate(one, to_port(23))) == ("drop", "accept")


def test_a_long_chain_that_calls_itself_is_a_doubt() -> None:
    rows = tuple(rule(port(number), ACCEPT) for number in range(1000, 1000 + 2 * blocks.LONG))
    one = rules(table(base(jump("loop"), default=DROP), Chain("loop", (*rows, jump("loop")))))
    assert fate(one, to_port(1000)) == "accept"
    assert fate(one, to_port(22)) == "depends"


def test_a_trace_of_chains_that_call_each_other_ends() -> None:
    one = rules(table(base(jump("a")), Chain("a", (jump("b"),)), Chain("b", (jump("a"), rule(port(22), DROP)))))
    steps = trace(one, to_port(22)).steps
    assert [step.outcome for step in steps] == ["jump a", "jump b", "jump a", "may decide", "drop"]
