"""Random `Ruleset` values, for engines that are to be compared without a kernel or a parser between them.

Rules of this file
    As parsers do, each test of a field stands beside a test of the protocols that have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from portgate.core.net import (
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    TCP,
    Family,
    Interval,
    Intervals,
    interface_interval,
    normalize,
)
from portgate.core.ruleset import (
    Accept,
    All,
    AnonymousLookup,
    Any,
    Base,
    Bits,
    Box,
    Chain,
    ChainKind,
    Container,
    Continue,
    Dnat,
    Drop,
    Effect,
    Element,
    Field,
    Goto,
    Hook,
    Jump,
    Lookup,
    Match,
    NamedSet,
    Not,
    NoTrack,
    Opaque,
    PlainVerdict,
    Reject,
    Return,
    Rule,
    Ruleset,
    SetMark,
    Template,
    Test,
    Verdict,
    VerdictMap,
)  # fmt: skip
from tests.generate.world import CUTS, PORTS, own_addresses

Pick = Callable[[Random], Interval]

PROTOCOLS = (1, 6, 17, 58, 132)
MARKS = (0, 1, 2, 3)
MASKS = (0xFFFFFFFF, 3, 1)
CONCATENATIONS = (
    (Field.SRC4, Field.DPORT),
    (Field.SRC6, Field.DPORT),
    (Field.IIF, Field.PROTOCOL, Field.DPORT),
    (Field.SRC4, Field.DST4),
)
SETS = (
    NamedSet("nobody", (Field.SRC4,)),
    NamedSet("changing", (Field.SRC4,), dynamic=True),
)


def ruleset(rng: Random, doubts: bool = True) -> Ruleset:
    """One to three containers. Without `doubts` every packet has one verdict."""
    priorities = rng.sample([*range(-290, -205), *range(-195, -105), *range(-95, 95), *range(105, 400)], 12)
    if doubts and rng.random() < 0.2:
        priorities[-rng.randint(1, 3)] = -100  # that of nat
    count = rng.randint(1, 3)
    templates = doubts and rng.random() < 0.3
    made = (_Container(rng, f"t{number}", priorities, doubts, templates) for number in range(count))
    return Ruleset(tuple(one.container() for one in made))


class _Container:
    def __init__(self, rng: Random, name: str, priorities: list[int], doubts: bool, templates: bool) -> None:
        """With `templates` no mark is copied: that of a template is 32 doubts, more than can be answered both ways."""
        self.rng = rng
        self.name = name
        self.priorities = priorities
        self.doubts = doubts
        self.templates = templates
        self.sets = tuple(self._set(f"s{number}", fields) for number, fields in enumerate(CONCATENATIONS))

    def container(self) -> Container:
        rng = self.rng
        names = [f"c{number}" for number in range(rng.randint(0, 3))]
        chains = [Chain(name, self._rules(names[number + 1 :])) for number, name in enumerate(names)]
        chains += [Chain(f"base{number}", self._rules(names), self._base()) for number in range(rng.randint(1, 3))]
        if rng.random() < 0.4:
            rules = tuple(Rule(All((_WITH_PORTS, self._match(1))), self._dnat()) for _ in range(rng.randint(1, 2)))
            chains.append(Chain("nat", rules, Base(Hook.PREROUTING, -100, kind=ChainKind.NAT)))
        families = rng.choice(((Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)))
        return Container(self.name, families, tuple(chains), (*self.sets, *SETS))

    def _base(self) -> Base:
        hook = self.rng.choices((Hook.INPUT, Hook.FORWARD, Hook.PREROUTING), (6, 3, 2))[0]
        return Base(hook, self.priorities.pop(), self.rng.choice((Accept(), Accept(), Drop())))

    def _rules(self, callees: Sequence[str]) -> tuple[Rule, ...]:
        return tuple(self._rule(callees) for _ in range(self.rng.randint(1, 6)))

    def _rule(self, callees: Sequence[str]) -> Rule:
        effects: tuple[Effect, ...] = ()
        if self.rng.random() < 0.15:
            effects = tuple(self._effect() for _ in range(self.rng.randint(1, 2)))
        if self.rng.random() < 0.15:
            return Rule(All((_WITH_PORTS, self._match(2))), self._verdict_map(callees), effects)
        return Rule(self._match(2), self._plain(callees), effects)

    def _effect(self) -> Effect:
        rng = self.rng
        if rng.random() < 0.3:
            return NoTrack()
        if self.templates and rng.random() < 0.5:
            return Template("ct zone set 1", untracked=rng.random() < 0.5)
        mark = rng.choice((Field.MARK, Field.CT_MARK))
        return SetMark(mark, rng.choice(MASKS), rng.choice(MARKS), 0 if self.templates else rng.choice((0, *MASKS)))

    def _verdict_map(self, callees: Sequence[str]) -> Verdict:
        boxes = [((port, port),) for port in self.rng.sample(PORTS, 3)]
        return VerdictMap((Field.DPORT,), tuple((box, self._plain(callees)) for box in boxes))

    def _plain(self, callees: Sequence[str]) -> PlainVerdict:
        choices: list[PlainVerdict] = [Accept(), Accept(), Drop(), Drop(), Reject(), Return(), Continue()]
        for name in callees:
            choices += [Jump(name), Goto(name)]
        return self.rng.choice(choices)

    def _dnat(self) -> PlainVerdict:
        port = self.rng.choice(PORTS)
        family = self.rng.choice((Family.IPV4, Family.IPV6))
        address = self.rng.choice((*own_addresses(family), CUTS[family][1]))
        return self.rng.choice((Dnat(None, None, (port, port)), Dnat(family, (address, address), (port, port))))

    # ---- matches

    def _match(self, depth: int) -> Match:
        rng = self.rng
        kind = rng.random()
        if depth == 0 or kind < 0.45:
            return self._test()
        parts = tuple(self._match(depth - 1) for _ in range(rng.randint(0, 2)))
        if kind < 0.6:
            return Any((*parts, self._test()))
        if kind < 0.7:
            return Not(self._match(depth - 1))
        return All(parts)

    def _test(self) -> Match:
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            named = rng.choice(self.sets)
            return _with_protocol(named.fields, Lookup(named.fields, named.name))
        if kind < 0.25:
            fields = rng.choice(CONCATENATIONS)
            return _with_protocol(fields, AnonymousLookup(fields, self._boxes(fields)))
        if kind < 0.32:
            bits = Bits(
                *rng.choice(((Field.MARK, 1, 1), (Field.MARK, 3, 2), (Field.CT_MARK, 1, 1), (Field.TCP_FLAGS, 0x17, 2)))
            )
            return _with_protocol((bits.field,), bits)
        if kind < 0.38 and self.doubts:
            return rng.choice(
                (
                    Opaque("weather", "the weather"),
                    Opaque(f"{self.name} dice", "dice"),
                    Lookup((Field.SRC4,), "changing"),
                )
            )
        field = rng.choice(tuple(_VALUES))
        test = Test(field, normalize(_VALUES[field](rng) for _ in range(rng.randint(1, 3))))
        return _with_protocol((field,), test)

    def _set(self, name: str, fields: tuple[Field, ...]) -> NamedSet:
        return NamedSet(name, fields, tuple(Element(box) for box in self._boxes(fields)))

    def _boxes(self, fields: tuple[Field, ...]) -> tuple[Box, ...]:
        """Disjoint, because their first intervals are."""
        firsts: Intervals = normalize(_VALUES[fields[0]](self.rng) for _ in range(self.rng.randint(1, 4)))
        return tuple((first, *(_VALUES[field](self.rng) for field in fields[1:])) for first in firsts)


def _with_protocol(fields: Sequence[Field], match: Match) -> Match:
    needed = [_NEEDED[field] for field in fields if field in _NEEDED]
    return All((*needed, match)) if needed else match


def _between(values: Sequence[int]) -> Pick:
    def pick(rng: Random) -> Interval:
        first, last = sorted((rng.choice(values), rng.choice(values)))
        return first, last

    return pick


def _one_of(intervals: Sequence[Interval]) -> Pick:
    return lambda rng: rng.choice(intervals)


_WITH_PORTS = Test(Field.PROTOCOL, normalize((one, one) for one in PORT_PROTOCOLS))
_NEEDED: dict[Field, Match] = {
    Field.SPORT: _WITH_PORTS,
    Field.DPORT: _WITH_PORTS,
    Field.ORIGINAL_DPORT: _WITH_PORTS,
    Field.ICMP_TYPE: Test(Field.PROTOCOL, ((ICMP, ICMP), (ICMPV6, ICMPV6))),
    Field.TCP_FLAGS: Test(Field.PROTOCOL, ((TCP, TCP),)),
}
_VALUES = {
    Field.FAMILY: _one_of(((4, 4), (6, 6))),
    Field.PROTOCOL: _one_of([(one, one) for one in PROTOCOLS]),
    Field.IIF: _one_of([interface_interval(one) for one in ("eth0", "eth1", "wg0", "wg*", "e*")]),
    Field.SRC4: _between(CUTS[Family.IPV4]),
    Field.SRC6: _between(CUTS[Family.IPV6]),
    Field.DST4: _between((*CUTS[Family.IPV4], *own_addresses(Family.IPV4))),
    Field.DST6: _between((*CUTS[Family.IPV6], *own_addresses(Family.IPV6))),
    Field.SPORT: _between((1023, 1024, 40000, 65535)),
    Field.DPORT: _between(PORTS),
    Field.ICMP_TYPE: _one_of(((8, 8), (0, 13), (128, 129), (135, 135))),
    Field.CT_STATE: _between((0, 1, 2, 3, 4)),
    Field.DST_TYPE: _one_of(((0, 0), (1, 1), (1, 2))),
    Field.DNATED: _one_of(((0, 0), (1, 1))),
    Field.ORIGINAL_DPORT: _between(PORTS),
    Field.MARK: _between(MARKS),
}
