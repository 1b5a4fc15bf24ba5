"""Every listener: from where it can be reached under the live rules, which rule decides, and what is odd about it.

Theory
    One diagram a family holds what becomes of every new connection from outside. A listener asks it about its
    protocol, port and address; the policy's own diagram is asked the same, and the two are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import date
from functools import cached_property, partial

from portgate.core.addresses import ANY_HOST, LOOPBACKS, MULTICAST, Host
from portgate.core.dataclasses import dataclass
from portgate.core.decision import Diagram, Space
from portgate.core.diagnostics import Diagnostic
from portgate.core.facts import NO_FACTS, Facts
from portgate.core.focus import only_near, steady_fields
from portgate.core.listener import Listener
from portgate.core.matches import exactly
from portgate.core.net import (
    PORT_PROTOCOLS,
    Family,
    Intervals,
    complement,
    contains,
    interface_interval,
    intersect,
    normalize,
    protocol_name,
    subtract,
)
from portgate.core.numbers import EPHEMERAL, FIRST_UNPRIVILEGED, is_ephemeral, is_privileged
from portgate.core.packets import (
    DPORT,
    DST,
    IIF,
    LOOPBACK,
    PROTOCOL,
    SPORT,
    SRC,
    Packet,
    witness,
)
from portgate.core.policy import Grant, Policy
from portgate.core.reach import Published, Reach, named, published, reaches
from portgate.core.ruleset import ALWAYS, Container, Drop, Field, Place, Reject, Ruleset
from portgate.core.semantics import DROPPED, Analysis, Answer, Fate, Landing, answer_of
from portgate.core.verify import likely
from portgate.core.words import rule_text


@dataclass(frozen=True, slots=True)
class Situation:
    """What an audit looks at. `policy` and `desired` (its rules) are None for an audit without a policy.

    **Shape** `risks` say by protocol and port why what listens there should not be open to everybody.
    """

    live: Ruleset
    listeners: tuple[Listener, ...] = ()
    host: Host = ANY_HOST
    policy: Policy | None = None
    desired: Ruleset | None = None
    today: date = date.min
    facts: Facts = NO_FACTS
    knows_listeners: bool = True
    risks: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A listener with all packets from outside that ask for it. `local` ones are bound to this host's loopback."""

    listener: Listener
    reaches: tuple[Reach, ...]
    local: bool = False

    @property
    def fate(self) -> Fate | None:
        """ACCEPT and the others when it is the same for all packets, DEPENDS when it is not, None when nothing asks."""
        fates = {Fate.DROP if one.fate is Fate.REJECT else one.fate for one in self.reaches}
        if len(fates) > 1:
            return Fate.DEPENDS
        return fates.pop() if fates else None

    @property
    def reachable(self) -> bool:
        return any(one.fate in (Fate.ACCEPT, Fate.DEPENDS) for one in self.reaches)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the audit. `packet` shows it; `place` is the rule to blame."""

    diagnostic: Diagnostic
    listener: Listener | None = None
    packet: Packet | None = None
    place: Place | None = None

    @property
    def code(self) -> str:
        return self.diagnostic.code


@dataclass(frozen=True, slots=True)
class Audit:
    """The answer to "what can be reached, and what is wrong with that". Sorted by listener, then by code.

    **Shape** `published` are ports of this host that lead to other hosts.
    """

    exposures: tuple[Exposure, ...]
    findings: tuple[Finding, ...]
    published: tuple[Published, ...] = ()


def audit(situation: Situation) -> Audit:
    """Every listener and every finding."""
    views = {family: _View(situation, _near_listeners(situation), family) for family in Family}
    exposures = tuple(
        _exposure(listener, situation, views) for listener in sorted(situation.listeners, key=lambda one: one.sort_key)
    )
    published = tuple(named(one, situation.live) for view in views.values() for one in view.published())
    findings = [
        *(finding for exposure in exposures for finding in _of_listener(exposure, situation, views)),
        *map(_open_in_spite, (one for one in published if one.denied is not None)),
        *_of_policy(situation),
        *_of_rules(situation.live),
    ]
    return Audit(exposures, tuple(findings), published)


# ------------------------------------------------------------------ what reaches a listener


Cut = Callable[[Ruleset], Ruleset]


def _near_listeners(situation: Situation) -> Cut:
    """Leaves out what no packet to a listener can meet: most of a large set, which would only cost time."""
    steady = steady_fields(situation.live)
    if Field.DPORT not in steady:
        return lambda ruleset: ruleset  # any port may lead anywhere
    ports = {(one.protocol, one.port) for one in situation.listeners if one.port is not None}
    boxes = [{Field.PROTOCOL: (protocol, protocol), Field.DPORT: (port, port)} for protocol, port in ports]
    near = [{field: part for field, part in box.items() if field in steady} for box in boxes]
    return lambda ruleset: only_near(ruleset, near)


class _View:
    """All new connections from outside in one family: what becomes of them live, and what the policy says."""

    def __init__(self, situation: Situation, cut: Cut, family: Family) -> None:
        self.family = family
        self.host = situation.host
        self.analysis = Analysis(family, situation.host)
        self.space: Space = self.analysis.space
        self.blocked = self.space.leaf(DROPPED)
        self._situation = situation
        self._cut = cut

    @cached_property
    def live(self) -> Diagram:
        return self._decided(self._situation.live, places=True)

    @cached_property
    def wanted(self) -> Diagram | None:
        desired = self._situation.desired
        return None if desired is None else self._decided(desired, places=False)

    @cached_property
    def ours_agree(self) -> bool:
        """Whether what portgate has loaded is what the policy says, so that it is other rules that let packets by."""
        owned, desired = self._situation.live.owned(), self._situation.desired
        if desired is None or not owned.containers:
            return False
        to_here = self._from_others_to_here()
        one, other = (
            self.space.choose(to_here, self.analysis.inbound(self._cut(rules)), self.blocked)
            for rules in (owned, desired)
        )
        return one is other

    def _decided(self, ruleset: Ruleset, *, places: bool) -> Diagram:
        return self.analysis.settle(self.analysis.inbound(self._cut(ruleset), places=places))

    def outside(self, listener: Listener) -> Diagram:
        """The set of packets from other hosts to an address that the listener listens on."""
        if listener.address is None or listener.dual:
            return self._from_others_to_here(listener.device)
        return self._to(exactly(listener.address), listener.device)

    def _from_others_to_here(self, device: str | None = None) -> Diagram:
        local = self.host.local(self.family)
        return self._to(((0, self.family.top),) if local is None else subtract(local, LOOPBACKS[self.family]), device)

    def _to(self, addresses: Intervals, device: str | None) -> Diagram:
        space = self.space
        return space.both(
            self.from_others(device), space.test(DST, addresses, self.family.top, space.true, space.false)
        )

    def from_others(self, device: str | None) -> Diagram:
        """The set of packets from other hosts that come in by an interface, by any where none is named."""
        space, routed = self.space, self.host.interfaces is not None and self.family in self.host.routes
        others = complement((LOOPBACK,), Field.IIF.top)
        inside = others if device is None else (interface_interval(device),)
        found = space.test(IIF, intersect(inside, others), Field.IIF.top, space.true, space.false)
        return space.both(found, self._routed()) if routed else found

    def _routed(self) -> Diagram:
        """Where answers hang on routes: by the interfaces that there are, and from no address of this host or of a group, to which no route leads back."""
        here = normalize(interface_interval(one.name) for one in self.host.interfaces or ())
        strangers = complement(normalize([*self.host.own(self.family), *MULTICAST[self.family]]), self.family.top)
        sides = [(SRC, strangers, self.family.top), (IIF, here, Field.IIF.top)]
        return self.space.box(sides, self.space.true, self.space.false)

    def published(self) -> Iterator[Published]:
        """Ports that lead to other hosts."""
        if self.translates:
            yield from published(self.analysis, self.live, self._from_others_to_here(), self.wanted)

    @cached_property
    def translates(self) -> bool:
        """Whether any packet lands elsewhere than where it was sent to."""
        return any(answer_of(leaf).landing is not None for leaf in self.space.leaves(self.live))

    def asked(self, decided: Diagram, listener: Listener) -> Diagram:
        """What becomes of packets to the listener's own protocol and port."""
        return self.space.restrict(decided, _own_port(listener))

    def reaches(self, listener: Listener) -> Iterator[Reach]:
        direct, outside, port = self.asked(self.live, listener), self.outside(listener), _own_port(listener)
        yield from reaches(self.analysis, direct, outside, port, lambda landing: landing is None)
        if not self.translates:
            return
        known = {PROTOCOL: listener.protocol}
        translated, others = self.space.restrict(self.live, known), self.from_others(listener.device)
        yield from reaches(self.analysis, translated, others, known, partial(self.lands, listener))

    def lands(self, listener: Listener, landing: Landing | None) -> bool:
        """Whether translated packets reach the listener."""
        if landing is None or landing.port != listener.port:
            return False
        here = self.host.own(self.family)
        wanted = here if listener.address is None else exactly(listener.address)
        return bool(intersect(intersect(landing.addresses, here), wanted))


def _own_port(listener: Listener) -> dict[int, int]:
    return {PROTOCOL: listener.protocol, DPORT: listener.port or 0}


def _is_local(listener: Listener) -> bool:
    if listener.device == "lo":
        return True
    return (
        listener.family is not None
        and listener.address is not None
        and contains(LOOPBACKS[listener.family], listener.address)
    )


def _exposure(listener: Listener, situation: Situation, views: Mapping[Family, _View]) -> Exposure:
    if listener.port is None or _is_local(listener):
        return Exposure(listener, (), _is_local(listener))
    return Exposure(listener, tuple(reach for family in listener.families for reach in views[family].reaches(listener)))


# ------------------------------------------------------------------ findings about a listener


def _of_listener(exposure: Exposure, situation: Situation, views: Mapping[Family, _View]) -> Iterator[Finding]:
    listener = exposure.listener
    if listener.kind in ("raw", "packet"):
        what = "raw" if listener.kind == "raw" else "packet"
        yield Finding(Diagnostic("PG610", f"{_name(listener)} has a {what} socket open"), listener)
    if exposure.local or listener.port is None:
        return
    if exposure.reaches and not exposure.reachable:
        yield _blocked(exposure, situation)
    if situation.desired is not None:
        for family in listener.families:
            yield from _against_policy(views[family], listener, situation)
        if listener.address is None:
            yield from _too_wide(listener, situation, views)
    yield from _risky(exposure, situation)
    first, last = handed_out = situation.facts.ephemeral_ports or EPHEMERAL
    if is_ephemeral(listener.port, handed_out, situation.facts.reserved_ports):
        detail = f"{_name(listener)} is on {_port(listener)}, which the kernel also hands out ({first}-{last})"
        yield Finding(Diagnostic("PG609", detail), listener)


def _risky(exposure: Exposure, situation: Situation) -> Iterator[Finding]:
    """PG611, once for both families."""
    listener = exposure.listener
    risk = situation.risks.get((listener.protocol, listener.port or 0))
    open_to_all = next((one for one in exposure.reaches if _is_from_everywhere(one)), None)
    if risk and open_to_all:
        detail = f"{_name(listener)} on {_port(listener)} can be reached from everywhere; {risk}"
        remedy = "let in who needs it, with `from`"
        diagnostic = Diagnostic("PG611", detail, remedy=remedy)
        yield Finding(diagnostic, listener, open_to_all.packet, open_to_all.answer.place)


def _is_from_everywhere(reach: Reach) -> bool:
    """From any source by any interface, or from all but some."""
    limits = {SRC, SPORT, IIF}
    cubes = reach.described.cubes
    return reach.fate is Fate.ACCEPT and (reach.described.but or any(not limits & one.values.keys() for one in cubes))


def _blocked(exposure: Exposure, situation: Situation) -> Finding:
    listener, reach = exposure.listener, exposure.reaches[0]
    detail = (
        f"{_name(listener)} listens on {_port(listener)}, and {_blame(situation.live, reach.answer.place)} blocks it"
    )
    if listener.connections:
        detail += f"; {listener.connections} established connections go on"
    remedy = f"add `- {listener.port}/{protocol_name(listener.protocol)}` under inbound: allow:, or stop the program"
    return Finding(Diagnostic("PG601", detail, remedy=remedy), listener, reach.packet, reach.answer.place)


def _against_policy(view: _View, listener: Listener, situation: Situation) -> Iterator[Finding]:
    """Where the live rules and the policy disagree about a listener: at its own port, then at others that lead to it."""
    direct = _disagreements(view, listener, situation, _own_port(listener), view.outside(listener))
    forwarded: Iterator[Finding] = iter(())
    if any(view.lands(listener, answer_of(leaf).landing) for leaf in view.space.leaves(view.live)):
        known, within = {PROTOCOL: listener.protocol}, view.from_others(listener.device)
        forwarded = _disagreements(view, listener, situation, known, within, forwarded=True)
    seen: set[tuple[str, Place | None]] = set()
    for finding in (*direct, *forwarded):
        if (finding.code, finding.place) not in seen:
            seen.add((finding.code, finding.place))
            yield finding


def _disagreements(
    view: _View,
    listener: Listener,
    situation: Situation,
    known: Mapping[int, int],
    within: Diagram,
    *,
    forwarded: bool = False,
) -> Iterator[Finding]:
    """One for each way in which they disagree; of `forwarded` packets only about those that reach the listener."""
    if view.wanted is None:
        return
    space = view.space
    compared = space.compare(space.restrict(view.live, known), space.restrict(view.wanted, known))
    compared = space.choose(within, compared, space.true)
    for leaf in sorted(space.leaves(compared), key=lambda leaf: str(leaf.value)):
        if isinstance(leaf.value, tuple):
            live, wanted = leaf.value
            packet = witness(space, view.family, compared, leaf, likely(view.host), known)
            if not forwarded or view.lands(listener, live.landing):
                yield from _disagreement(view, listener, situation, packet, live, wanted)


def _disagreement(
    view: _View, listener: Listener, situation: Situation, packet: Packet | None, live: Answer, wanted: Answer
) -> Iterator[Finding]:
    if live.fate is Fate.ACCEPT and wanted.fate in (Fate.DROP, Fate.REJECT):
        code = "PG604" if view.ours_agree else "PG602"
        detail = f"{_name(listener)} on {_port(listener)} can be reached by {packet}, which the policy does not allow"
        yield Finding(Diagnostic(code, detail), listener, packet, live.place)
    if live.fate in (Fate.DROP, Fate.REJECT) and wanted.fate is Fate.ACCEPT and live.place is not None:
        if situation.live.containers[live.place.container].owned:
            return
        detail = f"the policy allows {packet}, and {_blame(situation.live, live.place)} drops it"
        yield Finding(Diagnostic("PG605", detail), listener, packet, live.place)


def _open_in_spite(one: Published) -> Finding:
    """PG604: a port that leads to another host, which the policy does not allow."""
    who = f"{one.where} ({one.name})" if one.name else one.where
    detail = f"{one.denied} reaches {who} and is accepted in forward, which the policy does not allow"
    remedy = "set `containers: enforce` so that published ports obey the policy"
    return Finding(Diagnostic("PG604", detail, remedy=remedy), None, one.denied, one.reach.answer.place)


def _too_wide(listener: Listener, situation: Situation, views: Mapping[Family, _View]) -> Iterator[Finding]:
    """PG606: a wildcard listener although the policy opens its port on some of this host's addresses only."""
    for family in listener.families:
        view = views[family]
        local = subtract(situation.host.local(family) or (), LOOPBACKS[family])
        addresses = [address for first, last in local for address in range(first, last + 1)]
        if view.wanted is None or len(addresses) < 2:
            continue
        asked = view.space.choose(view.from_others(listener.device), view.asked(view.wanted, listener), view.blocked)
        opened = [
            address
            for address in addresses
            if any(
                answer_of(leaf).fate is Fate.ACCEPT
                for leaf in view.space.leaves(view.space.restrict(asked, {DST: address}))
            )
        ]
        if 0 < len(opened) < len(addresses):
            detail = (
                f"{_name(listener)} listens on all addresses on {_port(listener)}; the policy opens it on "
                f"{len(opened)} of {len(addresses)}"
            )
            yield Finding(Diagnostic("PG606", detail), listener)


# ------------------------------------------------------------------ findings about the policy and the rules


def _of_policy(situation: Situation) -> Iterator[Finding]:
    """PG603: grants for which nothing listens."""
    if situation.policy is None or not situation.knows_listeners:
        return
    for grant in situation.policy.inbound.allow:
        if not grant.expired(situation.today) and _waits_in_vain(grant, situation.listeners):
            ports = ", ".join(
                f"{protocol_name(one.protocol)} {one.first}" + (f"-{one.last}" if one.last != one.first else "")
                for one in grant.traffic
            )
            detail = f"{grant.id} allows {ports}, and nothing listens there{_who_may(grant, situation.facts)}"
            yield Finding(Diagnostic("PG603", detail, grant.span))


def _who_may(grant: Grant, facts: Facts) -> str:
    """A warning where the kernel lets every user listen on ports that are root's elsewhere."""
    start = FIRST_UNPRIVILEGED if facts.first_unprivileged_port is None else facts.first_unprivileged_port
    if any(is_privileged(one.first) and not is_privileged(one.last, start) for one in grant.traffic):
        return f"; any user of this host may, for ip_unprivileged_port_start is {start}"
    return ""


def _waits_in_vain(grant: Grant, listeners: Sequence[Listener]) -> bool:
    ports = [one for one in grant.traffic if one.protocol in PORT_PROTOCOLS]
    if not ports or len(ports) != len(grant.traffic):
        return False
    return not any(
        listener.protocol == one.protocol and listener.port is not None and one.first <= listener.port <= one.last
        for one in ports
        for listener in listeners
    )


def _of_rules(live: Ruleset) -> Iterator[Finding]:
    """PG607, and chain by chain PG608, in rules that are not ours: those that decide, but could go."""
    stores = [(one.store, one.name) for one in live.containers if _blocks(one)]
    if {"legacy", "nft"} <= {store for store, _ in stores}:
        yield Finding(Diagnostic("PG607", f"a packet must pass each of: {', '.join(name for _, name in stores)}"))
    for number, container in enumerate(live.containers):
        if container.families and not container.owned and any(chain.rules for chain in container.chains):
            yield from _needless(container, number)


def _blocks(container: Container) -> bool:
    """Whether packets can end in it."""
    ways = (rule.verdict for chain in container.chains for rule in chain.rules)
    defaults = (chain.base.default for chain in container.chains if chain.base)
    return bool(container.families) and any(isinstance(one, Drop | Reject) for one in (*ways, *defaults))


def _needless(container: Container, number: int) -> Iterator[Finding]:
    """Rules that could go from its chains, all of them together."""
    from portgate.core.redundant import Surplusage  # noqa: PLC0415 - not needed where all rules are portgate's, so that audits there start quicker

    looked = Surplusage(container)
    for chain in container.chains:
        found = looked.of(chain)
        for one in found.rules:
            detail = f"rule {one.rule + 1} of chain {chain.name} in {container.name} {one.why}"
            diagnostic = Diagnostic("PG608", f"{detail}: {rule_text(chain.rules[one.rule])}")
            yield Finding(diagnostic, place=Place(number, chain.name, one.rule))
        if not found.complete:
            yield Finding(Diagnostic("PG612", f"chain {chain.name} in {container.name} has {len(chain.rules)} rules"))


# ------------------------------------------------------------------ words


def _name(listener: Listener) -> str:
    programs = dict.fromkeys(process.program for process in listener.processes)
    return ", ".join(programs) or "an unknown program"


def _port(listener: Listener) -> str:
    return f"{protocol_name(listener.protocol)} {listener.where}"


def _blame(live: Ruleset, place: Place | None) -> str:
    if place is None:
        return "something"
    container = live.containers[place.container]
    rule = live.rule(place)
    if rule is None or (container.owned and rule.match == ALWAYS):
        return f"the default of chain {place.chain} in {container.name}"
    return f"rule {place.rule + 1} of chain {place.chain} in {container.name} ({rule_text(rule)})"
