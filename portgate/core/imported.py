"""Ruleset -> Policy: a policy that lets through what a host's live rules let through, as far as a policy can say it.

Theory
    The diagram of each direction is told as grants: wide cubes of packets, which may overlap. What every policy accepts
    anyway does not matter, and is taken into a cube where that makes it wider. A part that no grant can say (a source
    port, a rate, a mark) is left out; so is that packets must come by the interface that leads back to their source, as if all did:
    else nothing of IPv6 would be let in that firewalld lets in. Whoever asks proves the result with `verify.differences`, which lists what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial, reduce
from itertools import chain, repeat
from operator import is_
from typing import NamedTuple

from portgate.core.addresses import ANY_HOST, LOOPBACKS, MULTICAST, Host
from portgate.core.compile import compile as compiled
from portgate.core.compile import unconditional
from portgate.core.dataclasses import replace
from portgate.core.decision import LEAF, Diagram, Space, nodes
from portgate.core.grouping import whole
from portgate.core.net import (
    ANY_ADDRESS,
    ICMP,
    ICMP_TYPES,
    ICMPV6,
    ICMPV6_TYPES,
    PORT_PROTOCOLS,
    AddressSet,
    Family,
    Intervals,
    complement,
    contains,
    interface_pattern,
    intersect,
    normalize,
    subtract,
    union,
)
from portgate.core.packets import (
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
    covering,
    possible,
    shorter,
    tops,
)
from portgate.core.policy import Default, Forward, Grant, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import ALWAYS, Accept, All, Any, Field, Match, Not, ReversePath, Rule, Ruleset, Test
from portgate.core.semantics import ACCEPTED, Analysis, Answer, Fate, Landing, answer_of
from portgate.core.verify import Direction, Scope, scopes

MOST_CUBES = 2_000  # told of one family and direction; the rest of an even more fragmented host is a difference
MOST_PROTOCOLS = 16  # of one grant: more means "all but these", which a policy can't say
NOT_SAID = (SPORT, ICMP_CODE)
ICMP_OF = {Family.IPV4: ICMP, Family.IPV6: ICMPV6}
ECHO = {ICMP: ICMP_TYPES["echo-request"], ICMPV6: ICMPV6_TYPES["echo-request"]}
PING = tuple(Traffic(protocol, number, number) for protocol, number in ECHO.items())
MAPPED: Intervals = ((0xFFFF << 32, (0x10000 << 32) - 1),)
DEFAULTS = {Fate.DROP: Default.DROP, Fate.REJECT: Default.REJECT, Fate.ACCEPT: Default.ACCEPT}  # the strictest first


def imported(rules: Ruleset, host: Host = ANY_HOST, name: str = "imported") -> Policy:
    """The policy that treats new connections as `rules` do. The ids of its grants are numbers and mean nothing."""
    rules = _by_the_way_back(rules)
    inbound, outbound = (
        [_View.of(Analysis(family, host), rules, direction) for family in Family] for direction in Direction
    )
    arriving = _rulebook(inbound)
    return Policy(name, arriving, _rulebook(outbound), forwards=_forwards(inbound, arriving.block))


def _by_the_way_back(rules: Ruleset) -> Ruleset:
    """The rules as they are for packets that come by the interface that leads back to their source."""
    return Ruleset(
        tuple(
            replace(table, chains=tuple(replace(one, rules=tuple(map(_heeded, one.rules))) for one in table.chains))
            for table in rules.containers
        )
    )


def _heeded(rule: Rule) -> Rule:
    found = _true(rule.match)
    return rule if found is rule.match else replace(rule, match=found)


def _true(match: Match) -> Match:
    """The match where every reverse path is right; itself where it asks for none."""
    match match:
        case ReversePath():
            return ALWAYS
        case Not(inner):
            found = _true(inner)
            return match if found is inner else Not(found)
        case All(parts) | Any(parts):
            all_found = tuple(map(_true, parts))
            return match if all(map(is_, all_found, parts)) else replace(match, matches=all_found)
        case _:
            return match


Target = tuple[AddressSet | None, int | None]


class _View(NamedTuple):
    """One family and direction. **Shape** `within`: the packets of which a policy decides."""

    analysis: Analysis
    direction: Direction
    fates: Diagram
    within: Diagram

    @classmethod
    def of(cls, analysis: Analysis, rules: Ruleset, direction: Direction) -> _View:
        ask = partial(_settled, analysis, direction)
        wanted = Scope.TO_HOST if direction is Direction.INBOUND else Scope.FROM_HOST
        scope = next(packets for name, packets in scopes(analysis, direction) if name is wanted)
        bare = cls(analysis, direction, ask(undecided()), scope)
        decided = bare.where(lambda answer: answer != ACCEPTED)
        return cls(analysis, direction, ask(rules), decided)

    @property
    def space(self) -> Space:
        return self.analysis.space

    @property
    def family(self) -> Family:
        return self.analysis.family

    @property
    def far(self) -> int:
        """The level of the other end's addresses."""
        return SRC if self.direction is Direction.INBOUND else DST

    def where(self, wanted: Callable[[Answer], bool]) -> Diagram:
        """The packets within that are answered so."""
        space = self.space
        found = space.rebuild(self.fates, lambda leaf: space.true if wanted(answer_of(leaf)) else space.false)
        return space.both(found, self.within)

    def open(self) -> Diagram:
        return self.where(lambda answer: answer.fate is Fate.ACCEPT and answer.landing is None)

    def closed(self) -> Diagram:
        """Where the default is to accept, what is in doubt is blocked: a policy must not open what may be closed."""
        return self.where(
            lambda answer: (
                answer.fate is not Fate.ACCEPT or (answer.landing is not None and self.target(answer.landing) is None)
            )
        )

    def dropped(self) -> Diagram:
        return self.where(lambda answer: answer.fate is Fate.DROP)

    def nothing(self) -> Diagram:
        return self.space.false

    def banned(self) -> Diagram:
        """What is told as a block, because as the grants around it, it would be hard or impossible to tell."""
        return self.space.either(self._banned_addresses(), self._closed_interfaces())

    def _banned_addresses(self) -> Diagram:
        """All packets of those with whom nothing is let through, where these are the exception."""
        top = self.family.top
        heard = possible(self.where(lambda answer: answer.fate in (Fate.ACCEPT, Fate.DEPENDS)), self.far, top)
        banned = complement(heard, top)
        if not heard or not banned or not shorter(self.family, banned, heard):
            return self.space.false
        return self.space.both(self.within, self.space.test(self.far, banned, top, self.space.true, self.space.false))

    def _closed_interfaces(self) -> Diagram:
        """What an interface lets through less than the unnamed ones do: no grant is for all interfaces but one."""
        space, level = self.space, IIF if self.direction is Direction.INBOUND else OIF
        top = tops(self.family)[level]
        open_ = self.open()
        parts = {interval for node in nodes(open_) if node.level == level for interval, _ in node.parts(top)}
        named = normalize(one for one in parts if interface_pattern(one))
        unnamed = complement(named, top)
        if not named or not unnamed:
            return space.false
        usual = space.restrict(open_, {level: unnamed[0][0]})
        return space.both(space.both(self.dropped(), usual), space.test(level, named, top, space.true, space.false))

    def blocked_by(self, block: tuple[Grant, ...]) -> Diagram:
        """What a policy with these blocks drops, so that it does not matter whether its grants accept it."""
        book = Rulebook(Default.ACCEPT, block)
        rules = compiled(Policy("blocks", book, book), date.min)
        return self._replace(fates=_settled(self.analysis, self.direction, rules)).dropped()

    def translated(self, target: Target) -> Diagram:
        """Accepted packets for this host's own addresses whose destination is replaced by this one."""
        return self.where(
            lambda answer: (
                answer.fate is Fate.ACCEPT and answer.landing is not None and self.target(answer.landing) == target
            )
        )

    def not_forwarded(self, block: tuple[Grant, ...]) -> Diagram:
        """Packets that no forward takes: those that are blocked, and those that are not for this host alone."""
        space, own = self.space, self.analysis.host.own(self.family)
        return space.either(self.blocked_by(block), space.test(DST, own, self.family.top, space.false, space.true))

    def mostly(self) -> Fate:
        """The answer that most packets get."""
        return max(DEFAULTS, key=lambda fate: self._share(self.where(lambda answer: answer.fate is fate)))

    def _share(self, packets: Diagram) -> float:
        """How much of the space of all packets a set takes."""
        top = tops(self.family)
        known = {self.space.true: 1.0, self.space.false: 0.0}

        def walk(node: Diagram) -> float:
            if node not in known:
                size = top[node.level] + 1
                known[node] = sum(
                    (last - first + 1) / size * walk(child) for (first, last), child in node.parts(size - 1)
                )
            return known[node]

        return walk(packets)

    def target(self, landing: Landing) -> Target | None:
        """Where a forward leads that translates so: an address, None for this host, and a port; None if none can."""
        host, family, found = self.analysis.host, self.family, landing.addresses
        own = host.local(family)
        if found == host.own(family) or (own is not None and intersect(found, own) == found):
            return None if landing.port is None else (None, landing.port)
        elsewhere = found[0][0] == found[-1][1] and not contains((*LOOPBACKS[family], *MULTICAST[family]), found[0][0])
        return (_addresses(family, found), landing.port) if elsewhere else None


def undecided() -> Ruleset:
    """What no policy decides, as rules that accept it: what every policy accepts, and IPv4-mapped addresses, which no packet has.

    **Source** ip6_rcv_core() of Linux 6.18 drops packets from them before any rule.
    """
    mapped = tuple(Rule(Test(field, MAPPED), Accept()) for field in (Field.SRC6, Field.DST6))
    (container,) = unconditional().containers
    chains = tuple(replace(chain, rules=(*mapped, *chain.rules)) for chain in container.chains)
    return Ruleset((replace(container, chains=chains),))


def _settled(analysis: Analysis, direction: Direction, rules: Ruleset) -> Diagram:
    ask = analysis.inbound if direction is Direction.INBOUND else analysis.outbound
    return analysis.settle(ask(rules))


# ------------------------------------------------------------------ rulebooks


Packets = Callable[[_View], Diagram]


def _rulebook(views: Sequence[_View]) -> Rulebook:
    """The default is the stricter one of both families'."""
    default = DEFAULTS[min((view.mostly() for view in views), key=list(DEFAULTS).index)]
    if default is Default.ACCEPT:
        return Rulebook(default, block=_grants(views, _View.closed))
    block = _grants(views, _View.banned if default is Default.DROP else _View.dropped)
    return Rulebook(default, block, allow=_grants(views, _View.open, partial(_View.blocked_by, block=block)))


def _forwards(views: Sequence[_View], block: tuple[Grant, ...]) -> tuple[Forward, ...]:
    targets = {
        target: None
        for view in views
        for leaf in sorted(map(answer_of, view.space.leaves(view.fates)), key=str)
        if leaf.landing and (target := view.target(leaf.landing))
    }
    # Only one of them may spread over what is blocked: two would contradict each other there.
    blocks = chain([block], repeat(()))
    return tuple(
        Forward(grant, *target)
        for target, ignored in zip(targets, blocks, strict=False)
        for grant in _grants(
            views, partial(_View.translated, target=target), partial(_View.not_forwarded, block=ignored)
        )
        if grant.traffic and not grant.destinations
    )


# ------------------------------------------------------------------ grants


class _Term(NamedTuple):
    """A cube as a grant can say it. **Shape** `traffic` () is all; `destinations` None, too."""

    traffic: tuple[Traffic, ...]
    interfaces: tuple[str, ...]
    sources: AddressSet
    destinations: AddressSet | None


def _grants(views: Sequence[_View], wanted: Packets, ignored: Packets = _View.nothing) -> tuple[Grant, ...]:
    """Grants that cover the wanted packets, and nothing else but what is ignored."""
    terms = _united(term for view in views for term in _terms(view, wanted(view), ignored(view)))
    return tuple(_grant(number, term, views[0].direction) for number, term in enumerate(terms))


def _terms(view: _View, need: Diagram, ignored: Diagram) -> Iterator[_Term]:
    space = view.space
    free = _whatever(space, reduce(space.either, (ignored, space.negation(view.within)), need), NOT_SAID)
    for cube in covering(space, view.family, free, space.both(need, free), MOST_CUBES):
        traffic, interfaces = _traffic(view.family, cube), _interfaces(cube.get(IIF, cube.get(OIF)))
        if traffic is not None and interfaces is not None:
            destinations = _addresses(view.family, cube[DST]) if DST in cube else None
            yield _Term(traffic, interfaces, _addresses(view.family, cube.get(SRC)), destinations)


def _whatever(space: Space, packets: Diagram, unsaid: Collection[int]) -> Diagram:
    """The packets that are in the set whatever the values of these levels."""
    known: dict[Diagram, Diagram] = {}

    def walk(node: Diagram) -> Diagram:
        if node.level == LEAF:
            return node
        if node not in known:
            new = {child: walk(child) for child in dict.fromkeys(node.children)}
            known[node] = reduce(space.both, new.values()) if node.level in unsaid else space.replaced(node, new)
        return known[node]

    return walk(packets)


def _traffic(family: Family, cube: Mapping[int, Intervals]) -> tuple[Traffic, ...] | None:
    """The protocols of a cube with their ports; () for all, None where a policy has no words for them."""
    protocols = cube.get(PROTOCOL, ((0, 255),))
    if DPORT in cube:
        known = [one for one in PORT_PROTOCOLS if contains(protocols, one)]
        ports = [(max(first, 1), last) for first, last in cube[DPORT] if last > 0]  # a policy has no port 0
        return tuple(Traffic(one, *interval) for one in known for interval in ports) or None
    if ICMP_TYPE in cube:
        icmp = ICMP_OF[family]
        return PING if contains(protocols, icmp) and contains(cube[ICMP_TYPE], ECHO[icmp]) else None
    if PROTOCOL not in cube:
        return ()
    odd = ICMP_OF[Family.IPV6 if family is Family.IPV4 else Family.IPV4]
    numbers = [one for first, last in protocols for one in range(first, last + 1) if one != odd]
    return tuple(map(Traffic, numbers)) if 0 < len(numbers) <= MOST_PROTOCOLS else None


def _interfaces(values: Intervals | None) -> tuple[str, ...] | None:
    """Names and patterns, without loopback, of which no policy decides; () for all, None where a policy can't write them."""
    if values is None:
        return ()
    patterns = (interface_pattern(interval) for interval in values if interval != LOOPBACK)
    return tuple(one for one in patterns if one and one.isprintable() and not set(one) & set("'\" /")) or None


def _addresses(family: Family, values: Intervals | None) -> AddressSet:
    """All for None. Mapped addresses are taken with the one before them, so that neither these nor all others begin there."""
    every = ((0, family.top),) if values is None else values
    if family is Family.IPV4:
        return AddressSet(v4=every)
    before = contains(every, MAPPED[0][0] - 1)
    return AddressSet(v6=union(every, MAPPED) if before else subtract(every, MAPPED))


def _united(terms: Iterable[_Term]) -> Iterator[_Term]:
    """The same in fewer terms: first those that differ in their sources only, then those that differ in their ports."""
    sources: dict[tuple[tuple[Traffic, ...], tuple[str, ...], AddressSet | None], AddressSet] = {}
    for one in terms:
        key = (one.traffic, one.interfaces, one.destinations)
        sources[key] = sources.get(key, AddressSet()) | one.sources
    traffic: dict[tuple[tuple[bool, ...], tuple[str, ...], AddressSet, AddressSet | None], list[Traffic]] = {}
    for (ports, interfaces, destinations), addresses in sources.items():
        kind = tuple(whole(one) for one in ports[:1])  # a grant names all traffic, whole protocols, or ports
        traffic.setdefault((kind, interfaces, addresses, destinations), []).extend(ports)
    for (_, interfaces, addresses, destinations), ports_of_all in traffic.items():
        yield _Term(tuple(sorted({*ports_of_all})), interfaces, addresses, destinations)


def _grant(number: int, term: _Term, direction: Direction) -> Grant:
    inbound = direction is Direction.INBOUND
    whole = term.destinations or ANY_ADDRESS
    every = all(term.sources.of_family(one) == ANY_ADDRESS.of_family(one) for one in Family if whole.of_family(one))
    sources = _peers(term.interfaces if inbound else (), None if every else term.sources)
    destinations = _peers(() if inbound else term.interfaces, term.destinations)
    return Grant(str(number), term.traffic, sources, destinations)


def _peers(interfaces: tuple[str, ...], addresses: AddressSet | None) -> tuple[Peer, ...]:
    return (Peer(interfaces, addresses),) if interfaces or addresses is not None else ()
