"""Every policy is applied, packets are sent, and the host is started anew; then faults are put in, to see that they are seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vagrant.pair import Pair

FAULTS = {
    "one port more": "insert rule inet portgate input tcp dport 9090 accept",
    "IPv6 left open": "insert rule inet portgate input meta nfproto ipv6 accept",
    "drop turned accept": "flush chain inet portgate input; chain inet portgate input { policy accept; }",
}

NETWORK = (
    "network-pre.target", "systemd-networkd.service", "networking.service", "NetworkManager.service",
    "ssh.service", "sshd.service",
)  # fmt: skip


def test_without_rules_everybody_reaches_every_port(pair: Pair, backend: str) -> None:
    everything = {replace(one, verdict="open") for expected in pair.table.policies.values() for one in expected}
    assert pair.unmet(sorted(everything, key=str)) == []


def test_packets_meet_what_the_policy_says(pair: Pair, backend: str, policy: str) -> None:
    pair.put_in_force(policy, backend)
    assert pair.surprises(policy) == []


def test_the_rules_are_back_after_a_new_start_and_were_never_gone(pair: Pair, backend: str, restarting: str) -> None:
    pair.put_in_force(restarting, backend)
    with pair.watching(restarting) as ended:
        pair.restart()
        assert pair.surprises(restarting) == []
        seen = ended()
    assert [str(one) for one, answers in seen if one.verdict == "open" and "open" not in answers] == []
    assert [(str(one), answers) for one, answers in seen if leaked(one.verdict, answers)] == []
    if pair.has_systemd:
        assert started_before_the_rules(pair) == []


def started_before_the_rules(pair: Pair) -> list[str]:
    """What of the network began before they were loaded. Errors: AssertionError when they were not loaded at all."""
    (loaded,) = since_start(pair, "ActiveEnterTimestampMonotonic", "portgate.service")
    began = dict(zip(NETWORK, since_start(pair, "InactiveExitTimestampMonotonic", *NETWORK), strict=True))
    assert all((loaded, began["network-pre.target"])), (loaded, began)
    return [unit for unit, moment in began.items() if 0 < moment < loaded]


def since_start(pair: Pair, moment: str, *units: str) -> list[int]:
    """**Units** microseconds, 0 when it did not happen."""
    told = pair.target.run("systemctl", "show", "--property", moment, "--value", *units).stdout
    return [int(one) for one in told.split()]


def leaked(verdict: str, answers: list[str]) -> bool:
    return verdict == "filtered" and not {"open", "refused"}.isdisjoint(answers)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_table_tells_of_a_fault(pair: Pair, backend: str, fault: str) -> None:
    if backend != "nftables":
        pytest.skip("the faults are written for nftables")
    pair.put_in_force("web-server", backend)
    pair.target.run("nft", FAULTS[fault])
    told = pair.surprises("web-server")
    pair.put_in_force("web-server", backend)
    print(f"{fault}:", *told, sep="\n  ")
    assert "9090/tcp from outsider (3fff::5): filtered, but was open" in told
    assert pair.surprises("web-server") == []


def test_the_table_tells_that_rules_are_not_back_after_a_new_start(pair: Pair, backend: str) -> None:
    if not pair.has_systemd:
        pytest.skip("this host is not started by systemd")
    pair.put_in_force("web-server", backend)
    pair.target.run("systemctl", "disable", "portgate")
    with pair.watching("web-server") as ended:
        pair.restart()
        told = pair.surprises("web-server")
        seen = ended()
    print("not persisted:", *told, sep="\n  ")
    assert "9090/tcp from outsider (203.0.113.5): filtered, but was open" in told
    assert any(leaked(one.verdict, answers) for one, answers in seen)
    pair.target.run("systemctl", "enable", "portgate")
