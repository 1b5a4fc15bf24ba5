"""Changes of the elements of sets as the messages that the kernel takes: without libnftables.

Theory
    A script that does nothing but add and delete elements of our sets becomes one batch of netlink messages here, which the kernel takes
    whole or not at all. libnftables does the same with the same script, only slowly: of a million addresses it takes 13 s, of which the kernel's part is
    2; it lists the long sets of all tables before it adds one element to any; and to delete one it goes through the whole set (nft 1.0.6).

Facts
    In a set of one field an interval is two elements: its first value, and the one behind its last, marked as an end. What reaches the highest value
    has no end. In a set of several fields an element has two keys, which are the corners of a box; each field starts at a multiple of four bytes.
    An attribute has at most 65,535 bytes, so a long list is in several messages (linux/netlink.h: nla_len).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, repeat, starmap
from typing import NamedTuple

from portgate.backends.nftables import TABLE, bulk, values
from portgate.backends.nftables.values import DataType
from portgate.core.net import Interval
from portgate.core.ruleset import Box

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
INET = 1  # NFPROTO_INET
_OWN = TABLE.split()[1]
REQUEST, ACKNOWLEDGE = 1, 4  # NLM_F_*
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_*
_KINDS = {"add": SUBSYSTEM << 8 | 12, "delete": SUBSYSTEM << 8 | 14}  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
_NESTED = 1 << 15  # NLA_F_NESTED
_TABLE, _SET, _ELEMENTS = 1, 2, 3 | _NESTED  # NFTA_SET_ELEM_LIST_*
_ELEMENT = 1 | _NESTED  # NFTA_LIST_ELEM
_KEY, _FLAGS, _TIMEOUT, _USERDATA, _KEY_END = 1 | _NESTED, 3, 4, 6, 10 | _NESTED  # NFTA_SET_ELEM_*
_VALUE = 1  # NFTA_DATA_VALUE
_INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END
_COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT
_MOST = 250  # elements in a message: with the longest comments those are 60,000 bytes

# The types of fields by nft's numbers, which it keeps in the kernel (datatype.h), and the bytes of each.
TYPES = {
    7: (values.IPV4, 4),
    8: (values.IPV6, 16),
    12: (values.PROTOCOL, 1),
    13: (values.PORT, 2),
    14: (values.ICMP_TYPE, 1),
    29: (values.ICMPV6_TYPE, 1),
}
_TYPE_BITS = 6

Types = tuple[tuple[DataType, int], ...]
"""Of a set's fields."""

_COMMAND = re.compile(rf"(add|delete) element {TABLE} (\w+) \{{ ([^\n{{}}]+) \}}\n")
_ITEM = re.compile(r'([0-9A-Za-z.:/-]+(?: \. [0-9A-Za-z.:/-]+)*)(?: timeout (\d+)s)?(?: comment "([^"]+)")?(, |$)')
_HEADER = re.compile(r"(?:#.*\n)*")


class Change(NamedTuple):
    """Elements that come into a set, or go from it. **Shape** `options` are (timeout in seconds, comment), each "" for none; () when no element has any."""

    verb: str
    set: str
    keys: Sequence[str]
    options: Sequence[tuple[str, str]] = ()


def changes(script: str) -> tuple[Change, ...]:
    """What a script does, where that is nothing but changes of elements of our sets; else ()."""
    header = _HEADER.match(script)
    at = header.end() if header else 0
    found: list[Change] = []
    while at < len(script):
        command = _COMMAND.match(script, at)
        change = _change(*command.groups()) if command else None
        if command is None or change is None:
            return ()
        found.append(change)
        at = command.end()
    return tuple(found)


def _change(verb: str, name: str, listed: str) -> Change | None:
    """None for elements of another form."""
    if '"' not in listed and " timeout " not in listed:
        return Change(verb, name, listed.split(", "))
    items = _ITEM.findall(listed)
    if _ITEM.sub("", listed):
        return None
    return Change(verb, name, [key for key, *_ in items], [(time, comment) for _, time, comment, _ in items])


# ------------------------------------------------------------------ messages


def key_types(number: int) -> Types:
    """The types of a set's fields, with their bytes, of what nft noted of them. Errors: KeyError for one that portgate never uses."""
    first = key_types(number >> _TYPE_BITS) if number >> _TYPE_BITS else ()
    return (*first, TYPES[number & (1 << _TYPE_BITS) - 1])


def about_table() -> bytes:
    """Asks for our table."""
    return _message(SUBSYSTEM << 8 | 1, REQUEST, _family() + _text(1, _OWN))  # NFT_MSG_GETTABLE, NFTA_TABLE_NAME


def about_set(name: str) -> bytes:
    """Asks for the declaration of one of our sets."""
    return _message(
        SUBSYSTEM << 8 | 10, REQUEST, _family() + _text(1, _OWN) + _text(2, name)
    )  # NFT_MSG_GETSET, NFTA_SET_*


def messages(some: Iterable[Change], types: Mapping[str, Types]) -> bytes:
    """One batch that makes all these changes. The kernel acknowledges the last of them. Errors: NotUnderstoodError."""
    *others, (kind, last) = [(_KINDS[one.verb], body) for one in some for body in _bodies(one, types[one.set])]
    envelope = struct.pack(">BBH", 0, 0, SUBSYSTEM)
    parts = [
        (_BEGIN, REQUEST, envelope),
        *((kind, REQUEST, body) for kind, body in others),
        (kind, REQUEST | ACKNOWLEDGE, last),
        (_END, REQUEST, envelope),
    ]
    return b"".join(starmap(_message, parts))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _family() -> bytes:
    return struct.pack(">BBH", INET, 0, 0)


def _bodies(change: Change, types: Types) -> Iterator[bytes]:
    boxes = bulk.boxes(tuple(one for one, _ in types), change.keys)
    widths = [width for _, width in types]
    encoded = (_intervals if len(types) == 1 else _corners)(widths, boxes, list(map(_options, change.options)))
    head = _family() + _text(_TABLE, _OWN) + _text(_SET, change.set)
    while some := b"".join(islice(encoded, _MOST)):
        yield head + _attribute(_ELEMENTS, some)


def _intervals(widths: list[int], boxes: Iterator[Box], options: list[bytes]) -> Iterator[bytes]:
    (width,) = widths
    top, padding = 256**width - 1, bytes(-width % 4)
    starts = map(partial(_before_value, width), options) if options else repeat(_before_value(width))
    end = _before_value(width, _attribute(_FLAGS, struct.pack(">I", _INTERVAL_END)))
    return (
        start
        + first.to_bytes(width, "big")
        + padding
        + (end + (last + 1).to_bytes(width, "big") + padding if last < top else b"")
        for start, ((first, last),) in zip(starts, boxes, strict=False)
    )


def _before_value(width: int, others: bytes = b"") -> bytes:
    """An element with these other attributes, up to its value, which is the last of it."""
    value = struct.pack("=HH", 4 + width, _VALUE)
    room = width + -width % 4
    key = struct.pack("=HH", 4 + len(value) + room, _KEY) + value
    return struct.pack("=HH", 4 + len(others) + len(key) + room, _ELEMENT) + others + key


def _corners(widths: list[int], boxes: Iterator[Box], options: list[bytes]) -> Iterator[bytes]:
    columns = [
        list(map(_ends(width, side).get, side)) for width, side in zip(widths, zip(*boxes, strict=True), strict=True)
    ]
    room = sum(width + -width % 4 for width in widths)
    value = struct.pack("=HH", 4 + room, _VALUE)
    key, end = (struct.pack("=HH", 4 + len(value) + room, kind) + value for kind in (_KEY, _KEY_END))
    length = 4 + 2 * (len(key) + room)
    for others, fields in zip(options or repeat(b""), zip(*columns, strict=True), strict=False):
        low, high = map(b"".join, zip(*fields, strict=True))
        yield struct.pack("=HH", length + len(others), _ELEMENT) + others + key + low + end + high


def _ends(width: int, side: Iterable[Interval]) -> dict[Interval, tuple[bytes, bytes]]:
    """The bytes of both ends of each interval."""
    padding = bytes(-width % 4)
    return {one: (one[0].to_bytes(width, "big") + padding, one[1].to_bytes(width, "big") + padding) for one in {*side}}


def _options(given: tuple[str, str]) -> bytes:
    seconds, comment = given
    timeout = _attribute(_TIMEOUT, struct.pack(">Q", 1000 * int(seconds))) if seconds else b""
    said = comment.encode(errors="surrogateescape") + b"\0"
    return timeout + (_attribute(_USERDATA, bytes((_COMMENT, len(said))) + said) if comment else b"")


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
