"""The engine against the one-packet simulator, which was written without it."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

from portgate.core.addresses import Host
from portgate.core.net import DCCP, Family
from portgate.core.packets import Packet as Asked
from portgate.core.semantics import Fate
from portgate.core.trace import decide, trace
from tests.generate.packets import Packets
from tests.generate.rulesets import ruleset
from tests.generate.world import HOST
from tests.packet import Packet
from tests.simulator import verdicts

RULESETS = int(os.environ.get("PORTGATE_RULESETS", "150"))
PACKETS = 40


def asked(packet: Packet) -> Asked:
    return Asked(
        Family(packet.family),
        packet.proto,
        packet.iif,
        packet.src,
        packet.dst,
        packet.sport,
        packet.dport,
        packet.icmp_type,
        packet.icmp_code,
        packet.tcp_flags if packet.proto == 6 else 0,
        packet.ct_state,
    )


def test_every_packet_meets_the_fate_that_the_simulator_foresees() -> None:
    host = Host(HOST)
    for seed in range(RULESETS):
        rng = Random(seed)
        rules = ruleset(rng)
        packets = Packets(rng, rules).take(PACKETS)
        packets += [replace(one, iif="lo") for one in packets[:: PACKETS // 4]]
        answers = decide(rules, [asked(packet) for packet in packets], host)
        for packet, decision in zip(packets, answers, strict=True):
            possible = verdicts(rules, packet, HOST)
            fate = decision.answer.fate
            told = frozenset(possible) if fate is Fate.DEPENDS and len(possible) > 1 else frozenset({fate.value})
            assert told == possible, f"seed {seed}: {packet}: {fate} but {sorted(possible)}"


def test_the_steps_of_a_trace_end_as_the_packet_does() -> None:
    host = Host(HOST)
    for seed in range(RULESETS // 2):
        rng = Random(seed)
        rules = ruleset(rng, doubts=False)
        for packet in Packets(rng, rules).take(PACKETS // 8):
            found = trace(rules, asked(packet), host)
            place, told = found.decision.place, f"seed {seed}: {packet}: {found}"
            if found.decision.answer.fate is Fate.DEPENDS:
                continue  # the way out of a forwarded packet is a doubt
            assert {found.decision.answer.fate.value} == verdicts(rules, packet, HOST), told
            if packet.proto == DCCP:
                continue  # which way it goes once it is translated is a doubt
            if found.decision.answer.fate is not Fate.ACCEPT:
                assert found.steps[-1].place == place, told
                assert found.steps[-1].outcome.removeprefix("default ") == found.decision.answer.fate.value, told
            elif place is not None:
                assert place in [step.place for step in found.steps], told
