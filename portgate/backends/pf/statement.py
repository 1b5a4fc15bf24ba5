"""One rule of pf, read into rules: filter rules, and translations of both styles.

Theory
    The parts of a rule may stand in any order, so each word that begins a part has a reader of its own. A rule with
    a word that is not known keeps what was read of it, and becomes doubtful: it may match, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from portgate.backends.pf import hosts
from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.hosts import DST, SRC, Tables, both, either, family_test
from portgate.backends.pf.tokens import Statement
from portgate.backends.pf.words import FLAG_BITS, SYN_OF_SYN_ACK
from portgate.core.grouping import word
from portgate.core.net import ICMP, ICMPV6, TCP, Family
from portgate.core.policy import Limit
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Any,
    Bits,
    Continue,
    Dnat,
    Drop,
    Effect,
    Field,
    Log,
    Match,
    Not,
    Opaque,
    Origin,
    PlainVerdict,
    RateLimit,
    Reject,
    Rule,
    SetMark,
    Snat,
    Test,
    Unknown,
)

IS_TCP = Test(Field.PROTOCOL, ((TCP, TCP),))
PASSED = SetMark(Field.MARK, 0xFFFFFFFF, 1)  # a translation that is a decision, too
HOME = {Family.IPV4: (0x7F000001, 0x7F000001), Family.IPV6: (1, 1)}  # what a redirect to this host leads to


@dataclass(frozen=True, slots=True)
class Context:
    """What the statements before have set. `inbound_tags` are given to packets that arrive, and to no others."""

    tables: Tables
    returns: bool = False
    inbound_tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule of pf: the rules that it means where it decides, and what it translates.

    **Shape** `early`: translated before anything is filtered.
    """

    rules: tuple[Rule, ...]
    quick: bool = False
    translation: Rule | None = None
    early: bool = False


@dataclass(slots=True)
class _Draft:
    """A rule while it is read."""

    context: Context
    inbound: bool
    text: str
    quick: bool = False
    direction: str = ""
    parts: dict[str, Match] = field(default_factory=dict)
    doubts: list[Match] = field(default_factory=list)
    family: Family | None = None
    flags: tuple[int, int] | None = None
    any_flags: bool = False
    stateless: bool = False
    limit: Limit | None = None
    log: bool = False
    label: str = ""
    translated: PlainVerdict | None = None
    unknown: str = ""

    def doubt(self, what: str, reason: str = "") -> None:
        self.doubts.append(Opaque(f"pf {what}", reason or what))

    def doubt_of_rule(self, reason: str) -> None:
        self.doubts.append(Opaque(f"pf rule {self.text}: {reason}", reason))


def filter_entry(statement: Statement, context: Context, *, inbound: bool) -> Entry | None:
    """A `pass`, `block` or `match` rule as it is for one direction; None when it is of the other."""
    cursor = Cursor(statement.tokens)
    draft = _Draft(context, inbound, str(statement))
    action = cursor.take()
    verdict = _verdict(action, cursor, context)
    _read_parts(cursor, draft)
    if draft.direction not in ("", "in" if inbound else "out"):
        return None
    return _entry(draft, action, verdict, Origin(str(statement), statement.line))


def _verdict(action: str, cursor: Cursor, context: Context) -> PlainVerdict:
    if action == "pass":
        return Accept()
    if action == "match":
        return Continue()
    answer = cursor.accept("drop", "return", "return-rst", "return-icmp", "return-icmp6")
    cursor.parenthesised()
    returns = answer.startswith("return") or (not answer and context.returns)
    return Reject(answer.removeprefix("return").removeprefix("-")) if returns else Drop()


def _entry(draft: _Draft, action: str, verdict: PlainVerdict, origin: Origin) -> Entry:
    effects: tuple[Effect, ...] = (Log(),) if draft.log else ()
    match = _match(draft, stateful=action == "pass" and not draft.stateless)

    def rule(match: Match, verdict: PlainVerdict, *more: Effect) -> Rule:
        return Rule(match, verdict, (*effects, *more), draft.label, origin)

    if draft.unknown:
        return Entry((rule(match, Unknown(draft.unknown)),), draft.quick)
    if isinstance(draft.translated, Dnat) and draft.inbound:
        passes = (PASSED,) if action == "pass" else ()
        translation = rule(match, draft.translated, *passes)
        return Entry((rule(match, verdict),), draft.quick, translation, early=action == "match")
    if draft.limit is not None and action == "pass":
        within = rule(both(match, _within(draft)), verdict)
        return Entry((within, rule(match, Drop())), draft.quick)
    return Entry((rule(match, verdict),), draft.quick)


def _match(draft: _Draft, *, stateful: bool) -> Match:
    order = ("interface", "proto", "from", "sport", "to", "dport", "icmp")
    family = () if draft.family is None else (family_test(draft.family),)
    parts = [draft.parts[name] for name in order if name in draft.parts]
    return both(*family, *parts, *_flags(draft, stateful), *draft.doubts)


def _flags(draft: _Draft, stateful: bool) -> tuple[Match, ...]:
    """A stateful rule takes only what begins a connection: `flags S/SA`, unless it says otherwise."""
    flags = draft.flags or (SYN_OF_SYN_ACK if stateful and not draft.any_flags else None)
    if flags is None:
        return ()
    bits = Bits(Field.TCP_FLAGS, *flags)
    protocol = draft.parts.get("proto", ALWAYS)
    if protocol == IS_TCP:
        return (bits,)
    if isinstance(protocol, Test) and not any(first <= TCP <= last for first, last in protocol.values):
        return ()
    return (Any((Not(IS_TCP), bits)),)


def _within(draft: _Draft) -> Match:
    families = Family if draft.family is None else (draft.family,)
    return either([_rate_limit(draft, draft.limit, family) for family in families] if draft.limit else [])


def _rate_limit(draft: _Draft, limit: Limit, family: Family) -> Match:
    name = f"limit_{word(draft.label or draft.text)}_{limit.amount}_{limit.unit}_{limit.burst}_v{family.value}"
    return RateLimit(SRC[family], limit, name)


# ------------------------------------------------------------------ parts, each by the word that begins it


def _read_parts(cursor: Cursor, draft: _Draft) -> None:
    try:
        while not cursor.done():
            _part(cursor, draft)
    except NotReadError:
        draft.doubt_of_rule(f"a rule that is not understood: {draft.text}")


def _part(cursor: Cursor, draft: _Draft) -> None:
    name = cursor.peek()
    if name in _WORDS:
        cursor.take()
        return
    reader = _PARTS.get(name)
    if reader is None:
        raise NotReadError
    cursor.take()
    reader(cursor, draft)


def _direction(name: str) -> Callable[[Cursor, _Draft], None]:
    def read(_: Cursor, draft: _Draft) -> None:
        draft.direction = name

    return read


def _quick(_: Cursor, draft: _Draft) -> None:
    draft.quick = True


def _log(cursor: Cursor, draft: _Draft) -> None:
    draft.log = True
    cursor.parenthesised()


def _on(cursor: Cursor, draft: _Draft) -> None:
    if cursor.accept("rdomain"):
        draft.doubt(f"rdomain {cursor.take()}", "a routing domain")
        return
    side = Field.IIF if draft.inbound else Field.OIF
    draft.parts["interface"] = either(cursor.listed(lambda: hosts.interface(cursor, side)))


def _inet(_: Cursor, draft: _Draft) -> None:
    draft.family = Family.IPV4


def _inet6(_: Cursor, draft: _Draft) -> None:
    draft.family = Family.IPV6


def _proto(cursor: Cursor, draft: _Draft) -> None:
    draft.parts["proto"] = either(cursor.listed(lambda: hosts.protocol(cursor)))


def _from(cursor: Cursor, draft: _Draft) -> None:
    if cursor.peek() not in ("port", "os"):
        draft.parts["from"] = hosts.hosts(cursor, SRC, draft.context.tables)
    if cursor.accept("port"):
        draft.parts["sport"] = hosts.ports(cursor, Field.SPORT)
    if cursor.accept("os"):
        draft.doubt(f"os {cursor.listed(cursor.take)}", "the operating system of the sender")


def _to(cursor: Cursor, draft: _Draft) -> None:
    if cursor.peek() != "port":
        draft.parts["to"] = hosts.hosts(cursor, DST, draft.context.tables)
    if cursor.accept("port"):
        draft.parts["dport"] = hosts.ports(cursor, Field.DPORT)


def _read_flags(cursor: Cursor, draft: _Draft) -> None:
    if cursor.accept("any"):
        draft.any_flags = True
        return
    wanted = "" if cursor.peek() == "/" else cursor.take()
    mask = cursor.take() if cursor.accept("/") else "FSRPAUEW"
    if set(wanted + mask) - set(FLAG_BITS):
        raise NotReadError
    draft.flags = (sum({FLAG_BITS[one] for one in mask}), sum({FLAG_BITS[one] for one in wanted}))


def _icmp(number: int) -> Callable[[Cursor, _Draft], None]:
    def read(cursor: Cursor, draft: _Draft) -> None:
        draft.parts["icmp"] = both(hosts.of_icmp(number), hosts.icmp_types(cursor, number))

    return read


def _keep(cursor: Cursor, draft: _Draft) -> None:
    cursor.expect("state")
    words = cursor.parenthesised()
    options = " ".join(words).split(" , ")
    for option in options if words else ():
        _state_option(option.split(), draft)


def _state_option(words: list[str], draft: _Draft) -> None:
    match words:
        case ["max-src-conn-rate", amount, "/", seconds]:
            numbers = amount.isdecimal() and seconds.isdecimal()
            draft.limit = Limit.of_window(int(amount), int(seconds)) if numbers else None
            if draft.limit is None or draft.parts.get("proto") != IS_TCP:
                draft.limit = None
                draft.doubt_of_rule("a rate limit")
        case ["max" | "max-src-states" | "max-src-nodes" | "max-src-conn", *_]:
            draft.doubt_of_rule("a limit of states")


def _no(cursor: Cursor, draft: _Draft) -> None:
    cursor.expect("state")
    draft.stateless = True


def _label(cursor: Cursor, draft: _Draft) -> None:
    draft.label = draft.label or cursor.take()


def _skip_one(cursor: Cursor, _: _Draft) -> None:
    cursor.listed(cursor.take)


def _skip_parenthesised(cursor: Cursor, _: _Draft) -> None:
    if not cursor.parenthesised():
        cursor.take()


def _set(cursor: Cursor, draft: _Draft) -> None:
    if not cursor.parenthesised():
        cursor.accept("prio", "queue", "tos", "delay")
        _skip_parenthesised(cursor, draft)


def _doubtful(reason: str) -> Callable[[Cursor, _Draft], None]:
    def read(cursor: Cursor, draft: _Draft) -> None:
        start = cursor.at
        cursor.accept("=", "!=", "<", "<=", ">", ">=")
        cursor.listed(lambda: _value(cursor))
        draft.doubt(f"{reason} {' '.join(one.text for one in cursor.tokens[start : cursor.at])}", reason)

    return read


def _value(cursor: Cursor) -> None:
    cursor.accept("!", "=", "!=", "<", "<=", ">", ">=")
    cursor.take()
    if cursor.accept("><", "<>"):
        cursor.take()


def _probability(cursor: Cursor, draft: _Draft) -> None:
    cursor.take()
    draft.doubt_of_rule("probability")


def _tagged(cursor: Cursor, draft: _Draft) -> None:
    name = cursor.take()
    if not draft.inbound and name in draft.context.inbound_tags:
        draft.doubts.append(hosts.NEVER)
    else:
        draft.doubt(f"tagged {name}", f"the tag {name}")


def _negated(cursor: Cursor, draft: _Draft) -> None:
    """`! tagged x`, `! received-on em0`."""
    _part(cursor, draft)
    if not draft.doubts:
        raise NotReadError
    draft.doubts[-1] = Not(draft.doubts[-1])


def _route(cursor: Cursor, _: _Draft) -> None:
    """Where a packet leaves, or its answers; whether it passes does not change."""
    cursor.listed(lambda: _gateway(cursor))
    while cursor.accept("round-robin", "random", "bitmask", "source-hash", "sticky-address", "least-states"):
        pass


def _gateway(cursor: Cursor) -> None:
    if not cursor.parenthesised():
        cursor.take()
        while cursor.accept("/", "@"):
            cursor.take()


def _nat_to(cursor: Cursor, draft: _Draft) -> None:
    start = cursor.at
    _pool(cursor, draft.family)
    draft.translated = Snat(" ".join(one.text for one in cursor.tokens[start : cursor.at]))


def _rdr_to(cursor: Cursor, draft: _Draft) -> None:
    target = _pool(cursor, draft.family)
    if target is None:
        draft.unknown = "rdr-to an address that is not known"
    else:
        draft.translated = target


def _other_translation(cursor: Cursor, draft: _Draft) -> None:
    draft.unknown = f"{cursor.tokens[cursor.at - 1].text} {' '.join(one.text for one in cursor.tokens[cursor.at :])}"
    cursor.at = len(cursor.tokens)


def _pool(cursor: Cursor, family: Family | None) -> Dnat | None:
    """Addresses and ports of a translation; None when they are not one interval each."""
    target = either(cursor.listed(lambda: hosts.hosts(cursor, DST, {})))
    port = hosts.target_ports(cursor) if cursor.accept("port") else None
    words = tuple(_pool_words(cursor))
    if isinstance(target, Test):
        family = Family.IPV4 if target.field is Field.DST4 else Family.IPV6
    if target == ALWAYS or (isinstance(target, Test) and target.values == ((0, target.field.top),)):
        return Dnat(family, None, port) if "bitmask" in words else None  # no bit of the address changes
    if family is None or not isinstance(target, Test) or len(target.values) != 1:
        return None
    return Dnat(family, None if target.values[0] == HOME[family] else target.values[0], port)


def _pool_words(cursor: Cursor) -> Iterator[str]:
    while word := cursor.accept(*_POOL_WORDS):
        if cursor.peek()[:2] == "0x":
            cursor.take()
        yield word


_POOL_WORDS = (
    "round-robin", "random", "bitmask", "source-hash", "sticky-address", "static-port", "least-states", "endpoint-independent",
)  # fmt: skip
_WORDS = frozenset({"all", "fragment", "allow-opts", "once", "divert-reply", ","})
_PARTS: Mapping[str, Callable[[Cursor, _Draft], None]] = {
    "in": _direction("in"), "out": _direction("out"), "quick": _quick, "log": _log, "on": _on, "inet": _inet, "inet6": _inet6,
    "proto": _proto, "from": _from, "to": _to, "flags": _read_flags, "icmp-type": _icmp(ICMP),
    "icmp6-type": _icmp(ICMPV6), "keep": _keep, "modulate": _keep, "synproxy": _keep, "no": _no, "label": _label,
    "ridentifier": _skip_one, "tag": _skip_one, "queue": _skip_parenthesised, "dnpipe": _skip_parenthesised,
    "dnqueue": _skip_parenthesised, "scrub": _skip_parenthesised, "set": _set, "rtable": _skip_one,
    "user": _doubtful("user"), "group": _doubtful("group"), "tos": _doubtful("tos"), "prio": _doubtful("prio"),
    "received-on": _doubtful("received-on"), "max-pkt-rate": _doubtful("max-pkt-rate"),
    "probability": _probability, "tagged": _tagged, "!": _negated, "route-to": _route, "reply-to": _route,
    "dup-to": _route, "nat-to": _nat_to, "rdr-to": _rdr_to, "binat-to": _other_translation,
    "af-to": _other_translation, "divert-to": _other_translation, "divert-packet": _other_translation,
}  # fmt: skip


# ------------------------------------------------------------------ translations before filtering


def translation_entry(statement: Statement, context: Context) -> Entry:
    """`rdr`, `no rdr`, `nat` and `binat` of FreeBSD and macOS."""
    cursor = Cursor(statement.tokens)
    draft = _Draft(context, inbound=True, text=str(statement))
    refused = bool(cursor.accept("no"))
    kind = cursor.take()
    passes = bool(cursor.accept("pass"))
    end = next((index for index, one in enumerate(statement.tokens) if one.text == "->"), len(statement.tokens))
    head = Cursor(statement.tokens[:end])
    head.at = cursor.at
    _read_parts(head, draft)
    cursor.at = end
    verdict = _translation_verdict(kind, refused, cursor, draft.family)
    effects: tuple[Effect, ...] = (*([Log()] if draft.log else []), *([PASSED] if passes else []))
    rule = Rule(_match(draft, stateful=False), verdict, effects, draft.label, Origin(str(statement), statement.line))
    return Entry((), translation=rule, early=True)


def _translation_verdict(kind: str, refused: bool, cursor: Cursor, family: Family | None) -> PlainVerdict:
    text = " ".join(one.text for one in cursor.tokens)
    if kind == "nat":
        return Accept() if refused else Snat(text)
    if refused:
        return Accept()
    try:
        cursor.expect("->")
        target = _pool(cursor, family) if kind == "rdr" else None
    except NotReadError:
        target = None
    return target or Unknown(text)
