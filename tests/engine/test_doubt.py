"""How often the answer is `depends`: typical packets, against rulesets of real hosts and tools.

PORTGATE_FILES (60) says how many files of each kind are asked, spread over all; 0 means all of them, which takes five minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from statistics import mean

import pytest

from portgate.backends.iptables.parse import parse
from portgate.core import unread
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import parse_interfaces
from portgate.core.net import ICMP, ICMPV6, TCP, UDP, Family, parse_address
from portgate.core.packets import Packet
from portgate.core.ruleset import CtState, Ruleset
from portgate.core.semantics import Fate
from portgate.core.trace import decide
from tests.iptables.test_corpus import listings
from tests.nftables import corpus
from tests.nftables.reading import read

pytestmark = [pytest.mark.corpus, corpus.needed]

FILES = int(os.environ.get("PORTGATE_FILES", "60"))
SERVICES = ((TCP, 22), (TCP, 25), (TCP, 80), (TCP, 443), (TCP, 3306), (TCP, 8080), (UDP, 53), (UDP, 123), (UDP, 51820))
INTERFACES = (
    "eth0:192.0.2.1/24,eth0:2001:db8:1::1/64,eth1:10.0.0.1/24,eth1:2001:db8:2::1/64,"
    "docker0:172.17.0.1/16,docker0:2001:db8:77::1/64"
)
HOST = Host(parse_interfaces(Reading("interfaces", INTERFACES, "a test")))
ENDS = {  # (outside, inside), (the host, behind it)
    Family.IPV4: (("203.0.113.9", "10.0.0.77"), ("192.0.2.1", "172.17.0.2")),
    Family.IPV6: (("2a00::9", "2001:db8:2::77"), ("2001:db8:1::1", "2001:db8:77::2")),
}
ECHO = {Family.IPV4: (ICMP, 8), Family.IPV6: (ICMPV6, 128)}

Read = Callable[[], Ruleset]


def packets() -> Iterator[Packet]:
    """First packets of connections to usual services, pings, and packets of connections that were let in before."""
    for family, (sources, destinations) in ENDS.items():
        for (iif, source), to in product(zip(("eth0", "eth1"), sources, strict=True), destinations):
            ends = (iif, parse_address(source)[1], parse_address(to)[1])
            yield from (Packet(family, protocol, *ends, 40000, port) for protocol, port in SERVICES)
            yield Packet(family, TCP, *ends, 443, 40000, tcp_flags=16, ct_state=CtState.ESTABLISHED)
            protocol, kind = ECHO[family]
            yield Packet(family, protocol, *ends, icmp_type=kind, icmp_code=0)


PACKETS = tuple(packets())


def iptables_save() -> Iterator[tuple[str, Read]]:
    for _, reading in listings():
        yield reading.source, partial(parse, (reading,))


def nft(kind: str) -> Iterator[tuple[str, Read]]:
    for path in corpus.files(kind):
        yield path, partial(lambda path: read(corpus.text(path), kind), path)


def packets_for(rules: Ruleset) -> list[Packet]:
    """Those of the families that rules see."""
    seen = {family for one in rules.containers if any(chain.rules for chain in one.chains) for family in one.families}
    return [one for one in PACKETS if one.family in seen]


def shares(found: Iterator[tuple[str, Read]]) -> dict[str, float]:
    """Of the packets, how many depend, by file; without files that can't be read whole, or are about no such packets."""
    files = list(found)
    told = {}
    for path, ruleset in files[:: max(1, len(files) // FILES)] if FILES else files:
        try:
            rules = ruleset()
        except PortgateError:
            continue
        if any(unread.reasons(rules)):
            continue  # an `include`, say: all of it depends on what is not there
        if asked := packets_for(rules):
            told[path] = mean(one.answer.fate is Fate.DEPENDS for one in decide(rules, asked, HOST))
    return told


@pytest.mark.parametrize(
    ("kind", "found", "most"),
    [
        ("iptables-save", iptables_save(), 0.07),
        ("nft", nft("nft"), 0.08),
        ("nft-json", nft("nft-json"), 0.08),
    ],
)
def test_the_fate_of_most_typical_packets_is_known(
    kind: str, found: Iterator[tuple[str, Read]], most: float, capsys: pytest.CaptureFixture[str]
) -> None:
    told = shares(found)
    for path, one in told.items():
        print(f"{one:6.1%} depends: {path}")
    average = mean(told.values())
    with capsys.disabled():
        some = sum(one > 0 for one in told.values())
        print(f"\n{kind}: {average:.1%} depends on average of {len(told)} files, {some} of them with any")
    assert len(told) > 30
    assert average < most
