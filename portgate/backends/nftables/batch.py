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
from functools import cache
from itertools import islice, repeat, starmap
from operator import add
from typing import NamedTuple

from portgate.backends.nftables import TABLE, bulk, values
from portgate.backends.nftables.values import DataType
from portgate.core.net import Interval

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
    """Elements that come into a set, or go from it.

    **Shape** `comments` and `timeouts` have one for each key, "" for none; () when no element has any. **Units** seconds.
    """

    verb: str
    set: str
    keys: Sequence[str]
    comments: Sequence[str] = ()
    timeouts: Sequence[str] = ()


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
    keys, timeouts, comments, _ = zip(*items, strict=True)
    return Change(verb, name, keys, comments, timeouts)


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
    columns = bulk.columns(tuple(one for one, _ in types), change.keys)
    encode = _intervals if len(types) == 1 else _boxes
    encoded = encode([width for _, width in types], columns, _options(change))
    head = _family() + _text(_TABLE, _OWN) + _text(_SET, change.set)
    while some := b"".join(islice(encoded, _MOST)):
        yield head + _attribute(_ELEMENTS, some)


def _intervals(
    widths: Sequence[int], columns: Sequence[Sequence[Interval]], options: Sequence[bytes]
) -> Iterator[bytes]:
    (found,), top = columns, 256 ** widths[0] - 1
    firsts, behind = [first for first, _ in found], [last + 1 for _, last in found]
    starts = _elements(widths, {_KEY: [firsts]}, options)
    ends = _elements(widths, {_KEY: [[one if one <= top else 0 for one in behind]]}, [_ENDS] * len(behind))
    return (start + end if one <= top else start for start, end, one in zip(starts, ends, behind, strict=True))


def _boxes(widths: Sequence[int], columns: Sequence[Sequence[Interval]], options: Sequence[bytes]) -> Iterator[bytes]:
    firsts = [[first for first, _ in column] for column in columns]
    lasts = [[last for _, last in column] for column in columns]
    return _elements(widths, {_KEY: firsts, _KEY_END: lasts}, options)


def _elements(
    widths: Sequence[int], keys: Mapping[int, Sequence[Sequence[int]]], options: Sequence[bytes]
) -> Iterator[bytes]:
    """Elements with their other attributes. **Shape** `keys` has for each kind of key a column of numbers for each field."""
    room = sum(width + -width % 4 for width in widths)
    value = struct.pack("=HH", 4 + (room if len(widths) > 1 else widths[0]), _VALUE)
    parts: list[Iterable[object]] = []
    for kind, columns in keys.items():
        parts.append(repeat(struct.pack("=HH", 4 + len(value) + room, kind) + value))
        parts += map(_fitting, widths, columns)
    form = struct.Struct(">" + ("8s" + "".join(_FORMS[width] for width in widths)) * len(keys))
    packed = map(form.pack, *parts)
    heads = {size: struct.pack("=HH", 4 + size + form.size, _ELEMENT) for size in {0, *map(len, options)}}
    if not options:
        return map(add, repeat(heads[0]), packed)
    return map(b"".join, zip([heads[len(one)] for one in options], options, packed, strict=True))


_FORMS = {1: "B3x", 2: "H2x", 4: "I", 16: "16s"}
"""How a number of so many bytes is packed; each begins at a multiple of four."""


def _fitting(width: int, numbers: Sequence[int]) -> Iterable[object]:
    return [one.to_bytes(width, "big") for one in numbers] if width == 16 else numbers


def _options(change: Change) -> list[bytes]:
    """The attributes of each element beside its keys; [] when none has any."""
    comments, timeouts = map(_comment, change.comments), map(_timeout, change.timeouts)
    return list(map(add, timeouts, comments)) if change.comments and change.timeouts else [*timeouts, *comments]


def _timeout(seconds: str) -> bytes:
    return _attribute(_TIMEOUT, struct.pack(">Q", 1000 * int(seconds))) if seconds else b""


def _comment(comment: str) -> bytes:
    if not comment:
        return b""
    said = comment.encode(errors="surrogateescape") + b"\0"
    before, behind = _around(len(said))
    return before + said + behind


@cache
def _around(size: int) -> tuple[bytes, bytes]:
    """What goes around a comment of so many bytes."""
    whole = _attribute(_USERDATA, bytes((_COMMENT, size)) + bytes(size))
    return whole[:6], whole[6 + size :]


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


_ENDS = _attribute(_FLAGS, struct.pack(">I", _INTERVAL_END))
