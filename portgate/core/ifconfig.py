"""Saved output of ifconfig(8), as of `ifconfig -a`: interfaces, their addresses and groups.

Facts
    OpenBSD 7.6, FreeBSD 14 and macOS 14 write masks as `0xffffff00`, FreeBSD also as `/24`; illumos as `ffffff00`, net-tools of Linux as
    `255.255.255.0`. The other end of a line stands behind `-->`. OpenBSD and FreeBSD tell `groups:`, the former also who
    leads to the default route, `egress`. `lo0` is what policies call `lo`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from portgate.core.bsd import LOOPBACK
from portgate.core.capture import Reading
from portgate.core.facts import check_interface_name
from portgate.core.listener import Interface
from portgate.core.net import Family, parse_address

KIND = "ifconfig"
_HEAD = re.compile(r"(\S+?):? +(?:link|flags)=?\S*?<([^>]*)>")
_GROUP = re.compile(r"[^\s,]*[^\s,\d]")


def parse_ifconfig(reading: Reading) -> tuple[Interface, ...]:
    """What is not understood is left out; () where nothing is."""
    blocks: list[tuple[re.Match[str], list[list[str]]]] = []
    for line in reading.text.splitlines():
        head = _HEAD.match(line)
        if head is not None:
            blocks.append((head, []))
        elif blocks and line.strip():
            blocks[-1][1].append(line.split())
    return tuple(_interface(head[1], head[2], rows) for head, rows in blocks if _is_name(head[1]))


def _is_name(name: str) -> bool:
    try:
        check_interface_name(name)
    except ValueError:
        return False
    return True


def _interface(name: str, flags: str, rows: Sequence[Sequence[str]]) -> Interface:
    groups = [word for row in rows if row[0] == "groups:" for word in row[1:] if _GROUP.fullmatch(word)]
    addresses = dict.fromkeys(address for row in rows for address in _addresses(row))
    known = "lo" if name == LOOPBACK else name
    return Interface(known, tuple(addresses), "UP" in flags.split(","), tuple(dict.fromkeys(groups)))


def _addresses(row: Sequence[str]) -> Iterator[tuple[Family, int, int]]:
    if row[0] not in ("inet", "inet6") or len(row) < 2:
        return
    text, _, length = row[1].partition("/")
    options = dict(pairwise(row))
    try:
        family, address = parse_address(text.partition("%")[0])
        mask = (
            length
            or options.get("prefixlen")
            or str(_length(options["netmask"]) if "netmask" in options else family.bits)
        )
        if int(mask) <= family.bits:
            yield family, address, int(mask)
    except ValueError:
        return


def _length(mask: str) -> int:
    """Of a netmask in hexadecimal digits, or with dots. Errors: ValueError for one with holes."""
    value = parse_address(mask)[1] if "." in mask else int(mask, 16)
    length = value.bit_count()
    if value != ((1 << length) - 1) << (32 - length):
        raise ValueError(f"a mask with holes: {mask}")
    return length
