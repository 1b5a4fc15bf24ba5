"""Lowered rules -> the text that iptables-restore, ip6tables-restore and ipset take.

Theory
    One text holds all that is ours, cut into parts. A line `#: iptables` or `#: ip6tables` begins the input of that
    program, so that each part alone is what its program takes; a line `#ipset ...` is one for `ipset restore`.

Facts (iptables 1.8.9)
    What iptables-save prints of a rule is the same in both stores. `-p 0` and `--icmp-type 255` stand for anything, and
    a plus at the end of an interface's name for any ending. With --noflush, declaring a chain of ours empties it.

Rules of this file
    What is accepted goes on behind our chains: RETURN, never ACCEPT, which would leave the table.
    One meaning has one text: two rules are compared by their texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portgate.backends.iptables import HEADER
from portgate.backends.iptables.limits import limit_listed, limit_memory
from portgate.backends.iptables.lower import lower, parts_of
from portgate.backends.iptables.names import BASES, PROGRAMS, is_ours, set_names
from portgate.core.capture import Artifact
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import (
    DCCP,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    interface_pattern,
    intersect,
)
from portgate.core.ruleset import (
    OWNER,
    Accept,
    AddressType,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Element,
    Field,
    Goto,
    Log,
    Lookup,
    NamedSet,
    Not,
    RateLimit,
    Reject,
    Rule,
    Ruleset,
    Test,
)

COMMENT_MAX = 255
_CONNECTED = ((CtState.NEW.value, CtState.RELATED.value),)
_OF_CONNECTION = {Field.DNATED, Field.ORIGINAL_DST4, Field.ORIGINAL_DST6, Field.ORIGINAL_DPORT}

Names = Mapping[str, str]
"""Which of the two sets of a name is meant; the name itself where it is not said."""


class NotOursError(ValueError):
    """Something that portgate never writes, found in a chain of ours that somebody edited."""


def emit(desired: Ruleset, dialect: str | None = None) -> Artifact:
    """All that is ours, as one text; a dialect is the program that takes it. Errors: PG302, PG303."""
    if dialect not in (None, *PROGRAMS.values()):
        remedy = f"the programs are {' and '.join(PROGRAMS.values())}"
        raise PortgateError(Diagnostic("PG303", f"iptables has no dialect {dialect!r}", remedy=remedy))
    containers = [one for one in lower(desired).containers if dialect in (None, PROGRAMS[one.families[0]])]
    named = {one.name: one for container in containers for one in container.sets}
    names = {name: one.comment or set_names(name)[0] for name, one in named.items()}
    lines = [line for name, one in sorted(named.items()) for line in set_lines(one, names[name])]
    for family, program in PROGRAMS.items():
        own = [one for one in containers if one.families == (family,)]
        lines += [f"#: {program}", *(line for one in own for line in table_lines(one, names))] if own else []
    return Artifact("iptables", HEADER + "".join(f"{line}\n" for line in lines), dialect)


def table_lines(container: Container, names: Names) -> Iterator[str]:
    """A whole table of ours, with the jumps to it."""
    yield f"*{container.inside.split()[1]}"
    yield from (f":{chain.name} - [0:0]" for chain in container.chains)
    for chain in container.chains:
        yield from (f"-A {chain.name} {rule_text(rule, names)}" for rule in chain.rules)
    yield from (jump("-I", chain.name) for chain in container.chains if chain.base)
    yield "COMMIT"


def jump(command: str, chain: str) -> str:
    """The one rule that stands in a chain of others."""
    return f'{command} {BASES[chain].hook.upper()} -m comment --comment "{OWNER}" -j {chain}'


# ------------------------------------------------------------------ sets


def set_lines(named: NamedSet, native: str) -> Iterator[str]:
    """Makes the set and fills it, also if it is there."""
    yield f"#ipset create {native} {_kind(named)} comment"
    yield f"#ipset flush {native}"
    yield from (f"#ipset add {native} {_member(named, one)}{_remark(one)}" for one in named.elements)


def _kind(named: NamedSet) -> str:
    if named.fields[0] is Field.SPORT:
        return "bitmap:port range 0-65535"
    family = "inet6" if named.fields[0] is Field.SRC6 else "inet"
    room = max(65536, len(named.elements))
    return f"hash:net{',port' if len(named.fields) > 1 else ''} family {family} maxelem {room}"


def _member(named: NamedSet, element: Element) -> str:
    if named.fields[0] is Field.SPORT:
        return str(element.box[0][0])
    family = Family.IPV6 if named.fields[0] is Field.SRC6 else Family.IPV4
    network = format_interval(family, element.box[0])
    return network if len(element.box) == 1 else f"{network},{_protocol(element.box[1][0])}:{element.box[2][0]}"


def _remark(element: Element) -> str:
    return f" comment {quote(element.comment)}" if element.comment else ""


# ------------------------------------------------------------------ rules


def rule_text(rule: Rule, names: Names) -> str:
    """One line without its chain. Errors: NotOursError."""
    words = [*_Words(rule, names).words(), *_target(rule)]
    return " ".join(words)


def quote(text: str) -> str:
    """One word for iptables-restore and for ipset: printable ASCII, without quotes and backslashes."""
    plain = _printable(text)[:COMMENT_MAX]
    return plain if plain and all(one.isalnum() or one in "_.:-" for one in plain) and plain[0] != "-" else f'"{plain}"'


def _printable(text: str) -> str:
    return "".join(one if one.isascii() and one.isprintable() and one not in '"\\' else "_" for one in text)


def _target(rule: Rule) -> Iterator[str]:
    log = next((one for one in rule.effects if isinstance(one, Log)), None)
    if len(rule.effects) != (log is not None) or (log is None) == isinstance(rule.verdict, Continue):
        raise NotOursError(f"a rule that portgate never writes: {rule}")
    match rule.verdict:
        case Continue():
            yield f'-j LOG --log-prefix "{_printable((log or Log()).prefix)}"'
        case Accept():
            yield "-j RETURN"
        case Drop():
            yield "-j DROP"
        case Reject(answer):
            yield f"-j REJECT --reject-with {answer}"
        case Goto(chain) if is_ours(chain):
            yield f"-g {chain}"
        case Dnat():
            yield _translation(rule.verdict)
        case _:
            raise NotOursError(f"a verdict that portgate never writes: {rule.verdict}")


def _translation(verdict: Dnat) -> str:
    port = "" if verdict.port is None else _range(verdict.port, "-")
    if verdict.address is None or verdict.family is None:
        return f"-j REDIRECT --to-ports {port}" if port else "-j REDIRECT"
    ends = [format_address(verdict.family, end) for end in dict.fromkeys(verdict.address)]
    addresses = "-".join(ends)
    if port and verdict.family is Family.IPV6:
        addresses = f"[{addresses}]"
    return f"-j DNAT --to-destination {addresses}{':' if port else ''}{port}"


def _range(interval: Interval, dash: str) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}{dash}{last}"


def _protocol(number: int) -> str:
    return _KEYWORDS.get(number, str(number))


# What iptables itself has names for; others would need /etc/protocols.
_KEYWORDS = {
    TCP: "tcp",
    UDP: "udp",
    UDPLITE: "udplite",
    ICMP: "icmp",
    ICMPV6: "ipv6-icmp",
    SCTP: "sctp",
    50: "esp",
    51: "ah",
}
_WITH_MODULE = {TCP: "tcp", UDP: "udp", SCTP: "sctp", DCCP: "dccp"}
_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")


class _Words:
    """The matches of one rule, by field."""

    def __init__(self, rule: Rule, names: Names) -> None:
        self.comment = rule.comment
        self.names = names
        self.tests: dict[Field, Intervals] = {}
        self.not_protocol: int | None = None
        self.lookups: list[Lookup] = []
        self.limits: list[RateLimit] = []
        for part in parts_of(rule.match):
            self._take(part)
        if not _OF_CONNECTION.isdisjoint(self.tests) and self.tests.get(Field.CT_STATE) == _CONNECTED:
            del self.tests[Field.CT_STATE]

    def _take(self, part: object) -> None:
        match part:
            case Test(field, values) if field in _WRITTEN:
                before = self.tests.get(field)
                self.tests[field] = values if before is None else intersect(before, values)
            case Not(Test(Field.PROTOCOL, ((first, last),))) if first == last:
                self.not_protocol = first
            case Lookup():
                self.lookups.append(part)
            case RateLimit():
                self.limits.append(part)
            case _:
                raise NotOursError(f"a match that portgate never writes: {part}")

    def words(self) -> Iterator[str]:
        yield from self._plain()
        yield from self._ports()
        if Field.ICMP_TYPE in self.tests:
            six = self._protocol_number() == ICMPV6
            module, option = ("icmp6", "--icmpv6-type") if six else ("icmp", "--icmp-type")
            yield f"-m {module} {option} {self._only(Field.ICMP_TYPE)}"
        yield from self._ranges()
        yield from (
            f"-m set --match-set {self.names.get(one.set_name, one.set_name)} {_directions(one)}"
            for one in self.lookups
        )
        yield from self._connection()
        if Field.DST_TYPE in self.tests:
            yield f"-m addrtype --dst-type {AddressType(self._only(Field.DST_TYPE)).name}"
        yield from map(_limit, self.limits)
        if self.comment:
            yield f"-m comment --comment {quote(self.comment)}"

    def _single(self, field: Field) -> Interval:
        values = self.tests[field]
        if len(values) != 1:
            raise NotOursError(f"several values of {field.label}")
        return values[0]

    def _only(self, field: Field) -> int:
        first, last = self._single(field)
        if first != last or (field is Field.ICMP_TYPE and first == field.top):
            raise NotOursError(f"a range of {field.label}")
        return first

    def _plain(self) -> Iterator[str]:
        for fields, option in ((_SOURCES, "-s"), (_DESTINATIONS, "-d")):
            for field in fields & self.tests.keys():
                text = format_interval(_FAMILIES[field], self._single(field))
                if "-" not in text:
                    yield f"{option} {text}{'' if '/' in text else f'/{_FAMILIES[field].bits}'}"
        for field, option in ((Field.IIF, "-i"), (Field.OIF, "-o")):
            if field in self.tests:
                yield f"{option} {_interface(self._single(field))}"
        if self.not_protocol is not None:
            yield f"! -p {_protocol(self.not_protocol)}"
        if Field.PROTOCOL in self.tests:
            yield f"-p {_protocol(self._protocol_number())}"

    def _protocol_number(self) -> int:
        number = self._only(Field.PROTOCOL) if Field.PROTOCOL in self.tests else 0
        if number == 0:
            raise NotOursError("iptables takes protocol 0 for any")
        return number

    def _ports(self) -> Iterator[str]:
        sources, destinations = self.tests.get(Field.SPORT, ()), self.tests.get(Field.DPORT, ())
        if not sources and not destinations:
            return
        module = _WITH_MODULE.get(self._protocol_number())
        if module is None or len(sources) > 1 or len(destinations) > 1:
            if sources:
                raise NotOursError("several source ports")
            yield f"-m multiport --dports {','.join(_range(one, ':') for one in destinations)}"
            return
        options = (("--sport", sources), ("--dport", destinations))
        yield " ".join(
            [f"-m {module}", *(f"{option} {_range(values[0], ':')}" for option, values in options if values)]
        )

    def _ranges(self) -> Iterator[str]:
        """Addresses that are no prefix."""
        for fields, option in ((_SOURCES, "--src-range"), (_DESTINATIONS, "--dst-range")):
            for field in fields & self.tests.keys():
                text = format_interval(_FAMILIES[field], self._single(field))
                if "-" in text:
                    yield f"-m iprange {option} {text}"

    def _connection(self) -> Iterator[str]:
        states = [
            name
            for name in _STATES
            for first, last in self.tests.get(Field.CT_STATE, ())
            if first <= CtState[name].value <= last
        ]
        if Field.DNATED in self.tests:
            states.append("DNAT")
        if states:
            yield f"-m conntrack --ctstate {','.join(states)}"
        yield from self._original()

    def _original(self) -> Iterator[str]:
        for field in {Field.ORIGINAL_DST4, Field.ORIGINAL_DST6} & self.tests.keys():
            yield f"-m conntrack --ctorigdst {format_interval(_FAMILIES[field], self._single(field))}"
        if Field.ORIGINAL_DPORT in self.tests:
            yield f"-m conntrack --ctorigdstport {_range(self._single(Field.ORIGINAL_DPORT), ':')}"


_SOURCES, _DESTINATIONS = {Field.SRC4, Field.SRC6}, {Field.DST4, Field.DST6}
_FAMILIES = {
    Field.SRC4: Family.IPV4, Field.DST4: Family.IPV4, Field.ORIGINAL_DST4: Family.IPV4,
    Field.SRC6: Family.IPV6, Field.DST6: Family.IPV6, Field.ORIGINAL_DST6: Family.IPV6,
}  # fmt: skip
_WRITTEN = {
    *_FAMILIES, *_OF_CONNECTION, Field.PROTOCOL, Field.IIF, Field.OIF, Field.SPORT, Field.DPORT, Field.ICMP_TYPE,
    Field.CT_STATE, Field.DST_TYPE,
}  # fmt: skip


def _interface(interval: Interval) -> str:
    name = interface_pattern(interval)
    if name is None or (name.endswith("+") and interval[0] == interval[1]):
        raise NotOursError("iptables can't name this interface")
    return f"{name[:-1]}+" if name.endswith("*") else name


def _directions(lookup: Lookup) -> str:
    found = ("src" if one in (*_SOURCES, Field.SPORT) else "dst" for one in lookup.fields if one is not Field.PROTOCOL)
    return ",".join(found)


def _limit(one: RateLimit) -> str:
    return (
        f"-m hashlimit --hashlimit-upto {limit_listed(one.limit)} --hashlimit-burst {one.limit.burst} --hashlimit-mode srcip "
        f"--hashlimit-name {one.set_name} --hashlimit-htable-expire {limit_memory(one.limit)}"
    )
