"""What is opened for a time: elements of sets that the kernel itself lets expire.

Theory
    An opening belongs to no policy. What is desired of a host are the rules of its policy together with the openings that
    it has, less those that are closed, plus those that come. So an apply keeps them, and a plan doesn't take them for
    something that the policy closes. Where rules are compared with a policy, both are compared without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from portgate.core.boxes import disjoint
from portgate.core.dataclasses import dataclass, replace
from portgate.core.net import PORT_PROTOCOLS, Family, Interval, format_interval, protocol_name
from portgate.core.policy import Peer, Traffic
from portgate.core.ruleset import Box, Element, Field, NamedSet, Ruleset

_NAME = re.compile(r"[A-Za-z0-9._-]{1,48}")
_SOURCES = {Family.IPV4: Field.SRC4, Family.IPV6: Field.SRC6}
_FAMILIES = {field: family for family, field in _SOURCES.items()}
_EVERY_PORT = (0, 0xFFFF)

Region = tuple[tuple[Field, ...], Box]
"""A box, and the fields that its sides are values of."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A port that is open for some more seconds. `source` None is everybody; `name` tells what was asked for, as ids of grants do."""

    protocol: int
    ports: Interval
    family: Family | None
    source: Interval | None
    seconds: int
    name: str = ""

    def __str__(self) -> str:
        port = f"{_numbers(self.ports)}/{protocol_name(self.protocol)}"
        if self.family is None or self.source is None:
            return port
        return f"{port} from {format_interval(self.family, self.source)}"


@dataclass(frozen=True, slots=True)
class Timed:
    """What becomes of openings: first `closed` goes, then `opened` comes, for so many `seconds`."""

    closed: tuple[Region, ...] = ()
    opened: tuple[Region, ...] = ()
    seconds: int = 0
    name: str = ""


NOTHING = Timed()


def regions(traffic: Sequence[Traffic], sources: Sequence[Peer]) -> Iterator[Region]:
    """The boxes of some traffic. Errors: ValueError, which says what can't be opened for a time."""
    for one, peer in product(traffic, sources or (Peer(),)):
        if one.protocol not in PORT_PROTOCOLS:
            raise ValueError(f"{protocol_name(one.protocol)} has no ports")
        if peer.interfaces:
            raise ValueError(f"{peer.name or 'a source'} is told by its interfaces")
        tail = ((one.first, one.last), (one.protocol, one.protocol))
        if peer.addresses is None:
            yield (Field.DPORT, Field.PROTOCOL), tail
            continue
        for family, field in _SOURCES.items():
            for interval in peer.addresses.of_family(family):
                yield (field, Field.DPORT, Field.PROTOCOL), (interval, *tail)


def everywhere(traffic: Sequence[Traffic], sources: Sequence[Peer]) -> Iterator[Region]:
    """All openings that some traffic could be in, also those from narrower sources."""
    for fields, box in regions([one for one in traffic if one.protocol in PORT_PROTOCOLS], _addressed(sources)):
        yield fields, box
        if len(fields) == 2:
            for family, field in _SOURCES.items():
                yield (field, *fields), ((0, family.top), *box)


def _addressed(sources: Sequence[Peer]) -> Sequence[Peer]:
    """Openings know no interfaces: closing one of a zone closes it for the addresses of the zone."""
    return tuple(replace(one, interfaces=()) for one in sources)


def openings(ruleset: Ruleset) -> tuple[Opening, ...]:
    """What is open for a time now."""
    return tuple(
        _opening(named, element) for named in _timed_sets(ruleset) for element in named.elements if element.expires
    )


def _timed_sets(ruleset: Ruleset) -> Iterator[NamedSet]:
    return (named for container in ruleset.owned().containers for named in container.sets if named.timed)


def _opening(named: NamedSet, element: Element) -> Opening:
    values = dict(zip(named.fields, element.box, strict=True))
    family = next((_FAMILIES[field] for field in named.fields if field in _FAMILIES), None)
    source = None if family is None else values[_SOURCES[family]]
    return Opening(
        values.get(Field.PROTOCOL, (0, 0))[0],
        values.get(Field.DPORT, _EVERY_PORT),
        family,
        source,
        element.expires or 0,
        element.comment,
    )


def kept(desired: Ruleset, live: Ruleset, change: Timed = NOTHING) -> Ruleset:
    """The rules of a policy, with the openings that a host has and what becomes of them."""
    present = {named.name: named for named in _timed_sets(live)}

    def with_openings(named: NamedSet) -> NamedSet:
        old = present.get(named.name)
        left = [] if old is None or old.fields != named.fields else [one for one in old.elements if one.expires]
        for fields, box in (*change.closed, *change.opened):
            if fields == named.fields:
                left = [Element(piece, one.comment, one.expires) for one in left for piece in _without(one.box, box)]
        come = disjoint([(box, change.name) for fields, box in change.opened if fields == named.fields])
        new = [Element(one.box, one.comment, change.seconds) for one in come]
        return replace(named, elements=tuple(sorted(_clean([*left, *new]))))

    return _with_timed(desired, with_openings)


def timeless(ruleset: Ruleset) -> Ruleset:
    """Without everything that is opened for a time."""
    return _with_timed(ruleset, lambda named: replace(named, elements=()))


def entries(ruleset: Ruleset) -> Iterator[tuple[str, str, str, int]]:
    """Each opening as (set, key, name, seconds); the key is in words of nft that need no names."""
    for named in _timed_sets(ruleset):
        for one in named.elements:
            parts = (
                format_interval(_FAMILIES[field], side) if field in _FAMILIES else _numbers(side)
                for field, side in zip(named.fields, one.box, strict=True)
            )
            yield named.name, " . ".join(parts), one.comment, one.expires or 0


def _numbers(interval: Interval) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"


def lost(wanted: Ruleset, live: Ruleset, patience: int) -> tuple[Opening, ...]:
    """The openings that should be there for longer than `patience` seconds, and are not."""
    there = {(one.protocol, one.ports, one.source) for one in openings(live)}
    return tuple(
        one for one in openings(wanted) if one.seconds > patience and (one.protocol, one.ports, one.source) not in there
    )


def _with_timed(ruleset: Ruleset, change: Callable[[NamedSet], NamedSet]) -> Ruleset:
    return Ruleset(
        tuple(
            replace(container, sets=tuple(change(one) if one.timed else one for one in container.sets))
            if container.owned
            else container
            for container in ruleset.containers
        )
    )


def _clean(some: Sequence[Element]) -> Iterator[Element]:
    """A comment is what portgate gives, or nothing: it will be part of a script."""
    return (one if _NAME.fullmatch(one.comment) else one._replace(comment="") for one in some)


def _without(box: Box, hole: Box) -> Iterator[Box]:
    """The pieces of a box that lie outside of another."""
    if any(
        last < first_out or last_out < first for (first, last), (first_out, last_out) in zip(box, hole, strict=True)
    ):
        yield box
        return
    for column, ((first, last), (first_out, last_out)) in enumerate(zip(box, hole, strict=True)):
        before, after = box[:column], box[column + 1 :]
        if first < first_out:
            yield (*before, (first, first_out - 1), *after)
        if last_out < last:
            yield (*before, (last_out + 1, last), *after)
        box = (*before, (max(first, first_out), min(last, last_out)), *after)
