"""What a ruleset needs of a backend, and which grants ask for what a backend has not got."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from itertools import combinations

from portgate.core.compile import compile as compile_policy
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic
from portgate.core.net import (
    DCCP,
    ICMP,
    TCP,
    UDP,
    UDPLITE,
    Interval,
    Intervals,
    contains,
    interface_interval,
    interface_name,
    intersect,
    normalize,
    subtract,
)
from portgate.core.policy import Grant, Limit, Policy, Rulebook, Unit
from portgate.core.ruleset import (
    All,
    Chain,
    Container,
    Dnat,
    Drop,
    Feature,
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
)

INTERFACES = frozenset({Field.IIF, Field.OIF})
PORTS = frozenset({Field.SPORT, Field.DPORT, Field.ORIGINAL_DPORT})
ADDRESSES = frozenset({Field.SRC4, Field.SRC6, Field.DST4, Field.DST6})
_ONLY_TCP = ((TCP, TCP),)
_TCP_AND_UDP = normalize([(TCP, TCP), (UDP, UDP)])
_LOOPBACK = interface_interval("lo")
_DAY = Unit.DAY.seconds
_MOST_BURST = 1_000_000
HOOKS = {Hook.OUTPUT: Feature.OUTBOUND, Hook.FORWARD: Feature.FORWARDED}


def features_used(ruleset: Ruleset) -> frozenset[Feature]:
    """Everything without which the ruleset cannot be said. What never matches, like an empty set, needs nothing."""
    return frozenset(feature for container in ruleset.containers for feature in _of_container(container))


def lacking(policy: Policy, today: date, features: frozenset[Feature], backend: str) -> tuple[Diagnostic, ...]:
    """What the policy needs and a backend of these features has not got, at the grants that need it."""
    missing = features_used(compile_policy(policy, today)) - features
    if not missing:
        return ()
    bare = replace(
        policy,
        inbound=Rulebook(policy.inbound.default),
        outbound=Rulebook(policy.outbound.default),
        forwards=(),
    )
    of_all = missing & features_used(compile_policy(bare, today))
    found = [_diagnostic(feature, backend, None) for feature in sorted(of_all)]
    of_some: set[Feature] = set()
    for grant, alone in _each_alone(policy, bare):
        needed = (missing - of_all) & features_used(compile_policy(alone, today))
        found += [_diagnostic(feature, backend, grant) for feature in sorted(needed)]
        of_some |= needed
    # Some things no grant needs alone, as two limits for the same packets.
    found += [_diagnostic(feature, backend, None) for feature in sorted(missing - of_all - of_some)]
    return tuple(found)


def _each_alone(policy: Policy, bare: Policy) -> Iterator[tuple[Grant, Policy]]:
    for one in policy.inbound.block:
        yield one, replace(bare, inbound=replace(bare.inbound, block=(one,)))
    for one in policy.inbound.allow:
        yield one, replace(bare, inbound=replace(bare.inbound, allow=(one,)))
    for one in policy.outbound.block:
        yield one, replace(bare, outbound=replace(bare.outbound, block=(one,)))
    for one in policy.outbound.allow:
        yield one, replace(bare, outbound=replace(bare.outbound, allow=(one,)))
    for forward in policy.forwards:
        yield forward.grant, replace(bare, forwards=(forward,))


def _diagnostic(feature: Feature, backend: str, grant: Grant | None) -> Diagnostic:
    whose, span = ("this policy", None) if grant is None else (f"the grant {grant.id}", grant.span)
    remedy = "use another backend, or leave this out"
    return Diagnostic("PG301", f"{whose} needs {feature}, which {backend} has not got", span, remedy)


def _of_container(container: Container) -> Iterator[Feature]:
    if len(container.families) > 1:
        yield Feature.DUAL_STACK
    for chain in container.chains:
        yield from _of_chain(chain)
    for one in container.sets:
        yield from _of_set(one)
    if any(_soft(container)):
        yield Feature.SOFT_LIMITS
    if any(_rare_types(container)):
        yield Feature.RARE_ICMP_TYPES


def _of_chain(chain: Chain) -> Iterator[Feature]:
    if chain.base is not None and chain.base.hook in HOOKS:
        yield HOOKS[chain.base.hook]
    for rule in chain.rules:
        yield from _of_rule(rule)


def _of_rule(rule: Rule) -> Iterator[Feature]:
    if isinstance(rule.verdict, Reject):
        yield Feature.REJECT
    parts = _parts(rule)
    protocols = [part.values for part in parts if isinstance(part, Test) and part.field is Field.PROTOCOL]
    if isinstance(rule.verdict, Dnat):
        yield Feature.REDIRECT if rule.verdict.address is None else Feature.DNAT
        if rule.verdict.address is None and protocols != [_ONLY_TCP]:
            yield Feature.OTHER_REDIRECTS
    if any(isinstance(one, Log) for one in rule.effects):
        yield Feature.LOG
    for part in parts:
        yield from _of_match(part)
    if any(isinstance(part, RateLimit) for part in parts) and protocols != [_ONLY_TCP]:
        yield Feature.OTHER_LIMITS
    if isinstance(rule.verdict, Dnat) and protocols == [((UDPLITE, UDPLITE),)]:
        yield Feature.UDPLITE_FORWARDS
    if any(isinstance(part, Test) and part.field in PORTS for part in parts):
        yield from _of_protocols(protocols)


def _parts(rule: Rule) -> tuple[Match, ...]:
    return rule.match.matches if isinstance(rule.match, All) else (rule.match,)


def _of_protocols(found: Iterable[Intervals]) -> Iterator[Feature]:
    """What their ports need: all have those of TCP and UDP."""
    others = [subtract(one, _TCP_AND_UDP) for one in found]
    if any(contains(one, DCCP) for one in others):
        yield Feature.DCCP_PORTS
    if any(subtract(one, ((DCCP, DCCP),)) for one in others):
        yield Feature.OTHER_PORTS


def _of_match(part: Match) -> Iterator[Feature]:
    if isinstance(part, RateLimit):
        yield Feature.SOURCE_LIMITS
        if part.limit.window() is None:
            yield Feature.BURSTS
        if _extreme(part.limit):
            yield Feature.EXTREME_LIMITS
    if isinstance(part, Test) and part.field is Field.PROTOCOL and part.values == ((0, 0),):
        yield Feature.PROTOCOL_ZERO
    if isinstance(part, Test) and part.field in INTERFACES:
        yield from _of_interfaces(part.values)
    if isinstance(part, Test) and part.field in PORTS and any(first < last for first, last in part.values):
        yield Feature.PORT_RANGES


def _extreme(limit: Limit) -> bool:
    full_again = limit.burst * limit.unit.seconds / limit.amount
    return full_again > _DAY or limit.amount > 1000 * limit.unit.seconds or limit.burst > _MOST_BURST


def _of_interfaces(values: Intervals) -> Iterator[Feature]:
    if any(first < last for first, last in values):
        yield Feature.INTERFACE_PREFIXES
    if not all(map(_ends_in_digit, values)):
        yield Feature.INTERFACE_WORDS
    if any(first == last and _is_misread(interface_name(first)) for first, last in values):
        yield Feature.INTERFACE_PLUS


def _is_misread(name: str) -> bool:
    return name.endswith("+") or name == "!"


def _rare_types(container: Container) -> Iterator[bool]:
    """Whether ICMP types are tested above those that have ever been given to a message."""
    sets = container.sets_by_name()
    for part, highest in (
        (part, 31 if _is_icmp(rule) else 201)
        for chain in container.chains
        for rule in chain.rules
        for part in _parts(rule)
    ):
        if isinstance(part, Test) and part.field is Field.ICMP_TYPE:
            yield any(last > highest for _, last in part.values)
        if isinstance(part, Lookup) and Field.ICMP_TYPE in part.fields and part.set_name in sets:
            column = part.fields.index(Field.ICMP_TYPE)
            yield any(element.box[column][1] > highest for element in sets[part.set_name].elements)


def _is_icmp(rule: Rule) -> bool:
    return Test(Field.PROTOCOL, ((ICMP, ICMP),)) in _parts(rule)


def _ends_in_digit(name: Interval) -> bool:
    """Whether it is one name, as an interface with a number has; loopback counts as one, which every host has."""
    return name[0] != name[1] or name == _LOOPBACK or interface_name(name[0])[-1:].isdigit()


def _soft(container: Container) -> Iterator[bool]:
    """Whether a packet over a limit is not just dropped: a default, or another limited grant, may take it."""
    limited = [
        rule
        for chain in container.chains
        for rule in chain.rules
        if any(isinstance(part, RateLimit) for part in _parts(rule))
    ]
    names = {chain.name for chain in container.chains if not chain.base and any(one in limited for one in chain.rules)}
    yield any(isinstance(one.verdict, Dnat) for one in limited)
    for chain in container.chains:
        jumps = any(isinstance(rule.verdict, Jump) and rule.verdict.chain in names for rule in chain.rules)
        drops = chain.base is not None and isinstance(chain.base.default, Drop)
        yield jumps and (not drops or any(isinstance(rule.verdict, Reject) for rule in chain.rules))
        own = [rule for rule in chain.rules if any(rule is one for one in limited)]
        yield any(_may_meet(one, other) for one, other in combinations(own, 2))


def _may_meet(one: Rule, other: Rule) -> bool:
    """Whether a packet can match both: no test tells them apart."""
    tests = {part.field: part.values for part in _parts(one) if isinstance(part, Test)}
    sources = [part.source for rule in (one, other) for part in _parts(rule) if isinstance(part, RateLimit)]
    return len(set(sources)) == 1 and all(
        part.field not in tests or intersect(tests[part.field], part.values)
        for part in _parts(other)
        if isinstance(part, Test)
    )


def _of_set(one: NamedSet) -> Iterator[Feature]:
    if not one.elements:
        return
    if not ADDRESSES.isdisjoint(one.fields):
        yield Feature.ADDRESS_SETS
    if len(one.fields) > 1:
        yield Feature.CONCATENATED_SETS
    if any(element.expires is not None for element in one.elements):
        yield Feature.TIMED_ELEMENTS
    ports = [column for column, field in enumerate(one.fields) if field in PORTS]
    if any(element.box[column][0] < element.box[column][1] for element in one.elements for column in ports):
        yield Feature.PORT_RANGES
    columns = [column for column, field in enumerate(one.fields) if field is Field.PROTOCOL]
    protocols = {element.box[at] for at in columns for element in one.elements}
    if ports:
        yield from _of_protocols((values,) for values in protocols)
    if any(first == 0 for first, _ in protocols):
        yield Feature.PROTOCOL_ZERO
