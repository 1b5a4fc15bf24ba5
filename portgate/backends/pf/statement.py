"""One rule of pf, read into rules: filter rules, and translations of both styles.

Theory
    The parts of a rule may stand in any order, so each word that begins a part has a reader of its own. A rule with
    a word that is not known keeps what was read of it, and becomes doubtful: it may match, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field

from portgate.backends.pf import hosts
from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.hosts import Tables
from portgate.backends.pf.pools import anywhere, family_of, pool, pool_words
from portgate.backends.pf.tokens import Statement
from portgate.backends.pf.words import FLAG_BITS
from portgate.core.bsd import ARRIVED, DST, NEVER, SRC, Side, both, either, family_test, number, of_icmp
from portgate.core.dataclasses import dataclass
from portgate.core.grouping import word
from portgate.core.lowering import SYN_OF_SYN_ACK
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
    Test,
    Unknown,
)

IS_TCP = Test(Field.PROTOCOL, ((TCP, TCP),))
PASSED = SetMark(Field.MARK, 1, 1)  # a translation that is a decision, too
REROUTED = SetMark(Field.MARK, 2, 2)  # leaves by another interface than that of its route
TAG_BITS = 0xFFFFFFFC
THERE, BACK = (SRC, DST), (DST, SRC)


@dataclass(frozen=True, slots=True)
class Context:
    """What the other statements set.

    **Shape** `tags` are those that only arriving packets get, numbered from 1, `followed` when it is known which packet
    leaves with which; of the packets that are `renamed` the source is another one when the rules for what leaves are asked.
    """

    tables: Tables
    returns: bool = False
    tags: Mapping[str, int] = field(default_factory=dict)
    followed: bool = False
    renamed: Match = NEVER

    def tagging(self, tag: str) -> tuple[SetMark, ...]:
        """What a rule does that gives the tag, if it is followed."""
        return (SetMark(Field.MARK, TAG_BITS, self.tags[tag] << 2),) if self.followed and tag in self.tags else ()

    def tagged(self, tag: str, *, inbound: bool) -> Match:
        """The packets that have the tag. What is sent by this host has none that only arriving packets get."""
        if self.followed and tag in self.tags and not inbound:
            return Bits(Field.MARK, TAG_BITS, self.tags[tag] << 2)
        doubt = Opaque(f"pf tagged {tag}", f"the tag {tag}")
        return doubt if inbound or tag not in self.tags else both(ARRIVED, doubt)


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule of pf: the rules that it means where it decides, and what it translates.

    **Shape** `early`: translated before anything is filtered; `tagging` is done to all that it matches, though another one decides.
    """

    rules: tuple[Rule, ...]
    quick: bool = False
    tagging: tuple[SetMark, ...] = ()
    translation: tuple[Rule, ...] = ()
    early: bool = False


@dataclass(slots=True)
class Draft:
    """A rule while it is read. `sides` are what its `from` and `to` are about: BACK for the answers to its packets.

    **Shape** `mapped` is what stands after `binat-to`.
    """

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
    tag: str = ""
    rerouted: bool = False
    targets: tuple[Dnat, ...] = ()
    unknown: str = ""
    sides: tuple[Side, Side] = THERE
    mapped: Match | None = None

    def doubt(self, what: str, reason: str = "") -> None:
        self.doubts.append(Opaque(f"pf {what}", reason or what))

    def tagging(self) -> tuple[SetMark, ...]:
        return self.context.tagging(self.tag) if self.inbound else ()

    def doubt_of_rule(self, reason: str) -> None:
        self.doubts.append(Opaque(f"pf rule {self.text}: {reason}", reason))


def filter_entry(statement: Statement, context: Context, *, inbound: bool) -> Entry | None:
    """A `pass`, `block` or `match` rule as it is for one direction; None when it is of the other."""
    if _at_once(statement) == ("out" if inbound else "in"):
        return None
    action, verdict, draft = _drafted(statement, Draft(context, inbound, str(statement)))
    if draft.mapped is not None and inbound:
        action, verdict, back = _drafted(statement, Draft(context, inbound, str(statement), sides=BACK))
        draft = map_back(back, draft.mapped)
    if draft.direction not in ("", "in" if inbound else "out"):
        return None
    return _entry(draft, action, verdict, Origin(str(statement), statement.line))


def _at_once(statement: Statement) -> str:
    """The direction of a rule where it usually stands, so that the rest need not be read; "" when it is not there."""
    words = [one.text for one in statement.tokens[1:3]]
    found = words[1:] if words[:1] in (["drop"], ["return"]) else words[:1]
    return "".join(one for one in found if one in ("in", "out"))


def _drafted(statement: Statement, draft: Draft) -> tuple[str, PlainVerdict, Draft]:
    cursor = Cursor(statement.tokens)
    action = cursor.take()
    answer = _answer(cursor, draft) if action == "block" else ""
    read_parts(cursor, draft)
    return action, _verdict(action, answer, draft.context), draft


def _answer(cursor: Cursor, draft: Draft) -> str:
    found = cursor.accept("drop", "return", "return-rst", "return-icmp", "return-icmp6")
    with _doubted(draft):
        cursor.parenthesised()
    return found


def map_back(draft: Draft, mapped: Match) -> Draft:
    """The other direction of a `binat`: what arrives for the address that stands for ours, and is led to ours.

    `draft` is the rule, read as BACK.
    """
    ours = draft.parts.get("from", ALWAYS)
    draft.parts["from"] = mapped
    family = family_of(mapped)
    if isinstance(ours, Test) and len(ours.values) == 1 and family and family_of(ours) is family:
        draft.targets = (Dnat(family, ours.values[0], None),)
    else:
        draft.targets = anywhere(draft.family or family)
    return draft


def _verdict(action: str, answer: str, context: Context) -> PlainVerdict:
    if action == "pass":
        return Accept()
    if action == "match":
        return Continue()
    returns = answer.startswith("return") or (not answer and context.returns)
    return Reject(answer.removeprefix("return").removeprefix("-")) if returns else Drop()


def _entry(draft: Draft, action: str, verdict: PlainVerdict, origin: Origin) -> Entry:
    rerouted = (REROUTED,) if draft.rerouted and draft.inbound else ()
    effects: tuple[Effect, ...] = (*([Log()] if draft.log else []), *rerouted)
    match = match_of(draft, stateful=action == "pass" and not draft.stateless)

    def rule(match: Match, verdict: PlainVerdict, *more: Effect) -> Rule:
        return Rule(match, verdict, (*effects, *more), draft.label, origin)

    if draft.unknown:
        return Entry((rule(match, Unknown(draft.unknown)),), draft.quick, draft.tagging())
    if draft.targets and draft.inbound:
        passes = (*draft.tagging(), *([PASSED] if action == "pass" else []))
        translation = tuple(rule(match, target, *passes) for target in draft.targets)
        return Entry((rule(match, verdict),), draft.quick, (), translation, early=action == "match")
    if draft.limit is not None and action == "pass":
        within = rule(both(match, _within(draft)), verdict)
        return Entry((within, rule(match, Drop())), draft.quick, draft.tagging())
    return Entry((rule(match, verdict),), draft.quick, draft.tagging())


def match_of(draft: Draft, *, stateful: bool) -> Match:
    """Everything that the rule tests."""
    order = ("interface", "proto", "from", "sport", "to", "dport", "icmp")
    family = () if draft.family is None else (family_test(draft.family),)
    parts = [_as_renamed(draft, name) for name in order if name in draft.parts]
    return both(*family, *parts, *_flags(draft, stateful), *draft.doubts)


def _as_renamed(draft: Draft, name: str) -> Match:
    """A part; of what leaves with another source than it came with, a test of the source is a doubt."""
    found, renamed = draft.parts[name], draft.context.renamed
    if draft.inbound or name not in ("from", "sport") or renamed == NEVER or found == ALWAYS:
        return found
    doubt = Opaque(f"pf renamed {found}", "the source that it is given")
    return either([both(found, Not(renamed)), both(doubt, renamed)])


def _flags(draft: Draft, stateful: bool) -> tuple[Match, ...]:
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


def _within(draft: Draft) -> Match:
    families = Family if draft.family is None else (draft.family,)
    return either([_rate_limit(draft, draft.limit, family) for family in families] if draft.limit else [])


def _rate_limit(draft: Draft, limit: Limit, family: Family) -> Match:
    name = f"limit_{word(draft.label or draft.text)}_{limit.amount}_{limit.unit}_{limit.burst}_v{family.value}"
    return RateLimit(SRC[family], limit, name)


# ------------------------------------------------------------------ parts, each by the word that begins it


def read_parts(cursor: Cursor, draft: Draft) -> None:
    with _doubted(draft):
        while not cursor.done():
            _part(cursor, draft)


@contextmanager
def _doubted(draft: Draft) -> Iterator[None]:
    """What is not understood is a doubt of the rule."""
    try:
        yield
    except NotReadError:
        draft.doubt_of_rule(f"a rule that is not understood: {draft.text}")


def _part(cursor: Cursor, draft: Draft) -> None:
    name = cursor.peek()
    if name in _WORDS:
        cursor.take()
        return
    reader = _PARTS.get(name)
    if reader is None:
        raise NotReadError
    cursor.take()
    reader(cursor, draft)


def _direction(name: str) -> Callable[[Cursor, Draft], None]:
    def read(_: Cursor, draft: Draft) -> None:
        draft.direction = name

    return read


def _quick(_: Cursor, draft: Draft) -> None:
    draft.quick = True


def _log(cursor: Cursor, draft: Draft) -> None:
    draft.log = True
    cursor.parenthesised()


def _on(cursor: Cursor, draft: Draft) -> None:
    if cursor.accept("rdomain"):
        draft.doubt(f"rdomain {cursor.take()}", "a routing domain")
        return
    side = Field.IIF if draft.inbound else Field.OIF
    draft.parts["interface"] = either(cursor.listed(lambda: hosts.interface(cursor, side)))


def _inet(_: Cursor, draft: Draft) -> None:
    draft.family = Family.IPV4


def _inet6(_: Cursor, draft: Draft) -> None:
    draft.family = Family.IPV6


def _proto(cursor: Cursor, draft: Draft) -> None:
    draft.parts["proto"] = either(cursor.listed(lambda: hosts.protocol(cursor)))


def _from(cursor: Cursor, draft: Draft) -> None:
    if cursor.peek() not in ("port", "os"):
        draft.parts["from"] = hosts.hosts(cursor, draft.sides[0], draft.context.tables)
    if cursor.accept("port"):
        draft.parts["sport"] = hosts.ports(cursor, Field.SPORT if draft.sides is THERE else Field.DPORT)
    if cursor.accept("os"):
        draft.doubt(f"os {cursor.listed(cursor.take)}", "the operating system of the sender")


def _to(cursor: Cursor, draft: Draft) -> None:
    if cursor.peek() != "port":
        draft.parts["to"] = hosts.hosts(cursor, draft.sides[1], draft.context.tables)
    if cursor.accept("port"):
        draft.parts["dport"] = hosts.ports(cursor, Field.DPORT if draft.sides is THERE else Field.SPORT)


def _read_flags(cursor: Cursor, draft: Draft) -> None:
    if cursor.accept("any"):
        draft.any_flags = True
        return
    wanted = "" if cursor.peek() == "/" else cursor.take()
    mask = cursor.take() if cursor.accept("/") else "FSRPAUEW"
    if set(wanted + mask) - set(FLAG_BITS):
        raise NotReadError
    draft.flags = (sum({FLAG_BITS[one] for one in mask}), sum({FLAG_BITS[one] for one in wanted}))


def _icmp(number: int) -> Callable[[Cursor, Draft], None]:
    def read(cursor: Cursor, draft: Draft) -> None:
        draft.parts["icmp"] = both(of_icmp(number), hosts.icmp_types(cursor, number))

    return read


def _keep(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("state")
    words = cursor.parenthesised()
    options = " ".join(words).split(" , ")
    for option in options if words else ():
        _state_option(option.split(), draft)


def _state_option(words: list[str], draft: Draft) -> None:
    match words:
        case ["max-src-conn-rate", amount, "/", seconds]:
            taken, within = number(amount), number(seconds)
            draft.limit = Limit.of_window(taken, within) if taken is not None and within is not None else None
            if draft.limit is None or draft.parts.get("proto") != IS_TCP:
                draft.limit = None
                draft.doubt_of_rule("a rate limit")
        case ["max" | "max-src-states" | "max-src-nodes" | "max-src-conn", *_]:
            draft.doubt_of_rule("a limit of states")


def _no(cursor: Cursor, draft: Draft) -> None:
    cursor.expect("state")
    draft.stateless = True


def _label(cursor: Cursor, draft: Draft) -> None:
    draft.label = draft.label or cursor.take()


def _tag(cursor: Cursor, draft: Draft) -> None:
    draft.tag = cursor.take()


def _skip_one(cursor: Cursor, _: Draft) -> None:
    cursor.listed(cursor.take)


def _skip_parenthesised(cursor: Cursor, _: Draft) -> None:
    if not cursor.parenthesised():
        cursor.take()


def _set(cursor: Cursor, draft: Draft) -> None:
    if not cursor.parenthesised():
        cursor.accept("prio", "queue", "tos", "delay")
        _skip_parenthesised(cursor, draft)


def _doubtful(reason: str) -> Callable[[Cursor, Draft], None]:
    def read(cursor: Cursor, draft: Draft) -> None:
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


def _probability(cursor: Cursor, draft: Draft) -> None:
    cursor.take()
    draft.doubt_of_rule("probability")


def _once(_: Cursor, draft: Draft) -> None:
    draft.doubt_of_rule("a rule that holds once")


def _fragment(_: Cursor, draft: Draft) -> None:
    """Packets are taken for reassembled, as pf does by itself or by `scrub`."""
    draft.doubts.append(NEVER)


def _tagged(cursor: Cursor, draft: Draft) -> None:
    draft.doubts.append(draft.context.tagged(cursor.take(), inbound=draft.inbound))


def _received_on(cursor: Cursor, draft: Draft) -> None:
    draft.doubts.append(both(ARRIVED, either(cursor.listed(lambda: hosts.interface(cursor, Field.IIF)))))


def _negated(cursor: Cursor, draft: Draft) -> None:
    """`! tagged x`, `! received-on em0`."""
    _part(cursor, draft)
    if not draft.doubts:
        raise NotReadError
    draft.doubts[-1] = Not(draft.doubts[-1])


def _route_to(cursor: Cursor, draft: Draft) -> None:
    draft.rerouted = True
    _route(cursor, draft)


def _route(cursor: Cursor, _: Draft) -> None:
    """Where a copy of a packet leaves, or its answers; whether it passes does not change."""
    cursor.listed(lambda: _gateway(cursor))
    pool_words(cursor)


def _gateway(cursor: Cursor) -> None:
    if cursor.accept("<"):
        cursor.take()
        cursor.expect(">")
    elif not cursor.parenthesised():
        cursor.take()
    while cursor.accept("/", "@"):
        cursor.take()


def _nat_to(cursor: Cursor, draft: Draft) -> None:
    """Another source, for packets that leave; whether they do does not change."""
    pool(cursor, draft.family)


def _rdr_to(cursor: Cursor, draft: Draft) -> None:
    draft.targets = pool(cursor, draft.family)


def _binat_to(cursor: Cursor, draft: Draft) -> None:
    draft.mapped = hosts.hosts(cursor, DST, {})
    pool_words(cursor)


def _other_translation(cursor: Cursor, draft: Draft) -> None:
    draft.unknown = f"{cursor.tokens[cursor.at - 1].text} {' '.join(one.text for one in cursor.tokens[cursor.at :])}"
    cursor.at = len(cursor.tokens)


_WORDS = frozenset({"all", "allow-opts", "divert-reply", ","})
_PARTS: Mapping[str, Callable[[Cursor, Draft], None]] = {
    "in": _direction("in"), "out": _direction("out"), "quick": _quick, "log": _log, "on": _on, "inet": _inet, "inet6": _inet6,
    "proto": _proto, "from": _from, "to": _to, "flags": _read_flags, "icmp-type": _icmp(ICMP),
    "icmp6-type": _icmp(ICMPV6), "keep": _keep, "modulate": _keep, "synproxy": _keep, "no": _no, "label": _label,
    "once": _once, "fragment": _fragment, "ridentifier": _skip_one, "tracker": _skip_one, "tag": _tag, "queue": _skip_parenthesised, "dnpipe": _skip_parenthesised,
    "dnqueue": _skip_parenthesised, "scrub": _skip_parenthesised, "set": _set, "rtable": _skip_one,
    "user": _doubtful("user"), "group": _doubtful("group"), "tos": _doubtful("tos"), "prio": _doubtful("prio"),
    "received-on": _received_on, "max-pkt-rate": _doubtful("max-pkt-rate"),
    "probability": _probability, "tagged": _tagged, "!": _negated, "route-to": _route_to, "reply-to": _route,
    "dup-to": _route, "nat-to": _nat_to, "rdr-to": _rdr_to, "binat-to": _binat_to,
    "af-to": _other_translation, "divert-to": _other_translation, "divert-packet": _other_translation,
}  # fmt: skip
