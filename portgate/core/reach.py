"""Packets from outside that all meet the same end, and ports that lead to other hosts: to containers, most of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from portgate.core.dataclasses import dataclass, replace
from portgate.core.decision import Diagram
from portgate.core.net import Family, format_interval, intersect
from portgate.core.packets import Description, Packet, describe, endpoint, witness
from portgate.core.ruleset import Dnat, Ruleset
from portgate.core.semantics import Analysis, Answer, Fate, Landing, answer_of
from portgate.core.verify import likely

_MOST_CUBES = 8


@dataclass(frozen=True, slots=True)
class Reach:
    """Packets from outside that all meet the same end.

    **Shape** `described` speaks of sources and interfaces; of ports and destinations only where they arrive at another
    port (port forwarding: `answer.landing` is set).
    """

    family: Family
    answer: Answer
    described: Description
    packet: Packet

    @property
    def fate(self) -> Fate:
        return self.answer.fate


@dataclass(frozen=True, slots=True)
class Published:
    """What is sent to one of this host's ports and reaches another host.

    **Shape** `name` is what the rule that translates says of it, "" where it says nothing; `denied` is one such packet
    that the policy denies.
    """

    reach: Reach
    landing: Landing
    name: str = ""
    denied: Packet | None = None

    @property
    def where(self) -> str:
        """`172.17.0.2:80`"""
        addresses, port = self.landing
        if len(addresses) == 1 and addresses[0][0] == addresses[0][1]:
            return endpoint(self.reach.family, addresses[0][0], port)
        texts = ",".join(format_interval(self.reach.family, one) for one in addresses)
        return texts if port is None else f"{texts} port {port}"


Lands = Callable[[Landing | None], bool]


def reaches(
    analysis: Analysis, decided: Diagram, within: Diagram, known: Mapping[int, int], lands: Lands
) -> Iterator[Reach]:
    """The packets `within` a set, by their end, of those that land as asked for."""
    for answer, packets in _by_answer(analysis, decided):
        if lands(answer.landing):
            packet = _one_of(analysis, analysis.space.both(packets, within), known)
            if packet is not None:
                told = describe(analysis.space, analysis.family, packets, within, _MOST_CUBES)
                yield Reach(analysis.family, answer, told, packet)


def published(analysis: Analysis, live: Diagram, outside: Diagram, wanted: Diagram | None) -> Iterator[Published]:
    """Every way in which packets from `outside` reach other hosts through a translation."""
    space = analysis.space
    closed = space.false if wanted is None else space.where(wanted, _closed)
    for answer, packets in _by_answer(analysis, live):
        landing = answer.landing
        if landing is None or answer.fate not in (Fate.ACCEPT, Fate.DEPENDS) or not _elsewhere(analysis, landing):
            continue
        from_outside = space.both(packets, outside)
        packet = _one_of(analysis, from_outside, {})
        if packet is not None:
            told = describe(space, analysis.family, packets, outside, _MOST_CUBES)
            denied = _one_of(analysis, space.both(from_outside, closed), {})
            yield Published(Reach(analysis.family, answer, told, packet), landing, denied=denied)


def named(one: Published, rules: Ruleset) -> Published:
    """With the comment of a rule that translates to it."""
    names = (
        rule.comment
        for container in rules.containers
        for chain in container.chains
        for rule in chain.rules
        if rule.comment and isinstance(rule.verdict, Dnat) and (rule.verdict.address,) == one.landing.addresses
    )
    return replace(one, name=next(names, ""))


def _closed(value: object) -> bool:
    return isinstance(value, Answer) and value.fate in (Fate.DROP, Fate.REJECT)


def _by_answer(analysis: Analysis, decided: Diagram) -> Iterator[tuple[Answer, Diagram]]:
    """Each answer with the set of packets that get it."""
    space = analysis.space
    for leaf in sorted(space.leaves(decided), key=lambda leaf: str(leaf.value)):
        yield answer_of(leaf), space.rebuild(decided, lambda one: space.true if one is leaf else space.false)  # noqa: B023 - `rebuild` has called it when it returns, before the loop goes on


def _one_of(analysis: Analysis, packets: Diagram, known: Mapping[int, int]) -> Packet | None:
    return witness(analysis.space, analysis.family, packets, analysis.space.true, likely(analysis.host), known)


def _elsewhere(analysis: Analysis, landing: Landing) -> bool:
    """Whether the destination is another host's; where the own ones are unknown, any that a rule names."""
    local = analysis.host.local(analysis.family)
    own = ((0, analysis.family.top),) if local is None else local
    return landing.addresses != own and (local is None or not intersect(landing.addresses, own))
