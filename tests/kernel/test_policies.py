"""Every example of policies/ lets through exactly what it says: real packets, against the policy read by another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

import pytest

from portgate import language
from portgate.backends import get
from portgate.core import compile as compiler
from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS, SCTP, TCP, UDP, Family, parse_address
from portgate.core.policy import Peer, Policy
from portgate.sandbox import HOST as HERE
from portgate.sandbox import Answer, Link, Oracle, Sandbox, Transport
from tests import policy_oracle
from tests.generate.packets import probe
from tests.generate.world import WORLD, own_addresses
from tests.kernel.differential import MEANING, agree
from tests.packet import Packet

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "policies").glob("*.yaml"))
TODAY = date(2027, 1, 1)
MOST = 4000
STRANGERS = {Family.IPV4: ("203.0.113.9", "9.9.9.9"), Family.IPV6: ("2001:db8:ffff::9", "2a00::9")}


def read(name: str) -> Policy:
    loaded = language.load(f"policies/{name}", lambda path: (ROOT / path).read_bytes(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


def native(policy: Policy) -> str:
    return get("nftables").emit(compiler.compile(policy, TODAY)).text


# ------------------------------------------------------------------ the matrix


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_lets_through_exactly_what_it_says(name: str, oracle: Oracle) -> None:
    policy = read(name)
    packets = list(matrix(policy))
    if len(packets) > MOST:
        packets = Random(0).sample(packets, MOST)
    oracle.load(native(policy))
    fates = Counter[str]()
    for packet, fate in zip(packets, oracle.judge([probe(one) for one in packets]), strict=True):
        said = policy_oracle.decide(policy, packet, TODAY)
        assert agree(packet, MEANING[fate], said), f"{packet}: the kernel says {MEANING[fate]}, the policy {said}"
        fates[MEANING[fate]] += 1
    assert fates["accept"] > 20, fates
    assert fates["drop"] > 20, fates


def matrix(policy: Policy) -> Iterator[Packet]:
    """Each interface, a source of each zone and around its edges, each port spoken of and its neighbours, both families."""
    for family in Family:
        ways = product(WORLD.links, sources(policy, family), own_addresses(family))
        for (link, source, destination), (protocol, number) in product(ways, traffic(policy, family)):
            ports = (40000, number) if protocol in PORT_PROTOCOLS else (None, None)
            message = (number, 0) if protocol in {ICMP, ICMPV6} else (None, None)
            yield Packet(family, protocol, link.name, source, destination, *ports, *message)


def sources(policy: Policy, family: Family) -> list[int]:
    peers = [peer for grant in policy.grants() for peer in grant.sources] + [peer for _, peer in policy.zones]
    ends = {value for peer in peers for value in edges(peer, family)}
    return WORLD.strangers(family, ends | {parse_address(text)[1] for text in STRANGERS[family]})


def edges(peer: Peer, family: Family) -> Iterator[int]:
    for first, last in peer.addresses.of_family(family) if peer.addresses else ():
        yield from (first - 1, first, last, last + 1)


def traffic(policy: Policy, family: Family) -> set[tuple[int, int]]:
    """(protocol, port or ICMP type). Errors and neighbour discovery are left to tests/compile."""
    pairs = {(protocol, port) for protocol in (TCP, UDP, SCTP) for port in (23, 5432)}
    for one in (one for grant in policy.grants() for one in grant.traffic):
        if one.protocol in PORT_PROTOCOLS:
            ends = {one.first - 1, one.first, one.last, one.last + 1}
            pairs |= {(protocol, port) for protocol in (TCP, UDP, SCTP) for port in ends if 0 < port < 65536}
    return pairs | ({(ICMP, 8), (ICMP, 13)} if family is Family.IPV4 else {(ICMPV6, 128)})


# ------------------------------------------------------------------ what a reader of the file expects

EXPECTED = (
    ("ssh-only.yaml", "eth0 203.0.113.9 tcp 22", "accept"),
    ("ssh-only.yaml", "wg0 2001:db8:ffff::9 tcp 22", "accept"),
    ("ssh-only.yaml", "eth0 203.0.113.9 tcp 23", "drop"),
    ("ssh-only.yaml", "eth0 203.0.113.9 udp 22", "drop"),
    ("web-server.yaml", "eth0 203.0.113.9 tcp 443", "accept"),
    ("web-server.yaml", "eth0 203.0.113.9 udp 443", "accept"),
    ("web-server.yaml", "eth0 203.0.113.66 tcp 443", "drop"),
    ("web-server.yaml", "eth0 203.0.113.67 tcp 443", "accept"),
    ("web-server.yaml", "eth0 203.0.113.200 udp 443", "drop"),
    ("web-server.yaml", "eth1 2001:db8:bad::1 tcp 80", "drop"),
    ("web-server.yaml", "eth1 198.51.100.255 tcp 22", "accept"),
    ("web-server.yaml", "eth1 198.51.101.0 tcp 22", "drop"),
    ("web-server.yaml", "eth0 2001:db8:42:ffff::1 tcp 22", "accept"),
    ("web-server.yaml", "eth0 2001:db8:43::1 tcp 22", "drop"),
    ("web-server.yaml", "eth0 203.0.113.9 sctp 443", "drop"),
    ("database.yaml", "eth1 10.10.1.77 tcp 5432", "accept"),
    ("database.yaml", "eth0 10.10.1.77 tcp 5432", "drop"),
    ("database.yaml", "eth1 10.10.2.8 tcp 5432", "drop"),
    ("database.yaml", "wg0 10.10.2.7 tcp 5432", "accept"),
    ("database.yaml", "eth0 10.10.77.3 tcp 5432", "accept"),
    ("bastion.yaml", "eth0 198.51.100.191 tcp 22", "accept"),
    ("bastion.yaml", "eth0 198.51.100.192 tcp 22", "drop"),
    ("dns-resolver.yaml", "eth0 192.168.200.1 udp 53", "accept"),
    ("dns-resolver.yaml", "eth0 192.168.200.1 tcp 853", "drop"),
    ("dns-resolver.yaml", "eth0 192.168.201.1 tcp 853", "accept"),
    ("mail-server.yaml", "eth0 203.0.113.66 tcp 25", "drop"),
    ("mail-server.yaml", "eth0 203.0.113.66 tcp 993", "accept"),
    ("mail-server.yaml", "eth0 203.0.113.9 tcp 143", "drop"),
    ("wireguard-gateway.yaml", "wg1 10.99.0.1 udp 53", "accept"),
    ("wireguard-gateway.yaml", "eth0 10.99.0.1 udp 53", "drop"),
    ("wireguard-gateway.yaml", "eth0 203.0.113.9 udp 51820", "accept"),
    ("wireguard-gateway.yaml", "eth0 203.0.113.9 tcp 443", "accept"),
    ("wireguard-gateway.yaml", "eth0 203.0.113.9 tcp 2222", "drop"),
    ("wireguard-gateway.yaml", "wg0 10.99.0.1 tcp 2222", "accept"),
    ("monitored-host.yaml", "eth0 192.0.2.21 udp 161", "accept"),
    ("monitored-host.yaml", "eth0 192.0.2.30 udp 161", "drop"),
    ("docker-host.yaml", "eth0 203.0.113.9 tcp 8080", "drop"),
    ("docker-host.yaml", "eth0 198.51.100.1 tcp 8443", "accept"),
)
PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}


@pytest.mark.parametrize("name", sorted({name for name, _, _ in EXPECTED}))
def test_the_example_does_what_its_reader_expects(name: str, oracle: Oracle) -> None:
    oracle.load(native(read(name)))
    cases = [(words, verdict) for each, words, verdict in EXPECTED if each == name]
    fates = oracle.judge([probe(packet_of(words)) for words, _ in cases])
    assert [(words, MEANING[fate]) for (words, _), fate in zip(cases, fates, strict=True)] == cases


def packet_of(words: str) -> Packet:
    link, source, protocol, port = words.split()
    family, address = parse_address(source)
    return Packet(family, PROTOCOLS[protocol], link, address, own_addresses(family)[0], 40000, int(port))


# ------------------------------------------------------------------ whole conversations

HOME = (
    Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.9/24", "2001:db8:1::9/64")),
    Link("eth1", ("192.168.1.1/24",), ("192.168.1.20/24", "192.168.1.21/24")),
    Link("wg0", ("10.9.0.1/24",), ("10.9.0.9/24",)),
)


def answers(sandbox: Sandbox, source: str, *questions: tuple[Transport, str, int]) -> list[Answer]:
    return [sandbox.connect(*question, source=source, patience=0.3) for question in questions]


def test_a_forwarded_port_leads_to_the_machine_behind() -> None:
    with Sandbox(HOME) as sandbox:
        sandbox.run(["nft", "-f", "-"], native(read("wireguard-gateway.yaml")))
        sandbox.listen(Transport.TCP, "192.168.1.20", 443, inside="eth1")
        sandbox.listen(Transport.TCP, "192.168.1.21", 22, inside="eth1")
        sandbox.listen(Transport.UDP, "0.0.0.0", 53)
        questions = (
            (Transport.TCP, "192.0.2.1", 443),
            (Transport.TCP, "192.0.2.1", 2222),
            (Transport.UDP, "192.0.2.1", 53),
        )
        assert answers(sandbox, "eth0", *questions) == [Answer.OPEN, Answer.FILTERED, Answer.FILTERED]
        assert answers(sandbox, "wg0", *questions) == [Answer.OPEN, Answer.OPEN, Answer.OPEN]


def test_what_leaves_the_host_obeys_outbound() -> None:
    links = (
        Link("eth0", ("203.0.113.1/24",), ("203.0.113.9/24",)),
        Link("eth1", ("10.20.0.1/24", "2001:db8:20::1/64"), ("10.20.0.5/24", "10.20.0.53/24", "2001:db8:20::53/64")),
    )
    with Sandbox(links) as sandbox:
        sandbox.run(["nft", "-f", "-"], native(read("bastion.yaml")))
        for port in (22, 23, 53):
            sandbox.listen(Transport.TCP, "::", port, inside="eth1")
        for port in (22, 443):
            sandbox.listen(Transport.TCP, "::", port, inside="eth0")
        assert answers(
            sandbox,
            HERE,
            (Transport.TCP, "10.20.0.5", 22),
            (Transport.TCP, "10.20.0.5", 23),
            (Transport.TCP, "10.20.0.53", 53),
            (Transport.TCP, "2001:db8:20::53", 53),
            (Transport.TCP, "10.20.0.5", 53),
            (Transport.TCP, "203.0.113.9", 443),
            (Transport.TCP, "203.0.113.9", 22),
        ) == [Answer.OPEN, Answer.CLOSED, Answer.OPEN, Answer.OPEN, Answer.CLOSED, Answer.OPEN, Answer.CLOSED]
