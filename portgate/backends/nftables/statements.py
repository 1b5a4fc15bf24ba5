"""The meaning of a rule's statements: libnftables JSON -> `Rule`s.

Rules of this file
    A rule is the conjunction of its matches, then its effects, then its verdict. Where a mark is set (or tracking ended)
    before a later match, which may fail, the rule becomes two: one that sets the mark, one that is the rest.
    Any statement can end its rule early: by reading a header that the packet does not have, or a map without its key.
    That is a match like others.
    A statement that is not known may decide: `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from portgate.backends.nftables import matches, render, values, verdicts
from portgate.backends.nftables.draft import Draft, conjunction
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    Continue,
    Counter,
    Effect,
    Field,
    Log,
    Match,
    Not,
    NoTrack,
    Origin,
    PlainVerdict,
    RateLimit,
    Reject,
    Rule,
    SetMark,
    SideNote,
    Snat,
    Template,
    Unknown,
    Verdict,
    VerdictMap,
)  # fmt: skip

MARK_BITS = 0xFFFFFFFF
_SILENT = frozenset({"ct helper", "ct timeout", "ct expectation", "dup", "last", "secmark", "map", "reset"})
_XT_EFFECTS: dict[str, tuple[Effect, ...]] = {
    "LOG": (Log(),),
    "NFLOG": (Log(),),
    "NOTRACK": (NoTrack(),),
    "MARK": (SetMark(Field.MARK, MARK_BITS, None),),
    "CONNMARK": (SetMark(Field.MARK, MARK_BITS, None), SetMark(Field.CT_MARK, MARK_BITS, None)),
    **dict.fromkeys(("TCPMSS", "TOS", "DSCP", "TTL", "HL", "CLASSIFY", "CHECKSUM", "TRACE", "AUDIT"), ()),
}
_XT_VERDICTS: dict[str, PlainVerdict] = {"MASQUERADE": Snat("MASQUERADE"), "SNAT": Snat("SNAT"), "REJECT": Reject()}


def rules(statements: list[object], draft: Draft, comment: str, origin: Origin) -> tuple[Rule, ...]:
    """One rule of a listing, which can become several."""
    for one in statements:
        if _ended(draft):
            break
        if draft.hurdles:
            draft.require(*draft.hurdles)
            draft.hurdles = []
        _read(one, draft)
    if draft.after:
        draft.settle()
    verdict: Verdict = Unknown(draft.doubt) if draft.doubt else draft.verdict
    match = conjunction(draft.matches)
    return (
        *(Rule(one, way, effects, comment, origin) for one, effects, way in draft.done),
        Rule(match, verdict, tuple(draft.effects), comment, origin),
        *(Rule(conjunction([*draft.matches, one]), way, (), comment, origin) for one, way in draft.after),
    )


def _ended(draft: Draft) -> bool:
    """Whether what follows is never reached: a verdict ends a rule, and so does a map that has none for the packet."""
    if isinstance(draft.verdict, VerdictMap) and any(isinstance(one, Continue) for _, one in draft.verdict.entries):
        draft.doubtful("what follows a map that says continue")
    return bool(draft.after) or not isinstance(draft.verdict, Continue)


def _read(statement: object, draft: Draft) -> None:
    if isinstance(statement, dict) and len(statement) == 1:
        ((kind, body),) = statement.items()
        plain = verdicts.plain(kind, body)
        if plain is not None:
            draft.verdict = plain
        elif kind in _READERS:
            _READERS[kind](body, draft)
        elif kind in _SILENT:
            draft.require_fields(body)
            draft.effects.append(SideNote(render.statement(statement)))
        else:
            draft.doubtful(statement)
    else:
        draft.doubtful(statement)


# ------------------------------------------------------------------ matches


def _match(body: object, draft: Draft) -> None:
    if isinstance(body, dict):
        draft.require(*matches.relation(body, draft.matches, draft.scope))
    else:
        draft.doubtful({"match": body})


def _limit(body: object, draft: Draft) -> None:
    _consuming("limit", body, "rate limit", draft)


def _quota(body: object, draft: Draft) -> None:
    _consuming("quota", body, "quota", draft)


def _count(body: object, draft: Draft) -> None:
    _consuming("ct count", body, "number of connections", draft)


def _consuming(kind: str, body: object, why: str, draft: Draft) -> None:
    draft.require_fields(body)
    draft.require(draft.opaque(render.statement({kind: body}), why, consuming=True))


def _update(body: object, draft: Draft) -> None:
    """`add @name { key limit ... }`: the statements inside are matches too."""
    match body:
        case {"set": str(name), "elem": element, **rest}:
            _keyed(name.removeprefix("@"), element, values.as_list(rest.get("stmt")), {"set": body}, draft)
        case _:
            draft.doubtful({"set": body})


def _meter(body: object, draft: Draft) -> None:
    match body:
        case {"key": element, "stmt": inner, **rest}:
            _keyed(str(rest.get("name", "")), element, [inner], {"meter": body}, draft)
        case _:
            draft.doubtful({"meter": body})


def _keyed(name: str, element: object, inner: list[object], statement: object, draft: Draft) -> None:
    key = _key_of(element)
    draft.require_fields(key)
    tests = [_keyed_test(name, key, one, render.statement(statement), draft) for one in inner]
    draft.require(*(one for one in tests if one is not None))
    if not any(tests):
        draft.effects.append(SideNote(render.statement(statement)))


def _key_of(element: object) -> object:
    """An element with a timeout or a comment holds its key one level deeper."""
    match element:
        case {"elem": {**inner}}:
            return inner.get("val")
        case _:
            return element


def _keyed_test(name: str, key: object, inner: object, text: str, draft: Draft) -> Match | None:
    match inner:
        case {"counter": _} | {"last": _}:
            return None
        case {"limit": {**limit}} if (source := _source(key)) and (known := _source_limit(limit)):
            test = RateLimit(source, known, name)
            return Not(test) if limit.get("inv") else test
    return draft.opaque(text, "rate limit" if "limit" in text else "state kept for each key", consuming=True)


def _source(key: object) -> Field | None:
    match key:
        case {"payload": {"protocol": "ip", "field": "saddr"}}:
            return Field.SRC4
        case {"payload": {"protocol": "ip6", "field": "saddr"}}:
            return Field.SRC6
    return None


def _source_limit(body: Mapping[object, object]) -> Limit | None:
    match body:
        case {"rate": int(rate), "per": "second" | "minute" | "hour" | "day" as per, **rest} if rate > 0:
            burst = rest.get("burst", 5)
            if rest.get("rate_unit", "packets") == "packets" and isinstance(burst, int):
                return Limit(rate, Unit(per), burst)
    return None


# ------------------------------------------------------------------ effects


def _counter(body: object, draft: Draft) -> None:
    draft.require_fields(body)
    draft.effects.append(Counter())


def _log(body: object, draft: Draft) -> None:
    prefix = body.get("prefix") if isinstance(body, dict) else None
    draft.effects.append(Log(prefix if isinstance(prefix, str) else ""))


def _notrack(_body: object, draft: Draft) -> None:
    draft.effects.append(NoTrack())


def _mangle(body: object, draft: Draft) -> None:
    match body:
        case {"key": key, "value": value}:
            draft.require_fields(value)
        case _:
            draft.doubtful({"mangle": body})
            return
    text = render.statement({"mangle": body})
    match key:
        case {"meta": {"key": "mark"}}:
            draft.effects.append(_set_mark(Field.MARK, value, draft))
        case {"ct": {"key": "mark"}}:
            draft.effects.append(_set_mark(Field.CT_MARK, value, draft))
        case {"ct": {"key": "zone"}}:
            draft.effects.append(Template(text, untracked=True))
        case {"meta": _} | {"ct": _}:
            draft.effects.append(SideNote(text))
        case {"payload": _}:
            draft.require_fields(key)
            _write_header(key, text, draft)
        case {"tcp option": _} | {"exthdr": _} | {"ip option": _}:
            draft.require_fields(key)
            draft.effects.append(SideNote(text))
            draft.hurdles.append(draft.opaque(text, matches.reason(key)))
        case _:
            draft.doubtful({"mangle": body})


def _write_header(key: object, text: str, draft: Draft) -> None:
    """Stateless translation (`ip daddr set ...`) is not modelled; other fields are not tested exactly anyway."""
    try:
        matches.operands(key, draft.scope.family)
    except NotUnderstoodError:
        draft.effects.append(SideNote(text))
    else:
        draft.doubt = draft.doubt or text


def _set_mark(target: Field, value: object, draft: Draft) -> SetMark:
    found = None if draft.doubt else _mark_value(value)
    if found is None:
        return SetMark(target, MARK_BITS, None)
    kept, copied = (found.packet, found.connection) if target is Field.MARK else (found.connection, found.packet)
    return SetMark(target, MARK_BITS & ~kept, found.flipped, copied)


class _MarkValue(NamedTuple):
    """`(meta mark & packet) ^ (ct mark & connection) ^ flipped`"""

    packet: int
    connection: int
    flipped: int


def _mark_value(value: object) -> _MarkValue | None:
    """None where it is something else."""
    match value:
        case int() if 0 <= value <= MARK_BITS:
            return _MarkValue(0, 0, int(value))
        case {"meta": {"key": "mark"}}:
            return _MarkValue(MARK_BITS, 0, 0)
        case {"ct": {"key": "mark"}}:
            return _MarkValue(0, MARK_BITS, 0)
        case {"&": [inner, int(mask)]} if found := _mark_value(inner):
            return _MarkValue(*(bits & mask for bits in found))
        case {"|": [inner, int(ones)]} if 0 <= ones <= MARK_BITS and (found := _mark_value(inner)):
            packet, connection, flipped = (bits & ~ones for bits in found)
            return _MarkValue(packet, connection, flipped | ones)
        case {"^": [inner, int(ones)]} if 0 <= ones <= MARK_BITS and (found := _mark_value(inner)):
            return found._replace(flipped=found.flipped ^ ones)
    return None


def _flow(body: object, draft: Draft) -> None:
    """Takes established flows out of the forward path; for others it ends the rule."""
    text = render.statement({"flow": body})
    draft.effects.append(SideNote(text))
    draft.hurdles.append(draft.opaque(text, "flow offload"))


def _xt(body: object, draft: Draft) -> None:
    """A match or target of xtables, of which JSON gives nothing but the name."""
    match body:
        case {"type": "match", "name": "comment"}:
            return
        case {"type": "match", "name": name}:
            draft.require(draft.opaque(f"xt match {name}", "xtables match", consuming=True))
        case {"type": "target" | "watcher", "name": str(name)} if name in _XT_EFFECTS:
            draft.effects.extend(_XT_EFFECTS[name] or (SideNote(f"xt target {name}"),))
        case {"type": "target", "name": str(name)} if name in _XT_VERDICTS:
            draft.verdict = _XT_VERDICTS[name]
        case {"type": "target", "name": "DNAT" | "REDIRECT"}:
            verdicts.translate_anywhere(draft)
        case {"type": "target", "name": "CT"}:
            draft.settle()
            draft.perhaps("xt target CT", NoTrack())
            draft.perhaps("xt target CT with a template", Template("xt target CT"))
        case _:
            draft.doubtful({"xt": body})


def _opaque_text(body: object, draft: Draft) -> None:
    draft.doubtful({"opaque": body})


_READERS: dict[str, Callable[[object, Draft], None]] = {
    "match": _match,
    "limit": _limit,
    "quota": _quota,
    "ct count": _count,
    "set": _update,
    "meter": _meter,
    "counter": _counter,
    "log": _log,
    "notrack": _notrack,
    "mangle": _mangle,
    "flow": _flow,
    "xt": _xt,
    "opaque": _opaque_text,
    **verdicts.READERS,
}
