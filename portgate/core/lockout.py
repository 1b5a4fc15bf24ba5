"""Whether planned rules would lock the administrators out, decided before anything is touched.

Theory
    Three questions to the engine. Do the packets of an established session still pass, in and out? Would a new
    connection from the same place be let in, for a session can end at any time? Does everything that the policy
    names under `management` reach the ports of the SSH server?
    A limit of new connections locks nobody out. Other doubts count only where the rules of today have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import is_

from portgate.core.addresses import Host
from portgate.core.audit import Finding, Situation
from portgate.core.dataclasses import dataclass, replace
from portgate.core.decision import Diagram
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.focus import Near, only_near, steady_fields
from portgate.core.listener import Listener
from portgate.core.matches import exactly
from portgate.core.net import (
    TCP,
    Family,
    Intervals,
    complement,
    contains,
    format_address,
    interface_interval,
    normalize,
)
from portgate.core.packets import DPORT, DST, IIF, LOOPBACK, PROTOCOL, SRC, Packet, tops, witness
from portgate.core.plan import planned as planned_rules
from portgate.core.policy import Peer, Policy
from portgate.core.provenance import grant_of
from portgate.core.ruleset import CtState, Field, Place, Ruleset
from portgate.core.semantics import NEW_CONNECTION, Analysis, Answer, Fate, answer_of
from portgate.core.sessions import Session
from portgate.core.trace import decide
from portgate.core.verify import likely
from portgate.core.words import rule_text

SSH_PORT = 22
_ACK = 16
_SERVERS = ("sshd", "dropbear")
_LIMIT_ONLY = ("rate limit",)


def lockouts(situation: Situation, sessions: Sequence[Session]) -> tuple[Finding, ...]:
    """The objections to a plan. `situation` is the host with the policy and its rules; the first session is the caller's."""
    if situation.desired is None or situation.policy is None:
        raise ValueError("a lock-out is that of a policy and the rules that it asks for")
    planned = planned_rules(situation.live, situation.desired)
    here = ending_at(situation.host, sessions)
    proof = _Proof(situation.live, planned, situation.host, situation.policy)
    ports = _ports(situation.listeners, here)
    return (
        *(found for number, one in enumerate(here) for found in proof.of_session(one, own=number == 0)),
        *(found for family in Family for found in proof.of_management(family, situation.policy.management, ports)),
    )


def _ports(listeners: Sequence[Listener], sessions: Sequence[Session]) -> dict[int, Listener | None]:
    """Where an SSH server listens: by the name of the program, or where the caller's session ends; else at 22."""
    found: dict[int, Listener | None] = {one.port: None for one in sessions[:1]}
    for one in listeners:
        if one.protocol == TCP and one.port is not None and (one.port in {SSH_PORT, *found} or _is_server(one)):
            found[one.port] = one
    return found or {SSH_PORT: None}


def _is_server(listener: Listener) -> bool:
    return any(process.program in _SERVERS for process in listener.processes)


@dataclass(frozen=True, slots=True)
class _Proof:
    live: Ruleset
    planned: Ruleset
    host: Host
    policy: Policy

    def of_session(self, session: Session, *, own: bool) -> Iterator[Finding]:
        packets = _packets_of(session, self.host)
        near = [_near(packet) for packet in packets]
        after = decide(_cut(self.planned, near), packets, self.host)
        before = decide(_cut(self.live, near), packets, self.host)
        arriving, leaving, new = (
            after_one if _worse(before_one.answer.fate, after_one.answer) else None
            for before_one, after_one in zip(before, after, strict=True)
        )
        if cut := arriving or leaving:
            whose = "your session" if own else "the session"
            yield self._objection("PG540", f"{whose} {session} would be cut", cut.packet, cut.answer)
        if new:
            detail = f"a new connection from {format_address(session.family, session.peer)} to port {session.port}"
            yield self._objection("PG541" if own else "PG543", f"{detail} would be refused", new.packet, new.answer)

    def of_management(
        self, family: Family, sources: Sequence[Peer], ports: dict[int, Listener | None]
    ) -> Iterator[Finding]:
        for port, listener in ports.items():
            if listener is None or family in listener.families:
                for source in sources:
                    yield from self._of_source(family, source, port, listener)

    def _of_source(self, family: Family, source: Peer, port: int, listener: Listener | None) -> Iterator[Finding]:
        analysis = Analysis(family, self.host)
        space = analysis.space
        after, before = (self._decided(analysis, rules, port) for rules in (self.planned, self.live))
        passed = space.where(before, lambda value: isinstance(value, Answer) and value.fate is Fate.ACCEPT)
        asked = self._packets(analysis, source, listener)
        for leaf in sorted(space.leaves(after), key=lambda leaf: str(leaf.value)):
            for was, among in ((Fate.ACCEPT, passed), (Fate.DROP, space.negation(passed))):
                if _worse(was, answer_of(leaf)):
                    packets = space.both(space.both(asked, among), space.where(after, partial(is_, leaf.value)))
                    packet = witness(
                        space, family, packets, space.true, likely(self.host), {PROTOCOL: TCP, DPORT: port}
                    )
                    if packet is not None:
                        yield self._unreached(source, port, packet, answer_of(leaf))
                        return

    def _unreached(self, source: Peer, port: int, packet: Packet, answer: Answer) -> Finding:
        who = f"management from {source.name}" if source.name else "management"
        return self._objection("PG542", f"{who} would not reach port {port}: {packet}", packet, answer)

    def _decided(self, analysis: Analysis, rules: Ruleset, port: int) -> Diagram:
        known = {**NEW_CONNECTION, Field.PROTOCOL: TCP, Field.DPORT: port}
        cut = _cut(rules, [{Field.PROTOCOL: (TCP, TCP), Field.DPORT: (port, port)}])
        return analysis.settle(analysis.inbound(cut, known, places=True))

    def _packets(self, analysis: Analysis, source: Peer, listener: Listener | None) -> Diagram:
        """Everything that a source may send to the listener."""
        space, family, top = analysis.space, analysis.family, tops(analysis.family)
        named = normalize(interface_interval(name) for name in source.interfaces)
        sides: list[tuple[int, Intervals, int]] = [(IIF, named or complement((LOOPBACK,), top[IIF]), top[IIF])]
        if source.addresses is not None:
            sides.append((SRC, source.addresses.of_family(family), top[SRC]))
        if listener is not None and listener.address is not None and not listener.dual:
            sides.append((DST, exactly(listener.address), top[DST]))
        elif self.host.interfaces is not None:
            sides.append((DST, _own_addresses(self.host, family), top[DST]))
        return space.box(sides, space.true, space.false)

    def _objection(self, code: str, detail: str, packet: Packet, answer: Answer) -> Finding:
        grant = grant_of(self.planned, answer.place, packet)
        spans: dict[str, Span | None] = {one.id: one.span for one in self.policy.grants()}
        remedy = f"{self._remedy(packet, answer.place, grant)}, or go on all the same with --override {code}"
        why = _decider(self.planned, answer, grant)
        return Finding(Diagnostic(code, f"{detail}; {why}", spans.get(grant or ""), remedy), None, packet, answer.place)

    def _remedy(self, packet: Packet, place: Place | None, grant: str | None) -> str:
        if place is None or not self.planned.containers[place.container].owned:
            return "change the rules that decide it"
        source, port = format_address(packet.family, packet.src), packet.dport
        return f"take {source} out of {grant}" if grant else f"allow {{port: {port}/tcp, from: {source}}}"


def ending_at(host: Host, sessions: Sequence[Session]) -> list[Session]:
    """Those whose near end is this host's, and not that of another network namespace."""
    return [one for one in sessions if contains(host.own(one.family), one.address)]


def _packets_of(session: Session, host: Host) -> tuple[Packet, Packet, Packet]:
    """One that arrives, one that leaves, and the first of a new connection."""
    family, far, near = session.family, (session.peer, session.peer_port), (session.address, session.port)
    interface = _interface_of(session, host)
    new = Packet(family, TCP, interface, far[0], near[0], far[1], near[1])
    arriving = replace(new, tcp_flags=_ACK, ct_state=CtState.ESTABLISHED)
    leaving = replace(arriving, iif="", oif=interface, src=near[0], dst=far[0], sport=near[1], dport=far[1])
    return arriving, leaving, new


def _interface_of(session: Session, host: Host) -> str:
    """Where its packets come in: by the peer's network, else by the address that they are sent to."""
    if contains(host.local(session.family) or (), session.peer):
        return "lo"
    near = (session.family, session.address)
    holders = (one.name for one in host.interfaces or () for *address, _ in one.addresses if tuple(address) == near)
    return session.zone or host.way_out(session.family, session.peer) or next(holders, "")


def _own_addresses(host: Host, family: Family) -> Intervals:
    """Those that other hosts can send to."""
    return normalize(
        (address, address)
        for one in host.interfaces or ()
        if one.name != "lo"
        for of, address, _ in one.addresses
        if of is family
    )


def _worse(before: Fate, after: Answer) -> bool:
    """Whether the later answer may shut somebody out, and is not just a doubt that was there before."""
    if after.fate is Fate.DEPENDS:
        return before is Fate.ACCEPT and after.reasons != _LIMIT_ONLY
    return after.fate is not Fate.ACCEPT


def _near(packet: Packet) -> Near:
    fields = {Field.SRC4: packet.src, Field.DST4: packet.dst or 0}
    if packet.family is Family.IPV6:
        fields = {Field.SRC6: packet.src, Field.DST6: packet.dst or 0}
    fields |= {Field.PROTOCOL: packet.protocol, Field.DPORT: packet.dport or 0}
    return {field: (value, value) for field, value in fields.items()}


def _cut(ruleset: Ruleset, boxes: Sequence[Near]) -> Ruleset:
    """Without the set elements that no packet asked about can lie in."""
    steady = steady_fields(ruleset)
    return only_near(ruleset, [{field: part for field, part in box.items() if field in steady} for box in boxes])


def _decider(ruleset: Ruleset, answer: Answer, grant: str | None) -> str:
    """Who decides, in words."""
    place = answer.place
    if place is None:
        return f"it depends on {', '.join(answer.reasons)}" if answer.reasons else "nothing lets it pass"
    container, rule = ruleset.containers[place.container], ruleset.rule(place)
    if rule is None:
        return f"the default of chain {place.chain} in {container.name} decides"
    what = f"the grant {grant}" if grant else rule_text(rule)
    return f"rule {place.rule + 1} of chain {place.chain} in {container.name} decides ({what})"
