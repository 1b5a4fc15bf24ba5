"""Packets as bytes, against published examples and against the definition of their checksums."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portgate.core.net import ICMP, ICMPV6, TCP, UDP, UDPLITE, Family, parse_address
from portgate.sandbox.frames import Probe, checksum, crc32c, packet

V4, V6 = parse_address("192.0.2.1")[1], parse_address("2001:db8::1")[1]


def test_the_checksum_is_that_of_the_example_in_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == bytes.fromhex("220d")


def test_crc32c_is_that_of_the_example_in_rfc_3720() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.sampled_from((TCP, UDP, UDPLITE)), st.sampled_from(Family), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_checksum_over_a_packet_with_its_checksum_is_zero(protocol: int, family: Family, port: int, tag: int) -> None:
    address = V4 if family is Family.IPV4 else V6
    data = packet(Probe("eth0", family, protocol, address, address + 1, dport=port), tag)
    head = 20 if family is Family.IPV4 else 40
    ends = data[head - family.bits // 4 : head]
    pseudo = ends + (len(data) - head).to_bytes(4, "big") + bytes(3) + bytes((protocol,))
    assert checksum(pseudo + data[head:]) == b"\0\0"
    assert family is Family.IPV6 or checksum(data[:head]) == b"\0\0"


def test_the_tag_is_where_the_oracle_looks_for_it() -> None:
    v4 = packet(Probe("eth0", Family.IPV4, ICMP, V4, V4), 0xBEEF)
    v6 = packet(Probe("eth0", Family.IPV6, ICMPV6, V6, V6, icmp_type=128), 0xBEEF)
    assert v4[4:6] == b"\xbe\xef"
    assert v6[:4] == b"\x60\x00\xbe\xef"
