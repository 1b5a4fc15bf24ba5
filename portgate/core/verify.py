"""Whether two rulesets do the same to every packet; a counterexample where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from portgate.core.addresses import ANY_HOST, Host
from portgate.core.decision import Diagram
from portgate.core.net import Family
from portgate.core.packets import Cube, Likely, Packet, readable, witness
from portgate.core.ruleset import Field, Ruleset
from portgate.core.semantics import NEW_CONNECTION, Analysis, Answer, Fate


class Direction(StrEnum):
    """Seen from the host."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class Difference:
    """Packets that two rulesets treat differently, all in the same way.

    **Shape** `cubes` are all of them, unless `complete` is false; `packet` is one.
    """

    direction: Direction
    family: Family
    before: Answer
    after: Answer
    packet: Packet
    cubes: tuple[Cube, ...]
    complete: bool

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
) -> tuple[Difference, ...]:
    """Every difference between two rulesets, for both directions and families; () is the proof that there is none.

    Only packets with the `known` field values are asked about. The two may share doubts: a rate limit that both
    have is no difference.
    """
    return tuple(
        one
        for direction in Direction
        for family in Family
        for one in _differences(before, after, _Question(direction, family, host, known, most_cubes))
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
    unequal = [leaf for leaf in analysis.space.leaves(compared) if leaf is not analysis.space.true]
    for leaf in sorted(unequal, key=lambda leaf: str(leaf.value)):
        yield _difference(analysis, question, compared, leaf)


def _difference(analysis: Analysis, question: _Question, compared: Diagram, leaf: Diagram) -> Difference:
    family, space = question.family, analysis.space
    cubes, complete = readable(space, family, compared, leaf, question.most_cubes)
    packet = witness(space, family, compared, leaf, likely(question.host))
    if packet is None or not isinstance(leaf.value, tuple):
        raise AssertionError("a leaf of a difference is a pair of answers that some packet reaches")
    before, after = leaf.value
    return Difference(question.direction, family, before, after, packet, cubes, complete)


def likely(host: Host) -> Likely:
    """What packets to this host look like."""
    interfaces = host.interfaces or ()
    return Likely(
        tuple(one.name for one in interfaces if one.name != "lo"),
        tuple((family, address) for one in interfaces if one.name != "lo" for family, address, _ in one.addresses),
    )
