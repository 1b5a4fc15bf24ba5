"""Rulesets cut down to what matters for a question: restrict before composing.

Theory
    A question about some packets only (those of a changed element, those of a listener's port) has the same
    answer when set elements that none of these packets can lie in are left out. Which fields may tell that: those
    that a packet keeps on its whole way. Where some rule translates destinations, ports and destinations do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from portgate.core.dataclasses import replace
from portgate.core.net import Interval
from portgate.core.ruleset import (
    All,
    AnonymousLookup,
    Any,
    Bits,
    Dnat,
    Element,
    Field,
    InterfaceAddress,
    InterfaceGroup,
    Lookup,
    Match,
    NamedSet,
    Not,
    Opaque,
    PlainVerdict,
    RateLimit,
    ReversePath,
    Rule,
    Ruleset,
    Test,
    VerdictMap,
)  # fmt: skip

Near = Mapping[Field, Interval]
"""A box around packets that matter; a field that is missing is free."""

_KEPT = frozenset({Field.PROTOCOL, Field.SRC4, Field.SRC6})
_TRANSLATED = frozenset({Field.DPORT, Field.DST4, Field.DST6})


def steady_fields(ruleset: Ruleset) -> frozenset[Field]:
    """The fields that a packet keeps on its whole way."""
    translates = any(
        isinstance(verdict, Dnat)
        for container in ruleset.containers
        for chain in container.chains
        for rule in chain.rules
        for verdict in _plain_verdicts(rule)
    )
    return _KEPT if translates else _KEPT | _TRANSLATED


def _plain_verdicts(rule: Rule) -> tuple[PlainVerdict, ...]:
    verdict = rule.verdict
    return tuple(plain for _, plain in verdict.entries) if isinstance(verdict, VerdictMap) else (verdict,)


def tests(ruleset: Ruleset, field: Field) -> bool:
    """Whether any rule looks at the field."""
    return any(
        field in fields_of(rule.match) or (isinstance(rule.verdict, VerdictMap) and field in rule.verdict.fields)
        for container in ruleset.containers
        for chain in container.chains
        for rule in chain.rules
    )


def fields_of(match: Match) -> Iterator[Field]:
    """The fields that it looks at."""
    match match:
        case Test(one, _) | Bits(one, _, _) | InterfaceGroup(one, _):
            yield one
        case InterfaceAddress(one):
            yield one
        case Lookup(several, _) | AnonymousLookup(several, _):
            yield from several
        case Not(inner):
            yield from fields_of(inner)
        case All(parts) | Any(parts):
            for part in parts:
                yield from fields_of(part)
        case ReversePath():
            yield from (Field.IIF, Field.SRC4, Field.SRC6)
        case RateLimit() | Opaque():
            return
        case _:
            assert_never(match)


def only_near(ruleset: Ruleset, boxes: Sequence[Near]) -> Ruleset:
    """The ruleset less the set elements that no packet in one of the boxes lies in. Fields must be steady ones."""
    return Ruleset(
        tuple(
            replace(container, sets=tuple(_only_near(one, boxes) for one in container.sets))
            for container in ruleset.containers
        )
    )


def _only_near(named: NamedSet, boxes: Sequence[Near]) -> NamedSet:
    sides = [[(column, box[field]) for column, field in enumerate(named.fields) if field in box] for box in boxes]
    if not all(sides):
        return named  # a box that says nothing about this set's fields
    return replace(named, elements=tuple(one for one in named.elements if _touches(one, sides)))


def _touches(element: Element, boxes: Sequence[Sequence[tuple[int, Interval]]]) -> bool:
    box = element.box
    for sides in boxes:
        for column, (first, last) in sides:
            if box[column][1] < first or last < box[column][0]:
                break
        else:
            return True
    return False
