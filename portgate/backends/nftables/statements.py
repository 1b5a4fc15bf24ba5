"""The meaning of a rule's statements: libnftables JSON -> `Rule`s.

Rules of this file
    A rule is the conjunction of its matches, then its effects, then its verdict. Where a mark is set (or tracking ended)
    before a later match, which may fail, the rule becomes two: one that sets the mark, one that is the rest.
    Any statement can end its rule early: by reading a header that the packet does not have, or a map without its key.
    That is a match like others.
    A statement that is not known may decide: `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from portgate.backends.nftables import matches, render, sets, values
from portgate.backends.nftables.matches import Scope
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.net import Family, Interval, normalize
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Continue,
    Counter,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Jump,
    Log,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    Origin,
    PlainVerdict,
    Queue,
    RateLimit,
    Reject,
    Return,
    Rule,
    SetMark,
    SideNote,
    Snat,
    Test,
    Unknown,
    Verdict,
    VerdictMap,
)  # fmt: skip

MARK_BITS = 0xFFFFFFFF
_HERE = object()  # the address of `redirect`: this host's own
_SILENT = frozenset({"ct helper", "ct timeout", "ct expectation", "dup", "last", "secmark", "map", "reset"})
_XT_EFFECTS: dict[str, tuple[Effect, ...]] = {
    "LOG": (Log(),),
    "NFLOG": (Log(),),
    "MARK": (SetMark(Field.MARK, MARK_BITS, None),),
    "CONNMARK": (SetMark(Field.MARK, MARK_BITS, None), SetMark(Field.CT_MARK, MARK_BITS, None)),
    **dict.fromkeys(("TCPMSS", "TOS", "DSCP", "TTL", "HL", "CLASSIFY", "CHECKSUM", "TRACE", "AUDIT"), ()),
}
_XT_VERDICTS: dict[str, PlainVerdict] = {"MASQUERADE": Snat("MASQUERADE"), "SNAT": Snat("SNAT"), "REJECT": Reject()}


@dataclass(slots=True)
class Draft:
    """A rule while it is read, statement by statement."""

    scope: Scope
    maps: Mapping[str, Mapping[str, object]]
    matches: list[Match] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Continue)
    doubt: str = ""
    """A statement that may decide."""
    hurdles: list[Match] = field(default_factory=list)
    """Matches that stand before whatever follows."""
    done: list[tuple[Match, tuple[Effect, ...], Verdict]] = field(default_factory=list)
    """Rules that come before the one in work."""
    after: list[tuple[Match, Verdict]] = field(default_factory=list)
    """Further ways on from here, tried after `verdict`; each with its match."""
    nested: list[tuple[str, list[object]]] = field(default_factory=list)
    """Chains written inside this rule: `jump { ... }`."""

    def require(self, *conditions: Match) -> None:
        for one in conditions:
            if one == ALWAYS or one in self.matches:
                continue
            self.settle()
            self.matches.append(one)

    def settle(self) -> None:
        """What was set so far holds although a later match fails."""
        changed = {
            effect.field if isinstance(effect, SetMark) else Field.CT_STATE
            for effect in self.effects
            if isinstance(effect, SetMark | NoTrack)
        }
        if changed:
            self.done.append((conjunction(self.matches), tuple(self.effects), Continue()))
            self.effects = []
            self.matches = [self._remembered(i, one, changed) for i, one in enumerate(self.matches)]

    def _remembered(self, index: int, match: Match, changed: set[Field]) -> Match:
        if changed.isdisjoint(_fields(match)):
            return match
        key = f"match {index} before change {len(self.done)} [{self.scope.place}]"
        return Opaque(key, "a mark that this rule tests, then sets")

    def require_fields(self, expression: object) -> None:
        """The packet has what `expression` reads, also in its maps."""
        self.require(*(one for one in matches.guards(expression) if one != self.scope.family_test))
        for key, data in _maps_in(expression):
            self.require(self._has_key(key, data))

    def require_family(self, family: Family) -> None:
        test = matches.IS_IPV4 if family is Family.IPV4 else matches.IS_IPV6
        if test != self.scope.family_test:
            self.require(test)

    def _has_key(self, key: object, data: object) -> Match:
        try:
            fields, _, found, _ = self.table(key, data)
        except NotUnderstoodError as problem:
            return self.opaque(f"{render.expression(key)} in {render.expression(data)}", str(problem), True)
        return ALWAYS if found.otherwise else matches.membership(fields, [box for box, _ in found.entries])

    def opaque(self, text: str, why: str, consuming: bool = False) -> Opaque:
        return matches.opaque(text, why, self.scope, consuming)

    def table(self, key: object, data: object) -> tuple[tuple[Field, ...], list[Match], sets.Table, str]:
        """A map, written here or named: its fields, their guards, its entries, its name. Errors: NotUnderstoodError."""
        found = matches.operands(key, self.scope.family)
        types, pairs, name = tuple(one.type for one in found), data, ""
        match data:
            case {"set": items}:
                pairs = items
            case str() if data[:1] == "@" and data not in self.scope.changing:
                name = data[1:]
                body = self.maps.get(name, {})
                types, pairs = sets.key_types(body.get("type"), self.scope.family)[1], body.get("elem")
            case _:
                raise NotUnderstoodError("a map that is not known")
        if len(types) != len(found):
            raise NotUnderstoodError("a map of another type")
        entries = sets.table(types, pairs)
        boxes = [box for box, _ in entries.entries]
        if any(one.any_transport for one in found) and not matches.ports_are_certain(found, boxes, self.matches):
            raise NotUnderstoodError("transport header of any protocol")
        return tuple(one.field for one in found), [g for one in found for g in one.guards], entries, name


def rules(statements: list[object], draft: Draft, comment: str, origin: Origin) -> tuple[Rule, ...]:
    """One rule of a listing, which can become several."""
    for one in statements:
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


def conjunction(parts: list[Match]) -> Match:
    flat: list[Match] = []
    for one in parts:
        flat.extend(one.matches if isinstance(one, All) else (one,))
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def _read(statement: object, draft: Draft) -> None:
    if isinstance(statement, dict) and len(statement) == 1:
        ((kind, body),) = statement.items()
        plain = _plain_verdict(kind, body)
        if plain is not None:
            draft.verdict = plain
        elif kind in _READERS:
            _READERS[kind](body, draft)
        elif kind in _SILENT:
            draft.require_fields(body)
            draft.effects.append(SideNote(render.statement(statement)))
        else:
            _unknown(statement, draft)
    else:
        _unknown(statement, draft)


def _unknown(statement: object, draft: Draft) -> None:
    draft.doubt = draft.doubt or render.statement(statement) or "a statement of an unknown form"


def _plain_verdict(kind: str, body: object) -> PlainVerdict | None:
    match kind, body:
        case "accept", _:
            return Accept()
        case "drop", _:
            return Drop()
        case "continue", _:
            return Continue()
        case "return", _:
            return Return()
        case "jump", {"target": str(target)}:
            return Jump(target)
        case "goto", {"target": str(target)}:
            return Goto(target)
    return None


# ------------------------------------------------------------------ matches


def _match(body: object, draft: Draft) -> None:
    if isinstance(body, dict):
        draft.require(*matches.relation(body, draft.matches, draft.scope))
    else:
        _unknown({"match": body}, draft)


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
            _unknown({"set": body}, draft)


def _meter(body: object, draft: Draft) -> None:
    match body:
        case {"key": element, "stmt": inner, **rest}:
            _keyed(str(rest.get("name", "")), element, [inner], {"meter": body}, draft)
        case _:
            _unknown({"meter": body}, draft)


def _keyed(name: str, element: object, inner: list[object], statement: object, draft: Draft) -> None:
    key = element["elem"].get("val") if _is_element(element) else element  # type: ignore[index]
    draft.require_fields(key)
    tests = [_keyed_test(name, key, one, render.statement(statement), draft) for one in inner]
    draft.require(*(one for one in tests if one is not None))
    if not any(tests):
        draft.effects.append(SideNote(render.statement(statement)))


def _is_element(element: object) -> bool:
    return isinstance(element, dict) and isinstance(element.get("elem"), dict)


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
        case {"rate": int(rate), "per": "second" | "minute" | "hour" | "day" as per, **rest}:
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
            _unknown({"mangle": body}, draft)
            return
    text = render.statement({"mangle": body})
    match key:
        case {"meta": {"key": "mark"}}:
            draft.effects.append(_set_mark(Field.MARK, key, value, draft))
        case {"ct": {"key": "mark"}}:
            draft.effects.append(_set_mark(Field.CT_MARK, key, value, draft))
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
            _unknown({"mangle": body}, draft)


def _write_header(key: object, text: str, draft: Draft) -> None:
    """Stateless translation (`ip daddr set ...`) is not modelled; other fields are not tested exactly anyway."""
    try:
        matches.operands(key, draft.scope.family)
    except NotUnderstoodError:
        draft.effects.append(SideNote(text))
    else:
        draft.doubt = draft.doubt or text


def _set_mark(target: Field, key: object, value: object, draft: Draft) -> SetMark:
    kept, bits = _mark_value(key, value)
    if bits is None or draft.doubt:
        return SetMark(target, MARK_BITS, None)
    mask = MARK_BITS & ~kept
    return SetMark(target, mask, bits & mask)


def _mark_value(key: object, value: object) -> tuple[int, int | None]:
    """`value` as (mark & kept) | bits, or bits None where it is something else."""
    match value:
        case int() if 0 <= value <= MARK_BITS:
            return 0, int(value)
        case {"&": [inner, int(constant)]}:
            kept, bits = _mark_value(key, inner)
            return kept & constant, None if bits is None else bits & constant
        case {"|": [inner, int(constant)]} if 0 <= constant <= MARK_BITS:
            kept, bits = _mark_value(key, inner)
            return kept & ~constant, None if bits is None else bits | constant
        case {"^": [inner, int(constant)]} if 0 <= constant <= MARK_BITS:
            kept, bits = _mark_value(key, inner)
            return kept, None if bits is None or kept & constant else bits ^ constant
    return (MARK_BITS, 0) if value == key else (0, None)


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
        case _:
            _unknown({"xt": body}, draft)


def _opaque_text(body: object, draft: Draft) -> None:
    _unknown({"opaque": body}, draft)


# ------------------------------------------------------------------ verdicts


def _jump(body: object, draft: Draft) -> None:
    _into_nested(body, Jump, draft)


def _goto(body: object, draft: Draft) -> None:
    _into_nested(body, Goto, draft)


def _into_nested(body: object, way: type[Jump] | type[Goto], draft: Draft) -> None:
    match body:
        case {"chain": [*inner]}:
            name = draft.scope.place.removeprefix(f"{draft.scope.family} {draft.scope.table} ")
            draft.nested.append((name, inner))
            draft.verdict = way(name)
        case _:
            _unknown({"jump": body}, draft)


def _reject(body: object, draft: Draft) -> None:
    kind, code = (body.get("type"), body.get("expr")) if isinstance(body, dict) else (None, None)
    if kind == "tcp reset":
        draft.require(Test(Field.PROTOCOL, ((6, 6),)))
    if kind in ("icmp", "icmpv6"):
        draft.require_family(Family.IPV4 if kind == "icmp" else Family.IPV6)
    usual = kind is None or code == "port-unreachable"
    draft.verdict = Reject("" if usual else render.statement({"reject": body}).removeprefix("reject with "))


def _queue(body: object, draft: Draft) -> None:
    draft.require_fields(body)
    flags = values.as_list(body.get("flags")) if isinstance(body, dict) else []
    draft.verdict = Queue("bypass" in flags)


def _vmap(body: object, draft: Draft) -> None:
    match body:
        case {"key": key, "data": data}:
            _choose(key, data, _entry_verdict, draft)
        case _:
            _unknown({"vmap": body}, draft)


def _entry_verdict(data: object) -> PlainVerdict:
    if isinstance(data, dict) and len(data) == 1:
        ((kind, body),) = data.items()
        verdict = _plain_verdict(kind, body)
        if verdict is not None:
            return verdict
    return Unknown(render.statement(data))


def _choose(key: object, data: object, way: Callable[[object], PlainVerdict], draft: Draft) -> None:
    """The verdict that a map holds for the packet's key; without one, the next rule."""
    try:
        fields, guards, found, name = draft.table(key, data)
    except NotUnderstoodError:
        _choose_in_doubt(key, data, way, draft)
        return
    draft.require(*(one for one in guards if one != draft.scope.family_test))
    draft.verdict = VerdictMap(fields, tuple((box, way(value)) for box, value in found.entries), name)
    if found.otherwise and _may_change(key, (verdict for _, verdict in draft.verdict.entries)):
        _unknown({"vmap": {"key": key, "data": data}}, draft)
    elif found.otherwise:
        draft.after.append((matches.not_in(fields, [box for box, _ in found.entries]), way(found.otherwise[0])))


def _choose_in_doubt(key: object, data: object, way: Callable[[object], PlainVerdict], draft: Draft) -> None:
    """A rule for each entry; their matches exclude each other."""
    match data:
        case {"set": [*pairs]} if pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            ways = [(_key_is(key, pair[0], draft), way(pair[1])) for pair in pairs]
        case _:
            _unknown({"vmap": {"key": key, "data": data}}, draft)
            return
    if _may_change(key, (verdict for _, verdict in ways)):
        _unknown({"vmap": {"key": key, "data": data}}, draft)
        return
    if _covers_all(key, pairs):
        ways[-1] = (ALWAYS, ways[-1][1])
    draft.after.extend(ways)


def _may_change(key: object, ways: Iterable[PlainVerdict]) -> bool:
    """Whether the first entry that holds may lead through a chain that changes the key, and back."""
    return "mark" in render.expression(key) and any(isinstance(one, Jump) for one in ways)


def _key_is(key: object, value: object, draft: Draft) -> Match:
    if value == "*":
        return draft.opaque(f"{render.expression(key)} *", matches.reason(key), consuming=True)
    return conjunction(matches.relation({"left": key, "op": "==", "right": value}, draft.matches, draft.scope))


def _covers_all(key: object, pairs: list[object]) -> bool:
    """Whether `numgen ... mod n map { ... }` names all n numbers."""
    match key:
        case {"numgen": {"mod": int(modulus), **rest}} | {"symhash": {"mod": int(modulus), **rest}} if not rest.get(
            "offset"
        ):
            try:
                intervals = [values.MARK.interval(pair[0]) for pair in pairs if isinstance(pair, list)]
            except NotUnderstoodError:
                return False
            return normalize(intervals) == ((0, modulus - 1),)
    return False


def _dnat(body: object, draft: Draft) -> None:
    given = body if isinstance(body, dict) else {}
    _translate(given.get("addr"), given.get("port"), _family_of(given, draft), {"dnat": body}, draft)


def _redirect(body: object, draft: Draft) -> None:
    port = body.get("port") if isinstance(body, dict) else None
    _translate(_HERE, port, None, {"redirect": body}, draft)


def _family_of(body: Mapping[str, object], draft: Draft) -> Family | None:
    family = body.get("family", draft.scope.family)
    return {"ip": Family.IPV4, "ip6": Family.IPV6}.get(str(family))


def _translate(address: object, port: object, family: Family | None, statement: object, draft: Draft) -> None:
    doubt = Unknown(render.statement(statement))

    def target(new_address: object, new_port: object) -> PlainVerdict:
        try:
            return _target(new_address, new_port, family)
        except NotUnderstoodError:
            return doubt

    match address, port:
        case {"map": {"key": key, "data": data}}, _:
            _choose(key, data, lambda value: target(value, port), draft)
        case _, {"map": {"key": key, "data": data}}:
            _choose(key, data, lambda value: target(address, value), draft)
        case _:
            draft.verdict = target(address, port)


def _target(address: object, port: object, family: Family | None) -> Dnat:
    match address:
        case {"concat": [first, second]}:
            return _target(first, second, family)
        case {"elem": {"val": inner}}:
            return _target(inner, port, family)
    ports = None if port is None else values.PORT.interval(port)
    if address is _HERE:
        return Dnat(None, None, ports)
    kind = _family_of_address(address) if family is None else family
    return Dnat(kind, _addresses(address, kind), ports)


def _family_of_address(address: object) -> Family:
    return Family.IPV6 if ":" in render.expression(address) else Family.IPV4


def _addresses(address: object, family: Family) -> Interval:
    return (values.IPV4 if family is Family.IPV4 else values.IPV6).interval(address)


def _snat(kind: str) -> Callable[[object, Draft], None]:
    def read(body: object, draft: Draft) -> None:
        draft.require_fields(body)
        draft.verdict = Snat(render.statement({kind: body}))

    return read


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
    "jump": _jump,
    "goto": _goto,
    "reject": _reject,
    "queue": _queue,
    "vmap": _vmap,
    "dnat": _dnat,
    "redirect": _redirect,
    "snat": _snat("snat"),
    "masquerade": _snat("masquerade"),
}


# ------------------------------------------------------------------ walks


def _maps_in(expression: object) -> Iterator[tuple[object, object]]:
    match expression:
        case {"map": {"key": key, "data": data}}:
            yield key, data
        case _:
            for part in values.children(expression):
                yield from _maps_in(part)


def _fields(match: Match) -> Iterator[Field]:
    match match:
        case Test(one, _) | Bits(one, _, _):
            yield one
        case Lookup(several, _) | AnonymousLookup(several, _):
            yield from several
        case Not(inner):
            yield from _fields(inner)
        case All(parts) | Any(parts):
            for part in parts:
                yield from _fields(part)
        case _:
            return
