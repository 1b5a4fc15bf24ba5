"""Constants of nft expressions -> intervals of numbers, by nft's data types.

An `interval` here may be empty (first > last): a value that no packet has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton  # a pure function

from portgate.backends.nftables import words
from portgate.core.dataclasses import dataclass
from portgate.core.net import ICMP_TYPES, ICMPV6_TYPES, Interval, Intervals, interface_interval, normalize
from portgate.core.ruleset import Box, CtState, Field

EMPTY: Interval = (1, 0)


class Run(str):
    """A word that stands for a long list of elements (see bulk.py). **Shape** `comments` has one for each key, "" for none; () when there are none."""

    __slots__ = ("comments", "keys")
    keys: Sequence[str]
    comments: Sequence[str]


class NotUnderstoodError(Exception):
    """An expression whose meaning is not known here. Its text is the reason, said to people."""


@dataclass(frozen=True, slots=True)
class DataType:
    """One of nft's data types. `field` is the usual one of a set of this type; `bits` of a prefix, 0: has no prefixes."""

    name: str
    field: Field
    scalar: Callable[[object], Interval]
    bits: int = 0

    def interval(self, value: object) -> Interval:
        """Errors: NotUnderstoodError."""
        if type(value) is str or type(value) is int:
            return (0, self.field.top) if value == "*" else self.scalar(value)
        match value:
            case {"range": [first, last]}:
                return self._range(self.scalar(first), self.scalar(last))
            case {"prefix": {"addr": address, "len": int(length)}} if 0 <= length <= self.bits:
                host = (1 << self.bits - length) - 1
                first = self.scalar(address)[0] & ~host
                return first, first | host
            case {"elem": {"val": inner}} | {"set": [inner]}:
                return self.interval(inner)
        return self.scalar(value)

    def _range(self, first: Interval, last: Interval) -> Interval:
        if EMPTY in (first, last):
            raise NotUnderstoodError("range of an unknown form")
        return first[0], last[1]


def box(types: tuple[DataType, ...], value: object) -> Box:
    """One element of a set, or key of a map. Errors: NotUnderstoodError."""
    if len(types) == 1:
        return (types[0].interval(value),)
    if value == "*":
        return tuple((0, one.field.top) for one in types)
    match value:
        case {"concat": [*parts]} if len(parts) == len(types):
            return tuple([one.interval(part) for one, part in zip(types, parts, strict=True)])
        case {"elem": {"val": inner}}:
            return box(types, inner)
    raise NotUnderstoodError("value of an unknown form")


def is_empty(one: Box) -> bool:
    return any(first > last for first, last in one)


def flags(value: object, bits: Mapping[str, int]) -> int:
    """The union of bits: `syn`, `["syn", "ack"]`, `{"|": ["syn", "ack"]}`, a number. Errors: NotUnderstoodError."""
    match value:
        case str() if value in bits:
            return bits[value]
        case int():
            return value
        case {"|": [*parts]} | [*parts]:
            result = 0
            for part in parts:
                result |= flags(part, bits)
            return result
    raise NotUnderstoodError("flags of an unknown form")


def as_list(value: object) -> list[object]:
    """libnftables writes lists of one item as the item; None and absence as no item."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def children(value: object) -> Iterator[object]:
    """The parts of a JSON value."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _number(names: Mapping[str, int], top: int) -> Callable[[object], Interval]:
    def scalar(value: object) -> Interval:
        number = names.get(value) if isinstance(value, str) else value
        if type(number) is not int or not 0 <= number <= top:
            raise NotUnderstoodError("value of an unknown form")
        return number, number

    return scalar


def _address(kind: int) -> Callable[[object], Interval]:
    top = 2**32 - 1 if kind == AF_INET else 2**128 - 1

    def scalar(value: object) -> Interval:
        if type(value) is int and 0 <= value <= top:
            return value, value
        try:
            number = int.from_bytes(inet_pton(kind, str(value)), "big")
        except (OSError, ValueError):
            raise NotUnderstoodError("not an address of this family") from None
        return number, number

    return scalar


def _interface(value: object) -> Interval:
    if not isinstance(value, str):
        raise NotUnderstoodError("interface by number")
    try:
        return interface_interval(value)
    except ValueError:
        raise NotUnderstoodError("unusual interface name") from None


# The kernel's bits, which a rule may also give as a number.
_STATE_OF_BIT = {8: CtState.NEW.value, 2: CtState.ESTABLISHED.value, 4: CtState.RELATED.value, 1: CtState.INVALID.value,
                 64: CtState.UNTRACKED.value}  # fmt: skip
CT_STATE_BITS = {CtState(number).name.lower(): bit for bit, number in _STATE_OF_BIT.items()}


def ct_states(mask: int) -> Intervals:
    """The states that have one of these bits."""
    return normalize((number, number) for bit, number in _STATE_OF_BIT.items() if bit & mask)


def _interface_index(value: object) -> Interval:
    """nft writes the number of an interface that is gone. The first of every network namespace is lo (Linux, LOOPBACK_IFINDEX)."""
    if value in (1, "1"):
        return _interface("lo")
    if isinstance(value, str) and value.isdigit():
        raise NotUnderstoodError("interface by number")
    return _interface(value)


def _ct_state(value: object) -> Interval:
    """A packet has one state, so a combination of two is the value of no packet."""
    states = flags(value, CT_STATE_BITS)
    if states not in _STATE_OF_BIT:
        return EMPTY
    return _STATE_OF_BIT[states], _STATE_OF_BIT[states]


def _address_type(value: object) -> Interval:
    if not isinstance(value, str) or value not in words.ADDRESS_TYPES:
        raise NotUnderstoodError("type of route")
    return words.ADDRESS_TYPES[value], words.ADDRESS_TYPES[value]


def _tcp_flags(value: object) -> Interval:
    number = flags(value, words.TCP_FLAG_BITS)
    return (number, number) if 0 <= number <= 255 else EMPTY


def _named(names: Mapping[str, int], what: str) -> Callable[[object], Interval]:
    """For numbers that are not those of the kernel: only the words are understood. 0 is the value of no packet."""

    def scalar(value: object) -> Interval:
        number = names.get(value) if isinstance(value, str) else None
        if number is None:
            raise NotUnderstoodError(what)
        return (number, number) if number else EMPTY

    return scalar


IPV4 = DataType("ipv4_addr", Field.SRC4, _address(AF_INET), 32)
IPV6 = DataType("ipv6_addr", Field.SRC6, _address(AF_INET6), 128)
PROTOCOL = DataType("inet_proto", Field.PROTOCOL, _number(words.PROTOCOL_NUMBERS, 255))
PORT = DataType("inet_service", Field.DPORT, _number(words.SERVICE_PORTS, 0xFFFF))
INTERFACE = DataType("ifname", Field.IIF, _interface)
INTERFACE_INDEX = DataType("iface_index", Field.IIF, _interface_index)
MARK = DataType("mark", Field.MARK, _number({}, 0xFFFFFFFF))
CT_STATE = DataType("ct_state", Field.CT_STATE, _ct_state)
TCP_FLAGS = DataType("tcp_flag", Field.TCP_FLAGS, _tcp_flags)
ICMP_TYPE = DataType("icmp_type", Field.ICMP_TYPE, _number(ICMP_TYPES, 255))
ICMP_CODE = DataType("icmp_code", Field.ICMP_CODE, _number(words.ICMP_CODES, 255))
ICMPV6_TYPE = DataType("icmpv6_type", Field.ICMP_TYPE, _number(ICMPV6_TYPES, 255))
ICMPV6_CODE = DataType("icmpv6_code", Field.ICMP_CODE, _number(words.ICMPV6_CODES, 255))
ADDRESS_TYPE = DataType("fib_addrtype", Field.DST_TYPE, _address_type)
FAMILY = DataType("nf_proto", Field.FAMILY, _named(words.FAMILY_NUMBERS, "protocol family"))
ETHER_TYPE = DataType("ether_type", Field.FAMILY, _named(words.ETHERTYPE_FAMILIES, "EtherType"))

TYPES: dict[str, DataType] = {
    one.name: one
    for one in (
        IPV4, IPV6, PROTOCOL, PORT, INTERFACE, INTERFACE_INDEX, MARK, CT_STATE, TCP_FLAGS, ICMP_TYPE, ICMP_CODE, ICMPV6_TYPE,
        ICMPV6_CODE, ADDRESS_TYPE, FAMILY, ETHER_TYPE,
    )
}  # fmt: skip
