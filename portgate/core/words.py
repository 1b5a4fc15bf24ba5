"""Rules in words, for people: nft's where there are some. Never fed to a firewall."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import assert_never

from portgate.core.net import (
    Family,
    Interval,
    Intervals,
    format_interval,
    interface_pattern,
    protocol_name,
)
from portgate.core.ruleset import (
    Accept,
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Box,
    Continue,
    Counter,
    CtState,
    Dnat,
    Drop,
    Effect,
    Element,
    Field,
    Goto,
    InterfaceAddress,
    InterfaceGroup,
    Jump,
    Log,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    Queue,
    RateLimit,
    Reject,
    Return,
    ReversePath,
    Rule,
    SetMark,
    SideNote,
    Snat,
    Template,
    Test,
    Unknown,
    Verdict,
    VerdictMap,
)

_FIELD_WORDS = {
    Field.FAMILY: "meta nfproto", Field.PROTOCOL: "meta l4proto", Field.IIF: "iifname", Field.OIF: "oifname",
    Field.SRC4: "ip saddr", Field.SRC6: "ip6 saddr", Field.DST4: "ip daddr", Field.DST6: "ip6 daddr",
    Field.SPORT: "sport", Field.DPORT: "dport", Field.ICMP_TYPE: "icmp type", Field.ICMP_CODE: "icmp code",
    Field.TCP_FLAGS: "tcp flags", Field.CT_STATE: "ct state", Field.DNATED: "ct status dnat",
    Field.ORIGINAL_SRC4: "ct original ip saddr", Field.ORIGINAL_SRC6: "ct original ip6 saddr",
    Field.ORIGINAL_DST4: "ct original ip daddr", Field.ORIGINAL_DST6: "ct original ip6 daddr",
    Field.ORIGINAL_SPORT: "ct original proto-src", Field.ORIGINAL_DPORT: "ct original proto-dst",
    Field.SRC_TYPE: "fib saddr type", Field.DST_TYPE: "fib daddr type", Field.MARK: "mark", Field.CT_MARK: "ct mark",
}  # fmt: skip
_V4 = frozenset({Field.SRC4, Field.DST4, Field.ORIGINAL_SRC4, Field.ORIGINAL_DST4})
_V6 = frozenset({Field.SRC6, Field.DST6, Field.ORIGINAL_SRC6, Field.ORIGINAL_DST6})
_MOST = 5


def rule_text(rule: Rule) -> str:
    """The native text where the reading had one, else our words for it."""
    if rule.origin.text:
        return rule.origin.text
    words = [match_text(rule.match), *(effect_text(effect) for effect in rule.effects), verdict_text(rule.verdict)]
    return " ".join(word for word in words if word)


def match_text(match: Match) -> str:
    """A match, "" when it is always true."""
    match match:
        case Test(field, values):
            return f"{_FIELD_WORDS[field]} {_values_text(field, values)}"
        case Bits(field, mask, value):
            return f"{_FIELD_WORDS[field]} & {mask:#x} == {value:#x}"
        case Lookup(fields, set_name):
            return f"{_fields_text(fields)} @{set_name}"
        case AnonymousLookup(fields, boxes):
            return f"{_fields_text(fields)} {{ {_some([box_text(fields, box) for box in boxes])} }}"
        case RateLimit(_, limit, _):
            return f"limit {limit.amount}/{limit.unit} burst {limit.burst} per source"
        case Opaque(_, reason) | ReversePath(Opaque(_, reason)):
            return f"({reason})"
        case InterfaceAddress(field, text):
            return f"{_FIELD_WORDS[field]} {text}"
        case InterfaceGroup(field, name):
            return f"{_FIELD_WORDS[field]} group {name}"
        case Not(inner):
            return f"not ({match_text(inner)})"
        case All(matches):
            return " ".join(text for text in map(match_text, matches) if text)
        case Any(matches):
            return "(" + " or ".join(map(match_text, matches)) + ")"
        case _:
            assert_never(match)


def box_text(fields: Sequence[Field], box: Box) -> str:
    """`tcp . 22`"""
    return " . ".join(_value_text(field, part) for field, part in zip(fields, box, strict=True))


def element_text(fields: Sequence[Field], element: Element) -> str:
    """`tcp . 10.0.0.0/8 . 22`"""
    return box_text(fields, element.box)


def effect_text(effect: Effect) -> str:
    """`notrack`, `log`, ...; "" for a counter, which changes nothing."""
    match effect:
        case Log(prefix):
            return f'log prefix "{prefix}"' if prefix else "log"
        case Counter():
            return ""
        case SetMark():
            return _mark_text(effect)
        case NoTrack():
            return "notrack"
        case Template(text) | SideNote(text):
            return text
        case _:
            assert_never(effect)


def _mark_text(effect: SetMark) -> str:
    """`set mark 0x1 mask 0xff`, `set mark ct mark & 0xff`"""
    words = [] if effect.value == 0 and effect.copied else ["unknown" if effect.value is None else f"{effect.value:#x}"]
    if effect.copied:
        other = _FIELD_WORDS[Field.CT_MARK if effect.field is Field.MARK else Field.MARK]
        words.append(other if effect.copied == effect.field.top else f"{other} & {effect.copied:#x}")
    mask = "" if effect.mask == effect.field.top else f" mask {effect.mask:#x}"
    return f"set {_FIELD_WORDS[effect.field]} {' xor '.join(words)}{mask}"


def verdict_text(verdict: Verdict) -> str:
    """A verdict, "" for going on."""
    match verdict:
        case Accept() | Drop() | Return() | Queue():
            return type(verdict).__name__.lower()
        case Reject(answer):
            return f"reject with {answer}" if answer else "reject"
        case Continue():
            return ""
        case Jump(chain) | Goto(chain):
            return f"{type(verdict).__name__.lower()} {chain}"
        case Dnat(family, address, port):
            return _translation_text(family, address, port)
        case Snat(text) | Unknown(text):
            return text
        case VerdictMap(fields, entries, _):
            pairs = [f"{box_text(fields, box)} : {verdict_text(plain)}" for box, plain in entries]
            return f"{_fields_text(fields)} vmap {{ {_some(pairs)} }}"
        case _:
            assert_never(verdict)


def _translation_text(family: Family | None, address: Interval | None, port: Interval | None) -> str:
    to_port = "" if port is None else ":" + _range_text(port)
    if address is None or family is None:
        return f"redirect{' to ' if to_port else ''}{to_port}"
    text = format_interval(family, address)
    return f"dnat to {f'[{text}]' if family is Family.IPV6 and to_port else text}{to_port}"


def _fields_text(fields: Sequence[Field]) -> str:
    return " . ".join(_FIELD_WORDS[field] for field in fields)


def _values_text(field: Field, values: Intervals) -> str:
    texts = [_value_text(field, part) for part in values]
    return texts[0] if len(texts) == 1 else f"{{ {_some(texts)} }}"


def _value_text(field: Field, part: Interval) -> str:
    if part == (0, field.top):
        return "any"
    if field in _V4:
        return format_interval(Family.IPV4, part)
    if field in _V6:
        return format_interval(Family.IPV6, part)
    if field in (Field.IIF, Field.OIF):
        return interface_pattern(part) or "others"
    names = _NAMES.get(field)
    if names is None or part[1] - part[0] >= _MOST:
        return _range_text(part)
    return ",".join(names(one) for one in range(part[0], part[1] + 1))


_NAMES: Mapping[Field, Callable[[int], str]] = {
    Field.PROTOCOL: protocol_name,
    Field.FAMILY: lambda value: f"ipv{value}",
    Field.CT_STATE: lambda value: CtState(value).name.lower(),
    Field.SRC_TYPE: lambda value: AddressType(value).name.lower(),
    Field.DST_TYPE: lambda value: AddressType(value).name.lower(),
}


def _range_text(part: Interval) -> str:
    return str(part[0]) if part[0] == part[1] else f"{part[0]}-{part[1]}"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(_shortened(texts))


def _shortened(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:_MOST]
    if len(texts) > _MOST:
        yield f"{len(texts) - _MOST} more"
