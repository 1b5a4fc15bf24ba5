"""Rules of ours as plain lines, as pf and ipfw have them: what a policy compiles to, or what a host was read as.

Theory
    BSD firewalls have no sets of addresses and ports together, and keep states by themselves. So elements of sets
    become rules, the rules of limited grants stand where they are jumped to, and what tests a state goes without
    saying: packets of a known connection never reach a rule. A line has one value for each field, but for ports and
    ICMP types, which are lists. Equal lines mean the same, so two rulesets of ours are compared by their lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise, product
from typing import NoReturn

from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import ICMP, ICMPV6, Family, Interval, Intervals, normalize
from portgate.core.policy import Limit
from portgate.core.ruleset import (
    Accept,
    All,
    Any,
    Bits,
    Chain,
    Container,
    CtState,
    Dnat,
    Drop,
    Field,
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

Address = Interval | str  # of a table: its name
Translation = tuple[Interval | None, int | None]  # an address, None for this host; a port, None when it stays
LOCAL = "self"
SYN_OF_SYN_ACK = (0x12, 0x02)  # only SYN is set, of SYN and ACK, as (mask, value)
TRACKED = {CtState.ESTABLISHED.value, CtState.RELATED.value}
ICMP_FAMILIES = {ICMP: Family.IPV4, ICMPV6: Family.IPV6}
FAMILY_OF = {Field.SRC4: Family.IPV4, Field.DST4: Family.IPV4, Field.SRC6: Family.IPV6, Field.DST6: Family.IPV6}
SLOTS = {
    Field.SRC4: "src", Field.SRC6: "src", Field.DST4: "dst", Field.DST6: "dst", Field.IIF: "interface",
    Field.OIF: "interface", Field.PROTOCOL: "protocol", Field.SPORT: "sport",
}  # fmt: skip
FREE = {
    Field.PROTOCOL: ((0, 255),), Field.DPORT: ((0, 65535),), Field.SPORT: ((0, 65535),),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One rule. None or () where it tests nothing; `action` None in a rule that only keeps from translation."""

    action: Accept | Drop | Reject | Translation | None
    family: Family | None = None
    protocol: int | None = None
    interface: Interval | None = None
    src: Address | None = None
    sport: Interval | None = None
    dst: Address | None = None
    dports: Intervals = ()
    icmp_types: Intervals = ()
    limit: Limit | None = None
    log: bool = False
    label: str = ""

    def same_packets(self) -> Line:
        """What it matches, without what becomes of it."""
        return replace(self, action=None, log=False, label="", limit=None)

    def everything(self) -> bool:
        return self.same_packets() == Line(None)


@dataclass(frozen=True, slots=True)
class Lines:
    """All rules of ours. The last of `inbound` and of `outbound` is the default, which tests nothing."""

    tables: tuple[tuple[str, Family, Intervals], ...] = ()
    translation: tuple[Line, ...] = ()
    inbound: tuple[Line, ...] = ()
    outbound: tuple[Line, ...] = ()


def lines(ruleset: Ruleset, named: Callable[[str], str] | None = None) -> Lines | None:
    """Our rules as lines; None when there are none. `named` gives the table's name of a set's.

    Errors: PG302 for what has no such form.
    """
    ours = next((one for one in ruleset.containers if one.owned), None)
    return None if ours is None else _Lowering(ours, named or short_name).lines()


def refuse(what: str, rule: Rule | Line) -> NoReturn:
    """Errors: PG302, about a rule that a backend can't write."""
    whose = (rule.comment if isinstance(rule, Rule) else rule.label) or "a rule"
    raise PortgateError(Diagnostic("PG302", f"{whose}: {what}", remedy="use another backend, or leave this out"))


class _Lowering:
    """Collects the tables of one container while its rules become lines."""

    def __init__(self, container: Container, named: Callable[[str], str]) -> None:
        self.container = container
        self.named = named
        self.sets = container.sets_by_name()
        self.tables: dict[str, tuple[Family, Intervals]] = {}
        self.absent = Field.OIF  # the interface that packets of the chain have not got
        self.implied = {id(rule) for chain in container.chains for rule in _implied(chain)}

    def lines(self) -> Lines:
        chains = [self._chain(self.container.chain(name)) for name in ("prerouting", "input", "output")]
        translation, inbound, outbound = (united(one) for one in chains)
        if not any(isinstance(one.action, tuple) for one in translation):
            translation = ()
        used = {end for line in (*translation, *inbound, *outbound) for end in (line.src, line.dst)}
        tables = tuple(sorted((name, *content) for name, content in self.tables.items() if name in used))
        return Lines(tables, translation, inbound, outbound)

    def _chain(self, chain: Chain | None) -> list[Line]:
        if chain is None:
            return [Line(Accept(), label="default")]
        translating = chain.name == "prerouting"
        self.absent = Field.IIF if chain.name == "output" else Field.OIF
        found = [line for rule in self._called(chain, set()) for line in self._lines(rule, translating)]
        if not translating and not any(one.everything() for one in found):
            default = chain.base.default if chain.base else Accept()
            found.append(Line(default, label="default"))
        end = next((index for index, one in enumerate(found) if one.everything()), len(found))
        return found[: end + 1]

    def _called(self, chain: Chain, seen: set[str]) -> Iterator[Rule]:
        """The rules, and in the place of the first jump to a chain its rules: each of those tests all that it needs."""
        for rule in chain.rules:
            if not isinstance(rule.verdict, Jump):
                yield rule
            elif rule.verdict.chain not in seen:
                seen.add(rule.verdict.chain)
                called = self.container.chain(rule.verdict.chain)
                yield from self._called(called, seen) if called else ()

    def _lines(self, rule: Rule, translating: bool) -> Iterator[Line]:
        action = self._action(rule, translating)
        log = any(isinstance(one, Log) for one in rule.effects)
        plain = Line(None) if action is None else Line(action, log=log, label=label_text(rule.comment))
        if id(rule) not in self.implied:
            yield from self._matching(plain, rule)

    def _action(self, rule: Rule, translating: bool) -> Accept | Drop | Reject | Translation | None:
        match rule.verdict:
            case Dnat(_, address, port):
                if port is not None and port[0] != port[1]:
                    refuse("a forward to several ports", rule)
                return address, None if port is None else port[0]
            case Accept():
                return None if translating else Accept()
            case Drop():
                return Drop()
            case Reject():
                return Reject()
            case _:
                refuse(f"the verdict {rule.verdict}", rule)

    def _matching(self, plain: Line, rule: Rule) -> list[Line]:
        """The lines that together match what the rule does; a part that never holds leaves none."""
        parts = rule.match.matches if isinstance(rule.match, All) else (rule.match,)
        if any(_of_state(part) for part in parts):
            return []
        found = [plain]
        if isinstance(rule.verdict, Dnat) and rule.verdict.family is not None:
            found = [replace(plain, family=Family(rule.verdict.family))]
        for part in parts:
            found = [line for one in found for line in self._with(one, part, rule)]
        return [one for line in found for one in _completed(line)]

    def _with(self, line: Line, part: Match, rule: Rule) -> Iterator[Line]:
        match part:
            case Test(field, values):
                yield from self._with_test(line, field, values, rule)
            case Lookup(tested, name):
                yield from self._with_set(line, tested, self.sets.get(name), rule)
            case RateLimit(source, limit, _):
                yield from _narrowed(replace(line, limit=limit), FAMILY_OF[source])
            case Bits(Field.TCP_FLAGS, mask, value) if (mask, value) == SYN_OF_SYN_ACK:
                yield line
            case Any((_, Bits(Field.TCP_FLAGS, mask, value))) if (mask, value) == SYN_OF_SYN_ACK:
                yield line
            case Any(()):
                return
            case Bits(Field.MARK, _, value) if value and self.absent is Field.IIF:
                return  # what arrives is marked, and nothing that the host sends
            case All(()):
                yield line
            case Any(matches):
                yield from (found for one in matches for found in self._with(line, one, rule))
            case All(matches):
                found = [line]
                for one in matches:
                    found = [after for before in found for after in self._with(before, one, rule)]
                yield from found
            case _:
                refuse(f"the match {part}", rule)

    def _with_test(self, line: Line, field: Field, values: Intervals, rule: Rule) -> Iterator[Line]:
        if values == ((0, field.top),) and field not in FAMILY_OF:
            yield line
        elif field is Field.FAMILY:
            for family in Family:
                if any(first <= family <= last for first, last in values):
                    yield from _narrowed(line, family)
        elif field in FAMILY_OF:
            for one in _narrowed(line, FAMILY_OF[field]):
                whole = values == ((0, field.top),)
                yield from [one] if whole else _slotted(one, SLOTS[field], self._address(field, values), rule)
        elif field is Field.DPORT:
            yield replace(line, dports=values)
        elif field is Field.ICMP_TYPE:
            yield replace(line, icmp_types=values)
        elif field is Field.DST_TYPE:
            yield from _slotted(line, "dst", LOCAL, rule)
        elif field is self.absent:
            return
        elif field in (Field.IIF, Field.OIF):
            for name in values:
                yield from _slotted(line, "interface", name, rule)
        elif field is Field.PROTOCOL:
            for first, last in values:
                yield from (replace(line, protocol=one) for one in range(first, last + 1))
        elif field is Field.SPORT:
            yield from (replace(line, sport=one) for one in values)
        else:
            refuse(f"a test of {field.label}", rule)

    def _address(self, field: Field, values: Intervals) -> Address:
        """One prefix or range as it is; several as a table, named after what is in it."""
        if len(values) == 1:
            return values[0]
        content = (FAMILY_OF[field], values)
        return self._table(f"addresses-{_digest(repr(content))}", *content)

    def _table(self, name: str, family: Family, values: Intervals) -> str:
        self.tables[name] = (family, values)
        return name

    def _with_set(self, line: Line, tested: tuple[Field, ...], named: NamedSet | None, rule: Rule) -> Iterator[Line]:
        if named is None:
            refuse("a set that is not there", rule)
        if len(tested) == 1 and tested[0] in FAMILY_OF and not any(element.comment for element in named.elements):
            yield from self._with_table(line, tested[0], named, rule)
            return
        for comment, tests in _rows(tested, named):
            found = [line if line.action is None else replace(line, label=label_text(comment or line.label))]
            for field, values in tests:
                found = [after for before in found for after in self._with_test(before, field, values, rule)]
            yield from found

    def _with_table(self, line: Line, field: Field, named: NamedSet, rule: Rule) -> Iterator[Line]:
        """A set of nobody's in particular, as a list of addresses that the policy names, keeps its name."""
        values = normalize(element.box[0] for element in named.elements)
        if len(values) == 1:
            yield from self._with_test(line, field, values, rule)
        for one in _narrowed(line, FAMILY_OF[field]) if len(values) > 1 else ():
            yield from _slotted(one, SLOTS[field], self._table(self.named(named.name), FAMILY_OF[field], values), rule)


def label_text(comment: str) -> str:
    """A comment as a label: pf takes 63 characters and reads `$` in them as a macro, ipfw takes 80."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in comment)[:63]


def short_name(name: str) -> str:
    """A name as that of a table: pf takes 31 characters."""
    plain = label_text(name)
    return plain if plain == name and len(plain) <= 31 else f"{plain[:14]}-{_digest(name)}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _of_state(part: Match) -> bool:
    """What states do: known connections pass, and what a translation passed is not judged again."""
    if isinstance(part, Test) and part.field is Field.CT_STATE:
        return all(state in (*TRACKED, CtState.INVALID.value) for first, last in part.values for state in (first, last))
    return isinstance(part, Test) and part.field is Field.DNATED


def _implied(chain: Chain) -> Iterator[Rule]:
    """Rules that only drop what is over the limit of the rule before, which a firewall that keeps limits does by itself."""
    for before, rule in pairwise(chain.rules):
        if isinstance(rule.verdict, Drop) and _limited(before) and _without_limit(before.match) == rule.match:
            yield rule


def _limited(rule: Rule) -> bool:
    parts = rule.match.matches if isinstance(rule.match, All) else ()
    return any(isinstance(part, RateLimit) for part in parts)


def _without_limit(match: Match) -> Match:
    parts = match.matches if isinstance(match, All) else (match,)
    rest = tuple(part for part in parts if not isinstance(part, RateLimit))
    return rest[0] if len(rest) == 1 else All(rest)


def _narrowed(line: Line, family: Family) -> Iterator[Line]:
    if line.family in (None, family):
        yield replace(line, family=family)


def _slotted(line: Line, slot: str, value: Address, rule: Rule) -> Iterator[Line]:
    if getattr(line, slot) not in (None, value):
        refuse(f"two tests of its {slot}", rule)
    yield replace(line, **{slot: value})  # type: ignore[arg-type]  # the slot's own type


def _completed(line: Line) -> Iterator[Line]:
    """ICMP belongs to one family: what is of the other, BSD drops by itself or does not take as a rule. Redirects are
    written for each family."""
    family = ICMP_FAMILIES.get(line.protocol or 0)
    if family is not None and (line.icmp_types or line.family is not None):
        yield from _narrowed(line, family)
    elif isinstance(line.action, tuple) and line.family is None:
        yield from (replace(line, family=one) for one in Family)
    else:
        yield line


def _rows(tested: tuple[Field, ...], named: NamedSet) -> Iterator[tuple[str, list[tuple[Field, Intervals]]]]:
    """The boxes of a set, united: first those that differ in an address alone, then those that differ in the port."""
    rows: list[Row] = [(one.comment, tuple((part,) for part in one.box)) for one in named.elements]
    for field in (Field.SRC4, Field.SRC6, Field.DST4, Field.DST6, Field.DPORT, Field.ICMP_TYPE):
        if field in tested:
            rows = _united_in(rows, tested.index(field))
    for comment, values in sorted(rows):
        yield comment, list(zip(tested, values, strict=True))


Row = tuple[str, tuple[Intervals, ...]]


def _united_in(rows: Sequence[Row], column: int) -> list[Row]:
    together: dict[Row, list[Interval]] = {}
    for comment, values in rows:
        key = (comment, (*values[:column], (), *values[column + 1 :]))
        together.setdefault(key, []).extend(values[column])
    return [
        (comment, (*values[:column], normalize(found), *values[column + 1 :]))
        for (comment, values), found in together.items()
    ]


def united(found: Iterable[Line]) -> tuple[Line, ...]:
    """Neighbours that differ in their ports or types alone as one line."""
    result: list[Line] = []
    for line in found:
        if result and (joined := _joined(result[-1], line)) is not None:
            result[-1] = joined
        elif not result or result[-1] != line:
            result.append(line)
    return tuple(result)


def _joined(one: Line, other: Line) -> Line | None:
    if one.dports and other.dports and replace(one, dports=other.dports) == other:
        return replace(one, dports=normalize((*one.dports, *other.dports)))
    if one.icmp_types and other.icmp_types and replace(one, icmp_types=other.icmp_types) == other:
        return replace(one, icmp_types=normalize((*one.icmp_types, *other.icmp_types)))
    return None


# ------------------------------------------------------------------ translation among the filter rules


def inline(anchor: Lines) -> Lines:
    """The same where a rule translates only when it decides, as on OpenBSD.

    What must not be translated is decided before the forwards: blocked traffic, in the way that it would be after
    them. So the first rules of `translation` and of `inbound` match the same packets. What has this form, stays.
    """
    guards = [one for one in anchor.translation if not isinstance(one.action, tuple)]
    forwards = [one for one in anchor.translation if isinstance(one.action, tuple)]
    head = [one.same_packets() for one in anchor.inbound[: len(guards)]]
    if not forwards or head == [one.same_packets() for one in guards]:
        return anchor
    kept = {one.same_packets() for one in guards}
    blocks = [one for one in anchor.inbound if one.same_packets() in kept]
    preamble = [one for one in anchor.inbound if one.label in ("loopback", "essential")]
    apart = [one for one in preamble if all(_meet(one, forward) is None for forward in forwards)]
    near = [one for one in preamble if one not in apart]
    first = [*apart, *(line for block in blocks for line in (*_where(near, block), block))]
    rest = [one for one in anchor.inbound if one not in apart and one not in blocks]
    keeping = [one.same_packets() for one in first]
    return replace(anchor, translation=united((*keeping, *forwards)), inbound=(*united(first), *rest))


def in_place(anchor: Lines) -> tuple[Line, ...]:
    """The inbound lines, among which those that translate stand where they decide."""
    whole = inline(anchor)
    forwards = [one for one in whole.translation if isinstance(one.action, tuple)]
    before = len(whole.translation) - len(forwards) if forwards else 0
    return (*whole.inbound[:before], *forwards, *whole.inbound[before:])


def _where(near: list[Line], block: Line) -> Iterator[Line]:
    """What passes although it is blocked, as far as it is."""
    for one in near:
        met = _meet(one, block)
        if met is not None:
            yield replace(met, action=one.action, label=one.label, log=False)


_TESTS = ("family", "protocol", "interface", "sport", "dports", "icmp_types", "src", "dst")


def _meet(one: Line, other: Line) -> Line | None:
    """The packets of both lines, None when there are none."""
    found = one
    for slot in _TESTS:
        left, right = getattr(one, slot), getattr(other, slot)
        if left in (None, ()) or left == right:
            value = right
        elif right in (None, ()):
            value = left
        else:
            value = _both_values(slot, left, right, one)
        if value == () and (left or right):
            return None
        found = replace(found, **{slot: value})
    return found


def _both_values(slot: str, left: object, right: object, line: Line) -> object:
    """What two tests of one field have in common; () for nothing."""
    match left, right:
        case (int(), int()) if slot in ("family", "protocol"):
            return ()
        case (tuple(), tuple()) if slot in ("dports", "icmp_types"):
            return normalize((max(a, c), min(b, d)) for (a, b), (c, d) in product(left, right))
        case ((int(a), int(b)), (int(c), int(d))):
            return (max(a, c), min(b, d)) if max(a, c) <= min(b, d) else ()
        case _:
            refuse("two tests of its addresses", line)
