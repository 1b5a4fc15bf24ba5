"""Rules that look the source of a packet up in the routes: the kernel decides, then the engine with the same host's routes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from random import Random

import pytest

from portgate import engine, host
from portgate.core.capture import Capture, Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import ROUTES
from portgate.core.net import UDP, Family, format_address, parse_address
from portgate.core.packets import Packet
from portgate.core.semantics import Fate as Decided
from portgate.engine import Seen
from portgate.sandbox import Fate, Link, Oracle, Probe, Sandbox

pytestmark = pytest.mark.kernel

LINKS = (
    Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.2/24", "2001:db8:1::2/64")),
    Link("eth1", ("10.0.0.1/24", "2001:db8:2::1/64"), ("10.0.0.2/24", "2001:db8:2::2/64")),
    Link("eth2"),
)
NAMES = tuple(link.name for link in LINKS)
OWN = {family: parse_address(text)[1] for family, text in ((Family.IPV4, "192.0.2.1"), (Family.IPV6, "2001:db8:1::1"))}
RULES = {
    "strict": "fib saddr . iif oif missing drop",
    "marked": "fib saddr . mark . iif oif missing drop",
    "exists": "fib saddr . iif oif exists drop",
    "loose": "fib saddr oif missing drop",
}
BLOCKS = {
    Family.IPV4: [(parse_address(text)[1], length) for text, length in (("10.0.0.0", 8), ("198.51.100.0", 24))],
    Family.IPV6: [(parse_address(text)[1], length) for text, length in (("2001:db8::", 32), ("fe80::", 10))],
}


@pytest.fixture(scope="module")
def router() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            sandbox.run(["ip", "-json", "route"])
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


def prefix(rng: Random, family: Family) -> tuple[int, int]:
    """Network and length, few enough that they often hold each other."""
    base, length = rng.choice(BLOCKS[family])
    longer = rng.choice([length, length + 2, length + 3, family.bits])
    bits = rng.getrandbits(3) << family.bits - length - 3
    network = base | bits
    return network >> family.bits - longer << family.bits - longer, longer


def text_of(family: Family, network: int, length: int) -> str:
    return f"{format_address(family, network)}/{length}"


def routes(rng: Random, family: Family) -> list[list[str]]:
    """Commands; some fail, where two routes can't be together."""
    made = []
    for _ in range(rng.randrange(10)):
        target = rng.choice(["default", *[text_of(family, *prefix(rng, family)) for _ in range(4)]])
        if rng.random() < 0.15:
            made.append(["add", rng.choice(["unreachable", "blackhole", "prohibit"]), target])
        elif rng.random() < 0.15:
            hops = [word for name in rng.sample(NAMES, 2) for word in ("nexthop", "dev", name)]
            made.append(["add", target, *hops])
        else:
            metric = ["metric", str(rng.choice([5, 50]))] if rng.random() < 0.3 else []
            made.append(["append", target, "dev", rng.choice(NAMES), *metric])
    return made


def sources(rng: Random, family: Family, seen: Seen) -> list[int]:
    """In and beside the prefixes, this host's own addresses, and others."""
    found = []
    for _ in range(20):
        network, length = prefix(rng, family)
        size = 1 << family.bits - length
        found += [network, network + size - 1, network + size, network + rng.randrange(size)]
    own = [address for one in seen.host.interfaces or () for of, address, _ in one.addresses if of is family]
    away = parse_address("203.0.113.7" if family is Family.IPV4 else "2620:0:1::7")[1]
    return [one for one in [*found, *own, away] if is_a_source(family, one)]


def is_a_source(family: Family, address: int) -> bool:
    """Not loopback, a group, or what the kernel refuses before any rule."""
    if family is Family.IPV4:
        return 1 <= address >> 24 < 224 and address >> 24 != 127
    return address > 1 and address >> 120 != 0xFF


def set_up(router: Sandbox, rng: Random) -> None:
    for family in Family:
        flag = f"-{family.value}"
        for command in routes(rng, family):
            router.run(["ip", flag, "route", *command], check=False)


def tear_down(router: Sandbox) -> None:
    for family in Family:
        for line in router.run(["ip", f"-{family.value}", "route", "show"]).stdout.splitlines():
            if "proto kernel" not in line and not line.startswith((" ", "\t")):
                router.run(["ip", f"-{family.value}", "route", "del", *line.split()], check=False)


def seen_with(router: Sandbox, *rules: Reading) -> Seen:
    """The host, with these rules alone: the oracle has its own there."""
    kinds = ("interfaces", "sysctl", *ROUTES.values())
    facts = [one for one in router.call(host.capture_rules).readings if one.kind in kinds]
    return engine.understand(Capture((*rules, *facts)))


@pytest.mark.parametrize("seed", range(10))
def test_the_kernel_and_the_engine_agree_on_random_routes(router: Sandbox, seed: int) -> None:
    rng, oracle = Random(seed), Oracle(router)
    set_up(router, rng)
    try:
        for rule in RULES.values():
            text = f"table inet t {{\nchain p {{\ntype filter hook prerouting priority 0\n{rule}\n}}\n}}\n"
            oracle.load(text)
            compare(oracle, seen_with(router, Reading("nft", text, "the test")), rng)
    finally:
        tear_down(router)


@pytest.mark.parametrize("option", ["--invert", "--loose --invert", "--validmark"])
@pytest.mark.parametrize("seed", range(100, 103))
def test_so_they_do_on_rules_of_iptables(router: Sandbox, seed: int, option: str) -> None:
    rng, oracle = Random(seed), Oracle(router)
    text = f"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m rpfilter {option} -j DROP\nCOMMIT\n"
    set_up(router, rng)
    try:
        oracle.load("")
        readings = []
        for program in ("iptables", "ip6tables"):
            router.run([f"{program}-nft-restore"], text)
            readings.append(Reading(f"{program}-save", text, "the test"))
        compare(oracle, seen_with(router, *readings), rng)
    finally:
        tear_down(router)


def compare(oracle: Oracle, seen: Seen, rng: Random) -> None:
    assert len(seen.host.routes) == 2
    probes = [
        Probe(rng.choice(NAMES), family, UDP, source, OWN[family], dport=53)
        for family in Family
        for source in sources(rng, family, seen)
    ]
    packets = [
        Packet(one.family, one.protocol, one.link, one.source, one.destination, one.sport, one.dport) for one in probes
    ]
    mine = {address for one in seen.host.interfaces or () for _, address, _ in one.addresses}
    fates = [one.answer.fate for one in engine.decide(seen, packets)]
    assert {Decided.ACCEPT, Decided.DROP} <= {*fates}
    assert fates.count(Decided.DEPENDS) < len(fates) / 3
    for one, found, said in zip(probes, oracle.judge(probes), fates, strict=True):
        expected = {Decided.ACCEPT: Fate.INPUT, Decided.DROP: Fate.DROPPED}.get(said, found)
        if one.family is Family.IPV4 and one.source in mine:
            continue  # whatever rules say, the kernel takes none of these
        source = format_address(one.family, one.source)
        assert found is expected, f"from {source} by {one.link}: the kernel says {found}, the engine {said}"


MISSING = """table inet t {
    chain p {
        type filter hook prerouting priority 10
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop
    }
}
"""
SSHD = 'tcp LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=812,fd=3))\n'


def test_an_audit_says_exactly_who_passes(router: Sandbox) -> None:
    router.run(["nft", "-f", "-"], f"flush ruleset\n{MISSING}")
    router.run(["ip", "-6", "route", "replace", "default", "dev", "eth0"])
    told = router.call(host.capture_rules)
    assert {*ROUTES.values()} <= {one.kind for one in told.readings}
    seen = engine.understand(Capture((Reading("ss", SSHD, "the test"), *told.readings)))
    (exposure,) = engine.audit(seen, None, date(2026, 1, 1)).exposures
    assert {one.fate for one in exposure.reaches} == {Decided.ACCEPT, Decided.DROP}
    fates = {
        (name, text): engine.decide(seen, [Packet(Family.IPV6, UDP, name, parse_address(text)[1], dport=53)])[
            0
        ].answer.fate
        for name in NAMES
        for text in ("2620::7", "2001:db8:2::7", "fe80::7")
    }
    passing = {place for place, fate in fates.items() if fate is Decided.ACCEPT}
    assert passing == {("eth0", "2620::7"), ("eth1", "2001:db8:2::7"), *((name, "fe80::7") for name in NAMES)}
    assert Decided.DEPENDS not in fates.values()


def test_routes_are_read_where_a_rule_asks_for_them(router: Sandbox) -> None:
    router.run(["nft", "-f", "-"], "flush ruleset\ntable inet t {\n}\n")
    assert not {*ROUTES.values()} & {one.kind for one in router.call(host.capture_rules).readings}
