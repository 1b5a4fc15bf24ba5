"""pf.conf, or what `pfctl -sr` prints, as rules.

Theory
    The last rule that matches decides, unless a `quick` one does: that is the quick rules in order, then the others
    in reverse, of which the first that matches decides. Rules of an anchor stand where the anchor does. A packet of a
    known connection never reaches a rule. What arrives is judged in `input`, what leaves in `output`, what passes through in both.

    FreeBSD and macOS translate before they filter: `prerouting`. On OpenBSD a rule translates where it decides, so
    `prerouting` leaves alone what rules before it decide.
"""

from __future__ import annotations

from collections.abc import Iterator

from portgate.backends.pf import ANCHOR, MARK
from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.hosts import Tables, interface_match, spoofed
from portgate.backends.pf.pools import anywhere
from portgate.backends.pf.statement import PASSED, REROUTED, Context, Entry, filter_entry
from portgate.backends.pf.tables import table
from portgate.backends.pf.tokens import ANCHORS, Statement, Token, statements
from portgate.backends.pf.translation import renamed, translation_entry
from portgate.core.bsd import ARRIVED, LOOPBACK, SRC, both, either, family_test
from portgate.core.capture import Reading
from portgate.core.dataclasses import replace
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
SOURCES = ("nat-to", "binat-to", "af-to")
SILENT = ("table", "set", "scrub", "altq", "queue", "load", "dummynet", "scrub-anchor", "dummynet-anchor", "[")
KNOWN_CONNECTION = Test(Field.CT_STATE, ((CtState.ESTABLISHED.value, CtState.RELATED.value),))
TRANSLATED = both(Test(Field.DNATED, ((1, 1),)), Bits(Field.MARK, PASSED.mask, 1))
_STATES = Rule(KNOWN_CONNECTION, Accept(), comment="states")
_TRANSLATED = Rule(TRANSLATED, Accept(), comment="translated")
_ELSEWHERE = Rule(Bits(Field.MARK, REROUTED.mask, 2), Unknown("a way out that a rule chose"), comment="route-to")
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
    try:
        cursor.take()
        cursor.parenthesised()
    except NotReadError:  # the text ends within the brackets
        return statement
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
    context = Context(tables, _returns(scope), _inbound_tags(scope), _are_followed(scope))
    context = replace(context, renamed=either(list(_renamed(scope, context))))
    inbound, outbound = (_entries(found, context, inbound=arriving) for arriving in (True, False))
    chains = [*_translating(inbound), *_tagging(inbound), *_filtering(inbound, outbound)]
    return Container(name, chains=tuple(chains), sets=sets, store="pf", owned=owned, twice=True)


def _tables(found: tuple[Statement, ...]) -> tuple[tuple[NamedSet, ...], Tables]:
    tables: Tables = {}
    for one in _all(found):
        if one.tokens[0].text == "table":
            name, sets = table(Cursor(one.tokens[1:]))
            tables[name] = sets
    return tuple(one for sets in tables.values() for one in sets), tables


def _returns(found: tuple[Statement, ...]) -> bool:
    return any(str(one).startswith("set block-policy return") for one in found)


def _inbound_tags(found: tuple[Statement, ...]) -> dict[str, int]:
    inbound: set[str] = set()
    others: set[str] = set()
    for one in _all(found):
        words = [token.text for token in one.tokens]
        tags = {words[index + 1] for index, text in enumerate(words[:-1]) if text == "tag"}
        arriving = words[0] == "rdr" or (words[0] in FILTERS and "in" in words)
        (inbound if arriving else others).update(tags)
    return {tag: number for number, tag in enumerate(sorted(inbound - others), 1)}


def _are_followed(found: tuple[Statement, ...]) -> bool:
    """Whether it is known which tag a packet leaves with: where rules translate as well, only they may give tags."""
    whole = tuple(_all(found))
    giving = [one for one in whole if "tag" in _words(one)]
    if any(one.tokens[0].text in ANCHORS and _hides_tags(one) for one in whole):
        return False
    if any("rdr-to" in _words(one) for one in whole):
        return all({"pass", "quick", "rdr-to"} <= _words(one) for one in giving)
    return all(one.tokens[0].text == "rdr" or (one.tokens[0].text in FILTERS and "in" in _words(one)) for one in giving)


def _hides_tags(anchor: Statement) -> bool:
    """Rules that were not read may give any tag; of an anchor that is asked at once, the order is not kept."""
    if anchor.body is None:
        return not _is_ours(anchor)
    return "quick" in _words(anchor) and any("tag" in _words(one) for one in _all(anchor.body))


def _renamed(found: tuple[Statement, ...], context: Context) -> Iterator[Match]:
    """The packets that may get another source before, or while, the rules for what leaves are asked."""
    for one in _all(found):
        first = one.tokens[0].text
        if first in ("nat", "binat"):
            yield both(ARRIVED, renamed(one, context))
        elif first == "match" and not _words(one).isdisjoint(SOURCES):
            entry = filter_entry(one, context, inbound=False)
            yield from [both(ARRIVED, rule.match) for rule in entry.rules[:1]] if entry else ()
        elif first in ("nat-anchor", "binat-anchor") and one.body is None and not _is_ours(one):
            yield ARRIVED


def _words(statement: Statement) -> set[str]:
    return {token.text for token in statement.tokens}


# ------------------------------------------------------------------ chains


def _filtering(inbound: list[Entry], outbound: list[Entry]) -> Iterator[Chain]:
    yield _chain(Hook.INPUT, _passing(inbound), inbound)
    elsewhere = any(REROUTED in rule.effects for one in inbound for rule in one.rules)
    yield _chain(Hook.OUTPUT, [_STATES, *([_ELSEWHERE] if elsewhere else [])], outbound)


def _chain(hook: Hook, first: list[Rule], entries: list[Entry]) -> Chain:
    rules = [rule for one in _decided(entries) if one.early or not one.translation for rule in one.rules]
    return Chain(hook.value, (*first, *rules), Base(hook, 0))


def _passing(inbound: list[Entry]) -> list[Rule]:
    """What no rule is asked about when it arrives."""
    translates = any(PASSED in rule.effects for one in inbound for rule in one.translation)
    return [_STATES, *([_TRANSLATED] if translates else [])]


def _tagging(inbound: list[Entry]) -> Iterator[Chain]:
    """The tags that filter rules give, in the order of the text: another rule may decide."""
    last = max((index for index, one in enumerate(inbound) if one.tagging), default=-1)
    if last >= 0:
        rules = [rule for one in inbound[: last + 1] for rule in _tags(one)]
        yield Chain("tags", (*_passing(inbound), *rules), Base(Hook.INPUT, -1))


def _tags(one: Entry) -> Iterator[Rule]:
    for rule in one.rules[-1:] if one.tagging else ():
        yield replace(rule, verdict=Continue(), effects=one.tagging)
    yield from _kept(one) if one.quick else ()


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
        yield from _kept(one)


def _kept(one: Entry) -> Iterator[Rule]:
    """A rule as it keeps what it decides from all others."""
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
        elif second == "pass" and first != "rdr":
            match = both(ARRIVED, renamed(one, context))
            yield _entry(one, match, Unknown(f"which translations pass unfiltered: {one}"), quick=True)
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
