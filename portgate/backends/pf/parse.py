"""pf.conf, or what `pfctl -sr` prints, as rules.

Theory
    The last rule that matches decides, unless a `quick` one does: that is the quick rules in order, then the others
    in reverse, of which the first that matches decides. Rules of an anchor stand where the anchor does. A packet of a
    known connection never reaches a rule. What arrives is judged in `input`, what leaves in `output`.

    FreeBSD and macOS translate before they filter: `prerouting`. On OpenBSD a rule translates where it decides, so
    `prerouting` leaves alone what rules before it decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from portgate.backends.pf import ANCHOR, MARK
from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.hosts import Tables, interface_match, spoofed
from portgate.backends.pf.pools import anywhere
from portgate.backends.pf.statement import PASSED, Context, Entry, filter_entry
from portgate.backends.pf.tables import table
from portgate.backends.pf.tokens import ANCHORS, Statement, Token, statements
from portgate.backends.pf.translation import translation_entry
from portgate.core.bsd import LOOPBACK, SRC, both, family_test
from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import Family
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Base,
    Bits,
    Chain,
    ChainKind,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Field,
    Hook,
    Match,
    NamedSet,
    Opaque,
    Origin,
    PlainVerdict,
    Rule,
    Ruleset,
    Snat,
    Test,
    Unknown,
)

FILTERS = ("pass", "block", "match")
TRANSLATIONS = ("rdr", "nat", "binat")
SILENT = ("table", "set", "scrub", "altq", "queue", "load", "dummynet", "scrub-anchor", "dummynet-anchor", "[")
KNOWN_CONNECTION = Test(Field.CT_STATE, ((CtState.ESTABLISHED.value, CtState.RELATED.value),))
TRANSLATED = both(Test(Field.DNATED, ((1, 1),)), Bits(Field.MARK, PASSED.mask, PASSED.value or 0))
NEST = 60  # anchors in anchors; pf itself has a limit of 64 path bytes


def parse(readings: tuple[Reading, ...]) -> Ruleset:
    """All rules in the readings. Errors: PG471 for a text that is no pf.conf at all."""
    return Ruleset(tuple(one for reading in readings for one in _containers(reading)))


def _containers(reading: Reading) -> Iterator[Container]:
    found = tuple(_plain(one) for one in statements(reading.text))
    if found and not any(one.tokens[0].text in _BEGINNINGS for one in _all(found)):
        raise PortgateError(Diagnostic("PG470", f"{reading.source}: not one line is a statement of pf"))
    if reading.text.startswith(MARK):
        if found:
            yield _container(found, found, ANCHOR, owned=True)
        return
    ours = tuple(one for one in found if _is_ours(one))
    alone = ours and all(one in ours or _decides_nothing(one) for one in found)
    inner = tuple(within for one in ours for within in one.body or ())
    if alone:
        yield _container(inner, found, ANCHOR, owned=True)
        return
    if ours:
        whole = _container(inner, found, ANCHOR, owned=True)
        # What decides is the list of all rules; ours are shown apart, but are not asked a second time.
        yield replace(whole, chains=tuple(replace(one, base=None) for one in whole.chains))
    if found:
        yield _container(found, found, "pf", owned=False)


def _decides_nothing(statement: Statement) -> bool:
    """Beside our anchor, which lets loopback through itself."""
    first, *rest = (one.text for one in statement.tokens)
    skips = first == "set" and rest[:1] == ["skip"] and not set(rest[1:]) <= {"on", "{", "}", ",", "lo", LOOPBACK}
    return first in SILENT and not skips


def _plain(statement: Statement) -> Statement:
    """Without the number that `pfctl -vv` puts first, `@7` or `@7(1000000103)`."""
    if not statement.tokens[0].text.startswith("@"):
        return statement
    cursor = Cursor(statement.tokens)
    cursor.take()
    cursor.parenthesised()
    return statement if cursor.done() else statement._replace(tokens=statement.tokens[cursor.at :])


def _all(found: tuple[Statement, ...]) -> Iterator[Statement]:
    for one in found:
        yield one
        yield from _all(one.body or ())


def _is_ours(statement: Statement) -> bool:
    """The place of our anchor. One for translations is often empty; rules of the other must have been read."""
    tokens = statement.tokens
    called = len(tokens) > 1 and tokens[0].text in ANCHORS and tokens[1].text == ANCHOR
    return called and (statement.body is not None or tokens[0].text != "anchor")


def _container(found: tuple[Statement, ...], scope: tuple[Statement, ...], name: str, *, owned: bool) -> Container:
    """`scope` is the whole text, whose tables and settings hold in anchors, too."""
    sets, tables = _tables(scope)
    context = Context(tables, _returns(scope), _inbound_tags(scope))
    inbound, outbound = (_entries(found, context, inbound=arriving) for arriving in (True, False))
    chains = [*_translating(inbound), _chain("input", Hook.INPUT, inbound), _chain("output", Hook.OUTPUT, outbound)]
    return Container(name, chains=tuple(chains), sets=sets, store="pf", owned=owned)


def _tables(found: tuple[Statement, ...]) -> tuple[tuple[NamedSet, ...], Tables]:
    tables: Tables = {}
    for one in _all(found):
        if one.tokens[0].text == "table":
            name, sets = table(Cursor(one.tokens[1:]))
            tables[name] = sets
    return tuple(one for sets in tables.values() for one in sets), tables


def _returns(found: tuple[Statement, ...]) -> bool:
    return any(str(one).startswith("set block-policy return") for one in found)


def _inbound_tags(found: tuple[Statement, ...]) -> frozenset[str]:
    inbound: set[str] = set()
    others: set[str] = set()
    for one in _all(found):
        words = [token.text for token in one.tokens]
        tags = {words[index + 1] for index, text in enumerate(words[:-1]) if text == "tag"}
        arriving = words[0] == "rdr" or (words[0] in FILTERS and "in" in words)
        (inbound if arriving else others).update(tags)
    return frozenset(inbound - others)


# ------------------------------------------------------------------ chains


def _chain(name: str, hook: Hook, entries: list[Entry]) -> Chain:
    rules = [Rule(KNOWN_CONNECTION, Accept(), comment="states")]
    if hook is Hook.INPUT and any(PASSED in rule.effects for one in entries for rule in one.translation):
        rules.append(Rule(TRANSLATED, Accept(), comment="translated"))
    rules += [rule for one in _decided(entries) if one.early or not one.translation for rule in one.rules]
    return Chain(name, tuple(rules), Base(hook, 0))


def _decided(entries: list[Entry]) -> list[Entry]:
    """In the order in which the first that matches decides."""
    quick = [one for one in entries if one.quick]
    return [*quick, *reversed([one for one in entries if not one.quick])]


def _translating(entries: list[Entry]) -> Iterator[Chain]:
    early = sorted((rule for one in entries if one.early for rule in one.translation), key=_is_binat)
    late = list(_until_translated(_decided([one for one in entries if not one.early])))
    sources = tuple(rule for rule in early if isinstance(rule.verdict, Snat))
    targets = tuple(rule for rule in (*early, *late) if not isinstance(rule.verdict, Snat))
    if any(isinstance(rule.verdict, Dnat | Unknown) for rule in targets):
        yield Chain("prerouting", targets, Base(Hook.PREROUTING, -100, kind=ChainKind.NAT))
    if sources:
        yield Chain("postrouting", sources, Base(Hook.POSTROUTING, 100, kind=ChainKind.NAT))


def _is_binat(rule: Rule) -> bool:
    """pf asks all redirects before them."""
    return "binat" in rule.origin.text.split()[:2]


def _until_translated(entries: list[Entry]) -> Iterator[Rule]:
    """Up to the last rule that translates; those before it only keep packets from it."""
    last = max((index for index, one in enumerate(entries) if one.translation), default=-1)
    for one in entries[: last + 1]:
        if one.translation:
            yield from one.translation
            continue
        for rule in one.rules:
            if not isinstance(rule.verdict, Continue):
                kept = rule.verdict if isinstance(rule.verdict, Unknown) else Accept()
                yield replace(rule, verdict=kept, effects=())


# ------------------------------------------------------------------ statements


def _entries(found: tuple[Statement, ...], context: Context, *, inbound: bool, depth: int = 0) -> list[Entry]:
    return [entry for one in found for entry in _of_statement(one, context, inbound, depth)]


def _of_statement(one: Statement, context: Context, inbound: bool, depth: int) -> Iterator[Entry]:
    first = one.tokens[0].text
    second = one.tokens[1].text if len(one.tokens) > 1 else ""
    if first in FILTERS:
        entry = filter_entry(one, context, inbound=inbound)
        if entry is not None:
            yield entry
    elif first in TRANSLATIONS or (first == "no" and second in TRANSLATIONS):
        if inbound:
            yield translation_entry(one, context)
    elif first == "set" and second == "skip":
        yield from _skipped(one, inbound)
    elif first in ANCHORS:
        yield from _anchor(one, context, inbound, depth)
    elif first == "antispoof":
        if inbound:
            yield from _antispoof(one)
    elif first == "ether":
        if second == "block":
            yield _doubtful(one, Drop(), "a rule about Ethernet frames", quick=True)
    elif first not in SILENT and not (first == "no" and second == "scrub"):
        yield _entry(one, ALWAYS, Unknown(f"a statement that is not understood: {one}"), quick=True)


def _doubtful(one: Statement, verdict: PlainVerdict, reason: str, *, quick: bool) -> Entry:
    return _entry(one, Opaque(f"pf {one}", reason), verdict, quick=quick)


def _entry(one: Statement, match: Match, verdict: PlainVerdict, *, quick: bool) -> Entry:
    return Entry((Rule(match, verdict, origin=_origin(one)),), quick)


def _origin(one: Statement) -> Origin:
    return Origin(str(one), one.line)


def _antispoof(one: Statement) -> Iterator[Entry]:
    """A shorthand for two rules for each interface."""
    cursor = Cursor(one.tokens[1:])
    families: tuple[Match, ...] = ()
    names: list[str] = []
    quick = False
    try:
        while not cursor.done():
            word = cursor.take()
            quick = quick or word == "quick"
            if word == "log":
                cursor.parenthesised()
            elif word == "for":
                names = cursor.listed(lambda: " ".join(cursor.parenthesised()) or cursor.take())
            elif word in ("inet", "inet6"):
                families = (family_test(Family.IPV4 if word == "inet" else Family.IPV6),)
        matches = [match for name in names for match in spoofed(name, SRC, Field.IIF)]
    except NotReadError:
        yield _doubtful(one, Drop(), f"a statement that is not understood: {one}", quick=quick)
        return
    for match in matches:
        yield _entry(one, both(*families, match), Drop(), quick=quick)


def _skipped(one: Statement, inbound: bool) -> Iterator[Entry]:
    """Interfaces on which nothing is filtered."""
    side = Field.IIF if inbound else Field.OIF
    cursor = Cursor(one.tokens[2:])
    try:
        cursor.expect("on")
        matches = [interface_match(name, side) for name in cursor.listed(cursor.take)]
    except NotReadError:
        yield _doubtful(one, Accept(), f"a statement that is not understood: {one}", quick=True)
        return
    for match in matches:
        yield _entry(one, match, Accept(), quick=True)


def _anchor(one: Statement, context: Context, inbound: bool, depth: int) -> Iterator[Entry]:
    """The rules of an anchor, in its place and where its own match holds."""
    tokens = tuple(token for index, token in enumerate(one.tokens) if index and not (index == 1 and _is_name(token)))
    guard = filter_entry(Statement((Token("match", one.line), *tokens)), context, inbound=inbound)
    if guard is None:
        return
    match = guard.rules[0].match
    if one.body is None and _is_ours(one):
        return
    if one.body is None or depth > NEST:
        yield from _unread(one, match)
        return
    inner = [_guarded(entry, match) for entry in _entries(one.body, context, inbound=inbound, depth=depth + 1)]
    yield from [replace(entry, quick=True) for entry in _decided(inner)] if guard.quick else inner


def _unread(one: Statement, match: Match) -> Iterator[Entry]:
    """What an anchor may hold: nat alone says nothing of what passes, redirects come before all filter rules.

    Its rules may be quick ones, though the anchor is not.
    """
    kind, reason = one.tokens[0].text, f"rules that were not read: {one}"
    if kind == "anchor":
        yield _entry(one, match, Unknown(reason), quick=True)
    elif kind != "nat-anchor":
        rules = (Rule(both(match, Opaque(f"pf {one}", reason)), way, origin=_origin(one)) for way in anywhere())
        yield Entry((), translation=tuple(rules), early=True)


def _is_name(token: Token) -> bool:
    return token.quoted or token.text not in ("in", "out", "quick", "on", "inet", "inet6", "proto", "from", "to", "all")


def _guarded(entry: Entry, match: Match) -> Entry:
    def inside(rule: Rule) -> Rule:
        return replace(rule, match=both(match, rule.match))

    return replace(entry, rules=tuple(map(inside, entry.rules)), translation=tuple(map(inside, entry.translation)))


_BEGINNINGS = frozenset(
    {
        *FILTERS,
        *TRANSLATIONS,
        *SILENT,
        "ether",
        "no",
        "anchor",
        "antispoof",
        "include",
        "nat-anchor",
        "rdr-anchor",
        "binat-anchor",
    }
)
