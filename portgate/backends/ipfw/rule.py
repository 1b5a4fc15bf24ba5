"""One rule of ipfw, read as it is for packets of one direction.

Theory
    A body is tests that must all hold; each may be negated, or be an alternative of a block. An option that is not known
    makes the rule doubtful from there on: it may match, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field

from portgate.backends.ipfw import MARK, matches
from portgate.backends.ipfw.cursor import Cursor, NotReadError
from portgate.backends.ipfw.firewall import Numbered
from portgate.backends.ipfw.tables import Tables
from portgate.backends.ipfw.words import (
    ACCEPTING,
    ACTIONS,
    DENYING,
    ELSEWHERE,
    OPAQUE,
    OPAQUE_ALONE,
    REJECTING,
    SHAPING,
    WITH_ARGUMENT,
)
from portgate.core.bsd import DST, HOME, NEVER, SRC, Side, address_interval, both, either, family_test
from portgate.core.dataclasses import dataclass, replace
from portgate.core.net import ICMP, ICMPV6, PORT_MAX, Family, intersect
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
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
    Reject,
    Test,
    Unknown,
)


@dataclass(frozen=True, slots=True)
class Skip:
    """On with the first rule of this number or a higher one."""

    number: int


@dataclass(frozen=True, slots=True)
class Call:
    """The same, until a rule that returns."""

    number: int


@dataclass(frozen=True, slots=True)
class Back:
    """On behind the last call; without one, with the next rule."""


@dataclass(frozen=True, slots=True)
class Check:
    """What belongs to a known connection fares as its first packet did."""


Action = PlainVerdict | Skip | Call | Back | Check
ANY_FLOW = "any"


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule as it is for one direction.

    **Shape** `flow` is the name of the states that it makes, "" for none; `checks` the name of those that it looks for first.
    """

    number: int
    match: Match
    action: Action
    effects: tuple[Effect, ...]
    comment: str
    origin: Origin
    flow: str = ""
    checks: str = ""
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the rule. `one_pass` None: the text does not tell."""

    inbound: bool
    tables: Tables
    one_pass: bool | None = None


@dataclass(slots=True)
class _Draft:
    """A rule while it is read."""

    context: Context
    text: str
    parts: list[Match] = field(default_factory=list)
    log: bool = False
    flow: str = ""
    checks: str = ""
    limited: bool = False
    deferred: bool = False
    comment: str = ""

    def doubt_of_rule(self, reason: str) -> Match:
        return Opaque(f"ipfw rule {self.text}: {reason}", reason)


def entries(rule: Numbered, context: Context) -> Iterator[Entry]:
    """The rule; nothing of one that can't be of this direction."""
    found = _entry(rule, context)
    if not isinstance(found.action, Dnat) or found.action.family is None:
        yield found
        return
    # A rule that forwards to an address of one family passes packets of the other as they are.
    for family in Family:
        action = found.action if family is found.action.family else Accept()
        yield replace(found, action=action, match=_united([family_test(family), found.match]))


def _entry(rule: Numbered, context: Context) -> Entry:
    command = rule.command
    cursor = Cursor(rule.words)
    draft = _Draft(context, f"{rule.number} {' '.join(rule.words)}")
    if command.maybe:
        draft.parts.append(Opaque(f"ipfw script {command.maybe}", command.maybe))
    try:
        action = _action(cursor, draft)
    except NotReadError:
        action = Unknown(draft.text)
    else:
        _read_body(cursor, draft, has_body=not isinstance(action, Check))
    if draft.deferred:
        action = Continue()
    effects: tuple[Effect, ...] = (Log(),) if draft.log else ()
    origin = Origin(command.text, command.line)
    match = _united(draft.parts)
    return Entry(rule.number, match, action, effects, draft.comment, origin, draft.flow, draft.checks, draft.limited)


def _united(parts: list[Match]) -> Match:
    """All of them, with one test of the protocol and of the family each."""
    whole = both(*parts)
    flat = list(whole.matches) if isinstance(whole, All) else [whole]
    for field_ in (Field.PROTOCOL, Field.FAMILY):
        tests = [one for one in flat if isinstance(one, Test) and one.field is field_]
        if len(tests) > 1:
            values = tests[0].values
            for one in tests[1:]:
                values = intersect(values, one.values)
            at = flat.index(tests[0])
            flat = [one for one in flat if one not in tests]
            flat.insert(at, Test(field_, values) if values else NEVER)
    return NEVER if NEVER in flat else both(*flat)


# ------------------------------------------------------------------ actions


def _action(cursor: Cursor, draft: _Draft) -> Action:
    if cursor.accept("prob"):
        cursor.take()
        draft.parts.append(draft.doubt_of_rule("probability"))
    if cursor.peek() == "//":
        return Continue()
    word = cursor.take()
    if word not in ACTIONS:
        raise NotReadError
    if word == "check-state":
        draft.checks = cursor.take()[1:] if cursor.peek().startswith(":") else "default"
        _parameters(cursor, draft)
        return Check()
    argument = cursor.take() if word in WITH_ARGUMENT else ""
    if word == "eaction":
        argument += f" {cursor.take()}"
    _parameters(cursor, draft)
    return _meaning(word, argument, draft)


def _parameters(cursor: Cursor, draft: _Draft) -> None:
    while word := cursor.accept("log", "altq", "tag", "untag"):
        if word != "log":
            cursor.take()
            continue
        draft.log = True
        if cursor.accept("logamount"):
            cursor.take()


def _meaning(word: str, argument: str, draft: _Draft) -> Action:
    if word in ACCEPTING:
        return Accept()
    if word in DENYING:
        return Drop()
    if word in REJECTING:
        return Reject(f"{word} {argument}".strip())
    if word in ("skipto", "call"):
        if not argument.isdecimal() or len(argument) > 5:
            return Unknown(f"{word} {argument}")
        return Skip(int(argument)) if word == "skipto" else Call(int(argument))
    if word == "return":
        return Back()
    if word in ("fwd", "forward"):
        return _forwarding(argument, draft)
    if word in SHAPING and draft.context.one_pass is not None:
        return Accept() if draft.context.one_pass else Continue()
    return Unknown(f"{word} {argument}".strip()) if word in ELSEWHERE | SHAPING else Continue()


def _forwarding(target: str, draft: _Draft) -> Action:
    """A packet that arrives goes to another port or host; one that leaves, by another way."""
    if not draft.context.inbound:
        return Accept()
    host, comma, port = target.partition(",")
    if not comma and host.count(":") == 1:
        host, _, port = host.partition(":")
    found = address_interval(host)
    if found is None or (port and not port.isdecimal()) or int(port[:6] or 0) > PORT_MAX:
        return Unknown(f"fwd {target}")
    family, interval = found
    number = (int(port), int(port)) if port else None
    return Dnat(family, None if interval == HOME[family] else interval, number)


# ------------------------------------------------------------------ bodies


def _read_body(cursor: Cursor, draft: _Draft, *, has_body: bool) -> None:
    try:
        if has_body and not cursor.done():
            _addresses(cursor, draft)
        while not has_body and cursor.peek() not in ("//", ""):
            cursor.take()  # some versions take a body here, and look at none of it
        _options(cursor, draft)
    except NotReadError:
        draft.parts.append(draft.doubt_of_rule(f"a rule that is not understood: {draft.text}"))


def _addresses(cursor: Cursor, draft: _Draft) -> None:
    """`PROTOCOL from SOURCE [PORTS] to DESTINATION [PORTS]`, or nothing of it."""
    start = cursor.at
    try:
        protocol = _block(cursor, lambda: matches.protocol(cursor.take()))
    except NotReadError:
        if start != cursor.at - 1:
            raise
        cursor.at = start
        return
    draft.parts.append(protocol)
    if cursor.accept("from"):
        _end(cursor, draft, SRC, Field.SPORT)
        cursor.expect("to")
        _end(cursor, draft, DST, Field.DPORT)
    elif not cursor.done() and not _is_option(cursor.peek()):
        raise NotReadError


def _end(cursor: Cursor, draft: _Draft, side: Side, ports: Field) -> None:
    draft.parts.append(_block(cursor, lambda: matches.address(_word(cursor), side, draft.context.tables)))
    word = cursor.peek(cursor.peek() in ("not", "!"))
    if word == "any" or (word and not _is_option(word) and word != "to" and matches.looks_like_ports(word)):
        draft.parts.append(_perhaps_not(cursor, lambda: matches.ports(_word(cursor), ports)))


def _word(cursor: Cursor) -> str:
    """A word with what a blank behind a comma has parted from it."""
    word = cursor.take()
    while word.endswith(",") and not cursor.done():
        word += cursor.take()
    return word


def _block(cursor: Cursor, one: Callable[[], Match]) -> Match:
    """`x`, `not x` or `{ x or not y }`."""
    if not cursor.accept("{", "("):
        return _perhaps_not(cursor, one)
    found = [_perhaps_not(cursor, one)]
    while not cursor.accept("}", ")"):
        if not cursor.accept("or", "|"):
            raise NotReadError
        found.append(_perhaps_not(cursor, one))
    return either(found)


def _perhaps_not(cursor: Cursor, one: Callable[[], Match]) -> Match:
    negated = cursor.negated()
    found = one()
    if not negated:
        return found
    if found in (ALWAYS, NEVER):
        return NEVER if found == ALWAYS else ALWAYS
    return Not(found)


def _options(cursor: Cursor, draft: _Draft) -> None:
    while not cursor.done():
        if cursor.accept("//"):
            draft.comment = " ".join(cursor.rest()).removeprefix(MARK)
        else:
            draft.parts.append(_block(cursor, lambda: _option(cursor, draft)))


def _option(cursor: Cursor, draft: _Draft) -> Match:
    word = cursor.take()
    if word in OPAQUE_ALONE:
        return Opaque(f"ipfw {word}", OPAQUE_ALONE[word])
    if word in OPAQUE:
        argument = cursor.take()
        return Opaque(f"ipfw {word} {argument}", OPAQUE[word])
    reader = _OPTIONS.get(word)
    if reader is None:
        raise NotReadError
    return reader(cursor, draft)


def _is_option(word: str) -> bool:
    return word in _OPTIONS or word in OPAQUE or word in OPAQUE_ALONE or word in ("{", "(", "not", "!", "//", "or")


def _direction(inbound: bool) -> Callable[[Cursor, _Draft], Match]:
    return lambda _, draft: ALWAYS if draft.context.inbound is inbound else NEVER


def _recv(cursor: Cursor, draft: _Draft) -> Match:
    return matches.interface(cursor.take(), Field.IIF, draft.context.tables)


def _xmit(cursor: Cursor, draft: _Draft) -> Match:
    found = matches.interface(cursor.take(), Field.OIF, draft.context.tables)
    return found if found == ALWAYS or not draft.context.inbound else NEVER


def _via(cursor: Cursor, draft: _Draft) -> Match:
    return (_recv if draft.context.inbound else _xmit)(cursor, draft)


def _fixed(match: Match) -> Callable[[Cursor, _Draft], Match]:
    return lambda _, __: match


def _frag(cursor: Cursor, _: _Draft) -> Match:
    """Fragments are taken for reassembled. The flags of whole packets are not looked at."""
    words = set(cursor.peek().replace("!", "").split(","))
    if not words <= {"df", "mf", "rf", "offset"}:
        return NEVER
    spec = cursor.take()
    return NEVER if "offset" in spec.split(",") else Opaque(f"ipfw frag {spec}", "flags of fragments")


def _state(*, checks: bool, limited: bool) -> Callable[[Cursor, _Draft], Match]:
    def read(cursor: Cursor, draft: _Draft) -> Match:
        if limited:
            while cursor.accept("src-addr", "src-port", "dst-addr", "dst-port", "all"):
                pass
            cursor.take()
        draft.flow = cursor.take()[1:] if cursor.peek().startswith(":") else "default"
        draft.checks = draft.flow if checks else ""
        draft.limited = limited
        return ALWAYS

    return read


def _defer(_: Cursor, draft: _Draft) -> Match:
    draft.deferred = True
    return ALWAYS


def _addressed(side: Side) -> Callable[[Cursor, _Draft], Match]:
    return lambda cursor, draft: matches.address(_word(cursor), side, draft.context.tables)


def _of_port(field_: Field) -> Callable[[Cursor, _Draft], Match]:
    return lambda cursor, _: matches.ports(_word(cursor), field_)


def _version(cursor: Cursor, _: _Draft) -> Match:
    word = cursor.take()
    return family_test(Family(int(word))) if word in ("4", "6") else NEVER


def _link_layer(cursor: Cursor, _: _Draft) -> Match:
    words = cursor.take(), cursor.take()
    return Opaque(f"ipfw mac {' '.join(words)}", "the link layer")


_OPTIONS: Mapping[str, Callable[[Cursor, _Draft], Match]] = {
    "in": _direction(True), "out": _direction(False), "recv": _recv, "xmit": _xmit, "via": _via,
    "setup": _fixed(matches.SETUP), "established": _fixed(matches.ESTABLISHED), "estab": _fixed(matches.ESTABLISHED),
    "tcpflags": lambda cursor, _: matches.tcp_flags(_word(cursor)), "tcpflgs": lambda cursor, _: matches.tcp_flags(_word(cursor)),
    "icmptypes": lambda cursor, _: matches.icmp_types(_word(cursor), ICMP),
    "icmptype": lambda cursor, _: matches.icmp_types(_word(cursor), ICMP),
    "icmp6types": lambda cursor, _: matches.icmp_types(_word(cursor), ICMPV6),
    "icmp6type": lambda cursor, _: matches.icmp_types(_word(cursor), ICMPV6),
    "frag": _frag, "fragment": _frag, "layer2": _fixed(NEVER), "bridged": _fixed(NEVER),
    "ip4": _fixed(family_test(Family.IPV4)), "ipv4": _fixed(family_test(Family.IPV4)),
    "ip6": _fixed(family_test(Family.IPV6)), "ipv6": _fixed(family_test(Family.IPV6)),
    "ipversion": _version, "ipver": _version,
    "proto": lambda cursor, _: matches.inner_protocol(cursor.take()),
    "src-ip": _addressed(SRC), "src-ip6": _addressed(SRC), "src-ipv6": _addressed(SRC),
    "dst-ip": _addressed(DST), "dst-ip6": _addressed(DST), "dst-ipv6": _addressed(DST),
    "src-port": _of_port(Field.SPORT), "dst-port": _of_port(Field.DPORT),
    "lookup": lambda cursor, draft: matches.lookup(cursor, draft.context.tables),
    "keep-state": _state(checks=True, limited=False), "record-state": _state(checks=False, limited=False),
    "limit": _state(checks=True, limited=True), "set-limit": _state(checks=False, limited=True),
    "defer-action": _defer, "defer-immediate-action": _defer, "MAC": _link_layer, "mac": _link_layer,
}  # fmt: skip
