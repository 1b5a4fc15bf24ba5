"""Rows of tests, joined where one rule can make them together, and put into ipsets where they are many.

Facts (ipset 7.17, Linux 6.18)
    A hash of networks takes prefixes, but not one of all addresses. `hash:net,port` and `bitmap:port` hold single ports. Ports
    of DCCP are in no set. A rule tests at most 15 ports, of which a range counts two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import TypeVar
from zlib import crc32

from portgate.backends.iptables.names import SET_PREFIX
from portgate.backends.iptables.parse_values import DST, SRC
from portgate.core.dataclasses import dataclass, replace
from portgate.core.net import SCTP, TCP, UDP, UDPLITE, Family, Interval, Intervals, normalize, prefixes
from portgate.core.ruleset import All, Element, Field, Lookup, Match, NamedSet, Test

PORTS_MAX = 15
_IN_SETS = frozenset({TCP, UDP, SCTP, UDPLITE})
_IN_BITMAPS = frozenset({TCP, UDP})
_FEW_LISTS = 16  # sets of addresses alone, before they are one set of addresses and ports
_MOST_PORTS = 256  # of a range that is put into a set one by one
K = TypeVar("K")
Tests = tuple[tuple[Field, Interval], ...]
Fields = tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What one rule tests: a value for each of some fields, destination ports (() for any), and more."""

    tests: Tests
    ports: Intervals
    comment: str
    more: tuple[Match, ...] = ()

    def match(self) -> Match:
        tests = (Test(field, (part,)) for field, part in self.tests)
        ports = (Test(Field.DPORT, self.ports),) if self.ports else ()
        found = (*tests, *ports, *self.more)
        return found[0] if len(found) == 1 else All(found)

    def value(self, field: Field) -> Interval | None:
        return dict(self.tests).get(field)

    def without(self, *fields: Field) -> Tests:
        return tuple(one for one in self.tests if one[0] not in fields)


def merged(rows: Iterable[Row]) -> list[Row]:
    """Rows that differ in their ports only, together, as far as a rule can test them."""
    ports: dict[tuple[object, ...], list[Interval]] = {}
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.tests, bool(row.ports), row.comment)
        first.setdefault(key, row)
        ports.setdefault(key, []).extend(row.ports)
    return [replace(row, ports=some) for key, row in first.items() for some in _in_lists(normalize(ports[key]))]


def _in_lists(ports: Intervals) -> Iterator[Intervals]:
    taken: list[Interval] = []
    room = PORTS_MAX
    for one in ports:
        size = 1 if one[0] == one[1] else 2
        if size > room:
            yield tuple(taken)
            taken, room = [], PORTS_MAX
        taken.append(one)
        room -= size
    yield tuple(taken)


# ------------------------------------------------------------------ sets


def in_sets(rows: Sequence[Row], name: str, comment: str, family: Family) -> tuple[list[Row], list[NamedSet]]:
    """Fewer rows that match the same, and the sets that they look up. `comment` is for rules of several grants."""
    maker = _Maker(name, comment, family, [])
    found = [
        row
        for column, some in _grouped(rows, maker.column)
        for row in (maker.of_ports(some) if column is None else maker.of_addresses(some, column))
    ]
    return found, maker.sets


def native_set(name: str, boxes: Iterable[Element], family: Family) -> NamedSet:
    """A list of addresses, as a hash of networks."""
    elements = (Element((part,), comment) for (interval,), comment, _ in boxes for part in networks(family, interval))
    return NamedSet(_named(name, family), (SRC[family],), tuple(sorted(elements)))


def _named(*what: object) -> str:
    """A name that follows from what the set is for."""
    text = " ".join(map(str, what))
    word = "".join(one if one.isascii() and one.isalnum() else "_" for one in str(what[0]).partition(" ")[0].lower())
    return f"{SET_PREFIX}{word[:17]}_{crc32(text.encode()):08x}"


def networks(family: Family, interval: Interval) -> Iterator[Interval]:
    """As many prefixes as make it up, none of them everything."""
    if interval == (0, family.top):
        half = family.top >> 1
        yield from ((0, half), (half + 1, family.top))
        return
    for first, length in prefixes(family, interval):
        yield first, first + (1 << family.bits - length) - 1


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes sets for the rows of one rule."""

    name: str
    comment: str
    family: Family
    sets: list[NamedSet]

    def column(self, row: Row) -> Field | None:
        """The address that goes into a set."""
        return next((one for one in (SRC[self.family], DST[self.family]) if row.value(one)), None)

    def of_ports(self, rows: Sequence[Row]) -> Iterator[Row]:
        for tests, some in _grouped(rows, lambda row: row.tests):
            protocol = some[0].value(Field.PROTOCOL)
            if len(some) > 1 and protocol and protocol[0] in _IN_BITMAPS and all(row.ports for row in some):
                elements = (Element((one,), row.comment) for row in some for one in _single(row.ports))
                yield self._looking_up(tests, (), (Field.DPORT,), (Field.SPORT,), elements)
            else:
                yield from merged(replace(row, comment=self.comment) for row in some)

    def of_addresses(self, rows: Sequence[Row], column: Field) -> Iterator[Row]:
        many = len(_grouped(rows, lambda row: (row.without(column), row.ports))) > _FEW_LISTS
        together = [row for row in rows if many and _fits(row)]
        apart = [row for row in rows if not (many and _fits(row))]
        for tests, some in _grouped(together, lambda row: row.without(column, Field.PROTOCOL)):
            fields = (column, Field.PROTOCOL, Field.DPORT)
            own = (SRC[self.family], Field.PROTOCOL, Field.SPORT)
            yield self._looking_up(tests, (), fields, own, self._members(some, column))
        for (tests, ports), some in _grouped(apart, lambda row: (row.without(column), row.ports)):
            if len(some) == 1:
                yield from some
                continue
            boxes = (Element((part,), row.comment) for row in some if (part := row.value(column)))
            elements = native_set("", boxes, self.family).elements
            yield self._looking_up(tests, ports, (column,), (SRC[self.family],), elements)

    def _members(self, rows: Iterable[Row], column: Field) -> Iterator[Element]:
        for row in rows:
            interval, protocol = row.value(column), row.value(Field.PROTOCOL)
            if interval and protocol:
                for network, port in product(networks(self.family, interval), _single(row.ports)):
                    yield Element((network, protocol, port), row.comment)

    def _looking_up(
        self, tests: Tests, ports: Intervals, fields: Fields, own: Fields, elements: Iterable[Element]
    ) -> Row:
        named = NamedSet(_named(self.name, self.family, fields, tests, ports), own, tuple(sorted(elements)))
        self.sets.append(named)
        return Row(tests, ports, self.comment, (Lookup(fields, named.name),))


def _fits(row: Row) -> bool:
    """Whether a set can hold it with its ports."""
    protocol = row.value(Field.PROTOCOL)
    ports = sum(last - first + 1 for first, last in row.ports)
    return protocol is not None and protocol[0] in _IN_SETS and 0 < ports <= _MOST_PORTS


def _single(ports: Intervals) -> Iterator[Interval]:
    return ((one, one) for first, last in ports for one in range(first, last + 1))


def _grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> list[tuple[K, list[Row]]]:
    """By a key, in the order of their first."""
    found: dict[K, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.items())
