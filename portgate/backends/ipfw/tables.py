"""Lookup tables as sets.

Facts (ipfw(8))
    The most specific entry for an address gives its value, so `table(X,5)` holds for the addresses of which that value is 5. A table
    that nothing is added to is filled by somebody else. Tables of ours hold prefixes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portgate.backends.ipfw.firewall import Table
from portgate.core.bsd import SRC, address_interval
from portgate.core.net import Family, Interval, Intervals, interface_interval, normalize, subtract
from portgate.core.ruleset import Box, Element, Field, NamedSet

Sets = tuple[NamedSet, ...]


class Tables:
    """The sets that tables are read as, made when a rule asks for them."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.made: dict[str, Sets] = {}

    def kind(self, name: str) -> str | None:
        """What a table holds, "" where nothing tells; None for one that the text does not tell of."""
        return kind(self.tables[name]) if name in self.tables else None

    def sets(self, inner: str) -> Sets:
        """Of `NAME`, or of the entries with a value for `NAME,VALUE`."""
        if inner not in self.made:
            name, _, value = (inner, "", "") if inner in self.tables else inner.partition(",")
            self.made[inner] = tuple(_sets(inner, self.tables[name], value or None))
        return self.made[inner]

    def all(self) -> Sets:
        """Every table's, and those with a value that were asked for."""
        for name in self.tables:
            self.sets(name)
        return tuple(one for found in self.made.values() for one in found)


def kind(table: Table) -> str:
    """What it holds, also where only its entries tell."""
    if table.kind or not table.entries:
        return table.kind
    first = next(iter(table.entries))
    if address_interval(first) is not None and not first.isdecimal():
        return "addr"
    return "number" if first.isdecimal() else "iface"


def _sets(name: str, table: Table, value: str | None) -> Iterator[NamedSet]:
    entries = table.entries
    told = table.told and (table.listed or bool(entries))
    match kind(table):
        case "addr" | "":
            yield from _of_addresses(name, entries, value, told)
        case "number":
            boxes = _numbers(one for one, its in entries.items() if value in (None, its))
            yield NamedSet(name, (Field.DPORT,), tuple(map(Element, boxes)), dynamic=not told)
        case "iface":
            boxes = _interfaces(one for one, its in entries.items() if value in (None, its))
            yield NamedSet(name, (Field.IIF,), tuple(map(Element, boxes)), dynamic=not told)


def _of_addresses(name: str, entries: Mapping[str, str], value: str | None, told: bool) -> Iterator[NamedSet]:
    """A set for each family that it has; no table has a name with a colon, so the second family's has one of its own."""
    read = [(address_interval(one), its) for one, its in entries.items()]
    known = told and all(found is not None for found, _ in read)
    for family in Family:
        mine = [(found[1], its) for found, its in read if found is not None and found[0] is family]
        if mine or not known:
            own = f"{name}:6" if family is Family.IPV6 else name
            boxes = tuple(Element((one,)) for one in _with_value(mine, value))
            yield NamedSet(own, (SRC[family],), boxes, dynamic=not known)


def _with_value(entries: list[tuple[Interval, str]], value: str | None) -> Intervals:
    """The addresses whose most specific entry has the value; None for any."""
    if value is None:
        return normalize(one for one, _ in entries)
    found: Intervals = ()
    for (first, last), its in sorted(entries, key=lambda entry: entry[0][0] - entry[0][1]):
        one = ((first, last),)
        found = normalize((*found, *one)) if its == value else subtract(found, one)
    return found


def _numbers(words: Iterator[str]) -> list[Box]:
    numbers = (int(one[:9]) for one in words if one.isdecimal())
    return [(one,) for one in normalize((one, one) for one in numbers if one <= Field.DPORT.top)]


def _interfaces(words: Iterator[str]) -> list[Box]:
    found = []
    for one in words:
        try:
            found.append(interface_interval("lo" if one == "lo0" else one))
        except ValueError:
            continue  # no interface has such a name
    return [(one,) for one in normalize(found)]
