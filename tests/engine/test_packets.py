"""Packets, sets of packets in words, and the one packet that is shown of each set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.addresses import Host
from portgate.core.decision import Diagram, Space, evaluate
from portgate.core.net import (
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    TCP,
    UDP,
    AddressSet,
    Family,
    Intervals,
    interface_interval,
    parse_address,
)
from portgate.core.packets import (
    DPORT,
    DST,
    IIF,
    OIF,
    PROTOCOL,
    SPORT,
    SRC,
    Cube,
    Description,
    Likely,
    Packet,
    describe,
    tops,
    witness,
)
from portgate.core.ruleset import CtState
from portgate.core.semantics import Analysis
from portgate.core.verify import likely
from tests.generate.rulesets import ruleset
from tests.generate.world import HOST

V4, V6 = Family.IPV4, Family.IPV6
OFFICE = AddressSet.of("198.51.100.0/24").v4


def one(value: int) -> Intervals:
    return ((value, value),)


def boxed(space: Space, family: Family, values: Mapping[int, Intervals]) -> Diagram:
    top = tops(family)
    return space.box([(level, some, top[level]) for level, some in values.items()], space.true, space.false)


# ------------------------------------------------------------------ packets as fields


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from(list(Family)))
    protocol = draw(st.sampled_from((TCP, UDP, ICMP, ICMPV6, 47, 253)))
    has_ports, is_icmp = protocol in PORT_PROTOCOLS, protocol in (ICMP, ICMPV6)
    ports, numbers = st.integers(0, 0xFFFF), st.integers(0, 255)
    return Packet(
        family=family,
        protocol=protocol,
        iif=draw(st.sampled_from(("eth0", "wg1", ""))),
        src=draw(st.integers(0, family.top)),
        dst=draw(st.none() | st.integers(0, family.top)),
        sport=draw(ports) if has_ports else None,
        dport=draw(ports) if has_ports else None,
        icmp_type=draw(numbers) if is_icmp else None,
        icmp_code=draw(numbers) if is_icmp else None,
        tcp_flags=draw(numbers) if protocol == TCP else 0,
        ct_state=draw(st.sampled_from(list(CtState))),
        oif=draw(st.sampled_from(("", "eth1"))),
    )


@given(packets())
def test_a_packet_survives_its_fields(packet: Packet) -> None:
    assert Packet.of_fields(packet.fields()) == packet


def test_what_a_packet_leaves_out_is_what_is_usual() -> None:
    packet = Packet.of_fields({"proto": "tcp", "src": "198.51.100.7", "dport": 443, "iif": "eth0"})
    assert str(packet) == "tcp 198.51.100.7:40000 to port 443 in eth0"
    assert packet.ct_state is CtState.NEW
    assert Packet.of_fields({"proto": "icmpv6", "src": "2001:db8::7"}).icmp_type == 128


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"proto": "tcp", "dport": 443}, "src is missing"),
        ({"proto": "tcp", "src": "198.51.100.7"}, "dport is missing"),
        ({"proto": "tcp", "src": "198.51.100.7", "dport": 65536}, "dport is a number"),
        ({"proto": "tcp", "src": "198.51.100.7", "dport": True}, "dport is a number"),
        ({"proto": "tcp", "src": "198.51.100.7", "dport": "443"}, "dport is a number"),
        ({"proto": "quic", "src": "198.51.100.7"}, "proto is a protocol's name"),
        ({"proto": 256, "src": "198.51.100.7"}, "proto is a protocol's name"),
        ({"proto": "gre", "src": "198.51.100.7", "dst": "::1"}, "different families"),
        ({"proto": "gre", "src": "198.51.100.7", "family": 6}, "does not fit"),
        ({"proto": "gre", "src": "198.51.100.7", "iif": "a b"}, "interface"),
        ({"proto": "gre", "src": "198.51.100.7", "state": "old"}, "state is one of"),
        ({"proto": "gre", "src": "198.51.100.7", "port": 1}, "unknown fields: 'port'"),
        ({"proto": "gre", "src": ["198.51.100.7"]}, "not an IP address"),
    ],
)
def test_fields_that_make_no_packet_are_refused_with_the_reason(fields: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Packet.of_fields(fields)


# ------------------------------------------------------------------ witnesses


@pytest.mark.parametrize("seed", range(40))
def test_a_witness_of_each_answer_gets_that_answer(seed: int) -> None:
    rules = ruleset(Random(seed))
    for family in Family:
        analysis = Analysis(family, Host(HOST))
        found = analysis.settle(analysis.inbound(rules))
        for leaf in analysis.space.leaves(found):
            packet = witness(analysis.space, family, found, leaf, likely(Host(HOST)))
            assert packet is not None
            assert evaluate(found, packet.levels()) == leaf.value, str(packet)


def test_there_is_no_witness_of_an_answer_that_nothing_gets() -> None:
    space = Space()
    assert witness(space, V4, space.true, space.false) is None


def test_a_witness_is_a_packet_that_a_person_would_think_of() -> None:
    space = Space()
    everything = witness(space, V4, space.true, space.true)
    assert str(everything) == "tcp 198.51.100.7:40000 to port 443 in eth0"
    assert str(witness(space, V6, space.true, space.true)).startswith("tcp [2001:db8::7]:40000 ")


def test_a_witness_uses_the_interfaces_and_addresses_of_the_host() -> None:
    space = Space()
    here = Likely(("lo", "ens3"), ((V4, parse_address("192.0.2.80")[1]),))
    packet = witness(space, V4, space.true, space.true, here)
    assert str(packet) == "tcp 198.51.100.7:40000 to 192.0.2.80:443 in ens3"


def test_a_witness_leaves_what_is_typical_only_where_it_must() -> None:
    space = Space()
    inside = boxed(space, V4, {PROTOCOL: one(UDP), DPORT: ((5000, 6000),), SRC: AddressSet.of("10.7.0.0/16").v4})
    packet = witness(space, V4, inside, space.true)
    assert packet is not None
    assert (packet.protocol, packet.dport, packet.sport) == (UDP, 5432, 40000)
    assert evaluate(inside, packet.levels()) is True


# ------------------------------------------------------------------ sets of packets in words


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({PROTOCOL: one(TCP), DPORT: one(443), SRC: OFFICE}, "tcp 443 from 198.51.100.0/24"),
        ({PROTOCOL: one(UDP), DPORT: ((8000, 8100), (9000, 9000))}, "udp 8000-8100,9000"),
        ({PROTOCOL: ((TCP, TCP), (UDP, UDP)), DPORT: one(53)}, "tcp,udp 53"),
        ({PROTOCOL: one(TCP), DPORT: ((0, 21), (23, 65535))}, "tcp all but 22"),
        ({PROTOCOL: one(TCP), SPORT: ((0, 1023),)}, "tcp source port 0-1023"),
        ({PROTOCOL: one(ICMP)}, "icmp"),
        ({}, "any protocol"),
        ({PROTOCOL: ((0, 5), (7, 255))}, "any protocol but tcp"),
        ({IIF: one(interface_interval("eth0")[0])}, "any protocol in eth0"),
        ({IIF: (interface_interval("wg*"),), DST: one(0xC0000201)}, "any protocol to 192.0.2.1 in wg*"),
        ({OIF: one(interface_interval("eth1")[0])}, "any protocol out eth1"),
        ({PROTOCOL: one(TCP), DPORT: one(22), SRC: AddressSet.of("10.0.0.1-10.0.0.9").v4}, None),
    ],
)
def test_a_cube_reads_like_a_sentence(values: Mapping[int, Intervals], text: str | None) -> None:
    assert str(Cube(V4, values)) == (text or "tcp 22 from 10.0.0.1-10.0.0.9")


def test_all_interfaces_but_one_are_told_by_that_one() -> None:
    first = interface_interval("lo")[0]
    rest = ((0, first - 1), (first + 1, interface_interval("*")[1]))
    assert str(Cube(V4, {IIF: rest})) == "any protocol in any but lo"


def test_all_addresses_but_some_are_told_by_those() -> None:
    most = ((0, OFFICE[0][0] - 1), (OFFICE[0][1] + 1, V4.top))
    assert str(Cube(V4, {SRC: most})) == "any protocol from anywhere but 198.51.100.0/24"


def test_many_addresses_are_cut_short() -> None:
    many = tuple((value, value) for value in range(0, 200, 2))
    text = str(Cube(V4, {SRC: many[1:]}))
    assert text.endswith("and more (99 ranges)")
    assert len(text) < 200


@given(st.binary(min_size=1, max_size=15))
def test_no_bytes_of_an_interface_name_break_the_words(name: bytes) -> None:
    value = int.from_bytes(name.ljust(15, b"\0"), "big")
    space = Space()
    packet = witness(space, V4, boxed(space, V4, {IIF: one(value)}), space.true)
    for text in (str(Cube(V4, {IIF: one(value)})), str(packet)):
        text.encode()


# ------------------------------------------------------------------ descriptions


def described(space: Space, family: Family, description: Description) -> Diagram:
    """The set that the cubes tell of."""
    told = space.chain([boxed(space, family, cube.values) for cube in description.cubes], space.false)
    return space.negation(told) if description.but else told


def _is(space: Space, wanted: Diagram, leaf: Diagram) -> Diagram:
    return space.true if leaf is wanted else space.false


@pytest.mark.parametrize("seed", range(25))
def test_the_cubes_are_exactly_the_set(seed: int) -> None:
    rng = Random(seed)
    for family in Family:
        analysis = Analysis(family, Host(HOST))
        space = analysis.space
        found = analysis.settle(analysis.inbound(ruleset(rng)))
        within = boxed(space, family, {IIF: (interface_interval("eth*"),)}) if seed % 2 else space.true
        for leaf in space.leaves(found):
            packets = space.rebuild(found, partial(_is, space, leaf))
            description = describe(space, family, packets, within)
            wanted, told = space.both(packets, within), space.both(described(space, family, description), within)
            if description.complete:
                assert told is wanted
            else:  # what is told is true, though not all
                rest = space.both(told, space.negation(wanted)) if not description.but else None
                assert rest is None or rest is space.false


def test_a_set_is_told_in_as_few_cubes_as_its_rules() -> None:
    space = Space()
    ssh = boxed(space, V4, {PROTOCOL: one(TCP), DPORT: one(22), SRC: OFFICE})
    web = boxed(space, V4, {PROTOCOL: one(TCP), DPORT: ((80, 80), (443, 443))})
    description = describe(space, V4, space.either(ssh, web), space.true)
    assert sorted(map(str, description.cubes)) == ["tcp 22 from 198.51.100.0/24", "tcp 80,443"]
    assert description.complete


def test_nearly_everything_is_told_by_what_is_missing() -> None:
    space = Space()
    telnet = boxed(space, V4, {PROTOCOL: one(TCP), DPORT: one(23), SRC: OFFICE})
    description = describe(space, V4, space.negation(telnet), space.true)
    assert description.but
    assert [str(cube) for cube in description.cubes] == ["tcp 23 from 198.51.100.0/24"]


def test_too_many_cubes_are_cut_off_and_that_is_said() -> None:
    space, rng = Space(), Random(5)
    spots = [
        boxed(space, V4, {PROTOCOL: one(TCP), DPORT: one(port), SRC: one(rng.randrange(V4.top))})
        for port in range(0, 600, 2)
    ]
    description = describe(space, V4, space.chain(spots, space.false), space.true, 12)
    assert len(description.cubes) == 12
    assert not description.complete
