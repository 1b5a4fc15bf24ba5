"""Whether a policy keeps its `expect` entries: each is decided for every packet that it names.

Theory
    The packets that break an expectation are a set: those that it names and that the compiled rules treat otherwise.
    It holds when the set is empty. Else one of them is the counterexample, with the grant that decides about it; that
    grant's packets are taken out, and what is left leads to the next grant.

    Asked about are new connections that arrive from outside, and not what every policy accepts anyway. What is
    granted up to a rate limit is accepted, and it is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import islice

from portgate.core.addresses import ANY_HOST, Host
from portgate.core.compile import compile as compiled
from portgate.core.compile import unconditional
from portgate.core.dataclasses import dataclass, replace
from portgate.core.decision import Diagram, evaluate
from portgate.core.named import packets_of
from portgate.core.net import ICMP, ICMPV6, Family
from portgate.core.packets import CT_STATE, DST, TCP_FLAGS, Packet, witness
from portgate.core.policy import Expectation, Grant, Outcome, Peer, Policy, Traffic
from portgate.core.provenance import grant_of
from portgate.core.ruleset import Field, Ruleset
from portgate.core.semantics import NEW_CONNECTION, Analysis, Answer, Fate, answer_of
from portgate.core.trace import decide, trace
from portgate.core.verify import likely

MOST = 10  # counterexamples to one expectation; more would hide the first

CLOSED = frozenset({Fate.DROP, Fate.REJECT})
OPEN = frozenset({Fate.ACCEPT, Fate.DEPENDS})
_KNOWN = {CT_STATE: NEW_CONNECTION[Field.CT_STATE], TCP_FLAGS: NEW_CONNECTION[Field.TCP_FLAGS]}


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A packet that breaks an expectation. `grant` is what decides about it, None where the default does."""

    packet: Packet
    fate: Fate
    grant: Grant | None


@dataclass(frozen=True, slots=True)
class Result:
    """An expectation with what breaks it; none when it holds. Each grant is blamed once."""

    expectation: Expectation
    counterexamples: tuple[Counterexample, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.counterexamples


def check(policy: Policy, today: date) -> tuple[Result, ...]:
    """Every expectation of a policy, in order."""
    if not policy.expectations:
        return ()
    return results(policy, compiled(policy, today), policy.expectations)


def results(
    policy: Policy, rules: Ruleset, expectations: Sequence[Expectation], host: Host = ANY_HOST
) -> tuple[Result, ...]:
    """Some expectations, under any rules: those of the policy, or all of a host among which they are."""
    worlds = [_World(policy, rules, family, host) for family in Family]
    return tuple(Result(one, _distinct(worlds, one)) for one in expectations)


def _distinct(worlds: list[_World], expectation: Expectation) -> tuple[Counterexample, ...]:
    """The first packet of each family and grant; the same grant in the other family tells nothing new."""
    found: dict[tuple[Fate, str | None], Counterexample] = {}
    for world in worlds:
        for one in islice(world.broken(expectation), MOST):
            found.setdefault((one.fate, one.grant.id if one.grant else None), one)
    return tuple(found.values())[:MOST]


def deciding_grant(policy: Policy, rules: Ruleset, packet: Packet) -> Grant | None:
    """The grant that decides about a packet in the rules of its policy; None where the default does."""
    return _blamed(_by_id(policy), rules, packet, decide(rules, [packet])[0].answer)


def _by_id(policy: Policy) -> Mapping[str, Grant]:
    return {one.id: one for one in policy.grants()}


def _blamed(grants: Mapping[str, Grant], rules: Ruleset, packet: Packet, answer: Answer) -> Grant | None:
    """By the deciding rule; where the answer names none (limits, translations), by the last rule that names a grant."""
    places = [answer.place] if answer.place else [step.place for step in reversed(trace(rules, packet).steps)]
    names = (grant_of(rules, place, packet) for place in places)
    return next((grants[name] for name in names if name and name in grants), None)


class _World:
    """The packets of one family, and what the rules of a policy do to them."""

    def __init__(self, policy: Policy, rules: Ruleset, family: Family, host: Host) -> None:
        self._rules = rules
        self._grants = _by_id(policy)
        self._family = family
        self._likely = likely(host)
        analysis = Analysis(family, host)
        self._space = analysis.space
        self._answers = analysis.settle(analysis.inbound(rules, places=True))
        needed = self._where(analysis.settle(analysis.inbound(unconditional())), OPEN)
        apart = self._space.either(needed, self._impossible(policy))
        here = self._space.test(DST, host.own(family), family.top, self._space.true, self._space.false)
        self._judged = self._space.both(here, self._space.negation(apart))

    def _impossible(self, policy: Policy) -> Diagram:
        """ICMP of the other family, and packets to the machines behind this host as if they were this host."""
        odd = Traffic(ICMPV6 if self._family is Family.IPV4 else ICMP)
        behind = tuple(Peer(addresses=one.address) for one in policy.forwards if one.address is not None)
        space = self._space
        others = packets_of(space, self._family, destinations=behind) if behind else space.false
        return space.either(packets_of(space, self._family, (odd,)), others)

    def broken(self, expectation: Expectation) -> Iterator[Counterexample]:
        """A packet for each grant that some packet breaks the expectation by."""
        space = self._space
        left = space.both(self._named(expectation), self._wrong(expectation.outcome))
        while packet := witness(space, self._family, left, space.true, self._likely, known=_KNOWN):
            plain = replace(packet, dst=None)  # where any destination will do, none is named
            found = self._counterexample(plain if evaluate(left, plain.levels()) else packet)
            yield found
            left = space.both(left, space.negation(self._decided_alike(found)))

    def _named(self, expectation: Expectation) -> Diagram:
        """The packets that an expectation speaks of."""
        space, family = self._space, self._family
        if expectation.outcome is None:
            listed = packets_of(space, family, expectation.traffic) if expectation.traffic else space.false
            return space.both(self._judged, space.negation(listed))
        traffic = packets_of(space, family, expectation.traffic, expectation.sources, expectation.destinations)
        return space.both(self._judged, traffic)

    def _wrong(self, outcome: Outcome | None) -> Diagram:
        return self._where(self._answers, CLOSED if outcome is Outcome.ACCEPTED else OPEN)

    def _where(self, answers: Diagram, fates: frozenset[Fate]) -> Diagram:
        return self._space.where(answers, lambda answer: isinstance(answer, Answer) and answer.fate in fates)

    def _counterexample(self, packet: Packet) -> Counterexample:
        answer = evaluate(self._answers, packet.levels())
        if not isinstance(answer, Answer):
            raise TypeError(f"not an answer: {answer!r}")
        return Counterexample(packet, answer.fate, _blamed(self._grants, self._rules, packet, answer))

    def _decided_alike(self, found: Counterexample) -> Diagram:
        """All packets of the grant; where the packet is not among them, all with the same answer."""
        space, values = self._space, found.packet.levels()
        if found.grant is not None:
            grant = found.grant
            reach = packets_of(space, self._family, grant.traffic, grant.sources, grant.destinations)
            if evaluate(reach, values):
                return reach
        same = evaluate(self._answers, values)
        return space.rebuild(self._answers, lambda leaf: space.true if answer_of(leaf) == same else space.false)
