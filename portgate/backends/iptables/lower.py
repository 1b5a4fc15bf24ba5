"""Rules of a policy -> the same rules, as iptables can say them.

Theory
    A table of iptables holds one family; a rule tests one value of a field, but for ports, of which it tests a few. So
    elements of sets become rules, or, where they are many, members of an ipset.
    Our chains only take away: what they accept goes on to the rules behind the jump (RETURN), as it goes on from one
    table of nftables to the next. A chain that is jumped to could not return past its caller. So calls are `goto`, and
    the chain called ends with the rules that would follow the call.

Rules of this file
    What was lowered stays as it is. Names of sets follow from what they stand for, so that an edit elsewhere changes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import product
from zlib import crc32

from portgate.backends.iptables.names import IP, TABLES, chain_name, table_of
from portgate.backends.iptables.parse_values import DST, SRC
from portgate.backends.iptables.sets import Row, in_sets, merged, native_set, networks
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.grouping import ICMP_FAMILY
from portgate.core.net import Family, Interval, Intervals, complement, contains, interface_interval, interface_patterns
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    Chain,
    Container,
    Continue,
    Dnat,
    Drop,
    Field,
    Goto,
    Jump,
    Log,
    Lookup,
    Match,
    NamedSet,
    Not,
    RateLimit,
    Reject,
    Rule,
    Ruleset,
    Test,
    Verdict,
)

FEW = 16  # rules into which one rule of a policy may grow before it gets a set
LOG_PREFIX_MAX = 29
_REJECTION = {Family.IPV4: "icmp-port-unreachable", Family.IPV6: "icmp6-port-unreachable"}
_OF_FAMILY = {
    Family.IPV4: {Field.SRC4, Field.DST4, Field.ORIGINAL_SRC4, Field.ORIGINAL_DST4},
    Family.IPV6: {Field.SRC6, Field.DST6, Field.ORIGINAL_SRC6, Field.ORIGINAL_DST6},
}
_WHOLE = {Field.CT_STATE, Field.DNATED, Field.DST_TYPE}  # tests that one rule can make as they are
_Choice = tuple[tuple[Field, Interval], ...]


def lower(desired: Ruleset) -> Ruleset:
    """One container for every table that is needed, in the order in which they are loaded. Errors: PG302."""
    return Ruleset(
        tuple(
            part
            for container in desired.owned().containers
            for part in ((container,) if container.inside else _tables(container))
        )
    )


def _tables(container: Container) -> Iterator[Container]:
    for family, table in product(container.families, TABLES):
        bases = [chain for chain in container.chains if chain.base and table_of(chain.base) == table]
        if bases:
            yield _Table(container, family, table).lowered(bases)


@dataclass(slots=True)
class _Table:
    """One table while it is made."""

    container: Container
    family: Family
    table: str
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, NamedSet] = field(default_factory=dict)

    def lowered(self, bases: Sequence[Chain]) -> Container:
        for chain in bases:
            base = chain.base
            closing = [Rule(ALWAYS, Drop(), comment="default")] if base and base.default == Drop() else []
            self._add(chain.name, (*chain.rules, *closing))
            name = chain_name(chain.name)
            self.chains[name] = replace(self.chains[name], base=base and replace(base, default=Accept()))
        return Container(
            f"{IP[self.family]} portgate {self.table}",
            (self.family,),
            tuple(self.chains.values()),
            tuple(sorted(self.sets.values(), key=lambda one: one.name)),
            owned=True,
            inside=f"{IP[self.family]} {self.table}",
        )

    def _add(self, name: str, rules: Sequence[Rule]) -> None:
        native = chain_name(name)
        if native in self.chains:
            return
        self.chains[native] = Chain(native)
        found = [lowered for index in range(len(rules)) for lowered in self._rules(rules, index)]
        self.chains[native] = Chain(native, tuple(found))

    def _rules(self, rules: Sequence[Rule], index: int) -> Iterator[Rule]:
        rule = rules[index]
        rows = self._rows(rule)
        if isinstance(rule.verdict, Jump) and rows:
            behind = [one for one in rules[index + 1 :] if one.verdict != rule.verdict]
            called = self.container.chain(rule.verdict.chain)
            self._add(rule.verdict.chain, (*(called.rules if called else ()), *behind))
        verdict = self._verdict(rule.verdict)
        for row in rows:
            yield from self._logged(Rule(row.match(), verdict, rule.effects, row.comment))

    def _verdict(self, verdict: Verdict) -> Verdict:
        match verdict:
            case Reject():
                return Reject(_REJECTION[self.family])
            case Jump(chain):
                return Goto(chain_name(chain))
            case _:
                return verdict

    def _logged(self, rule: Rule) -> Iterator[Rule]:
        """LOG is a target of its own. What counts must be asked once, so it leads to a chain that logs and decides."""
        prefix = next((one.prefix for one in rule.effects if isinstance(one, Log)), None)
        plain = replace(rule, effects=())
        if prefix is None:
            yield plain
            return
        log = Log(prefix if len(prefix) <= LOG_PREFIX_MAX else f"portgate {prefix.strip()[-LOG_PREFIX_MAX + 10 :]} ")
        if not any(isinstance(part, RateLimit) for part in parts_of(rule.match)):
            yield Rule(rule.match, Continue(), (log,), rule.comment)
            yield plain
            return
        # A translation of ports must name the protocol.
        of_protocol = [one for one in parts_of(rule.match) if isinstance(one, Test) and one.field is Field.PROTOCOL]
        match = of_protocol[0] if of_protocol and isinstance(rule.verdict, Dnat) else ALWAYS
        deciding = (Rule(ALWAYS, Continue(), (log,), rule.comment), Rule(match, rule.verdict, comment=rule.comment))
        name = chain_name(f"log_{crc32(repr(deciding).encode()):08x}")
        self.chains.setdefault(name, Chain(name, deciding))
        yield replace(plain, verdict=Goto(name))

    # -------------------------------------------------------------- what a rule matches

    def _rows(self, rule: Rule) -> list[Row]:
        """The rules that together match what this one does, in this family."""
        parts = parts_of(rule.match)
        if self._is_elsewhere(rule.verdict, parts):
            return []
        fixed: list[Match] = []
        choices: list[list[tuple[_Choice, str]]] = []
        for part in parts:
            if isinstance(part, Lookup) and not self._stays_a_set(part):
                choices.append(self._elements(part))
            elif isinstance(part, Test) and part.field not in _WHOLE and not _excludes_one(part):
                choices.append([(((part.field, one),), "") for one in self._values(part)])
            else:
                fixed += self._fixed(part)
        rows = [self._row(combination, rule) for combination in product(*choices)]
        found = merged(one for one in rows if one is not None)
        if len(found) > FEW:
            lookup = next((one.set_name for one in parts if isinstance(one, Lookup)), rule.comment)
            found, sets = in_sets(found, f"{lookup} {rule.verdict}", rule.comment, self.family)
            self.sets.update((one.name, one) for one in sets)
        return [replace(one, more=(*one.more, *fixed)) for one in found]

    def _is_elsewhere(self, verdict: Verdict, parts: Sequence[Match]) -> bool:
        """Whether it is about packets of the other family."""
        if isinstance(verdict, Dnat) and verdict.family not in (None, self.family):
            return True
        other = _OF_FAMILY[Family.IPV6 if self.family is Family.IPV4 else Family.IPV4]
        if any(not other.isdisjoint(_fields(part)) for part in parts):
            return True
        tests = {part.field: part.values for part in parts if isinstance(part, Test)}
        typed = any(Field.ICMP_TYPE in _fields(part) for part in parts)
        protocol = tests.get(Field.PROTOCOL, ((0, 0),))[0][0]
        return (typed and ICMP_FAMILY.get(protocol) is not self.family) or not contains(
            tests.get(Field.FAMILY, ((self.family, self.family),)), self.family
        )

    def _stays_a_set(self, lookup: Lookup) -> bool:
        """Whether it is a long list of addresses, which rules share."""
        named = self.container.sets_by_name()[lookup.set_name]
        return (
            len(lookup.fields) == 1 and lookup.fields[0] in (*SRC.values(), *DST.values()) and len(named.elements) > FEW
        )

    def _fixed(self, part: Match) -> Iterator[Match]:
        match part:
            case Lookup(fields, name):
                made = native_set(name, self.container.sets_by_name()[name].elements, self.family)
                self.sets[made.name] = made
                yield Lookup(fields, made.name)
            case Test(Field.PROTOCOL, values):
                yield Not(Test(Field.PROTOCOL, complement(values, Field.PROTOCOL.top)))
            case Test() | RateLimit():
                yield part
            case _:
                raise PortgateError(Diagnostic("PG302", f"iptables can't test {part}"))

    def _elements(self, lookup: Lookup) -> list[tuple[_Choice, str]]:
        elements = self.container.sets_by_name()[lookup.set_name].elements
        return [
            (choice, element.comment)
            for element in elements
            for choice in product(
                *(self._each(one, part) for one, part in zip(lookup.fields, element.box, strict=True))
            )
        ]

    def _each(self, tested: Field, interval: Interval) -> Iterator[tuple[Field, Interval]]:
        return ((tested, one) for one in self._values(Test(tested, (interval,))))

    def _values(self, test: Test) -> Iterator[Interval]:
        """As one rule can test each."""
        for interval in test.values:
            if test.field in (Field.IIF, Field.OIF):
                yield from map(interface_interval, interface_patterns(interval))
            elif test.field in (Field.ICMP_TYPE, Field.PROTOCOL):
                yield from ((one, one) for one in range(interval[0], interval[1] + 1))
            elif test.field in (Field.ORIGINAL_DST4, Field.ORIGINAL_DST6):
                yield from networks(self.family, interval)
            else:
                yield interval

    def _row(self, combination: Sequence[tuple[_Choice, str]], rule: Rule) -> Row | None:
        tests: dict[Field, Interval] = {}
        for choice, _ in combination:
            for tested, interval in choice:
                before = tests.get(tested, interval)
                tests[tested] = max(before[0], interval[0]), min(before[1], interval[1])
        if any(first > last for first, last in tests.values()):
            return None
        if self.family is Family.IPV4 and tests.get(Field.ICMP_TYPE) == (255, 255):
            raise PortgateError(Diagnostic("PG302", f"{rule.comment}: iptables takes ICMP type 255 for any type"))
        tests.pop(Field.FAMILY, None)
        ports: Intervals = (tests.pop(Field.DPORT),) if Field.DPORT in tests else ()
        comment = next((comment for _, comment in combination if comment), rule.comment)
        kept = {one: part for one, part in tests.items() if part != (0, one.top) or one is Field.OIF}
        return Row(tuple(sorted(kept.items(), key=lambda item: item[0].label)), ports, comment)


def parts_of(match: Match) -> tuple[Match, ...]:
    """The parts of a conjunction."""
    return match.matches if isinstance(match, All) else (match,)


def _excludes_one(test: Test) -> bool:
    """Whether it is a protocol that is not one certain."""
    others = complement(test.values, test.field.top)
    return test.field is Field.PROTOCOL and len(others) == 1 and others[0][0] == others[0][1]


def _fields(part: Match) -> tuple[Field, ...]:
    match part:
        case Test(tested, _):
            return (tested,)
        case Lookup(fields, _):
            return fields
        case RateLimit(source, _, _):
            return (source,)
        case _:
            return ()
