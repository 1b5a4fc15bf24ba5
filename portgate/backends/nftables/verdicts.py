"""The meaning of statements that end a rule: verdicts, verdict maps, address translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from portgate.backends.nftables import matches, render, values
from portgate.backends.nftables.draft import Draft, conjunction
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.net import Family, Interval, normalize
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Continue,
    Dnat,
    Drop,
    Field,
    Goto,
    Jump,
    Match,
    PlainVerdict,
    Queue,
    Reject,
    Return,
    Snat,
    Test,
    Unknown,
    VerdictMap,
)  # fmt: skip

EVERY_PORT = (0, 0xFFFF)
_HERE = object()  # the address of `redirect`: this host's own


def plain(kind: str, body: object) -> PlainVerdict | None:
    """A verdict that needs no more than its words; None for other statements."""
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
            draft.doubtful({"jump": body})


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
            try:
                _choose(key, data, _entry_verdict, draft)
                return
            except NotUnderstoodError:
                draft.require_fields(key)
    draft.doubtful({"vmap": body})


def _entry_verdict(data: object) -> PlainVerdict:
    if isinstance(data, dict) and len(data) == 1:
        ((kind, body),) = data.items()
        verdict = plain(kind, body)
        if verdict is not None:
            return verdict
    return Unknown(render.statement(data))


def _choose(key: object, data: object, way: Callable[[object], PlainVerdict], draft: Draft) -> None:
    """The verdict that a map holds for the packet's key; without one, the next rule.

    Errors: NotUnderstoodError, of `way`, or when the map is not known.
    """
    try:
        fields, guards, found, name = draft.table(key, data)
    except NotUnderstoodError:
        _choose_in_doubt(key, data, way, draft)
        return
    draft.require(*(one for one in guards if one != draft.scope.family_test))
    draft.verdict = VerdictMap(fields, tuple((box, way(value)) for box, value in found.entries), name)
    if found.otherwise and _may_change(key, (verdict for _, verdict in draft.verdict.entries)):
        draft.doubtful({"vmap": {"key": key, "data": data}})
    elif found.otherwise:
        draft.after.append((matches.not_in(fields, [box for box, _ in found.entries]), way(found.otherwise[0])))


def _choose_in_doubt(key: object, data: object, way: Callable[[object], PlainVerdict], draft: Draft) -> None:
    """A rule for each entry; their matches exclude each other."""
    match data:
        case {"set": [*pairs]} if pairs and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            ways = [(_key_is(key, pair[0], draft), way(pair[1])) for pair in pairs]
        case _:
            raise NotUnderstoodError("a map that is not known")
    if _may_change(key, (verdict for _, verdict in ways)):
        draft.doubtful({"vmap": {"key": key, "data": data}})
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
    _translate(given.get("addr"), given.get("port"), _family_of(given, draft), draft)


def _redirect(body: object, draft: Draft) -> None:
    port = body.get("port") if isinstance(body, dict) else None
    _translate(_HERE, port, None, draft)


def _family_of(body: Mapping[str, object], draft: Draft) -> Family | None:
    family = body.get("family", draft.scope.family)
    return {"ip": Family.IPV4, "ip6": Family.IPV6}.get(str(family))


def translate_anywhere(draft: Draft, family: Family | None = None, port: Interval | None = EVERY_PORT) -> None:
    """A new destination that is not known: any address that it can be, the packet's own among them."""
    family = family or {"ip": Family.IPV4, "ip6": Family.IPV6}.get(draft.scope.family)
    ways = [Dnat(one, (0, one.top), port) for one in ((family,) if family else tuple(Family))]
    draft.verdict = ways[0]
    draft.after.extend((ALWAYS, way) for way in ways[1:])


def _translate(address: object, port: object, family: Family | None, draft: Draft) -> None:
    try:
        match address, port:
            case {"map": {"key": key, "data": data}}, _:
                _choose(key, data, lambda value: _target(value, port, family), draft)
            case _, {"map": {"key": key, "data": data}}:
                _choose(key, data, lambda value: _target(address, value, family), draft)
            case None, _:
                translate_anywhere(draft, family, values.PORT.interval(port))
            case _:
                draft.verdict = _target(address, port, family)
    except NotUnderstoodError:
        draft.require_fields([address, port])
        draft.after.clear()
        translate_anywhere(draft, family)


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


READERS: dict[str, Callable[[object, Draft], None]] = {
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
