"""Every packet that the kernel was asked about fares as the engine says, without one exception.

PORTGATE_PAIRS (20,000 each) and PORTGATE_SEED (0) say how many pairs of a ruleset and a packet are tried, and which.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from random import Random

import pytest

from portgate import language
from portgate.backends import get
from portgate.core import compile as compiler
from portgate.core import packets as core_packets
from portgate.core import trace
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.net import Family
from portgate.core.policy import Policy
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from portgate.sandbox.oracle import TABLE
from tests import policy_oracle
from tests.generate import nft, policies
from tests.generate.world import HOST, own_addresses
from tests.kernel.differential import Kernel, conntrack_states, texts
from tests.packet import Packet
from tests.simulator import verdicts

pytestmark = pytest.mark.kernel

PAIRS = int(os.environ.get("PORTGATE_PAIRS", "20000"))
SEED = int(os.environ.get("PORTGATE_SEED", "0"))
TODAY = date(2026, 1, 1)
OWN = frozenset(address for family in Family for address in own_addresses(family))


def simulator(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
    sets = (verdicts(ruleset, packet, HOST) for packet in packets)
    return [min(one) if len(one) == 1 else "depends" for one in sets]


def engine(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
    decisions = trace.decide(ruleset, [_for_engine(packet) for packet in packets], Host(HOST))
    return [decision.answer.fate.value for decision in decisions]


def _for_engine(packet: Packet) -> core_packets.Packet:
    return core_packets.Packet(
        Family(packet.family), packet.proto, packet.iif, packet.src, packet.dst, packet.sport, packet.dport,
        packet.icmp_type, packet.icmp_code, packet.tcp_flags, packet.ct_state, packet.oif or "",
    )  # fmt: skip


DECIDERS = {"simulator": simulator, "engine": engine}


def test_the_kernel_agrees_about_random_rulesets_of_other_people(
    sandbox: Sandbox, oracle: Oracle, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(_: str) -> Ruleset:
        listing = sandbox.run(["nft", "-j", "list", "ruleset"]).stdout
        observed = get("nftables").parse((Reading("nft-json", listing, "the sandbox"),))
        return Ruleset(tuple(one for one in observed.containers if TABLE not in one.name))

    kernel = Kernel(oracle, read, conntrack_states(oracle))
    tally = kernel.compare(texts(nft.ruleset, SEED), DECIDERS, PAIRS, SEED)
    with capsys.disabled():
        print(f"\nforeign rulesets: {tally}")
    assert tally.compared >= PAIRS
    assert max(tally.depends.values()) < PAIRS / 2


def test_a_decider_that_is_wrong_about_one_port_is_caught(oracle: Oracle) -> None:
    def forgetful(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
        decided = zip(packets, simulator(ruleset, packets), strict=True)
        return ["drop" if packet.dport == 80 else verdict for packet, verdict in decided]

    policy = _policy("{portgate: 1, name: a, inbound: {default: drop, allow: [http, https]}}")
    ruleset = compiler.compile(policy, TODAY)
    text = get("nftables").emit(ruleset).text
    kernel = Kernel(oracle, {text: ruleset}.get, {})
    with pytest.raises(AssertionError, match=r"> 80 .*the kernel says accept, the forgetful drop"):
        kernel.compare(iter([text]), {"forgetful": forgetful}, PAIRS, SEED)


def test_the_kernel_agrees_about_random_policies(oracle: Oracle, capsys: pytest.CaptureFixture[str]) -> None:
    compiled: dict[str, Ruleset] = {}
    meant: dict[Ruleset, Policy] = {}

    def native(rng: Random) -> str:
        policy = _policy(policies.policy(rng))
        ruleset = compiler.compile(policy, TODAY)
        text = get("nftables").emit(ruleset).text
        compiled[text], meant[ruleset] = ruleset, policy
        return text

    def policy(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
        """Says nothing of what is only forwarded: that is not in the policy."""
        return [
            policy_oracle.decide(meant[ruleset], packet, TODAY) if packet.dst in OWN else "depends"
            for packet in packets
        ]

    kernel = Kernel(oracle, compiled.get, conntrack_states(oracle))
    tally = kernel.compare(texts(native, SEED), {**DECIDERS, "policy": policy}, PAIRS, SEED)
    with capsys.disabled():
        print(f"\npolicies: {tally}")
    assert tally.compared >= PAIRS
    assert tally.depends["simulator"] == tally.depends["engine"] == 0


def _policy(text: str) -> Policy:
    loaded = language.load("policy.yaml", lambda _: text.encode(), TODAY)
    assert loaded.policy is not None, (text, loaded.diagnostics)
    return loaded.policy
