"""Grants, gathered by what a rule for them would test: each such shape becomes one rule and one named set.

Theory
    `allow: [22/tcp, 80/tcp from 10.0.0.0/8]` has two shapes: (protocol, port) and (protocol, source, port).
    Ten thousand grants rarely have more than a handful. Big address sets are not multiplied by the ports
    that go with them: they are sets of their own, which the rules of all shapes share.

Facts
    The kernel looks a packet up field by field, and after each field visits every element that still fits
    (nft_set_pipapo.c). So the most telling field, the source, goes first, and the protocol, of which there are few,
    last: with the protocol first, 10,000 elements took 1.0 s to load instead of 0.1 (Linux 6.18), and
    each new connection paid for it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple, TypeVar
from zlib import crc32

from portgate.core.boxes import Labelled, disjoint
from portgate.core.net import (
    ICMP,
    ICMPV6,
    PORT_MAX,
    PORT_PROTOCOLS,
    TCP,
    UDP,
    AddressSet,
    Family,
    Intervals,
    interface_interval,
    normalize,
)
from portgate.core.policy import Forward, Grant, Peer, Traffic
from portgate.core.ruleset import (
    OWNER,
    All,
    Box,
    Effect,
    Field,
    Log,
    Lookup,
    Match,
    NamedSet,
    Rule,
    Test,
    Verdict,
    elements_of,
)

SHARED = 65  # intervals from which on an address set is a named set of its own
EVERYBODY = (Peer(),)
FAMILIES = (Family.IPV4, Family.IPV6)
SRC = {Family.IPV4: Field.SRC4, Family.IPV6: Field.SRC6}
DST = {Family.IPV4: Field.DST4, Family.IPV6: Field.DST6}
ORIGINAL_DST = {Family.IPV4: Field.ORIGINAL_DST4, Family.IPV6: Field.ORIGINAL_DST6}

View = Mapping[Field, Field]
ARRIVED: View = {}
# A packet after somebody's destination NAT, seen by where it was sent to.
ORIGINAL: View = {
    Field.DPORT: Field.ORIGINAL_DPORT,
    Field.DST4: Field.ORIGINAL_DST4,
    Field.DST6: Field.ORIGINAL_DST6,
}

Column = tuple[Field, Intervals]
ICMP_FAMILY = {ICMP: Family.IPV4, ICMPV6: Family.IPV6}
Place = tuple[str, bool, tuple[str, ...], tuple[str, ...], tuple[tuple[Field, str], ...], int]
T = TypeVar("T")


class Shape(NamedTuple):
    """What the rule of a group of grants tests.

    `lookups` are shared address sets, `protocol` is that of an ICMP type, else 0; `fields` are those of the group's own
    set, () when the rest says it all.
    """

    use: str
    log: bool = False
    iifs: tuple[str, ...] = ()
    oifs: tuple[str, ...] = ()
    lookups: tuple[tuple[Field, str], ...] = ()
    protocol: int = 0
    fields: tuple[Field, ...] = ()

    def name(self) -> str:
        return "_".join(
            [
                self.use,
                *(["log"] if self.log else []),
                *(
                    f"{kind}_{word('_'.join(names))}"
                    for kind, names in (("iif", self.iifs), ("oif", self.oifs))
                    if names
                ),
                *(f"{_WORDS[field][:3]}_{name}" for field, name in self.lookups),
                *self._words(),
            ]
        )

    def _words(self) -> Iterator[str]:
        for one in self.fields:
            if one is Field.ICMP_TYPE:
                yield "icmp" if self.protocol == ICMP else "icmpv6"
            elif one in _WORDS:
                yield _WORDS[one]
        if Field.PROTOCOL in self.fields and Field.DPORT not in self.fields:
            yield "protocols"


_WORDS = {
    Field.SRC4: "src4", Field.SRC6: "src6", Field.DST4: "dst4", Field.DST6: "dst6", Field.DPORT: "ports",
    Field.ORIGINAL_DST4: "at4", Field.ORIGINAL_DST6: "at6",
}  # fmt: skip


def word(text: str) -> str:
    """Any text as part of a name: `[a-z0-9_]`, with a checksum where that loses something."""
    plain = "".join(one if one in "abcdefghijklmnopqrstuvwxyz0123456789_" else "_" for one in text.lower())[:40].strip(
        "_"
    )
    return plain if plain == text else f"{plain}_{crc32(text.encode(errors='surrogatepass')):08x}"


def ends(grant: Grant) -> Iterator[tuple[Peer, Peer, Family | None]]:
    """Every source with every destination, by family; family None where no address is named."""
    for source, destination in product(grant.sources or EVERYBODY, grant.destinations or EVERYBODY):
        if source.addresses is None and destination.addresses is None:
            yield source, destination, None
            continue
        for family in FAMILIES:
            if _speaks(source, family) and _speaks(destination, family):
                yield source, destination, family


def _speaks(peer: Peer, family: Family) -> bool:
    return peer.addresses is None or bool(peer.addresses.of_family(family))


def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*names})) if len(names) > 1 else names


def targets(forward: Forward, family: Family | None) -> Iterator[tuple[Family | None, Intervals | None]]:
    """The addresses that a forward translates to, by family; None is this host."""
    if forward.address is None:
        yield family, None
        return
    for one in FAMILIES if family is None else (family,):
        if forward.address.of_family(one):
            yield one, forward.address.of_family(one)


def whole(traffic: Traffic) -> bool:
    """Whether all of a protocol is meant, whatever its ports or types."""
    top = PORT_MAX if traffic.protocol in PORT_PROTOCOLS else 255
    return traffic.protocol not in (*PORT_PROTOCOLS, ICMP, ICMPV6) or (traffic.first == 0 and traffic.last >= top)


def interface_test(field: Field, names: tuple[str, ...]) -> tuple[Match, ...]:
    """A test of an interface; none where no names are given."""
    return (Test(field, normalize(interface_interval(name) for name in names)),) if names else ()


def both(*matches: Match) -> Match:
    """All of them, without an All inside of an All."""
    flat = tuple(part for one in matches for part in (one.matches if isinstance(one, All) else (one,)))
    return flat[0] if len(flat) == 1 else All(flat)


class Groups:
    """Collects the grants of one compilation, then hands out rules and sets. The one thing here that changes."""

    def __init__(self) -> None:
        self._boxes: dict[Shape, list[Labelled]] = {}
        self._names: dict[str, Shape] = {}
        self._addresses: dict[str, AddressSet] = {}
        for source in ((), (Field.SRC4,), (Field.SRC6,)):
            self._boxes[Shape("opened", fields=(*source, Field.DPORT, Field.PROTOCOL))] = []

    def add_all(self, use: str, grants: Iterable[Grant]) -> None:
        """Policies of thousands of grants are of such as need no thought: ports of one protocol, from anywhere or one network."""
        plain: dict[tuple[Field, ...], list[Labelled]] = {(): [], (Field.SRC4,): [], (Field.SRC6,): []}
        for grant in grants:
            found = _plain(grant)
            if found is None:
                self.add(use, grant)
            else:
                source, box = found
                plain[source].append((box, grant.id))
        for source, boxes in plain.items():
            if boxes:
                self._boxes.setdefault(Shape(use, fields=(*source, Field.DPORT, Field.PROTOCOL)), []).extend(boxes)

    def add(self, use: str, grant: Grant) -> None:
        for traffic in grant.traffic or (None,):
            protocol, tail = _traffic_columns(traffic)
            for source, destination, family in ends(grant):
                if family is not None and ICMP_FAMILY.get(protocol, family) is not family:
                    continue
                columns: list[Column] = []
                lookups = self.place(source, SRC, family, grant.id, columns)
                lookups += self.place(destination, DST, family, grant.id, columns)
                columns += tail
                place = (
                    use,
                    grant.log,
                    _ordered(source.interfaces),
                    _ordered(destination.interfaces),
                    lookups,
                    protocol,
                )
                self._file(place, columns, grant.id)

    def add_forward(self, use: str, forward: Forward) -> None:
        """Traffic as it is after the translation, together with what it was before."""
        grant = forward.grant
        for traffic, (source, destination, named) in product(grant.traffic, tuple(ends(grant))):
            arrival = (traffic.first, traffic.last)
            for family, target in targets(forward, named):
                columns: list[Column] = []
                lookups = self.place(source, SRC, family, grant.id, columns)
                if target is not None and family is not None:
                    columns.append((DST[family], target))
                lookups += self.place(destination, ORIGINAL_DST, family, grant.id, columns)
                port = arrival if forward.port is None else (forward.port, forward.port)
                protocol = (traffic.protocol, traffic.protocol)
                columns += [
                    (Field.DPORT, (port,)),
                    (Field.ORIGINAL_DPORT, (arrival,)),
                    (Field.PROTOCOL, (protocol,)),
                ]
                # The rule that translates has logged it.
                place = (use, False, _ordered(source.interfaces), _ordered(destination.interfaces), lookups, 0)
                self._file(place, columns, grant.id)

    def place(
        self, peer: Peer, field: Mapping[Family, Field], family: Family | None, owner: str, columns: list[Column]
    ) -> tuple[tuple[Field, str], ...]:
        """A peer's addresses go to the columns, or where they are many to a shared set, which is answered."""
        if peer.addresses is None or family is None:
            return ()
        values = peer.addresses.of_family(family)
        if len(values) < SHARED:
            columns.append((field[family], values))
            return ()
        name = _claim(self._addresses, f"addr_{word(peer.name or owner)}", peer.addresses)
        return ((field[family], f"{name}_v{family.value}"),)

    def _file(self, place: Place, columns: list[Column], owner: str) -> None:
        fields, values = zip(*columns, strict=True) if columns else ((), ())
        boxes = self._boxes.setdefault(Shape(*place, fields), [])
        boxes += [(box, owner) for box in product(*values)]

    def rules(
        self, use: str, verdict: Verdict, view: View = ARRIVED, *, and_also: tuple[Match, ...] = ()
    ) -> Iterator[Rule]:
        """The rules of all shapes of one use; those that log come first, so that the others don't hide it."""
        comment = use.removeprefix("out_")
        shapes = [shape for shape in self._boxes if shape.use == use]
        for shape in sorted(shapes, key=lambda one: (not one.log, self._name(one))):
            effects: tuple[Effect, ...] = (Log(f"portgate {comment} "),) if shape.log else ()
            for match in self._matches(shape, view, and_also):
                yield Rule(match, verdict, effects, comment)

    def _matches(self, shape: Shape, view: View, and_also: tuple[Match, ...]) -> Iterator[Match]:
        fields = tuple(view.get(field, field) for field in shape.fields)
        before = (
            *and_also,
            *interface_test(Field.IIF, shape.iifs),
            *interface_test(Field.OIF, shape.oifs),
            *(Lookup((view.get(field, field),), name) for field, name in shape.lookups),
        )
        own = (Lookup(fields, self._name(shape)),) if fields else ()
        for protocol in self._protocols(shape, fields):
            yield both(*before, *protocol, *own)

    def _protocols(self, shape: Shape, fields: tuple[Field, ...]) -> Iterator[tuple[Match, ...]]:
        """Original ports can be tested for one protocol at a time only, as nft has it."""
        if Field.ORIGINAL_DPORT in fields:
            numbers = {box[-1][0] for box, _ in self._boxes[shape]} or {TCP, UDP}
            yield from ((Test(Field.PROTOCOL, ((one, one),)),) for one in sorted(numbers))
        else:
            yield (Test(Field.PROTOCOL, ((shape.protocol, shape.protocol),)),) if shape.protocol else ()

    def sets(self) -> tuple[NamedSet, ...]:
        """All named sets, by name."""
        found = [*self._shared_sets(), *self._group_sets()]
        return tuple(sorted(found, key=lambda one: one.name))

    def _group_sets(self) -> Iterator[NamedSet]:
        for shape, boxes in self._boxes.items():
            if shape.use == "opened":
                yield NamedSet(self._name(shape), shape.fields, comment=OWNER, timed=True)
            elif shape.fields:
                yield NamedSet(self._name(shape), shape.fields, disjoint(boxes))

    def _shared_sets(self) -> Iterator[NamedSet]:
        for name, addresses in self._addresses.items():
            for family in FAMILIES:
                elements = tuple(elements_of(zip(addresses.of_family(family), strict=True)))
                yield NamedSet(f"{name}_v{family.value}", (SRC[family],), elements)

    def _name(self, shape: Shape) -> str:
        return _claim(self._names, shape.name(), shape)


def _plain(grant: Grant) -> tuple[tuple[Field, ...], Box] | None:
    """The field of the source and the box of a grant that needs no thought; None for another."""
    if len(grant.traffic) != 1 or len(grant.sources) > 1 or grant.destinations or grant.log:
        return None
    protocol, first, last = grant.traffic[0]
    if protocol not in PORT_PROTOCOLS or (first == 0 and last >= PORT_MAX):
        return None
    ports = ((first, last), (protocol, protocol))
    if not grant.sources:
        return (), ports
    addresses = grant.sources[0].addresses
    if grant.sources[0].interfaces or addresses is None or len(addresses.v4) + len(addresses.v6) != 1:
        return None
    return ((Field.SRC4,), (addresses.v4[0], *ports)) if addresses.v4 else ((Field.SRC6,), (addresses.v6[0], *ports))


def _claim(taken: dict[str, T], name: str, value: T) -> str:
    """The name, lengthened until nothing else has it."""
    while taken.setdefault(name, value) != value:
        name += "_"
    return name


def _traffic_columns(traffic: Traffic | None) -> tuple[int, tuple[Column, ...]]:
    """The protocol of an ICMP type, else 0; the columns that go after the addresses."""
    if traffic is None:
        return 0, ()
    protocol = (Field.PROTOCOL, ((traffic.protocol, traffic.protocol),))
    if whole(traffic):
        return 0, (protocol,)
    values = ((traffic.first, traffic.last),)
    if traffic.protocol in PORT_PROTOCOLS:
        return 0, ((Field.DPORT, values), protocol)
    return traffic.protocol, ((Field.ICMP_TYPE, values),)
