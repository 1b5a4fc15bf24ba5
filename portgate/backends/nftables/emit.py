"""Ruleset -> the text of an nft script.

Rules of this file
    The output follows from the ruleset alone, and one meaning has one text: a rule's tests come in a fixed order, so
    two rules are compared by their texts.
    Only what nft 0.9.8 and Linux 5.10 know. Numbers rather than names where nft would need /etc/protocols or
    /etc/services for them. Always `flags interval`: nft fills the sets without it in quadratic time.

Facts
    A comment has at most 128 bytes, and nft has no way to write a quote in a string (nft 1.0.6).
    `ct original proto-dst` needs the protocol tested before it, and in a concatenation any port tested
    before it, or nft can't read its own listing (nft 1.0.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import add

from portgate.backends.nftables import HEADER, TABLE
from portgate.backends.nftables.lower import READY
from portgate.core.capture import Artifact
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import (
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    interface_patterns,
    interval_texts,
)
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    Accept,
    AddressType,
    All,
    Base,
    Chain,
    Container,
    Continue,
    Counter,
    CtState,
    Dnat,
    Drop,
    Effect,
    Element,
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
    Return,
    Rule,
    Ruleset,
    Test,
    Verdict,
)

LIMIT_SET_SIZE = 65535  # sources that one limit counts at once
SHORTEST_TIMEOUT = 60  # seconds
COMMENT_MAX = 120  # bytes
TRACKED = ((CtState.NEW.value, CtState.RELATED.value),)


class NotOursError(ValueError):
    """Something that portgate never writes, found in a table of ours that somebody edited."""


def emit(desired: Ruleset, dialect: str | None = None) -> Artifact:
    """The script that makes our table what `desired` says, whatever it was before. Errors: PG303 for any dialect."""
    if dialect is not None:
        raise PortgateError(Diagnostic("PG303", f"nftables has no dialect {dialect!r}", remedy="leave it out"))
    text = f"{HEADER}table {TABLE}\ndelete table {TABLE}\n"
    return Artifact("nftables", text + "".join(create(one) for one in desired.owned().containers))


def create(container: Container, whole: Container | None = None) -> str:
    """A table as a block, in the layout of `nft list`; or a part of one, where `whole` has all rules."""
    timeouts = limit_timeouts(whole or container)
    types = icmp_types(whole or container)
    in_turn = sorted(container.sets, key=lambda one: one.name == READY)
    parts = [set_block(one, types, timeouts) for one in in_turn]
    parts += [chain_block(one) for one in container.chains]
    return f"table {TABLE} {{\n" + "\n".join(parts) + "}\n"


# ------------------------------------------------------------------ sets


def icmp_types(container: Container) -> dict[str, int]:
    """The protocol by which rules look up each set of ICMP types, which nft keeps apart by type."""
    return {
        lookup.set_name: protocol
        for chain in container.chains
        for rule in chain.rules
        for protocol in [_single_protocol(_parts(rule.match))]
        for lookup in _parts(rule.match)
        if isinstance(lookup, Lookup) and protocol is not None
    }


def limit_timeouts(container: Container) -> dict[str, int]:
    """Seconds for which each dynamic set must remember a source: until its allowance is full again."""
    return {
        part.set_name: max(SHORTEST_TIMEOUT, -(-part.limit.burst * _SECONDS[part.limit.unit] // part.limit.amount))
        for chain in container.chains
        for rule in chain.rules
        for part in _parts(rule.match)
        if isinstance(part, RateLimit)
    }


_SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600, Unit.DAY: 86400}


def set_type(one: NamedSet, types: dict[str, int]) -> str:
    icmp = "icmpv6_type" if types.get(one.name) == ICMPV6 else "icmp_type"
    return " . ".join(icmp if field is Field.ICMP_TYPE else _FIELDS[field].type for field in one.fields)


def set_block(one: NamedSet, types: dict[str, int], timeouts: dict[str, int]) -> str:
    lines = [f"\ttype {set_type(one, types)}"]
    if one.dynamic:
        timeout = timeouts.get(one.name, SHORTEST_TIMEOUT)
        lines += [f"\tsize {LIMIT_SET_SIZE}", "\tflags dynamic,timeout", f"\ttimeout {timeout}s"]
    else:
        lines.append("\tflags interval,timeout" if one.timed else "\tflags interval")
    if one.comment:
        lines.append(f"\tcomment {quote(one.comment)}")
    if one.elements and not one.dynamic:
        lines.append("\telements = {\n\t\t\t" + ",\n\t\t\t".join(elements(one.fields, one.elements)))
        lines.append("\t}")
    return f"\tset {one.name} {{\n" + "".join(f"\t{line}\n" for line in lines) + "\t}\n"


def elements(fields: tuple[Field, ...], some: Sequence[Element]) -> Iterable[str]:
    """Each element's text; written column by column, because sets are long."""
    boxes, comments, lifetimes = zip(*some, strict=True)
    sides = zip(*boxes, strict=True)
    columns = [_column(field, side) for field, side in zip(fields, sides, strict=False)]
    keys = columns[0] if len(columns) == 1 else map(" . ".join, zip(*columns, strict=True))
    if lifetimes.count(None) < len(lifetimes):
        timeouts = ["" if seconds is None else f" timeout {seconds}s" for seconds in lifetimes]
        keys = map(add, keys, timeouts)
    return map(add, keys, _comments(comments)) if any(comments) else keys


def _comments(texts: Sequence[str]) -> list[str]:
    """What each says behind an element."""
    if all(texts) and _is_plain("".join(texts)) and max(map(len, texts)) <= COMMENT_MAX:
        return [f' comment "{text}"' for text in texts]
    return [f" comment {quote(text)}" if text else "" for text in texts]


def _column(field: Field, side: Sequence[Interval]) -> Iterable[str]:
    words = _FIELDS[field]
    family = _ADDRESSES.get(words.type)
    if family is not None:
        return interval_texts(family, side)
    known = {one: words.value(one) for one in {*side}}
    return map(known.__getitem__, side)


_ADDRESSES = {"ipv4_addr": Family.IPV4, "ipv6_addr": Family.IPV6}


# ------------------------------------------------------------------ chains and rules


def chain_block(chain: Chain) -> str:
    lines = [f"\tchain {chain.name} {{\n"]
    if chain.base is not None:
        lines.append(f"\t\t{base_text(chain.base)}\n")
    lines += [f"\t\t{rule_text(rule)}\n" for rule in chain.rules]
    return "".join(lines) + "\t}\n"


def base_text(base: Base) -> str:
    default = "accept" if base.default == Accept() else "drop"
    return f"type {base.kind} hook {base.hook} priority {base.priority}; policy {default};"


def rule_text(rule: Rule) -> str:
    """One line. Errors: NotOursError."""
    words = [*_matches(rule.match), "counter", *map(_effect, rule.effects), _verdict(rule.verdict)]
    if rule.comment:
        words.append(f"comment {quote(rule.comment)}")
    return " ".join(word for word in words if word)


def quote(text: str) -> str:
    """A string that nft reads as one, and can list and load again: printable, without quotes, at most COMMENT_MAX bytes."""
    if _is_plain(text) and len(text) <= COMMENT_MAX:
        return f'"{text}"'
    plain = "".join(one if one.isprintable() and one not in '"\\' else "_" for one in text)
    return '"' + plain.encode(errors="replace")[:COMMENT_MAX].decode(errors="ignore") + '"'


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not ('"' in text or "\\" in text)


def _effect(effect: Effect) -> str:
    match effect:
        case Log(prefix):
            return f"log prefix {quote(prefix)}"
        case Counter():
            return ""  # every rule has one
        case _:
            raise NotOursError(f"an effect that portgate never writes: {effect}")


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Accept():
            return "accept"
        case Drop():
            return "drop"
        case Reject(answer):
            return f"reject with {answer}" if answer else "reject"
        case Return():
            return "return"
        case Continue():
            return ""
        case Jump(chain):
            return f"jump {chain}"
        case Goto(chain):
            return f"goto {chain}"
        case Dnat():
            return _dnat(verdict)
        case _:
            raise NotOursError(f"a verdict that portgate never writes: {verdict}")


def _dnat(verdict: Dnat) -> str:
    port = "" if verdict.port is None else f":{_number(verdict.port)}"
    if verdict.address is None or verdict.family is None:
        return f"redirect to {port}" if port else "redirect"
    address = _range(verdict.family, verdict.address)
    if verdict.family is Family.IPV6:
        ends = (format_address(Family.IPV6, end) for end in verdict.address)
        first, last = (f"[{end}]" if port else end for end in ends)
        return f"dnat ip6 to {first if first == last else f'{first}-{last}'}{port}"
    return f"dnat ip to {address}{port}"


def _range(family: Family, interval: Interval) -> str:
    first, last = (format_address(family, end) for end in interval)
    return first if first == last else f"{first}-{last}"


# ------------------------------------------------------------------ matches


def _parts(match: Match) -> tuple[Match, ...]:
    return match.matches if isinstance(match, All) else (match,)


def _single_protocol(parts: tuple[Match, ...]) -> int | None:
    for part in parts:
        if isinstance(part, Test) and part.field is Field.PROTOCOL and part.values[0][0] == part.values[-1][1]:
            return part.values[0][0]
    return None


def _matches(match: Match) -> Iterator[str]:
    parts = sorted(_parts(match), key=_rank)
    protocol = _single_protocol(tuple(parts))
    for part in parts:
        if not _implied(part, parts):
            yield _match(part, protocol)


def _rank(match: Match) -> tuple[int, int, str]:
    """The cheap and telling tests first, lookups after them, limits last."""
    match match:
        case Test(field, _) if field in _ORDER:
            return 0, _ORDER[field], ""
        case Lookup(fields, name) | Not(Lookup(fields, name)) if _ORDER.keys() >= set(fields):
            return 1, len(fields), name
        case RateLimit(source, _, name):
            return 2, _ORDER[source], name
        case _:
            raise NotOursError(f"a match that portgate never writes: {match}")


def _implied(part: Match, parts: list[Match]) -> bool:
    """nft adds the test of the protocol to `tcp dport 22`, that of the family to `ip saddr`, and lists neither.

    Nor has a packet an original port or a translation without a connection.
    """
    match part:
        case Test(Field.PROTOCOL, ((first, last),)) if first == last:
            implying = {*_OF_PROTOCOL}
        case Test(Field.FAMILY, ((first, last),)) if first == last:
            implying = {Field.SRC4, Field.DST4} if first == Family.IPV4 else {Field.SRC6, Field.DST6}
        case Test(Field.CT_STATE, values) if values == TRACKED:
            implying = _OF_CONNECTION
        case _:
            return False
    return any(not implying.isdisjoint(_fields(one)) for one in parts)


def _fields(part: Match) -> tuple[Field, ...]:
    match part:
        case Test(field, _):
            return (field,)
        case Lookup(fields, _):
            return fields
        case RateLimit(source, _, _):
            return (source,)
        case _:
            return ()


def sets_of(rule: Rule) -> Iterator[str]:
    """The sets that it looks up."""
    for part in _parts(rule.match):
        inner = part.match if isinstance(part, Not) else part
        if isinstance(inner, Lookup):
            yield inner.set_name


def _match(part: Match, protocol: int | None) -> str:
    match part:
        case Test(field, values):
            return f"{_expression(field, protocol)} {_values(field, values)}"
        case Lookup(fields, name):
            return " . ".join(_expression(field, protocol) for field in fields) + f" @{name}"
        case Not(Lookup(fields, name)):
            return " . ".join(_expression(field, protocol) for field in fields) + f" != @{name}"
        case RateLimit(source, Limit(amount, unit, burst), name):
            rate = f"limit rate {amount}/{unit} burst {burst} packets"
            return f"update @{name} {{ {_expression(source, None)} {rate} }}"
        case _:
            raise NotOursError(f"a match that portgate never writes: {part}")


def _expression(field: Field, protocol: int | None) -> str:
    if field in _OF_PROTOCOL:
        return f"{'th' if protocol is None else _HEADERS.get(protocol, 'th')} {_OF_PROTOCOL[field]}"
    return _FIELDS[field].expression


def _values(field: Field, values: Intervals) -> str:
    if field is Field.CT_STATE:
        return ",".join(CtState(one).name.lower() for first, last in values for one in range(first, last + 1))
    texts = [text for interval in values for text in _texts(field, interval)]
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"


def _texts(field: Field, interval: Interval) -> Iterator[str]:
    if field in (Field.IIF, Field.OIF):
        yield from (f'"{pattern}"' for pattern in interface_patterns(interval))
    else:
        yield _FIELDS[field].value(interval)


def _number(interval: Interval) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"


def _protocol(interval: Interval) -> str:
    first, last = interval
    return _PROTOCOL_KEYWORDS.get(first, str(first)) if first == last else f"{first}-{last}"


def _word(names: dict[int, str]) -> Callable[[Interval], str]:
    def show(interval: Interval) -> str:
        first, last = interval
        if first != last or first not in names:
            raise NotOursError(f"a value that portgate never tests: {interval}")
        return names[first]

    return show


_address4 = partial(format_interval, Family.IPV4)
_address6 = partial(format_interval, Family.IPV6)

# What the grammar of nft knows by itself; other names would need /etc/protocols.
_PROTOCOL_KEYWORDS = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    50: "esp",
    51: "ah",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
_HEADERS = {number: _PROTOCOL_KEYWORDS[number] for number in (*PORT_PROTOCOLS, ICMP, ICMPV6)}
_OF_CONNECTION = {Field.DNATED, Field.ORIGINAL_DST4, Field.ORIGINAL_DST6, Field.ORIGINAL_DPORT}
_OF_PROTOCOL = {Field.SPORT: "sport", Field.DPORT: "dport", Field.ICMP_TYPE: "type"}


@dataclass(frozen=True, slots=True)
class _Words:
    """How nft says a field: its type in a set, its expression in a rule, the text of a value."""

    type: str
    expression: str
    value: Callable[[Interval], str]


# The fields that portgate tests, in the order in which a rule tests them.
_FIELDS = {
    Field.IIF: _Words("ifname", "iifname", _number),
    Field.OIF: _Words("ifname", "oifname", _number),
    Field.CT_STATE: _Words("ct_state", "ct state", _number),
    Field.DNATED: _Words("ct_status", "ct status", _word({1: "dnat"})),
    Field.FAMILY: _Words("nf_proto", "meta nfproto", _word({4: "ipv4", 6: "ipv6"})),
    Field.DST_TYPE: _Words("fib_addrtype", "fib daddr type", _word({AddressType.LOCAL.value: "local"})),
    Field.PROTOCOL: _Words("inet_proto", "meta l4proto", _protocol),
    Field.SRC4: _Words("ipv4_addr", "ip saddr", _address4),
    Field.SRC6: _Words("ipv6_addr", "ip6 saddr", _address6),
    Field.DST4: _Words("ipv4_addr", "ip daddr", _address4),
    Field.DST6: _Words("ipv6_addr", "ip6 daddr", _address6),
    Field.ORIGINAL_DST4: _Words("ipv4_addr", "ct original ip daddr", _address4),
    Field.ORIGINAL_DST6: _Words("ipv6_addr", "ct original ip6 daddr", _address6),
    Field.SPORT: _Words("inet_service", "sport", _number),
    Field.DPORT: _Words("inet_service", "dport", _number),
    Field.ORIGINAL_DPORT: _Words("inet_service", "ct original proto-dst", _number),
    Field.ICMP_TYPE: _Words("icmp_type", "type", _number),
}  # fmt: skip
_ORDER = {field: rank for rank, field in enumerate(_FIELDS)}
