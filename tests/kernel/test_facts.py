"""Facts about the kernel on which portgate's model of it stands, each asked of the kernel itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from portgate.core.net import DCCP, ICMP, TCP, Family, parse_address
from portgate.sandbox import Fate, Oracle, Probe, Sandbox

pytestmark = pytest.mark.kernel

SOURCE = parse_address("198.51.100.9")[1]
HOST_ETH0 = parse_address("192.0.2.1")[1]
HOST_ETH1 = parse_address("10.0.0.1")[1]
SYN = Probe("eth0", Family.IPV4, TCP, SOURCE, HOST_ETH0, dport=80)
SYN_ACK = Probe("eth0", Family.IPV4, TCP, SOURCE, HOST_ETH0, dport=80, tcp_flags=0x12)


def fate(oracle: Oracle, probe: Probe, *chains: str) -> Fate:
    """Of one packet, under a table of base chains, each as `head: rule; rule`."""
    blocks = []
    for number, chain in enumerate(chains):
        head, _, rules = chain.partition(": ")
        blocks += [f"chain c{number} {{", f"type {head};", *rules.split("; "), "}"]
    oracle.load("\n".join(["table inet fact {", *blocks, "}"]))
    return oracle.judge([probe])[0]


DROP_UNLESS = "filter hook input priority 0; policy drop: "


def test_notrack_before_conntrack_makes_a_packet_untracked(oracle: Oracle) -> None:
    raw = "filter hook prerouting priority -300: notrack"
    assert fate(oracle, SYN, raw, DROP_UNLESS + "ct state untracked accept") is Fate.INPUT


def test_notrack_after_conntrack_changes_invalid_packets_only(oracle: Oracle) -> None:
    rules = DROP_UNLESS + "notrack; ct state untracked accept"
    assert fate(oracle, SYN, rules) is Fate.DROPPED
    assert fate(oracle, SYN_ACK, rules) is Fate.INPUT


def test_before_conntrack_every_packet_is_invalid(oracle: Oracle) -> None:
    assert fate(oracle, SYN, "filter hook prerouting priority -250; policy drop: ct state invalid accept") is Fate.INPUT


def test_without_a_connection_a_mark_of_it_matches_nothing(oracle: Oracle) -> None:
    raw = "filter hook prerouting priority -300: notrack"
    assert fate(oracle, SYN, raw, DROP_UNLESS + "ct mark != 5 accept") is Fate.DROPPED
    assert fate(oracle, SYN, DROP_UNLESS + "ct mark != 5 accept") is Fate.INPUT


@pytest.mark.parametrize(("nat", "test", "expected"), [(50, 0, Fate.INPUT), (-150, -120, Fate.DROPPED)])
def test_nat_chains_run_at_minus_100_whatever_their_priority(
    oracle: Oracle, nat: int, test: int, expected: Fate
) -> None:
    redirect = f"nat hook prerouting priority {nat}: tcp dport 80 redirect to :8080"
    assert (
        fate(oracle, SYN, redirect, f"filter hook prerouting priority {test}; policy drop: tcp dport 8080 accept")
        is expected
    )


def test_after_a_translation_later_nat_chains_are_not_asked(oracle: Oracle) -> None:
    redirect = "nat hook prerouting priority -110: tcp dport 80 redirect to :8080"
    assert (
        fate(oracle, SYN, redirect, "nat hook prerouting priority -90; policy drop: tcp dport 1 accept") is Fate.INPUT
    )


def test_a_translation_that_changes_nothing_is_none(oracle: Oracle) -> None:
    redirect = "nat hook prerouting priority -100: tcp dport 80 redirect to :80"
    assert fate(oracle, SYN, redirect, DROP_UNLESS + "ct status dnat accept") is Fate.DROPPED


def test_a_redirect_leads_to_the_first_address_of_the_interface(oracle: Oracle) -> None:
    other = Probe("eth0", Family.IPV4, TCP, SOURCE, HOST_ETH1, dport=80)
    redirect = "nat hook prerouting priority -100: tcp dport 80 redirect to :8080"
    assert fate(oracle, other, redirect, DROP_UNLESS + "ip daddr 192.0.2.1 tcp dport 8080 accept") is Fate.INPUT


def test_a_port_match_without_a_protocol_reads_the_bytes_of_any(oracle: Oracle) -> None:
    ping = Probe("eth0", Family.IPV4, ICMP, SOURCE, HOST_ETH0)
    assert fate(oracle, ping, DROP_UNLESS + "th dport 1-65535 accept") is Fate.INPUT


def test_connections_of_dccp_have_no_ports_and_keep_theirs_when_they_are_translated(oracle: Oracle) -> None:
    """So it is with Linux 6.18; what the engine says of other kernels is a doubt."""
    request = replace(SYN, protocol=DCCP)
    assert fate(oracle, request, DROP_UNLESS + "meta l4proto dccp ct original proto-dst 0 accept") is Fate.INPUT
    assert fate(oracle, request, DROP_UNLESS + "meta l4proto dccp ct original proto-dst 80 accept") is Fate.DROPPED
    moved = "nat hook prerouting priority -100: dccp dport 80 redirect to :8080"
    assert fate(oracle, request, moved, DROP_UNLESS + "dccp dport 80 accept") is Fate.INPUT
    assert fate(oracle, request, moved, DROP_UNLESS + "ct status dnat accept") is Fate.DROPPED


ZONE = "filter hook prerouting priority -300: ct zone set 1"
EARLY = "filter hook prerouting priority -250; policy drop: "


def test_a_packet_with_a_zone_is_new_before_conntrack_sees_it_and_has_no_other_data(oracle: Oracle) -> None:
    assert fate(oracle, SYN, ZONE, EARLY + "ct state new accept") is Fate.INPUT
    assert fate(oracle, SYN_ACK, ZONE, EARLY + "ct state new accept") is Fate.INPUT
    assert fate(oracle, SYN, ZONE, EARLY + "ct state invalid accept") is Fate.DROPPED
    assert fate(oracle, SYN, ZONE, EARLY + "ct mark 0 accept") is Fate.DROPPED
    assert fate(oracle, SYN_ACK, ZONE, DROP_UNLESS + "ct state invalid accept") is Fate.INPUT


def test_a_mark_that_is_given_before_conntrack_does_not_last(oracle: Oracle) -> None:
    assert fate(oracle, SYN, ZONE + "; ct mark set 7", DROP_UNLESS + "ct mark 0 accept") is Fate.INPUT


def test_a_zone_makes_conntrack_see_what_was_not_to_be_tracked(oracle: Oracle) -> None:
    raw = "filter hook prerouting priority -300: notrack; ct zone set 1"
    assert fate(oracle, SYN, raw, DROP_UNLESS + "ct state new accept") is Fate.INPUT


LOOPBACK_RULES = """flush ruleset
table inet fact {
    chain early {
        type filter hook prerouting priority -300
        iif lo udp dport 5000 ct state new counter
        iif lo udp dport 5000 ct state invalid counter
        iif lo udp dport 5000 ct state untracked counter
        iif lo udp dport 5000 notrack
    }
    chain late {
        type filter hook input priority 0
        udp dport 5000 ct state new counter
        udp dport 5000 ct state untracked counter
    }
    chain sending {
        type filter hook output priority -300
    }
}
"""
SEND_TO_MYSELF = """
from socket import AF_INET, SOCK_DGRAM, socket
receiver, sender = socket(AF_INET, SOCK_DGRAM), socket(AF_INET, SOCK_DGRAM)
receiver.bind(("127.0.0.1", 5000))
receiver.settimeout(5)
sender.sendto(b"x", ("127.0.0.1", 5000))
receiver.recv(1)
"""


@pytest.mark.parametrize(("sending", "expected"), [("", [1, 0, 0, 1, 0]), ("notrack", [0, 0, 1, 0, 1])])
def test_a_packet_on_loopback_was_tracked_when_it_was_sent(sandbox: Sandbox, sending: str, expected: list[int]) -> None:
    """Counted: what the rules before conntrack see on the way in, and then those on input."""
    rule = f"add rule inet fact sending {sending}\n" if sending else ""
    sandbox.run(["nft", "-f", "-"], LOOPBACK_RULES + rule)
    sandbox.run([sys.executable, "-c", SEND_TO_MYSELF])
    listing = json.loads(sandbox.run(["nft", "-j", "list", "table", "inet", "fact"]).stdout)
    counted = [
        one["counter"]["packets"]
        for item in listing["nftables"]
        for one in item.get("rule", {}).get("expr", ())
        if "counter" in one
    ]
    assert counted == expected


def test_notrack_leaves_alone_what_has_a_zone_already(oracle: Oracle) -> None:
    raw = "filter hook prerouting priority -300: ct zone set 1; notrack"
    assert fate(oracle, SYN, raw, DROP_UNLESS + "ct state new accept") is Fate.INPUT
    assert fate(oracle, SYN, raw, DROP_UNLESS + "ct state untracked accept") is Fate.DROPPED
