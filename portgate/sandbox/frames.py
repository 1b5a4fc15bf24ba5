"""IP packets as bytes, with correct checksums: what is sent to see what a firewall does with it.

Facts
    IPv4 RFC 791, IPv6 RFC 8200, TCP RFC 9293, UDP RFC 768, UDP-Lite RFC 3828, DCCP RFC 4340, SCTP RFC 9260
    (CRC32c, RFC 3309), ICMP RFC 792, ICMPv6 RFC 4443. Conntrack calls a packet with a wrong checksum invalid.
"""

from __future__ import annotations

from struct import pack, unpack

from portgate.core import net
from portgate.core.dataclasses import dataclass
from portgate.core.net import Family

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
TAG_MAX = 0xFFFF
HOP_LIMIT = 64
DONT_FRAGMENT = 0x4000


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet that begins a conversation. `link` is where it arrives; ports, ICMP and TCP fields count where they exist."""

    link: str
    family: Family
    protocol: int
    source: int
    destination: int
    sport: int = 40000
    dport: int = 0
    icmp_type: int = 8
    icmp_code: int = 0
    tcp_flags: int = SYN


def packet(probe: Probe, tag: int) -> bytes:
    """The IP packet. `tag` (0 to TAG_MAX) is its IPv4 identification or IPv6 flow label, and in TCP numbers a reset."""
    width = probe.family.bits // 8
    ends = probe.source.to_bytes(width, "big") + probe.destination.to_bytes(width, "big")
    payload = _payload(probe, ends, tag)
    if probe.family is Family.IPV6:
        return pack("!IHBB", 6 << 28 | tag, len(payload), probe.protocol, HOP_LIMIT) + ends + payload
    start = pack("!BBHHHBB", 0x45, 0, 20 + len(payload), tag, DONT_FRAGMENT, HOP_LIMIT, probe.protocol)
    return start + checksum(start + ends) + ends + payload


def checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return pack("!H", ~(total + (total >> 16)) & 0xFFFF)


def _payload(probe: Probe, ends: bytes, tag: int) -> bytes:
    match probe.protocol:
        case net.TCP:
            return _summed(_tcp(probe, tag), 16, ends, net.TCP)
        case net.UDP:
            return _summed(pack("!HHHH", probe.sport, probe.dport, 8, 0), 6, ends, net.UDP)
        case net.UDPLITE:
            return _summed(pack("!HHHH", probe.sport, probe.dport, 8, 0), 6, ends, net.UDPLITE)
        case net.DCCP:
            return _summed(_dccp_request(probe), 6, ends, net.DCCP)
        case net.SCTP:
            return _sctp_init(probe)
        case net.ICMP:
            return _summed(_icmp(probe, tag), 2, b"", net.ICMP)
        case net.ICMPV6:
            return _summed(_icmp(probe, tag), 2, ends, net.ICMPV6)
        case 51:  # conntrack steps over an authentication header (RFC 4302) of IPv6, and must find something behind it
            return pack("!BBHIIII", 50, 1, 0, 1, tag, 1, tag)
        case _:
            return pack("!II", 0x800, tag)  # reads as a GRE header, an ESP index and sequence number, ...


def _summed(segment: bytes, at: int, ends: bytes, protocol: int) -> bytes:
    """The segment with its checksum at `at`, over the pseudo header too where `ends` are given."""
    pseudo = ends + pack("!IHH", len(segment), 0, protocol) if ends else b""
    return segment[:at] + checksum(pseudo + segment) + segment[at + 2 :]


def _tcp(probe: Probe, tag: int) -> bytes:
    """A reset in answer to it carries the tag: as its own sequence number, or as the one that it acknowledges."""
    counted = (probe.tcp_flags & SYN > 0) + (probe.tcp_flags & FIN > 0)
    acknowledged = tag if probe.tcp_flags & ACK else 0
    sequence = (tag - counted) & 0xFFFFFFFF
    return pack("!HHIIBBHHH", probe.sport, probe.dport, sequence, acknowledged, 0x50, probe.tcp_flags, 64240, 0, 0)


def _icmp(probe: Probe, tag: int) -> bytes:
    return pack("!BBHHH", probe.icmp_type, probe.icmp_code, 0, tag, 1)


def _dccp_request(probe: Probe) -> bytes:
    return pack("!HHBBHBBHII", probe.sport, probe.dport, 5, 0, 0, 1, 0, 0, 1, 0)


def _sctp_init(probe: Probe) -> bytes:
    chunk = pack("!BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    ports = pack("!HHI", probe.sport, probe.dport, 0)
    return ports + pack("<I", crc32c(ports + bytes(4) + chunk)) + chunk


def _crc32c_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C = tuple(_crc32c_entry(value) for value in range(256))


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC that SCTP uses."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
