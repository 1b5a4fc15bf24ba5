"""What a ruleset does to packets, as a decision diagram: the exact function from packets to answers.

Theory
    A rule is a diagram that answers its verdict inside its match and *continue* outside; a chain composes its rules;
    a jump is the callee's diagram with *return* read as *continue*. A path is a sequence of base chains (by hook,
    then by priority): where one accepts, the next is asked; drop is final.

    What earlier rules changed (address translation, marks, notrack) is a *state*, carried by the leaf that
    accepts. The next base chain is built once for each state, with the changed fields known, and put in at that
    leaf. So a translated port is simply a field with a known value.

    What is not decidable for a packet is a Boolean level of its own, below all header fields, one for each
    `Opaque.key`. At the end (`_settle`) everything below the header fields becomes one leaf: the answer, when it is the
    same whatever the doubts are, else *depends* with the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from portgate.core.addresses import ANY_HOST, Host
from portgate.core.blocks import ANY_PACKET, Blocks, Values, narrowed
from portgate.core.chains import (
    KINDS,
    ChainEvaluation,
    Kind,
    Leaf,
    Merging,
    callees_first,
    keeping_place,
    leaf_of,
)
from portgate.core.decision import LEAF, Diagram, Space, levels
from portgate.core.focus import tests
from portgate.core.matches import (
    DESTINATION,
    ORIGINALS,
    UNCHANGED,
    Doubts,
    Matches,
    State,
    exactly,
    merged,
    of_connection,
    told_by,
    under,
)
from portgate.core.net import Family, Intervals, complement, interface_interval, intersect, normalize
from portgate.core.packets import DST, IIF, LOOPBACK, MARK_BITS, NAT_DONE, UNTRACKED_STATE
from portgate.core.ruleset import (
    AddressType,
    All,
    Base,
    Chain,
    ChainKind,
    Container,
    CtState,
    Effect,
    Field,
    Hook,
    Match,
    NoTrack,
    Place,
    Ruleset,
    Test,
)

CONNTRACK_PRIORITY = -200
NO_INTERFACE = exactly(0)
Chains = tuple[tuple[Container, Chain, Base], ...]
TRANSLATING = (Hook.PREROUTING, Hook.OUTPUT)  # where connections are tracked, and destinations translated


class Fate(StrEnum):
    """What becomes of a packet."""

    ACCEPT = "accept"
    REJECT = "reject"
    DROP = "drop"
    DEPENDS = "depends"


class Landing(NamedTuple):
    """A translated destination. `port` None: the port stays. Several addresses: one of them."""

    addresses: Intervals
    port: int | None


class Answer(NamedTuple):
    """The value of a leaf of a settled diagram.

    **Shape** `place` of the deciding rule (of the one in doubt) is kept only where it was asked for; `reasons` say what it depends on
    (of an accepted packet: where it goes); `landing` is where an accepted packet goes whose destination was translated.
    """

    fate: Fate
    place: Place | None = None
    reasons: tuple[str, ...] = ()
    landing: Landing | None = None


ACCEPTED = Answer(Fate.ACCEPT)
DROPPED = Answer(Fate.DROP)

# A new connection as it is asked about: nothing but SYN is set, and connection tracking has not seen it.
NEW_CONNECTION: Mapping[Field, int] = {Field.CT_STATE: CtState.NEW.value, Field.TCP_FLAGS: 2}


# ------------------------------------------------------------------ what is asked


class Analysis:
    """Questions about rulesets in one family, on one host. Diagrams of one analysis can be compared."""

    def __init__(self, family: Family, host: Host = ANY_HOST) -> None:
        self.family = family
        self.host = host
        self.space = Space()
        self.doubts = Doubts(self.space)
        self.bounded = Merging(self.doubts).bounded

    def inbound(
        self, ruleset: Ruleset, known: Mapping[Field, int] = NEW_CONNECTION, *, places: bool = False
    ) -> Diagram:
        """What becomes of packets that arrive: leaves are `Answer`s, doubts still levels (see `settle`).

        `known` restricts the question to packets with these field values. With `places` the answers name the
        deciding rule.
        """
        return self._any_of(_Path(way).inbound(known) for way in self._ways(ruleset, places))

    def outbound(
        self, ruleset: Ruleset, known: Mapping[Field, int] = NEW_CONNECTION, *, places: bool = False
    ) -> Diagram:
        """The same for packets that this host sends."""
        return self._any_of(_Path(way).outbound(known) for way in self._ways(ruleset, places))

    def each(self, ruleset: Ruleset, known: Mapping[Field, int], *, outbound: bool) -> Callable[[Values], Diagram]:
        """What becomes of packets like one, settled, with the deciding rule: quick for many packets, one after the other."""
        ways = self._ways(ruleset, places=True)

        def answer(packet: Values) -> Diagram:
            paths = (_Path(way, packet) for way in ways)
            return self.settle(self._any_of(one.outbound(known) if outbound else one.inbound(known) for one in paths))

        return answer

    def _ways(self, ruleset: Ruleset, places: bool) -> list[_Way]:
        """One for each order in which the kernel may have the base chains."""
        orders = {hook: _orders(tuple(ruleset.base_chains(hook, self.family))) for hook in Hook}
        return [
            _Way(self, ruleset, places, {hook: some[min(number, len(some) - 1)] for hook, some in orders.items()})
            for number in range(max(map(len, orders.values())))
        ]

    def _any_of(self, diagrams: Iterable[Diagram]) -> Diagram:
        """The first, or by a doubt for each of the others that one."""
        result, *others = diagrams
        for number, other in enumerate(others):
            result = self.space.choose(self.doubts.condition(f"order {number}", _ORDER), other, result)
        return result

    def settle(self, diagram: Diagram) -> Diagram:
        """The diagram without doubts: where the answer hangs on them it is `Fate.DEPENDS`, with the reasons."""
        space = self.space
        memo: dict[Diagram, Diagram] = {}

        def walk(node: Diagram) -> Diagram:
            found = memo.get(node)
            if found is None:
                if node.level == LEAF:
                    found = node
                elif node.level >= MARK_BITS:
                    found = space.leaf(self._collapse(node))
                else:
                    found = space.replaced(node, {child: walk(child) for child in dict.fromkeys(node.children)})
                memo[node] = found
            return found

        return walk(diagram)

    def _collapse(self, node: Diagram) -> Answer:
        answers = sorted((answer_of(leaf) for leaf in self.space.leaves(node)), key=str)
        fates = self.space.rebuild(node, lambda leaf: self.space.leaf(answer_of(leaf)._replace(place=None)))
        reasons = tuple(sorted({self.doubts.reason(level) for level in levels(fates)}))
        landings = {answer.landing for answer in answers if answer.fate is Fate.ACCEPT}
        landing = landings.pop() if len(landings) == 1 else None
        if len({answer.fate for answer in answers}) > 1:
            return Answer(Fate.DEPENDS, _doubted(node), reasons, landing)
        return answers[0]._replace(reasons=reasons, landing=landing)


def _doubted(node: Diagram) -> Place | None:
    """The rule that decides when every doubt turns out to match."""
    while node.level != LEAF:
        node = node.at(1)
    return answer_of(node).place


def answer_of(leaf: Diagram) -> Answer:
    """The answer that a leaf holds."""
    if not isinstance(leaf.value, Answer):
        raise TypeError(f"not a diagram of answers: {leaf.value!r}")
    return leaf.value


def before_tracking(base: Base) -> bool:
    """Whether packets reach a base chain before connection tracking has seen them."""
    return base.hook is Hook.INGRESS or (
        base.hook in (Hook.PREROUTING, Hook.OUTPUT) and base.priority < CONNTRACK_PRIORITY
    )


def sends_untracked(ruleset: Ruleset, family: Family) -> bool:
    """Whether rules may keep connection tracking from packets that this host sends."""
    return any(
        before_tracking(base) and NoTrack() in _effects_from(container, chain.name)
        for container, chain, base in ruleset.base_chains(Hook.OUTPUT, family)
    )


def _effects_from(container: Container, name: str) -> set[Effect]:
    """All that the rules of a chain do, and those of the chains that it leads to."""
    chains = map(container.chain, callees_first(container, name))
    return {effect for chain in chains if chain for rule in chain.rules for effect in rule.effects}


def tracked(state: State) -> State:
    """As connection tracking leaves it: the template of a connection has served, and a packet that is not tracked stays so."""
    untracked, here = exactly(CtState.UNTRACKED.value), dict(state)
    if untracked in (here.get(UNTRACKED_STATE), here.get(Field.CT_STATE)):
        return merged(state, [(Field.CT_STATE, untracked), (UNTRACKED_STATE, untracked)])
    if UNTRACKED_STATE in here:
        return merged(state, [(UNTRACKED_STATE, exactly(CtState.INVALID.value))])
    return state


def changeable(state: State) -> State:
    """What rules can change, as it is: as at first, unless earlier chains have. The mark of an old connection is unknown."""
    old = dict(state).get(Field.CT_STATE) != exactly(CtState.NEW.value)
    first = [(level, exactly(value)) for level, value in UNCHANGED.items() if not (old and of_connection(level))]
    return merged(tuple(first), [(key, values) for key, values in state if isinstance(key, int)])


def visitors(base: Base) -> Match:
    """The packets that a base chain sees: of its devices; in a nat chain the first one of each connection.

    What comes in from loopback has been sent by this host, so the nat chains of output have decided about it already.
    """
    devices = Test(Field.IIF, normalize(interface_interval(name) for name in base.devices))
    first = Test(Field.CT_STATE, normalize((state.value, state.value) for state in (CtState.NEW, CtState.RELATED)))
    outside = Test(Field.IIF, complement((LOOPBACK,), Field.IIF.top))
    tests = [devices] if base.devices else []
    if base.kind is ChainKind.NAT:
        tests += [first, outside] if base.hook is Hook.PREROUTING else [first]
    return All(tuple(tests))


def nat_is_over(base: Base, state: State) -> bool:
    """The first nat rule that decides about a connection's destination is the only one."""
    return base.kind is ChainKind.NAT and base.hook in TRANSLATING and dict(state).get(NAT_DONE) == exactly(1)


def ways_out(host: Host, family: Family, state: State) -> Intervals:
    """The interfaces through which a forwarded packet may leave: one, where its destination is in a network that is connected."""
    target = dict(state).get(DESTINATION[family])
    name = None
    if target is not None and target[0][0] == target[-1][1]:
        name = host.way_out(family, target[0][0])
    return ((0, Field.OIF.top),) if name is None else (interface_interval(name),)


_ORDER = "which of two chains runs first, one that translates or one of the same priority"


def _orders(chains: Chains) -> list[Chains]:
    """The orders that base chains of one hook may have: where all nat chains run was settled by the first that there ever was."""
    nat = [index for index, (_, _, base) in enumerate(chains) if base.kind is ChainKind.NAT]
    place = chains[nat[0]][2] if nat else None
    tied = [
        index
        for index, (_, _, base) in enumerate(chains)
        if place and index not in nat and (base.hook, base.turn) == (place.hook, place.turn)
    ]
    if not tied:
        return [chains]
    start = min(*nat, *tied)
    after = [index for index in range(start, len(chains)) if index not in nat and index not in tied]
    orders = ([*range(start), *tied[:number], *nat, *tied[number:], *after] for number in range(len(tied) + 1))
    return [tuple(chains[index] for index in order) for order in orders]


def _followed(space: Space, accepted: Mapping[Diagram, Diagram], before: Diagram, after: Diagram) -> Diagram | None:
    """What follows, where `before` is a mark of an accepting leaf; before itself elsewhere. None: both kinds of leaves."""
    if before.level == LEAF and after.level == LEAF and before in accepted:
        return keeping_place(space, accepted[before], after)
    return before if accepted.keys().isdisjoint(space.leaves(before)) else None


class _Stage:
    """A base chain, and what is known of the packets that come to it."""

    def __init__(self, evaluation: ChainEvaluation, blocks: Blocks, chain: Chain, base: Base, state: State) -> None:
        self._space = evaluation.space
        self._blocks = blocks
        self._name = chain.name
        self._state = state
        self._now = changeable(state)
        self._default = Leaf(KINDS[type(base.default)], place=evaluation.place(chain.name, -1))
        self._visiting = under(self._space, evaluation.matches.match(visitors(base)), self._now)

    def answers(self, packet: Values) -> Diagram:
        """What the chain answers for packets like this, with the state after it."""
        space, passing = self._space, self._space.leaf(Leaf(Kind.ACCEPT, self._state))
        visiting = narrowed(space, self._visiting, packet)
        if visiting is space.false:
            return passing
        diagram = under(space, self._blocks.answers(self._name, packet), self._now)
        return space.choose(visiting, space.rebuild(diagram, self._end), passing)

    def _end(self, leaf: Diagram) -> Diagram:
        value = leaf_of(leaf)
        if value.kind in (Kind.CONTINUE, Kind.RETURN):
            value = self._default._replace(state=value.state)
        changed = merged(self._state, told_by(self._now, value.state)) if value.kind is Kind.ACCEPT else ()
        return self._space.leaf(value._replace(state=changed))


class _Way:
    """The base chains of one ruleset, in an order in which packets may meet them. Everything is evaluated once."""

    def __init__(self, analysis: Analysis, ruleset: Ruleset, places: bool, chains: Mapping[Hook, Chains]) -> None:
        self.analysis = analysis
        self.places = places
        self._numbers = {id(container): number for number, container in enumerate(ruleset.containers)}
        self._chains = chains
        self.tests_ways_out = tests(ruleset, Field.OIF)
        self.sends_untracked = sends_untracked(ruleset, analysis.family)
        self._stages: dict[tuple[Hook, int, State], _Stage | None] = {}
        self._evaluations: dict[tuple[int, bool, State], tuple[ChainEvaluation, Blocks]] = {}

    def length(self, hook: Hook) -> int:
        return len(self._chains[hook])

    def tracking(self, hook: Hook) -> int | None:
        """The index before which connection tracking looks at packets."""
        if hook not in TRANSLATING:
            return None
        return sum(before_tracking(base) for _, _, base in self._chains[hook])

    def stage(self, hook: Hook, index: int, state: State) -> _Stage | None:
        """None: packets pass it unseen."""
        key = (hook, index, state)
        if key not in self._stages:
            container, chain, base = self._chains[hook][index]
            over = nat_is_over(base, state)
            self._stages[key] = None if over else _Stage(*self._evaluation(container, base, state), chain, base, state)
        return self._stages[key]

    def _evaluation(self, container: Container, base: Base, state: State) -> tuple[ChainEvaluation, Blocks]:
        number, early = self._numbers[id(container)], before_tracking(base)
        known = tuple(item for item in state if isinstance(item[0], Field))
        key = (number, early, known)
        if key not in self._evaluations:
            matches = Matches(
                self.analysis.doubts,
                self.analysis.host,
                self.analysis.family,
                container,
                known=known,
                early=early,
                sends_untracked=self.sends_untracked,
            )
            evaluation = ChainEvaluation(matches, number if self.places else None)
            self._evaluations[key] = evaluation, Blocks(evaluation)
        return self._evaluations[key]


class _Path:
    """The way of all packets, or of those like one packet, through a ruleset."""

    def __init__(self, way: _Way, packet: Values = ANY_PACKET) -> None:
        self.way = way
        self.packet = packet
        self.analysis = way.analysis
        self.space = way.analysis.space
        self.family = way.analysis.family
        self._after: dict[tuple[Hook, int, State], Diagram] = {}

    def inbound(self, known: Mapping[Field, int]) -> Diagram:
        state = self._start(known, {Field.OIF: NO_INTERFACE})
        if self.analysis.host.interfaces is None and Field.DST_TYPE not in known:
            state = merged(state, [(Field.DST_TYPE, exactly(AddressType.LOCAL.value))])
        return self._answers(self._hook(Hook.INGRESS, state, lambda now: self._hook(Hook.PREROUTING, now, self._route)))

    def outbound(self, known: Mapping[Field, int]) -> Diagram:
        state = self._start(known, {Field.IIF: NO_INTERFACE})
        return self._answers(
            self._hook(Hook.OUTPUT, state, lambda now: self._hook(Hook.POSTROUTING, now, self._accepted))
        )

    def _start(self, known: Mapping[Field, int], more: Mapping[Field, Intervals]) -> State:
        values = {field: exactly(value) for field, value in known.items()}
        originals = {ORIGINALS[field]: value for field, value in values.items() if field in ORIGINALS}
        fixed = {Field.FAMILY: exactly(self.family), Field.DNATED: exactly(0)}
        return merged((), {**fixed, **more, **originals, **values}.items())

    def _accepted(self, state: State) -> Diagram:
        return self.space.leaf(Leaf(Kind.ACCEPT, state))

    def _route(self, state: State) -> Diagram:
        """The routing decision: packets for this host go to input, others to forward."""
        host, family, space = self.analysis.host, self.family, self.space
        local = host.local(family)
        here = dict(state)
        target = here.get(DESTINATION[family])
        if target == host.own(family) or (local is None and here[Field.DNATED] == exactly(0)):
            return self._input(state)
        own = host.addressed(family)
        if target is None:
            here_or_not = space.test(DST, own, family.top, space.true, space.false)
            return self._choose(narrowed(space, here_or_not, self.packet), state)
        if local is not None and intersect(target, own) in (target, ()):
            return self._input(state) if intersect(target, own) else self._forward(state)
        return self._choose(
            self.analysis.doubts.condition(f"route {target}", "whether the translated address is this host's"), state
        )

    def _choose(self, is_local: Diagram, state: State) -> Diagram:
        if is_local.level == LEAF:
            return self._input(state) if is_local is self.space.true else self._forward(state)
        return self.space.choose(is_local, self._input(state), self._forward(state))

    def _input(self, state: State) -> Diagram:
        return self._hook(Hook.INPUT, state, self._accepted)

    def _forward(self, state: State) -> Diagram:
        *known, (_, rest) = self._ways_out(state)
        result = self._leaving(state, rest)
        for within, out in reversed(known):
            result = self.space.choose(within, self._leaving(state, out), result)
        return result

    def _ways_out(self, state: State) -> list[tuple[Diagram, Intervals]]:
        """Destinations and the interfaces through which they may leave: the first that holds counts, and the last one does."""
        host, family, space = self.analysis.host, self.family, self.space
        found: list[tuple[Diagram, Intervals]] = []
        if DESTINATION[family] not in dict(state) and self.way.tests_ways_out:
            for network, name in reversed(host.networks(family).items()):
                within = narrowed(space, space.test(DST, (network,), family.top, space.true, space.false), self.packet)
                if within is not space.false:
                    found.append((within, (interface_interval(name),)))
                if within is space.true:
                    return found
        return [*found, (space.true, ways_out(host, family, state))]

    def _leaving(self, state: State, out: Intervals) -> Diagram:
        state = merged(state, [(Field.OIF, out)])
        return self._hook(Hook.FORWARD, state, lambda now: self._hook(Hook.POSTROUTING, now, self._accepted))

    def _hook(self, hook: Hook, state: State, then: Callable[[State], Diagram]) -> Diagram:
        length, tracking = self.way.length(hook), self.way.tracking(hook)

        def after(index: int, state: State) -> Diagram:
            if index != tracking:
                return beyond(index, state)
            found = beyond(index, tracked(state))
            if hook is Hook.PREROUTING and (sent := self._sent_untracked()) is not self.space.false:
                untracked = merged(state, [(Field.CT_STATE, exactly(CtState.UNTRACKED.value))])
                found = self.space.choose(sent, beyond(index, tracked(untracked)), found)
            return found

        def beyond(index: int, state: State) -> Diagram:
            if index == length:
                return then(state)
            key = (hook, index, state)
            found = self._after.get(key)
            if found is None:
                stage = self.way.stage(*key)
                diagram = self._accepted(state) if stage is None else stage.answers(self.packet)
                whole = self._where_accepted(diagram, lambda now: after(index + 1, now))
                found = self._after[key] = self.analysis.bounded(whole)
            return found

        return after(0, state)

    def _sent_untracked(self) -> Diagram:
        """The packets that come from loopback, and that this host may have sent without tracking them."""
        space = self.space
        if not self.way.sends_untracked:
            return space.false
        own = space.test(IIF, (LOOPBACK,), Field.IIF.top, space.true, space.false)
        return space.both(narrowed(space, own, self.packet), self.analysis.doubts.sent_untracked())

    def _where_accepted(self, diagram: Diagram, follow: Callable[[State], Diagram]) -> Diagram:
        """Puts what follows in where the diagram accepts, for each state in which it does."""
        space = self.space
        accepting = [leaf for leaf in space.leaves(diagram) if leaf_of(leaf).kind is Kind.ACCEPT]
        follows = {leaf: follow(leaf_of(leaf).state) for leaf in accepting}
        ends = {leaf: keeping_place(space, leaf, after) for leaf, after in follows.items() if after.level == LEAF}
        marks = {leaf: space.leaf(("accepted", leaf.value)) for leaf in accepting if leaf not in ends}
        result = space.rebuild(diagram, lambda leaf: ends.get(leaf) or marks.get(leaf) or leaf)
        for after in dict.fromkeys(follows[leaf] for leaf in marks):
            group = {mark: leaf for leaf, mark in marks.items() if follows[leaf] is after}
            result = space.combine(result, after, partial(_followed, space, group))
        return result

    def _answers(self, diagram: Diagram) -> Diagram:
        def answer(value: object) -> Answer:
            if not isinstance(value, Leaf):
                raise TypeError(f"not a leaf of a path: {value!r}")
            return Answer(Fate(value.kind.value), value.place, (), self._landing(value.state))

        return self.space.map_leaves(diagram, answer)

    def _landing(self, state: State) -> Landing | None:
        here = dict(state)
        if here.get(Field.DNATED) != exactly(1):
            return None
        port = here.get(Field.DPORT)
        return Landing(here[DESTINATION[self.family]], None if port is None else port[0][0])
