"""One policy, three firewalls: nftables and both stores of iptables treat the same packets alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from portgate import programs
from portgate.backends import get
from portgate.backends.iptables import Iptables
from portgate.core import compile as compiler
from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from tests.generate.packets import Packets, probe
from tests.generate.policies import policy as written
from tests.kernel.differential import MEANING, PACKETS_FOR_EACH, SEED, Tell, agree, conntrack_states, pairs
from tests.packet import Packet
from tests.written import TODAY, loaded

pytestmark = pytest.mark.kernel

PAIRS = pairs(0.2, 20000)
STORES = ("nft", "legacy")
NOTHING = Ruleset()


def load(store: str, rules: Ruleset) -> None:
    """What an apply does."""
    backend = Iptables(store)
    session = backend.session()
    change = backend.transaction(backend.parse((session.read_own(),)), backend.lower(rules))
    if change is not None:
        session.load(change)


def judged(oracle: Oracle, packets: list[Packet]) -> list[str]:
    return [MEANING[fate] for fate in oracle.judge([probe(one) for one in packets])]


def test_the_same_packets_fare_alike_behind_every_firewall(
    sandbox: Sandbox, oracle: Oracle, record_property: Tell
) -> None:
    states = conntrack_states(oracle)
    tried, verdicts = 0, dict.fromkeys(("accept", "drop", "reject"), 0)
    for seed in range(SEED, SEED + PAIRS):
        if tried >= PAIRS:
            break
        text = written(Random(seed))
        rules = compiler.compile(loaded(text), TODAY)
        packets = Packets(Random(seed), rules, states).take(PACKETS_FOR_EACH)
        oracle.load(get("nftables").emit(rules).text)
        expected = judged(oracle, packets)
        for store in STORES:
            oracle.load("")
            sandbox.call(load, store, rules)
            for packet, one, other in zip(packets, expected, judged(oracle, packets), strict=True):
                assert agree(packet, one, other) or agree(packet, other, one), (store, packet, one, other, text)
            sandbox.call(load, store, NOTHING)
        tried += len(packets)
        for verdict in expected:
            verdicts[verdict] += 1
    record_property("told", f"three ways: {tried} pairs; {verdicts}")
    assert min(verdicts.values()) > 0


OLD = "portgate: 1\nname: old\ninbound: {allow: [ssh, ping]}\n"
NEW = "portgate: 1\nname: new\ninbound: {default: reject, allow: [http]}\nforward: [{port: 81/tcp, to: 80}]\n"


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("fails", ["ip6tables", "iptables"])
def test_a_load_that_fails_between_the_families_is_taken_back(sandbox: Sandbox, store: str, fails: str) -> None:
    sandbox.call(break_a_load, store, f"{fails}-{store}-restore")


def break_a_load(store: str, program: str) -> None:
    """The program fails once on the host, and not where the change is tried before."""
    backend = Iptables(store)
    load(store, compiler.compile(loaded(OLD), TODAY))
    session = backend.session()
    before = session.read_own()
    change = backend.transaction(backend.parse((before,)), backend.lower(compiler.compile(loaded(NEW), TODAY)))
    assert change is not None
    host, run = namespace(), programs.run
    failures = [programs.ProgramError("no memory")]

    def breaking(command: Sequence[str], text: str = "") -> str:
        if command[0].endswith(program) and namespace() == host and failures:
            raise failures.pop()
        return run(command, text)

    programs.run = breaking
    with pytest.raises(PortgateError, match="no memory"):
        session.load(change)
    assert not failures
    assert backend.restoring(session.read_own()) == backend.restoring(before)
    load(store, NOTHING)


def namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
