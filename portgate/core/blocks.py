"""Long chains asked about single packets.

Theory
    A chain of ten thousand rules as one diagram, with a leaf for each rule that decides, shares little and grows large. For
    a packet whose header is known, the chain need not be composed whole: it is cut into blocks of rules, each of
    which is a small diagram, and a packet is led through one block after the other. Calls of long chains are left open
    and answered for the packet.
    What rules can change (marks, tracking), and doubts, are levels below the header: they stay open, and what is
    left of the blocks is composed as rules always are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portgate.core.chains import ChainEvaluation, Kind, callees_first, leaf_of, plain_verdicts
from portgate.core.decision import Diagram, Space
from portgate.core.packets import UNTRACKED_STATE
from portgate.core.ruleset import Chain, Goto, Jump, Rule

Values = Mapping[int, int]
"""A packet's header by level; levels that are missing are free."""

ANY_PACKET: Values = {}
LONG = 512
"""Rules of one block, with those that they call."""
DEEP = 50
"""Calls within calls, from which on a chain is composed whole after all."""


def narrowed(space: Space, diagram: Diagram, packet: Values) -> Diagram:
    """What the diagram answers for packets like this one."""
    while packet and diagram.level < UNTRACKED_STATE:
        value = packet.get(diagram.level)
        if value is None:
            return space.restrict(diagram, packet)
        diagram = diagram.at(value)
    return diagram


class Blocks:
    """The chains of one evaluation."""

    def __init__(self, evaluation: ChainEvaluation) -> None:
        self._evaluation = evaluation
        self._space = evaluation.space
        self._container = evaluation.container
        self._lengths: dict[str, int] = {}
        self._depths: dict[str, int] = {}
        self._blocks: dict[str, tuple[Diagram, ...]] = {}
        self._asked: set[str] = set()

    def answers(self, name: str, packet: Values) -> Diagram:
        """What the chain answers for packets like this one; *continue* where it falls off its end."""
        self._measure(name)
        if not packet or self._lengths[name] <= LONG or self._depths[name] > DEEP:
            return narrowed(self._space, self._evaluation.chain(name), packet)
        if name in self._asked:
            return self._evaluation.missing(name)
        self._asked.add(name)
        found = self._evaluation.go_on
        for block in self._of(name):
            answer = self._with_calls(narrowed(self._space, block, packet), packet)
            found = (
                answer
                if found is self._evaluation.go_on
                else self._evaluation.bounded(self._evaluation.then(found, answer))
            )
            if not any(leaf_of(leaf).kind is Kind.CONTINUE for leaf in self._space.leaves(found)):
                break
        self._asked.remove(name)
        return found

    def _with_calls(self, answer: Diagram, packet: Values) -> Diagram:
        for hole in self._space.leaves(answer):
            call = hole.value
            if isinstance(call, Jump | Goto):
                called = self._evaluation.returned(self.answers(call.chain, packet), call)
                answer = called if answer is hole else self._space.substitute(answer, hole, called)
        return answer

    def _of(self, name: str) -> tuple[Diagram, ...]:
        found = self._blocks.get(name)
        if found is None:
            chain = self._container.chain(name)
            found = self._blocks[name] = tuple(self._cut(chain)) if chain else ()
        return found

    def _cut(self, chain: Chain) -> Iterator[Diagram]:
        """Runs of rules; a rule that calls a long chain stands alone."""
        rows: list[Diagram] = []
        room = LONG
        for index, rule in enumerate(chain.rules):
            length = self._length_of(rule)
            if length > room and rows:
                yield self._evaluation.compose(rows)
                rows, room = [], LONG
            if length > LONG:
                yield self._evaluation.rule(rule, chain.name, index, calling=False)
                continue
            rows.append(self._evaluation.rule(rule, chain.name, index))
            room -= length
        if rows:
            yield self._evaluation.compose(rows)

    def _measure(self, name: str) -> None:
        """The rules of a chain, with those of the chains that it calls, and how deep its calls go; 0 where it calls itself."""
        for callee in () if name in self._lengths else callees_first(self._container, name):
            chain = self._container.chain(callee)
            rules = chain.rules if chain else ()
            self._lengths[callee] = sum(map(self._length_of, rules))
            self._depths[callee] = 1 + max(
                (self._depths.get(one, 0) for rule in rules for one in _calls(rule)), default=0
            )

    def _length_of(self, rule: Rule) -> int:
        return 1 + sum(self._lengths.get(one, 0) for one in _calls(rule))


def _calls(rule: Rule) -> Iterator[str]:
    return (one.chain for one in plain_verdicts(rule) if isinstance(one, Jump | Goto))
