"""Every packet that the kernel was asked about fares as the engine says, without one exception."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from random import Random

import pytest

from portgate import language
from portgate.backends import get
from portgate.core import compile as compiler
from portgate.core import trace
from portgate.core.addresses import Host
from portgate.core.net import Family
from portgate.core.policy import Policy
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from tests import policy_oracle
from tests.generate import nft, policies
from tests.generate.world import HOST, own_addresses
from tests.kernel import command
from tests.kernel.differential import PACKETS_FOR_EACH, SEED, Kernel, Tell, conntrack_states, pairs, texts
from tests.packet import Packet
from tests.simulator import WITHOUT_PORTS, verdicts

pytestmark = pytest.mark.kernel

TODAY = date(2026, 1, 1)
MOST_DOUBTS = 7
OWN = frozenset(address for family in Family for address in own_addresses(family))


def simulator(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
    sets = (verdicts(ruleset, packet, HOST, THIS_KERNEL, MOST_DOUBTS) for packet in packets)
    return [min(one) if len(one) == 1 else "depends" for one in sets]


def engine(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
    decisions = trace.decide(ruleset, [command.as_asked(packet) for packet in packets], Host(HOST))
    return [decision.answer.fate.value for decision in decisions]


THIS_KERNEL = {WITHOUT_PORTS: True}
DECIDERS = {"simulator": simulator, "engine": engine}


@pytest.mark.parametrize(("kind", "wanted"), [("nft-json", pairs(0.15, 15000)), ("nft", pairs(0.1, 5000))])
def test_the_kernel_agrees_about_random_rulesets_of_other_people(
    kind: str, wanted: int, sandbox: Sandbox, oracle: Oracle, tmp_path: Path, record_property: Tell
) -> None:
    def read(_: str) -> Ruleset:
        return get("nftables").parse((command.listed(sandbox, kind),))

    kernel = Kernel(oracle, read, conntrack_states(oracle))
    deciders = {**DECIDERS, "trace": command.trace(lambda: [command.listed(sandbox, kind)], tmp_path)}
    seed = SEED + (0 if kind == "nft-json" else 500_000)
    tally = kernel.compare(texts(nft.ruleset, seed), deciders, wanted, seed)
    record_property("told", f"nft, read as {kind}: {tally}")
    assert tally.compared >= wanted
    assert max(tally.depends.values()) < wanted / 2


def test_a_decider_that_is_wrong_about_one_port_is_caught(oracle: Oracle) -> None:
    def forgetful(ruleset: Ruleset, packets: Sequence[Packet]) -> list[str]:
        decided = zip(packets, simulator(ruleset, packets), strict=True)
        return ["drop" if packet.dport == 80 else verdict for packet, verdict in decided]

    policy = _policy("{portgate: 1, name: a, inbound: {default: drop, allow: [http, https]}}")
    ruleset = compiler.compile(policy, TODAY)
    text = get("nftables").emit(ruleset).text
    kernel = Kernel(oracle, {text: ruleset}.get, {})
    with pytest.raises(AssertionError, match=r"> 80 .*the kernel says accept, the forgetful drop"):
        kernel.compare(iter([text]), {"forgetful": forgetful}, PACKETS_FOR_EACH, SEED)


def test_the_kernel_agrees_about_random_policies(oracle: Oracle, record_property: Tell) -> None:
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
    wanted = pairs(0.2, 20000)
    tally = kernel.compare(texts(native, SEED), {**DECIDERS, "policy": policy}, wanted, SEED)
    record_property("told", f"policies: {tally}")
    assert tally.compared >= wanted
    assert tally.depends["simulator"] == tally.depends["engine"] == 0


def _policy(text: str) -> Policy:
    loaded = language.load("policy.yaml", lambda _: text.encode(), TODAY)
    assert loaded.policy is not None, (text, loaded.diagnostics)
    return loaded.policy
