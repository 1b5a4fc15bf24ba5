"""Interval algebra over the numbers in packet headers: addresses, ports, protocols, interface names.

Theory
    Every header field is an unsigned integer, and every question about it is "does it lie in one of
    these intervals". A set of values is therefore a tuple of closed intervals `((first, last), ...)`,
    sorted, disjoint and with a gap between neighbours, so that equal sets are equal tuples.
    Interface names are numbers too: their 15 bytes, padded with NUL, read as a big-endian integer.
    `wg*` is then an interval like any prefix.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import partial
from itertools import repeat
from operator import and_, itemgetter, or_
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton  # pure functions; the only use of this module

from portgate.core.dataclasses import dataclass

Interval = tuple[int, int]
Intervals = tuple[Interval, ...]

PORT_MAX = 0xFFFF
IFNAME_BYTES = 15
IFNAME_MAX = (1 << 8 * IFNAME_BYTES) - 1


class Family(IntEnum):
    """The IP family; its value is the version number."""

    IPV4 = 4
    IPV6 = 6

    __hash__ = int.__hash__  # that of an Enum is written in Python, and families are keys everywhere

    @property
    def bits(self) -> int:
        return 32 if self is Family.IPV4 else 128

    @property
    def top(self) -> int:
        """The highest address."""
        return (1 << self.bits) - 1


# IP protocol numbers that a policy can name (IANA "Assigned Internet Protocol Numbers").
PROTOCOLS: dict[str, int] = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33,
    "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "eigrp": 88, "ospf": 89,
    "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136, "mpls": 137,
}  # fmt: skip
PROTOCOL_NAMES: dict[int, str] = {number: name for name, number in PROTOCOLS.items()}
ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136
# Types of ICMP and ICMPv6 by the names that nft has for them.
ICMP_TYPES: dict[str, int] = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
    "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
    "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17,
    "address-mask-reply": 18,
}  # fmt: skip
ICMPV6_TYPES: dict[str, int] = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
    "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
    "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138, "ind-neighbor-solicit": 141,
    "ind-neighbor-advert": 142, "mld2-listener-report": 143,
}  # fmt: skip
PORT_PROTOCOLS = frozenset({TCP, UDP, DCCP, SCTP, UDPLITE})


def protocol_name(number: int) -> str:
    """`tcp`; a number that has no name here stays a number."""
    return PROTOCOL_NAMES.get(number, str(number))


# ------------------------------------------------------------------ intervals


def normalize(pairs: Iterable[Interval]) -> Intervals:
    """The union of any closed intervals (empty ones, first > last, are dropped)."""
    result: list[Interval] = []
    end = -2
    for pair in sorted(pairs, key=_FIRST):
        first, last = pair
        if first > last:
            continue
        if first > end + 1:
            result.append(pair)
            end = last
        elif last > end:
            result[-1] = (result[-1][0], last)
            end = last
    return tuple(result)


_FIRST = itemgetter(0)


def union(*sets: Intervals) -> Intervals:
    """What is in any of them."""
    return normalize(pair for one in sets for pair in one)


def complement(values: Intervals, top: int) -> Intervals:
    """All of 0..top that is not in `values`."""
    result: list[Interval] = []
    start = 0
    for first, last in values:
        if first > start:
            result.append((start, first - 1))
        start = last + 1
    if start <= top:
        result.append((start, top))
    return tuple(result)


def intersect(left: Intervals, right: Intervals) -> Intervals:
    """What is in both."""
    result: list[Interval] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first = max(left[i][0], right[j][0])
        last = min(left[i][1], right[j][1])
        if first <= last:
            result.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(result)


def subtract(left: Intervals, right: Intervals) -> Intervals:
    """What is in `left` and not in `right`."""
    if not left or not right:
        return left
    return intersect(left, complement(right, max(left[-1][1], right[-1][1])))


def contains(values: Intervals, value: int) -> bool:
    """Whether the value lies in one of the intervals."""
    index = bisect_right(values, (value, _INFINITY)) - 1
    return index >= 0 and value <= values[index][1]


_INFINITY = 1 << 129


# ------------------------------------------------------------------ addresses


def parse_address(text: str) -> tuple[Family, int]:
    """One address. Errors: ValueError."""
    family = Family.IPV6 if ":" in text else Family.IPV4
    try:
        packed = inet_pton(AF_INET6 if family is Family.IPV6 else AF_INET, text)
    except OSError:
        raise ValueError(f"not an IP address: {text!r}") from None
    return family, int.from_bytes(packed, "big")


def parse_prefix(text: str) -> tuple[Family, Interval]:
    """An address, a prefix `10.0.0.0/8` or a range `10.0.0.1-10.0.0.9`, as a closed interval.

    Errors: ValueError, also when host bits are set or a range is inverted.
    """
    address, slash, length_text = text.partition("/")
    if not slash:
        start_text, dash, end_text = text.partition("-")
        family, first = parse_address(start_text.strip())
        if not dash:
            return family, (first, first)
        end_family, last = parse_address(end_text.strip())
        if end_family is not family:
            raise ValueError(f"the ends of {text!r} are of different families")
        if last < first:
            raise ValueError(f"the range {text!r} is inverted")
        return family, (first, last)
    family, first = parse_address(address)
    if not (length_text.isascii() and length_text.isdigit()) or int(length_text) > family.bits:
        raise ValueError(f"the prefix length of {text!r} is not a number from 0 to {family.bits}")
    host = (1 << family.bits - int(length_text)) - 1
    if first & host:
        fixed = format_interval(family, (first & ~host, first | host))
        raise ValueError(f"{text!r} has host bits set; the network is {fixed}")
    return family, (first, first | host)


def ipv4_prefix(text: str) -> Interval:
    """The commonest forms, an address and a prefix, quickly. Errors: OSError, ValueError or KeyError for anything else."""
    address, slash, length = text.partition("/")
    first = int.from_bytes(inet_pton(AF_INET, address), "big")
    host = _HOST_BITS[length] if slash else 0
    if first & host:
        raise ValueError(text)
    return first, first | host


def ipv6_prefix(text: str) -> Interval:
    """The same for IPv6."""
    address, slash, length = text.partition("/")
    first = int.from_bytes(inet_pton(AF_INET6, address), "big")
    host = _HOST_BITS6[length] if slash else 0
    if first & host:
        raise ValueError(text)
    return first, first | host


def intervals(family: Family, texts: Sequence[str]) -> list[Interval]:
    """Each address, prefix or range; thousands of them quickly. Errors: ValueError, also for one of the other family."""
    found: list[Interval] = []
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        try:
            found += plain_intervals(family, block)
        except (OSError, ValueError, KeyError):
            found += (_interval(family, text) for text in block)
    return found


def plain_intervals(family: Family, texts: Sequence[str]) -> list[Interval]:
    """The same without ranges. Errors: OSError, ValueError or KeyError for anything else."""
    kind, host_bits = (AF_INET, _HOST_BITS) if family is Family.IPV4 else (AF_INET6, _HOST_BITS6)
    if "/" not in " ".join(texts):
        numbers = list(map(_NUMBER, map(inet_pton, repeat(kind), texts)))
        return list(zip(numbers, numbers, strict=True))
    parts = [text.partition("/") for text in texts]
    numbers = [_NUMBER(inet_pton(kind, address)) for address, _, _ in parts]
    hosts = [host_bits[length] if slash else 0 for _, slash, length in parts]
    if any(map(and_, numbers, hosts)):
        raise ValueError("host bits are set")
    return list(zip(numbers, map(or_, numbers, hosts), strict=True))


def _interval(family: Family, text: str) -> Interval:
    if "-" not in text:
        try:
            return ipv4_prefix(text) if family is Family.IPV4 else ipv6_prefix(text)
        except (OSError, KeyError):
            raise ValueError(f"not an address of IPv{family}: {text!r}") from None
    found, interval = parse_prefix(text)
    if found is not family:
        raise ValueError(f"not an address of IPv{family}: {text!r}")
    return interval


_BLOCK = 1024
_NUMBER = partial(int.from_bytes, byteorder="big")
_HOST_BITS = {str(length): (1 << 32 - length) - 1 for length in range(33)}
_HOST_BITS6 = {str(length): (1 << 128 - length) - 1 for length in range(129)}
_LENGTHS = {hosts: f"/{length}" if hosts else "" for length, hosts in _HOST_BITS.items()}
_LENGTHS6 = {hosts: f"/{length}" if hosts else "" for length, hosts in _HOST_BITS6.items()}


def format_address(family: Family, value: int) -> str:
    """As the standard library writes it; RFC 5952 for IPv6."""
    if family is Family.IPV4:
        return inet_ntop(AF_INET, value.to_bytes(4, "big"))
    return inet_ntop(AF_INET6, value.to_bytes(16, "big"))


def prefixes(family: Family, interval: Interval) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that make up an interval, as (network, prefix length), in order."""
    first, last = interval
    while first <= last:
        size = first & -first if first else 1 << family.bits
        while first + size - 1 > last:
            size >>= 1
        yield first, family.bits - size.bit_length() + 1
        first += size


def format_interval(family: Family, interval: Interval) -> str:
    """`10.0.0.1`, `10.0.0.0/8` or, where it is no prefix, `10.0.0.1-10.0.0.9`."""
    first, last = interval
    if first == last:
        return format_address(family, first)
    host = first ^ last
    if host & (host + 1) == 0 and first & host == 0:
        return f"{format_address(family, first)}/{family.bits - host.bit_length()}"
    return f"{format_address(family, first)}-{format_address(family, last)}"


def interval_texts(family: Family, some: Iterable[Interval]) -> list[str]:
    """The same of many, of which most are addresses and prefixes."""
    kind, lengths = (AF_INET, _LENGTHS) if family is Family.IPV4 else (AF_INET6, _LENGTHS6)
    width = family.bits // 8
    return [
        inet_ntop(kind, first.to_bytes(width, "big")) + lengths[hosts]
        if (hosts := last - first) in lengths and not first & hosts
        else format_interval(family, (first, last))
        for first, last in some
    ]


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Addresses of both families."""

    v4: Intervals = ()
    v6: Intervals = ()

    @classmethod
    def of(cls, *texts: str) -> AddressSet:
        """From addresses, prefixes and ranges. Errors: ValueError."""
        return cls.gather(parse_prefix(text) for text in texts)

    @classmethod
    def gather(cls, parts: Iterable[tuple[Family, Interval]]) -> AddressSet:
        v4: list[Interval] = []
        v6: list[Interval] = []
        for family, interval in parts:
            (v4 if family is Family.IPV4 else v6).append(interval)
        return cls(normalize(v4), normalize(v6))

    def of_family(self, family: Family) -> Intervals:
        return self.v4 if family is Family.IPV4 else self.v6

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __len__(self) -> int:
        """The number of intervals, not of addresses."""
        return len(self.v4) + len(self.v6)

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet(union(self.v4, other.v4), union(self.v6, other.v6))

    def __and__(self, other: AddressSet) -> AddressSet:
        return AddressSet(intersect(self.v4, other.v4), intersect(self.v6, other.v6))

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(subtract(self.v4, other.v4), subtract(self.v6, other.v6))

    def texts(self) -> Iterator[str]:
        """`10.0.0.0/8`, `10.0.0.1-10.0.0.9`, ...; IPv4 first."""
        for interval in self.v4:
            yield format_interval(Family.IPV4, interval)
        for interval in self.v6:
            yield format_interval(Family.IPV6, interval)


ANY_ADDRESS = AddressSet(((0, Family.IPV4.top),), ((0, Family.IPV6.top),))


# ------------------------------------------------------------------ interface names


def interface_interval(pattern: str) -> Interval:
    """A name (`eth0`) or a prefix of names (`wg*`) as an interval of numbers.

    Errors: ValueError for names that the kernel would refuse (empty, over 15 bytes, `/`, white space).
    """
    wildcard = pattern.endswith("*")
    name = (pattern[:-1] if wildcard else pattern).encode()
    if len(name) > IFNAME_BYTES or not (name or wildcard):
        raise ValueError(f"an interface name has 1 to {IFNAME_BYTES} bytes: {pattern!r}")
    if any(byte <= 0x20 or byte == 0x7F or byte in b"/*\"'\\" for byte in name) or name in (b".", b".."):
        raise ValueError(f"not a name that an interface can have: {pattern!r}")
    first = int.from_bytes(name.ljust(IFNAME_BYTES, b"\0"), "big")
    if not wildcard:
        return first, first
    return first, first | (1 << 8 * (IFNAME_BYTES - len(name))) - 1


def interface_name(value: int) -> str:
    """The name that a number stands for; bytes that are no UTF-8 are escaped."""
    return value.to_bytes(IFNAME_BYTES, "big").rstrip(b"\0").decode(errors="backslashreplace")


def interface_pattern(interval: Interval) -> str | None:
    """`eth0`, `wg*`, or None when the interval is neither one name nor one prefix of names."""
    first, last = interval
    if first == last:
        return interface_name(first)
    free = (last - first).bit_length()
    if free % 8 or last - first + 1 != 1 << free or first & (last - first):
        return None
    return interface_name(first)[: IFNAME_BYTES - free // 8] + "*"


def interface_patterns(interval: Interval) -> Iterator[str]:
    """Names and `prefix*` that together are the interval: neighbouring prefixes have become one."""
    first, last = interval
    while first <= last:
        free = 0
        while free < IFNAME_BYTES and first % 256 ** (free + 1) == 0 and first + 256 ** (free + 1) - 1 <= last:
            free += 1
        size: int = 256**free
        yield interface_pattern((first, first + size - 1)) or "*"
        first += size
