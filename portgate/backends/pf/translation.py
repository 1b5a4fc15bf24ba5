"""`rdr`, `no rdr`, `nat` and `binat` of FreeBSD and macOS, which translate before anything is filtered."""

from __future__ import annotations

from portgate.backends.pf import hosts
from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.pools import anywhere, pool
from portgate.backends.pf.statement import BACK, PASSED, Context, Draft, Entry, map_back, match_of, read_parts
from portgate.backends.pf.tokens import Statement
from portgate.core.bsd import DST, NEVER
from portgate.core.dataclasses import replace
from portgate.core.ruleset import Accept, Effect, Log, Match, Origin, PlainVerdict, Rule, Snat


def translation_entry(statement: Statement, context: Context) -> Entry:
    """A translation as it is for packets that arrive; of `nat`, for those that leave."""
    words = [one.text for one in statement.tokens[:3]]
    refused = words[0] == "no"
    kind, *after = words[refused:]
    passes = after[:1] == ["pass"]
    end = next((index for index, one in enumerate(statement.tokens) if one.text == "->"), len(statement.tokens))
    head, target = Cursor(statement.tokens[:end]), Cursor(statement.tokens)
    head.at, target.at = 1 + refused + passes, end
    draft = Draft(replace(context, renamed=NEVER), inbound=kind != "nat", text=str(statement))
    if kind == "binat":
        draft.sides = BACK
    read_parts(head, draft)
    verdicts = (Accept(),) if refused else _verdicts(kind, target, draft)
    changes = (*([PASSED] if passes else []), *draft.tagging())
    effects: tuple[Effect, ...] = (*([Log()] if draft.log else []), *changes)
    match, origin = match_of(draft, stateful=False), Origin(str(statement), statement.line)
    rules = tuple(Rule(match, verdict, effects, draft.label, origin) for verdict in verdicts)
    return Entry((), translation=rules, early=True)


def renamed(statement: Statement, context: Context) -> Match:
    """The packets that a `nat` or `binat` rule gives another source."""
    end = next((index for index, one in enumerate(statement.tokens) if one.text == "->"), len(statement.tokens))
    head = Cursor(statement.tokens[:end])
    head.take()
    head.accept("pass")
    draft = Draft(replace(context, renamed=NEVER), inbound=False, text=str(statement))
    read_parts(head, draft)
    return match_of(draft, stateful=False)


def _verdicts(kind: str, cursor: Cursor, draft: Draft) -> tuple[PlainVerdict, ...]:
    if kind == "nat":
        return (Snat(" ".join(one.text for one in cursor.tokens[cursor.at :])),)
    try:
        cursor.expect("->")
        return pool(cursor, draft.family) if kind == "rdr" else map_back(draft, hosts.hosts(cursor, DST, {})).targets
    except NotReadError:
        return anywhere(draft.family)
