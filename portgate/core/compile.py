"""Policy -> Ruleset: what the policy asks for, as one container of rules.

Theory
    Grants become elements of named sets, never rules, so a packet costs the same with ten grants as with
    ten thousand (grouping.py). `block` stands before `allow`, so the order of grants in the policy does not matter.
    Translation comes before filtering: `prerouting` leaves blocked traffic alone, and `input` accepts exactly what
    was translated, by the port at which it arrived. So a forward never opens the port that it leads to.

Rules of this file
    Names, and the order of sets, elements and rules, follow from the grants alone, not from their order in the
    policy. So a small edit stays a small change of the host.

Source
    Which ICMPv6 messages a host can't do without: RFC 4890, section 4.4. They stand before `invalid`, because
    connection tracking takes the rarer ones, and errors about packets that it has not seen, for invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from portgate.core.dataclasses import dataclass, replace
from portgate.core.grouping import (
    ARRIVED,
    DST,
    ICMP_FAMILY,
    ORIGINAL,
    SRC,
    Column,
    Groups,
    View,
    both,
    ends,
    interface_test,
    targets,
    whole,
    word,
)
from portgate.core.net import (
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    UDP,
    UDPLITE,
    AddressSet,
    Family,
    Interval,
    interface_interval,
    normalize,
    subtract,
)
from portgate.core.policy import Containers, Default, Forward, Grant, Policy, Rulebook, Traffic
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    AddressType,
    All,
    Base,
    Chain,
    ChainKind,
    Container,
    CtState,
    Dnat,
    Drop,
    Field,
    Hook,
    Jump,
    Log,
    Lookup,
    Match,
    NamedSet,
    RateLimit,
    Reject,
    Rule,
    Ruleset,
    Test,
    Verdict,
)

NAME = "portgate"
FILTER_PRIORITY = -5  # before the usual filter chains (0), after all that prepares packets for them
NAT_PRIORITY = -105  # before other tools' destination NAT (-100): the first translation of a connection counts


def compile(policy: Policy, today: date) -> Ruleset:  # noqa: A001 - the verb that the command line and the docs use
    """The rules that make `policy` true, in one container of both families. Expired grants are left out."""
    unmoved, forwards = _split_forwards(policy.forwards, today)
    inbound = _direction("", policy.inbound, unmoved, today)
    outbound = _direction("out_", policy.outbound, (), today)
    groups = Groups()
    _gather(groups, inbound)
    _gather(groups, outbound)
    for forward in forwards:
        groups.add_forward("forward", forward)
    chains = [_input(inbound, groups)]
    if outbound.block or outbound.allow or outbound.limited or outbound.default is not Default.ACCEPT:
        chains.append(_output(outbound, groups))
    if forwards:
        chains.append(_prerouting(forwards, groups))
    if policy.containers is Containers.ENFORCE:
        chains += [_forward(), _published(inbound, groups)]
        chains += _limited("published_limited", inbound, ORIGINAL, groups)
    chains += _limited("limited", inbound, ARRIVED, groups)
    chains += _limited("out_limited", outbound, ARRIVED, groups)
    sets = sorted((*groups.sets(), *_counters(chains)), key=lambda one: one.name)
    return Ruleset((Container(NAME, chains=tuple(chains), sets=tuple(sets), owned=True),))


def unconditional() -> Ruleset:
    """What every policy accepts, whatever its grants: rules that accept just these packets."""
    arriving = Chain("input", tuple(_preamble(Field.IIF, ESSENTIAL_IN)), _base(Hook.INPUT, Default.DROP))
    leaving = Chain("output", tuple(_preamble(Field.OIF, ESSENTIAL_OUT)), _base(Hook.OUTPUT, Default.DROP))
    return Ruleset((Container(NAME, chains=(arriving, leaving), owned=True),))


# ------------------------------------------------------------------ grants


@dataclass(frozen=True, slots=True)
class _Direction:
    """The grants of a rulebook that are in force. `prefix` begins the names of its sets and chains."""

    prefix: str
    default: Default
    block: tuple[Grant, ...]
    allow: tuple[Grant, ...]
    limited: tuple[Grant, ...]


def _direction(prefix: str, book: Rulebook, more: tuple[Grant, ...], today: date) -> _Direction:
    block = tuple(one for one in book.block if not one.expired(today))
    allow = [one for one in (*book.allow, *more) if not one.expired(today)]
    plain = tuple(one for one in allow if one.limit is None)
    limited = sorted((one for one in allow if one.limit is not None), key=lambda one: one.id)
    return _Direction(prefix, book.default, block, plain, tuple(limited))


def _gather(groups: Groups, direction: _Direction) -> None:
    groups.add_all(f"{direction.prefix}block", direction.block)
    groups.add_all(f"{direction.prefix}allow", direction.allow)
    for grant in direction.limited:
        groups.add(f"{direction.prefix}limited", replace(grant, sources=(), destinations=(), log=False))


def _split_forwards(forwards: tuple[Forward, ...], today: date) -> tuple[tuple[Grant, ...], tuple[Forward, ...]]:
    """What leads to the port at which it arrives is no translation but a plain grant; then the forwards, by id."""
    unmoved, moved = [], []
    for forward in sorted(forwards, key=lambda one: one.grant.id):
        grant = forward.grant
        if grant.expired(today):
            continue
        if forward.address is not None:
            moved.append(forward)
            continue
        still, away = _by_port(grant.traffic, forward.port)
        if still:
            unmoved.append(replace(grant, traffic=still))
        if away:
            moved.append(replace(forward, grant=replace(grant, traffic=away)))
    return tuple(unmoved), tuple(moved)


def _by_port(traffic: tuple[Traffic, ...], port: int | None) -> tuple[tuple[Traffic, ...], tuple[Traffic, ...]]:
    """The traffic that has this port anyway (None: all), and the rest."""
    if port is None:
        return traffic, ()
    still = tuple(Traffic(one.protocol, port, port) for one in traffic if one.first <= port <= one.last)
    away = tuple(
        Traffic(one.protocol, first, last)
        for one in traffic
        for first, last in subtract(((one.first, one.last),), ((port, port),))
    )
    return still, away


# ------------------------------------------------------------------ chains


def _base(hook: Hook, default: Default = Default.ACCEPT) -> Base:
    return Base(hook, FILTER_PRIORITY, Accept() if default is Default.ACCEPT else Drop())


def _input(inbound: _Direction, groups: Groups) -> Chain:
    rules = (
        *_preamble(Field.IIF, ESSENTIAL_IN),
        Rule(All((_state(CtState.INVALID), _TRACKED)), Drop(), comment="invalid"),
        *groups.rules("forward", Accept(), and_also=(DNATED,)),
        *groups.rules("block", Drop()),
        *_granted(inbound, groups, "limited"),
    )
    return Chain("input", rules, _base(Hook.INPUT, inbound.default))


def _output(outbound: _Direction, groups: Groups) -> Chain:
    rules = (
        *_preamble(Field.OIF, ESSENTIAL_OUT),
        *groups.rules("out_block", Drop()),
        *_granted(outbound, groups, "out_limited"),
    )
    return Chain("output", rules, _base(Hook.OUTPUT, outbound.default))


def _forward() -> Chain:
    """What passes through this host is not ours to judge, except for what arrived at one of its own ports."""
    rules = (
        Rule(TRACKED, Accept(), comment="established"),
        Rule(DNATED, Jump("published"), comment="published"),
    )
    return Chain("forward", rules, _base(Hook.FORWARD))


def _published(inbound: _Direction, groups: Groups) -> Chain:
    rules = [
        *groups.rules("forward", Accept(), and_also=(DNATED,)),
        *groups.rules("block", Drop(), ORIGINAL),
        *_granted(inbound, groups, "published_limited", ORIGINAL),
    ]
    if inbound.default is Default.DROP:
        rules.append(Rule(ALWAYS, Drop(), comment="default"))
    return Chain("published", tuple(rules))


def _preamble(loopback: Field, essential: tuple[Match, ...]) -> Iterator[Rule]:
    yield Rule(TRACKED, Accept(), comment="established")
    yield Rule(Test(loopback, (interface_interval("lo"),)), Accept(), comment="loopback")
    yield from (Rule(match, Accept(), comment="essential") for match in essential)


def _granted(direction: _Direction, groups: Groups, limited: str, view: View = ARRIVED) -> Iterator[Rule]:
    """What is allowed, then the jump to the limited grants, then the default where that needs a rule."""
    yield from groups.rules(f"{direction.prefix}allow", Accept(), view)
    if not direction.prefix:
        yield from groups.rules("opened", Accept(), view)
    yield from groups.rules(f"{direction.prefix}limited", Jump(limited), view)
    if direction.default is Default.REJECT:
        yield Rule(ALWAYS, Reject(), comment="default")


def _limited(name: str, direction: _Direction, view: View, groups: Groups) -> Iterator[Chain]:
    """The rules of the limited grants, of which each counts for itself. Over its limit a packet returns."""
    rules = [
        _single(grant, match, Accept())
        for grant in direction.limited
        for family, match in _matches(grant, view, groups)
        for match in _within_limit(grant, family, match)
    ]
    if direction.limited:
        yield Chain(name, tuple(rules))


def _prerouting(forwards: tuple[Forward, ...], groups: Groups) -> Chain:
    rules = [*groups.rules("block", Accept())]
    for forward in forwards:
        rules += _translations(forward, groups)
    return Chain("prerouting", tuple(rules), Base(Hook.PREROUTING, NAT_PRIORITY, kind=ChainKind.NAT))


def _translations(forward: Forward, groups: Groups) -> Iterator[Rule]:
    """Only what is sent to this host itself is translated: a router must not seize what passes through."""
    port = None if forward.port is None else (forward.port, forward.port)
    for named, match in _matches(forward.grant, ARRIVED, groups):
        for family, target in targets(forward, named):
            translated = both(TO_THIS_HOST, match)
            if family is not named and family is not None:
                translated = both(Test(Field.FAMILY, ((family, family),)), translated)
            verdict = Dnat(family if target else None, target[0] if target else None, port)
            for within in _within_limit(forward.grant, family, translated):
                yield _single(forward.grant, within, verdict)


# ------------------------------------------------------------------ matches


def _single(grant: Grant, match: Match, verdict: Verdict) -> Rule:
    effects = (Log(f"portgate {grant.id} "),) if grant.log else ()
    return Rule(match, verdict, effects, grant.id)


def _matches(grant: Grant, view: View, groups: Groups) -> Iterator[tuple[Family | None, Match]]:
    """A grant as rules of its own: one for every protocol, family and pair of peers that it names."""
    for source, destination, family in ends(grant):
        columns: list[Column] = []
        lookups = groups.place(source, SRC, family, grant.id, columns)
        lookups += groups.place(destination, DST, family, grant.id, columns)
        peers = (
            *interface_test(Field.IIF, source.interfaces),
            *interface_test(Field.OIF, destination.interfaces),
            *(Lookup((view.get(field, field),), name) for field, name in lookups),
            *(Test(view.get(field, field), values) for field, values in columns),
        )
        for own_family, traffic in _traffic_matches(grant.traffic, view):
            if family is None or own_family in (None, family):
                yield family or own_family, both(*peers, *traffic)


def _traffic_matches(traffic: tuple[Traffic, ...], view: View) -> Iterator[tuple[Family | None, tuple[Match, ...]]]:
    """Each protocol's match, and the family that it belongs to where it is one of ICMP types."""
    if not traffic:
        yield None, ()
    parts: dict[int, list[Interval]] = {}
    for one in traffic:
        parts.setdefault(one.protocol, []).append((one.first, one.last) if not whole(one) else EVERYTHING)
    for protocol, intervals in sorted(parts.items()):
        is_protocol = Test(Field.PROTOCOL, ((protocol, protocol),))
        port = view.get(Field.DPORT, Field.DPORT)
        if EVERYTHING in intervals:
            yield None, (is_protocol,)
        elif protocol not in PORT_PROTOCOLS:
            yield ICMP_FAMILY[protocol], (is_protocol, Test(Field.ICMP_TYPE, normalize(intervals)))
        elif port is Field.DPORT:
            yield None, (is_protocol, Test(port, normalize(intervals)))
        else:
            # A list of original ports is more than nft can list and load again (nft 1.0.6).
            yield from ((None, (is_protocol, Test(port, (one,)))) for one in normalize(intervals))


def _within_limit(grant: Grant, family: Family | None, match: Match) -> Iterator[Match]:
    """The match, while the source stays within the grant's limit: for each family, because each has its counters."""
    if grant.limit is None:
        yield match
        return
    limit = grant.limit
    for one in Family if family is None else (family,):
        # A changed limit gets new counters: nftables keeps the old rate in those that it has.
        name = f"limit_{word(grant.id)}_{limit.amount}_{limit.unit}_{limit.burst}_v{one.value}"
        yield both(match, RateLimit(SRC[one], limit, name))


def _counters(chains: list[Chain]) -> Iterator[NamedSet]:
    """The dynamic sets in which the limits of these chains count."""
    found = {
        part.set_name: part.source
        for chain in chains
        for rule in chain.rules
        if isinstance(rule.match, All)
        for part in rule.match.matches
        if isinstance(part, RateLimit)
    }
    return (NamedSet(name, (source,), dynamic=True) for name, source in found.items())


# Some kernels do not track UDP-Lite and call all of it invalid; it is left to the grants.
_TRACKED = Test(Field.PROTOCOL, subtract(((0, 255),), ((UDPLITE, UDPLITE),)))


def _state(*states: CtState) -> Match:
    return Test(Field.CT_STATE, normalize((one.value, one.value) for one in states))


def _udp(source_port: int, port: int, *more: Match) -> Match:
    ports = (Test(Field.SPORT, ((source_port, source_port),)), Test(Field.DPORT, ((port, port),)))
    return All((*more, Test(Field.PROTOCOL, ((UDP, UDP),)), *ports))


def _types(protocol: int, *types: Interval) -> Match:
    return All((Test(Field.PROTOCOL, ((protocol, protocol),)), Test(Field.ICMP_TYPE, types)))


EVERYTHING = (0, 0xFFFF)
TRACKED = _state(CtState.ESTABLISHED, CtState.RELATED)
DNATED = Test(Field.DNATED, ((1, 1),))
TO_THIS_HOST = Test(Field.DST_TYPE, ((AddressType.LOCAL.value, AddressType.LOCAL.value),))
LINK_LOCAL = AddressSet.of("fe80::/10").v6
MESSAGES = (
    # unreachable; time exceeded, parameter problem
    _types(ICMP, (3, 3), (11, 12)),
    # errors; multicast listeners, router and neighbour discovery; inverse discovery, listeners again; SEND; MRD
    _types(ICMPV6, (1, 4), (130, 136), (141, 143), (148, 149), (151, 153)),
)
ESSENTIAL_IN = (*MESSAGES, _udp(67, 68), _udp(547, 546, Test(Field.SRC6, LINK_LOCAL)))
ESSENTIAL_OUT = (*MESSAGES, _udp(68, 67), _udp(546, 547))
