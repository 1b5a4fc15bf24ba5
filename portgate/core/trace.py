"""Which rule decides a packet: for one packet every step of its way, for many just the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portgate.core.addresses import ANY_HOST, LOOPBACKS, Host
from portgate.core.chains import KINDS, ChainEvaluation, Kind, leaf_of
from portgate.core.dataclasses import dataclass
from portgate.core.decision import LEAF, Diagram, Space
from portgate.core.decision import levels as levels_of
from portgate.core.matches import DESTINATION, ORIGINALS, Doubts, Matches, State, exactly, merged, told_by, under
from portgate.core.net import Family, Intervals, complement, interface_interval, normalize, subtract
from portgate.core.packets import (
    CT_STATE,
    DPORT,
    DST,
    ICMP_CODE,
    ICMP_TYPE,
    IIF,
    LOOPBACK,
    OIF,
    PROTOCOL,
    SPORT,
    SRC,
    TCP_FLAGS,
    Packet,
    tops,
)
from portgate.core.ruleset import (
    Accept,
    AddressType,
    Base,
    Chain,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Field,
    Goto,
    Hook,
    Jump,
    Place,
    PlainVerdict,
    Queue,
    Reject,
    Return,
    Rule,
    Ruleset,
    Snat,
    Unknown,
    VerdictMap,
)
from portgate.core.semantics import (
    TRANSLATING,
    Analysis,
    Answer,
    Fate,
    answer_of,
    before_tracking,
    changeable,
    nat_is_over,
    sends_untracked,
    tracked,
    visitors,
    ways_out,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet. `place` of the deciding rule, None where no rule of any hook was asked."""

    packet: Packet
    answer: Answer

    @property
    def place(self) -> Place | None:
        return self.answer.place


def decide(ruleset: Ruleset, packets: Sequence[Packet], host: Host = ANY_HOST) -> tuple[Decision, ...]:
    """The answer for each packet, in order. A packet that names an outgoing interface only is one that the host sends."""
    analyses = {family: Analysis(family, host) for family in Family}
    deciders: dict[tuple[Family, bool, CtState], _Decider] = {}

    def decider(packet: Packet) -> _Decider:
        key = (packet.family, _leaves_host(packet), packet.ct_state)
        if key not in deciders:
            deciders[key] = _Decider(analyses[packet.family], ruleset, *key[1:])
        return deciders[key]

    return tuple(Decision(packet, decider(packet).answer(packet)) for packet in packets)


def _leaves_host(packet: Packet) -> bool:
    return bool(packet.oif) and not packet.iif


class _Decider:
    """The answers for one family, direction and state."""

    def __init__(self, analysis: Analysis, ruleset: Ruleset, outbound: bool, state: CtState) -> None:
        self._analysis = analysis
        self._host = analysis.host
        self._ask = self._analysis.each(ruleset, {Field.CT_STATE: state.value}, outbound=outbound)

    def answer(self, packet: Packet) -> Answer:
        levels = packet.levels()
        if packet.dst is None and (address := self._host.address_of(packet.iif, packet.family)) is not None:
            levels[DST] = address
        elif packet.dst is None or not (packet.iif or packet.oif):
            return self._of_any(_untold(packet, self._host), levels)
        return answer_of(self._ask(levels))

    def _of_any(self, untold: Mapping[int, Intervals], levels: Mapping[int, int]) -> Answer:
        """The answer, if it is the same whatever the untold levels are."""
        space, highest = self._analysis.space, tops(self._analysis.family)
        left = self._ask({level: value for level, value in levels.items() if level not in untold})
        possible = space.box(
            [(level, values, highest[level]) for level, values in sorted(untold.items())], space.true, space.false
        )
        found = [leaf for leaf in space.leaves(space.choose(possible, left, space.false)) if leaf is not space.false]
        answers = sorted((answer_of(leaf) for leaf in found), key=str)
        if len({answer.fate for answer in answers}) == 1:
            return answers[0]
        return Answer(Fate.DEPENDS, None, tuple(_UNTOLD[level] for level in sorted(untold) if level in levels_of(left)))


_UNTOLD = {IIF: "the interface that it comes in on", DST: "the address that it is sent to"}


def _untold(packet: Packet, host: Host) -> dict[int, Intervals]:
    """What is possible for the levels that a packet does not tell. Its destination is then an address of this host."""
    untold: dict[int, Intervals] = {}
    if not (packet.iif or packet.oif):
        names = [interface_interval(one.name) for one in host.interfaces or () if one.name != "lo"]
        untold[IIF] = normalize(names) or complement((LOOPBACK,), Field.IIF.top)
    if packet.dst is None:
        own = host.own(packet.family)
        untold[DST] = (
            ((0, packet.family.top),) if _leaves_host(packet) else subtract(own, LOOPBACKS[packet.family]) or own
        )
    return untold


# ------------------------------------------------------------------ one packet, step by step


@dataclass(frozen=True, slots=True)
class Step:
    """A rule, or a chain's default (`place.rule` is -1), that had a say. `outcome` is its verdict in words."""

    hook: Hook
    place: Place
    outcome: str
    doubt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A packet's way through the rules, and its end."""

    decision: Decision
    steps: tuple[Step, ...]


def trace(ruleset: Ruleset, packet: Packet, host: Host = ANY_HOST) -> Trace:
    """Every rule that matches the packet, hook by hook, in the order in which the kernel visits them."""
    walk = _Walk(ruleset, packet, host)
    walk.path()
    return Trace(decide(ruleset, [packet], host)[0], tuple(walk.steps))


_PACKET_FIELDS: Mapping[Family, Mapping[Field, int]] = {
    Family.IPV4: {Field.SRC4: SRC, Field.DST4: DST},
    Family.IPV6: {Field.SRC6: SRC, Field.DST6: DST},
}
_OTHER_FIELDS: Mapping[Field, int] = {
    Field.PROTOCOL: PROTOCOL,
    Field.IIF: IIF,
    Field.OIF: OIF,
    Field.SPORT: SPORT,
    Field.DPORT: DPORT,
    Field.ICMP_TYPE: ICMP_TYPE,
    Field.ICMP_CODE: ICMP_CODE,
    Field.TCP_FLAGS: TCP_FLAGS,
    Field.CT_STATE: CT_STATE,
}


DEEPEST = 64  # calls within calls; nf_tables allows 16


class _Walk:
    """Leads one packet through the rules. What may match is noted as such, and the walk goes on past it."""

    def __init__(self, ruleset: Ruleset, packet: Packet, host: Host) -> None:
        self.ruleset = ruleset
        self.packet = packet
        self.host = host
        self.steps: list[Step] = []
        self._open: list[str] = []
        self._doubts = Doubts(Space())
        self._sends_untracked = sends_untracked(ruleset, packet.family)
        self._numbers = {id(container): number for number, container in enumerate(ruleset.containers)}
        self._state = self._as_it_arrives()

    def _as_it_arrives(self) -> State:
        family, levels = self.packet.family, self.packet.levels()
        untold = _untold(self.packet, self.host)
        values = {
            field: untold.get(level) or exactly(levels[level])
            for field, level in {**_PACKET_FIELDS[family], **_OTHER_FIELDS}.items()
        }
        address = self.host.address_of(self.packet.iif, family)
        if self.packet.dst is None and address is not None:
            values[DESTINATION[family]] = exactly(address)
        elif self.packet.dst is None and not _leaves_host(self.packet):
            values[Field.DST_TYPE] = exactly(AddressType.LOCAL.value)
        originals = {ORIGINALS[field]: value for field, value in values.items() if field in ORIGINALS}
        fixed = {Field.FAMILY: exactly(family), Field.DNATED: exactly(0)}
        return merged((), {**fixed, **originals, **values}.items())

    def path(self) -> None:
        outbound = bool(self.packet.oif) and not self.packet.iif
        hooks = (Hook.OUTPUT, Hook.POSTROUTING) if outbound else (Hook.INGRESS, Hook.PREROUTING)
        if all(self._hook(hook) for hook in hooks) and not outbound:
            if self._is_local():
                self._hook(Hook.INPUT)
                return
            out = ways_out(self.host, self.packet.family, self._state)
            self._state = merged(self._state, [(Field.OIF, out)])
            if self._hook(Hook.FORWARD):
                self._hook(Hook.POSTROUTING)

    def _is_local(self) -> bool:
        target = dict(self._state).get(DESTINATION[self.packet.family])
        return target is None or target[0] != target[-1] or self.host.is_local(self.packet.family, target[0][0])

    def _hook(self, hook: Hook) -> bool:
        chains = list(self.ruleset.base_chains(hook, self.packet.family))
        early = [one for one in chains if before_tracking(one[-1])]
        if not all(self._base_chain(*one) for one in early):
            return False
        if hook in TRANSLATING:
            self._state = tracked(self._state)
        return all(self._base_chain(*one) for one in chains[len(early) :])

    def _base_chain(self, container: Container, chain: Chain, base: Base) -> bool:
        """Whether the packet passes."""
        if nat_is_over(base, self._state):
            return True
        matches = Matches(
            self._doubts,
            self.host,
            self.packet.family,
            container,
            known=self._state,
            early=before_tracking(base),
            sends_untracked=self._sends_untracked,
        )
        evaluation = ChainEvaluation(matches, self._numbers[id(container)])
        if under(self._doubts.space, evaluation.matches.match(visitors(base)), changeable(self._state)).value is False:
            return True
        ends = self._chain(evaluation, base.hook, chain)
        if ends in (Kind.CONTINUE, Kind.RETURN):
            ends = KINDS[type(base.default)]
            self._note(evaluation, base.hook, (chain.name, -1), f"default {ends}")
        return ends is Kind.ACCEPT

    def _called(self, evaluation: ChainEvaluation, hook: Hook, name: str, where: tuple[str, int]) -> Kind:
        """What a chain that is called answers; one that can't be followed is noted, and the walk goes on past it."""
        chain = evaluation.container.chain(name)
        if chain is None or name in self._open or len(self._open) == DEEPEST:
            self._note(
                evaluation,
                hook,
                where,
                "may decide",
                ("a chain that is missing, calls itself, or is called too deeply",),
            )
            return Kind.CONTINUE
        self._open.append(name)
        ends = self._chain(evaluation, hook, chain)
        self._open.pop()
        return ends

    def _chain(self, evaluation: ChainEvaluation, hook: Hook, chain: Chain) -> Kind:
        for index, rule in enumerate(chain.rules):
            matching = under(self._doubts.space, evaluation.matches.match(rule.match), changeable(self._state))
            if matching.level != LEAF:
                reasons = sorted({self._doubts.reason(level) for level in levels_of(matching)})
                self._note(evaluation, hook, (chain.name, index), "may match", tuple(reasons))
            elif matching is evaluation.space.true:
                ends = self._rule(evaluation, hook, rule, (chain.name, index))
                if ends is not Kind.CONTINUE:
                    return ends
        return Kind.CONTINUE

    def _rule(self, evaluation: ChainEvaluation, hook: Hook, rule: Rule, where: tuple[str, int]) -> Kind:
        self._change(evaluation.after_effects(rule, *where, evaluation.go_on))
        verdict = evaluation.looked_up(rule.verdict) if isinstance(rule.verdict, VerdictMap) else rule.verdict
        if isinstance(verdict, Dnat) and verdict.family not in (None, self.packet.family):
            verdict = Continue()
        self._note(evaluation, hook, where, _outcome(verdict))
        match verdict:
            case Jump() | Goto():
                ends = self._called(evaluation, hook, verdict.chain, where)
                if ends not in (Kind.CONTINUE, Kind.RETURN):
                    return ends
                return Kind.CONTINUE if isinstance(verdict, Jump) else Kind.RETURN
            case Return():
                return Kind.RETURN
            case Dnat():
                self._change(evaluation.translation(verdict, None))
                return Kind.ACCEPT
            case Accept() | Snat() | Drop() | Reject():
                return KINDS.get(type(verdict), Kind.ACCEPT)
            case Continue() | Queue() | Unknown():
                return Kind.CONTINUE

    def _change(self, changed: Diagram) -> None:
        """The packet is as the leaf has it, if there is but one."""
        now = changeable(self._state)
        leaf = under(self._doubts.space, changed, now)
        if leaf.level == LEAF:
            self._state = merged(self._state, told_by(now, leaf_of(leaf).state))

    def _note(
        self, evaluation: ChainEvaluation, hook: Hook, where: tuple[str, int], outcome: str, doubt: tuple[str, ...] = ()
    ) -> None:
        place = evaluation.place(*where)
        if place is not None:
            self.steps.append(Step(hook, place, outcome, doubt))


def _outcome(verdict: PlainVerdict) -> str:
    match verdict:
        case Jump() | Goto():
            return f"{type(verdict).__name__.lower()} {verdict.chain}"
        case Dnat():
            return "translate the destination"
        case Snat():
            return "translate the source"
        case Queue() | Unknown():
            return "may decide"
        case _:
            return type(verdict).__name__.lower()
