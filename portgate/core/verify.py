"""Whether two rulesets do the same to every packet; a counterexample where not."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from enum import StrEnum
from functools import partial

from portgate.core.addresses import ANY_HOST, Host
from portgate.core.dataclasses import dataclass
from portgate.core.decision import Diagram
from portgate.core.matches import exactly
from portgate.core.net import ICMP, ICMPV6, Family, Intervals, intersect
from portgate.core.packets import (
    DST,
    IIF,
    LOOPBACK,
    OIF,
    PROTOCOL,
    Description,
    Likely,
    Packet,
    describe,
    tops,
    witness,
)
from portgate.core.ruleset import Field, Ruleset
from portgate.core.semantics import ACCEPTED, NEW_CONNECTION, Analysis, Answer, Fate


class Direction(StrEnum):
    """Seen from the host."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Scope(StrEnum):
    """Which packets of a direction a difference is about."""

    TO_HOST = "to this host"
    THROUGH_HOST = "through this host"
    FROM_HOST = "from this host"
    WITHIN_HOST = "within this host"
    ODD = "ICMP of the other family"


@dataclass(frozen=True, slots=True)
class Difference:
    """Packets that two rulesets treat differently, all in the same way.

    **Shape** `described` tells which of all packets in the `scope`; `packet` is one of them.
    """

    scope: Scope
    family: Family
    before: Answer
    after: Answer
    packet: Packet
    described: Description

    @property
    def opens(self) -> bool:
        """Whether packets that did not pass for sure now may."""
        return self.after.fate is Fate.ACCEPT or (
            self.after.fate is Fate.DEPENDS and self.before.fate is not Fate.ACCEPT
        )


def differences(
    before: Ruleset,
    after: Ruleset,
    host: Host = ANY_HOST,
    known: Mapping[Field, int] = NEW_CONNECTION,
    *,
    most_cubes: int = 50,
    besides: Ruleset | None = None,
) -> tuple[Difference, ...]:
    """Every difference between two rulesets, for both directions and families; () is the proof that there is none.

    Only packets with the `known` field values are asked about, and not those that `besides` accepts. The two may share
    doubts: a rate limit that both have is no difference.
    """
    return tuple(
        one
        for direction in Direction
        for family in Family
        for one in _differences(before, after, _Question(direction, family, host, known, most_cubes, besides))
    )


def against_policy(desired: Ruleset, live: Ruleset, host: Host = ANY_HOST) -> tuple[Difference, ...]:
    """Where a host does otherwise than a policy says; () is the proof that it does not.

    A policy speaks of packets to and from the host. What passes through it is its business only where it forwards. Not every
    firewall can speak of ICMP of the other family, which exists on no network.
    """
    return tuple(
        one
        for one in differences(desired, live, host)
        if one.scope is not Scope.ODD and (one.scope is not Scope.THROUGH_HOST or one.before.landing is not None)
    )


def equivalent(left: Ruleset, right: Ruleset, host: Host = ANY_HOST) -> bool:
    """Whether two rulesets do the same to every packet in every state."""
    return all(
        _ask(analysis, direction, left, {}) is _ask(analysis, direction, right, {})
        for family in Family
        for analysis in (Analysis(family, host),)
        for direction in Direction
    )


@dataclass(frozen=True, slots=True)
class _Question:
    direction: Direction
    family: Family
    host: Host
    known: Mapping[Field, int]
    most_cubes: int
    besides: Ruleset | None


def _ask(analysis: Analysis, direction: Direction, ruleset: Ruleset, known: Mapping[Field, int]) -> Diagram:
    ask = analysis.inbound if direction is Direction.INBOUND else analysis.outbound
    return ask(ruleset, known)


def _differences(before: Ruleset, after: Ruleset, question: _Question) -> Iterator[Difference]:
    analysis = Analysis(question.family, question.host)
    old = _ask(analysis, question.direction, before, question.known)
    new = _ask(analysis, question.direction, after, question.known)
    if old is new:
        return
    compared = analysis.space.compare(analysis.settle(old), analysis.settle(new))
    compared = analysis.space.map_leaves(compared, partial(_merged, question))
    if question.besides is not None:
        besides = analysis.settle(_ask(analysis, question.direction, question.besides, question.known))
        accepted = analysis.space.where(besides, lambda answer: answer == ACCEPTED)
        compared = analysis.space.choose(accepted, analysis.space.true, compared)
    unequal = [leaf for leaf in analysis.space.leaves(compared) if leaf is not analysis.space.true]
    for leaf in sorted(unequal, key=lambda leaf: str(leaf.value)):
        yield from _inscopes(analysis, question, compared, leaf)


def _merged(question: _Question, pair: Hashable) -> Hashable:
    """A pair of answers in which all of this host's own addresses are one: packets that are redirected to them fare alike."""
    if not isinstance(pair, tuple):
        return pair
    before, after = (_landing_here(question, answer) for answer in pair)
    return pair if before == after else (before, after)


def _landing_here(question: _Question, answer: Answer) -> Answer:
    own, landing = question.host.own(question.family), answer.landing
    if landing is None or intersect(landing.addresses, own) != landing.addresses:
        return answer
    return answer._replace(landing=landing._replace(addresses=own))


def _inscopes(analysis: Analysis, question: _Question, compared: Diagram, leaf: Diagram) -> Iterator[Difference]:
    space, family = analysis.space, question.family
    if not isinstance(leaf.value, tuple):
        raise TypeError("a leaf of a difference is a pair of answers")
    before, after = leaf.value
    told = False
    for scope, within in scopes(analysis, question.direction):
        packets = space.both(space.where(compared, lambda value: value is leaf.value), within)
        packet = witness(space, family, packets, space.true, likely(question.host, question.direction))
        if packet is not None and not (scope is Scope.ODD and told):
            told = True
            described = describe(space, family, packets, within, question.most_cubes)
            yield Difference(scope, family, before, after, packet, described)


def scopes(analysis: Analysis, direction: Direction) -> Iterator[tuple[Scope, Diagram]]:
    """Every packet is in one scope. ICMP of the other family exists on no real network, so it comes last."""
    space, family, top = analysis.space, analysis.family, tops(analysis.family)

    def only(level: int, values: Intervals) -> Diagram:
        return space.test(level, values, top[level], space.true, space.false)

    odd = only(PROTOCOL, exactly(ICMPV6 if family is Family.IPV4 else ICMP))
    plain = space.negation(odd)
    inside = space.both(plain, only(IIF if direction is Direction.INBOUND else OIF, (LOOPBACK,)))
    outside = space.both(plain, space.negation(inside))
    if direction is Direction.OUTBOUND:
        yield Scope.FROM_HOST, outside
        yield Scope.WITHIN_HOST, inside
    else:
        here = only(DST, analysis.host.addressed(family))
        yield Scope.TO_HOST, space.both(outside, here)
        yield Scope.THROUGH_HOST, space.both(plain, space.negation(here))
        yield Scope.WITHIN_HOST, space.both(inside, here)
    yield Scope.ODD, odd


def likely(host: Host, direction: Direction = Direction.INBOUND) -> Likely:
    """What packets to or from this host look like."""
    interfaces = host.interfaces or ()
    return Likely(
        tuple(one.name for one in interfaces if one.name != "lo"),
        tuple((family, address) for one in interfaces if one.name != "lo" for family, address, _ in one.addresses),
        direction is Direction.OUTBOUND,
    )
