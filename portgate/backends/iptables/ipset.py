"""Sets of `ipset save`: text -> `Set`s, and what `-m set` asks of them.

Facts (Linux 6.18, net/netfilter/ipset)
    A set is asked with a direction for each of its dimensions; with fewer directions, or by the other family, it
    matches nothing. `bitmap:port` holds ports of TCP and UDP; in hashes every port stands with its protocol.
    Of several networks in a `hash:net` that hold an address, the smallest decides; `nomatch` says no.
    `netmask` is applied to the packet's address, too. A `list:set` matches where one of its sets does.

Rules of this file
    A set with one part that is not understood is not understood, and what looks it up is opaque.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from portgate.backends.iptables.parse_options import each_line, words
from portgate.backends.iptables.parse_values import (
    DST,
    SRC,
    NotUnderstoodError,
    address_range,
    interface,
    ports,
    protocol,
)
from portgate.core.boxes import disjoint
from portgate.core.capture import Reading
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import (
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    Family,
    Interval,
    Intervals,
    ipv4_prefix,
    ipv6_prefix,
    subtract,
    union,
)
from portgate.core.ruleset import All, Any, Box, Field, Lookup, Match, NamedSet, Opaque, Test

_PORT_PROTOCOLS = frozenset({TCP, UDP, SCTP, UDPLITE})
_DIMENSIONS = frozenset({"ip", "net", "port", "iface"})


@dataclass(slots=True)
class Entry:
    """A member, as written: `10.0.0.0/8,tcp:80 nomatch`."""

    text: str
    options: tuple[str, ...] = ()
    comment: str = ""

    @property
    def nomatch(self) -> bool:
        return "nomatch" in self.options


def _entry(text: str, options: Sequence[str]) -> Entry:
    """A comment may say anything, so it is no option."""
    at = options.index("comment") if "comment" in options else len(options)
    return Entry(text, (*options[:at], *options[at + 2 :]), "".join(options[at + 1 : at + 2]))


@dataclass(slots=True)
class Set:
    """A set as created, with its members; `made` is what was made of them, for several rules may ask."""

    name: str
    kind: str
    options: tuple[str, ...]
    entries: list[Entry] = field(default_factory=list)
    made: NamedSet | None = None

    @property
    def family(self) -> Family:
        return Family.IPV6 if "inet6" in self.options else Family.IPV4

    def option(self, name: str) -> str | None:
        at = self.options.index(name) + 1 if name in self.options else 0
        return self.options[at] if 0 < at < len(self.options) else None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Errors: NotUnderstoodError for dimensions that are no header fields."""
        found = tuple(self.kind.partition(":")[2].split(","))
        if self.kind.split(":")[0] not in ("hash", "bitmap") or not _DIMENSIONS.issuperset(found):
            raise NotUnderstoodError(self.kind)
        return found


def parse(readings: tuple[Reading, ...]) -> dict[str, Set]:
    """By name. **Shape** readings of kind `ipset`; others are ignored. **Errors** PortgateError PG414 for a text that is no listing of sets."""
    found: dict[str, Set] = {}
    for reading in readings:
        if reading.kind == "ipset":
            lines = [words(line) for line in each_line(reading.text)]
            if any(lines) and not sum(_follow(line, found) for line in lines):
                raise PortgateError(
                    Diagnostic(
                        "PG414", f"{reading.source}: no line of it creates a set", remedy="save it with `ipset save`"
                    )
                )
    return found


def _follow(line: Sequence[str], found: dict[str, Set]) -> bool:
    """Whether the line creates or fills a set."""
    match line:
        case ["create" | "-N", name, kind, *options]:
            found[name] = Set(name, kind, tuple(options))
        case ["add" | "-A", name, text, *options] if name in found:
            found[name].entries.append(_entry(text, options))
        case _:
            return False
    return True


# ------------------------------------------------------------------ what a rule asks


def lookup(name: str, directions: Sequence[str], family: Family, sets: Mapping[str, Set]) -> Match:
    """`--match-set NAME DIRECTIONS`."""
    named = sets.get(name)
    reason = f"the set {name}, which is not known"
    if named is None:
        return Opaque(f"--match-set {name} {','.join(directions)}", reason)
    try:
        if named.kind == "list:set":
            members = (entry.text for entry in named.entries)
            return Any(tuple(lookup(one, directions, family, _without(sets, name)) for one in members))
        return _asked(named, directions, family)
    except NotUnderstoodError as problem:
        return Opaque(f"--match-set {name} {','.join(directions)}", f"the set {name}: {problem}")


def _without(sets: Mapping[str, Set], name: str) -> Mapping[str, Set]:
    return {key: one for key, one in sets.items() if key != name}


def names(name: str, sets: Mapping[str, Set]) -> Iterator[str]:
    """The set and, of a list, its members."""
    named = sets.get(name)
    if named is not None:
        yield name
        if named.kind == "list:set":
            yield from (entry.text for entry in named.entries if entry.text in sets)


def _asked(named: Set, directions: Sequence[str], family: Family) -> Match:
    dimensions = named.dimensions
    if len(directions) < len(dimensions) or (named.family is not family and dimensions != ("port",)):
        return Any(())
    named_set(named)  # refuses what is not understood
    fields = tuple(_fields(dimensions, directions, family))
    if dimensions == ("port",):
        with_ports = Test(Field.PROTOCOL, ((TCP, TCP), (UDP, UDP)))
        return All((with_ports, Lookup(fields, named.name)))
    return Lookup(fields, named.name)


def _fields(dimensions: Sequence[str], directions: Sequence[str], family: Family) -> Iterator[Field]:
    alone = tuple(dimensions) == ("port",)
    for dimension, direction in zip(dimensions, directions, strict=False):
        source = direction == "src"
        if dimension == "port":
            yield from () if alone else (Field.PROTOCOL,)
            yield Field.SPORT if source else Field.DPORT
        elif dimension == "iface":
            yield Field.IIF if source else Field.OIF
        else:
            yield (SRC if source else DST)[family]


# ------------------------------------------------------------------ members


def named_set(named: Set) -> NamedSet:
    """The set as disjoint boxes. Errors: NotUnderstoodError."""
    if named.made is None:
        named.made = _made(named)
    return named.made


def _made(named: Set) -> NamedSet:
    unknown = {"bitmask", "markmask"} & set(named.options)
    if unknown:
        raise NotUnderstoodError(f"its option {min(unknown)}")
    dimensions = named.dimensions
    fields = tuple(_fields(dimensions, ["src"] * len(dimensions), named.family))
    rows = [(one, _box(one, named, dimensions)) for one in named.entries]
    boxes = [(box, one.comment) for one, box in rows]
    if any(entry.nomatch for entry, _ in rows):
        if dimensions.count("net") != 1:
            raise NotUnderstoodError("exceptions in more than one dimension")
        boxes = [(box, "") for box in _without_exceptions(rows, _column(dimensions, "net"))]
    elements = disjoint(boxes)
    return NamedSet(named.name, fields, elements, timed="timeout" in named.options)


def _column(dimensions: Sequence[str], wanted: str) -> int:
    """Where a dimension stands in a box; a port takes two places."""
    at = dimensions.index(wanted)
    return at + dimensions[:at].count("port")


def _without_exceptions(rows: Sequence[tuple[Entry, Box]], column: int) -> Iterator[Box]:
    """From the largest network to the smallest, each adds its addresses or takes them out."""
    groups: dict[Box, Intervals] = {}
    for entry, box in sorted(rows, key=lambda one: one[1][column][0] - one[1][column][1]):
        others = (*box[:column], *box[column + 1 :])
        known, part = groups.get(others, ()), (box[column],)
        groups[others] = subtract(known, part) if entry.nomatch else union(known, part)
    for others, values in groups.items():
        yield from ((*others[:column], part, *others[column:]) for part in values)


def _box(entry: Entry, named: Set, dimensions: Sequence[str]) -> Box:
    parts = entry.text.split(",")
    if len(parts) != len(dimensions):
        raise NotUnderstoodError(entry.text)
    sides: list[Interval] = []
    for dimension, part in zip(dimensions, parts, strict=True):
        if dimension == "port":
            sides += _port(part, alone=len(dimensions) == 1)
        elif dimension == "iface":
            sides.append(_interface(part, "wildcard" in entry.options))
        else:
            sides.append(_addresses(part, named))
    return tuple(sides)


def _interface(text: str, wildcard: bool) -> Interval:
    if text.startswith("physdev:"):
        raise NotUnderstoodError(text)
    return interface(f"{text}+" if wildcard else text)


def _port(text: str, *, alone: bool) -> list[Interval]:
    if alone:
        return list(ports(text.replace("-", ":")))
    name, colon, port = text.partition(":")
    kind = protocol(name) if colon else TCP
    if kind not in _PORT_PROTOCOLS:
        raise NotUnderstoodError(text)
    return [(kind, kind), *ports((port if colon else name).replace("-", ":"))]


def _addresses(text: str, named: Set) -> Interval:
    mask = named.option("netmask")
    if mask is None:
        try:
            return (ipv4_prefix if named.family is Family.IPV4 else ipv6_prefix)(text)
        except (OSError, ValueError, KeyError):
            pass  # not of the commonest forms
    return address_range(named.family, f"{text}/{mask}" if mask and "/" not in text and "-" not in text else text)
