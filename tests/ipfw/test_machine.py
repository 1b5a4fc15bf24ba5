"""Rules that skip and call: the engine against ipfw's own way of going through them, and against the simulator."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

from portgate.core.addresses import Host
from portgate.core.net import Family
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Fate
from portgate.core.trace import decide
from tests.engine.test_simulator import asked
from tests.generate.packets import Packets
from tests.generate.world import HOST, own_addresses
from tests.ipfw.machine import rules, run
from tests.ipfw.texts import read
from tests.packet import Packet
from tests.simulator import verdicts

RULESETS = int(os.environ.get("PORTGATE_RULESETS", "150"))
PACKETS = 30
FATES = {"allow": "accept", "deny": "drop", "reject": "reject"}


def to_this_host(rng: Random, ruleset: Ruleset) -> list[Packet]:
    return [replace(one, dst=own_addresses(Family(one.family))[0]) for one in Packets(rng, ruleset).take(PACKETS)]


def test_every_packet_fares_as_ipfw_goes_through_the_rules() -> None:
    told = wanted = 0
    for seed in range(RULESETS):
        rng = Random(seed)
        made = rules(rng)
        text = "\n".join(map(str, made)) + "\n"
        ruleset = read(text)
        packets = to_this_host(rng, ruleset)
        for packet, decision in zip(packets, decide(ruleset, [asked(one) for one in packets], Host(HOST)), strict=True):
            wanted += 1
            if decision.answer.fate is not Fate.DEPENDS:  # a call that leads to itself
                told += 1
                outcome = run(made, packet)
                assert outcome is not None and FATES[outcome] == decision.answer.fate.value, f"{seed}: {packet}\n{text}"
    assert told > wanted * 0.9


def test_the_simulator_agrees_about_what_was_read() -> None:
    for seed in range(RULESETS // 3):
        rng = Random(seed)
        ruleset = read("\n".join(map(str, rules(rng))) + "\n")
        packets = to_this_host(rng, ruleset)
        answers = decide(ruleset, [asked(one) for one in packets], Host(HOST))
        for packet, decision in zip(packets, answers, strict=True):
            if decision.answer.fate is not Fate.DEPENDS:
                assert verdicts(ruleset, packet, HOST) == {decision.answer.fate.value}, f"{seed}: {packet}"
