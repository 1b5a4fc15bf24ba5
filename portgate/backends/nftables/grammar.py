"""The text of one nft rule -> its statements, as libnftables JSON has them.

Rules of this file
    Text that is not understood becomes `{"opaque": {"text": ...}}`, from the statement where understanding ended to the end of
    the rule. Nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from portgate.backends.nftables import render
from portgate.backends.nftables.expressions import (
    PLAIN_VERDICTS,
    STATES,
    concatenation,
    constant,
    constants,
    data,
    element_option,
    expression,
    joined,
    name,
    one_of,
    selector,
    term,
    verdict,
)
from portgate.backends.nftables.tokens import Cursor, UnreadableError, native, unquote, value

_OPERATORS = {
    "==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!": "!",
    "eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=",
}  # fmt: skip
_BEFORE_TARGET = frozenset({"to", "prefix", "addr", "interval", "port", "."})
_NAT_FLAGS = frozenset({"random", "fully-random", "persistent"})
_COLONED = ({"meta": {"key": "priority"}}, {"meta": {"key": "hour"}})
_LOG_OPTIONS = frozenset({"prefix", "group", "snaplen", "queue-threshold", "level", "flags"})


def rule(words: Sequence[str]) -> tuple[list[object], str]:
    """The statements, and the comment. Never fails."""
    cursor = Cursor(words)
    statements: list[object] = []
    comment = ""
    while cursor.now:
        start = cursor.index
        try:
            if cursor.has("comment"):
                comment = unquote(cursor.next())
                continue
            statements.append(_statement(cursor))
        except (UnreadableError, RecursionError):
            statements.append({"opaque": {"text": native(cursor.rest(start))}})
            break
    return statements, comment


def _statement(cursor: Cursor) -> object:
    word = cursor.now
    if word in PLAIN_VERDICTS:
        cursor.next()
        return {word: None}
    reader = _STATEMENTS.get(word)
    return reader(cursor) if reader else _relation(cursor)


def _relation(cursor: Cursor) -> object:
    left = concatenation(cursor)
    if cursor.has("set"):
        return _assignment(cursor, left)
    if cursor.has("vmap"):
        return {"vmap": {"key": left, "data": data(cursor)}}
    op = _OPERATORS.get(cursor.now)
    if op:
        cursor.next()
    if cursor.now == "{" or (cursor.now[:1] == "@" and cursor.after != ","):
        return _match(op or "==", left, data(cursor))
    right = _with_colons(cursor) if left in _COLONED else constants(cursor)
    if cursor.has("/"):
        return _match(op or "==", {"&": [left, constants(cursor)]}, right)
    if op is None:
        op = "in" if render.is_flags(left) and not isinstance(right, dict) else "=="
    return _match(op, left, right)


def _assignment(cursor: Cursor, left: object) -> object:
    match left:
        case {"ct": {"key": "helper" | "timeout" | "expectation" as kind}}:
            return {f"ct {kind}": expression(cursor)}
    new = _with_colons(cursor) if left in _COLONED and cursor.after == ":" else expression(cursor)
    return {"mangle": {"key": left, "value": new}}


def _with_colons(cursor: Cursor) -> object:
    """A traffic class `1:2`, or hours without quotes, `18:00-19:00`."""
    if cursor.after != ":":
        return constants(cursor)
    text = cursor.next()
    while cursor.has(":"):
        text += f":{cursor.next()}"
    first, dash, last = text.partition("-")
    return {"range": [first, last]} if dash else text


def _connection(cursor: Cursor) -> object:
    """`ct count`, or any other match or assignment of `ct`."""
    return STATES["ct"](cursor) if cursor.after == "count" else _relation(cursor)


def _log(cursor: Cursor) -> object:
    cursor.next()
    body: dict[str, object] = {}
    while cursor.now in _LOG_OPTIONS:
        word = cursor.next()
        if word == "flags":
            _log_flags(cursor)
        else:
            body[word] = value(cursor.next())
    return {"log": body or None}


def _log_flags(cursor: Cursor) -> None:
    if cursor.next() in ("tcp", "ip"):
        cursor.next()
        while cursor.has(","):
            cursor.next()


def _reject(cursor: Cursor) -> object:
    cursor.next()
    if not cursor.has("with"):
        return {"reject": None}
    if cursor.has("tcp"):
        cursor.need("reset")
        return {"reject": {"type": "tcp reset"}}
    kind = one_of(cursor, frozenset({"icmp", "icmpv6", "icmpx"}))
    cursor.has("type")
    return {"reject": {"type": kind, "expr": constant(cursor)}}


def _translation(cursor: Cursor) -> object:
    kind = cursor.next()
    body: dict[str, object] = {}
    if cursor.now in ("ip", "ip6") and cursor.after in _BEFORE_TARGET:
        body["family"] = cursor.next()
    while cursor.now in _BEFORE_TARGET and cursor.now != "to":
        cursor.next()
    if cursor.has("to") or (kind in ("snat", "dnat") and cursor.now):
        if cursor.now != ":":
            body["addr"] = expression(cursor)
        if cursor.has(":"):
            body["port"] = expression(cursor)
    if kind == "redirect" and "addr" in body:
        body["port"] = body.pop("addr")
    flags: list[str] = []
    while cursor.now in _NAT_FLAGS:
        flags.append(cursor.next())
        cursor.has(",")
    body |= _flags(flags)
    return {kind: body or None}


def _queue(cursor: Cursor) -> object:
    cursor.next()
    body: dict[str, object] = {}
    flags: list[str] = []
    while cursor.now:
        if cursor.now in ("bypass", "fanout", "flags", ","):
            word = cursor.next()
            flags += [word] if word in ("bypass", "fanout") else []
        elif cursor.now in ("num", "to"):
            cursor.next()
            body["num"] = expression(cursor)
        else:
            break
    body |= _flags(flags)
    return {"queue": body or None}


def _copy(cursor: Cursor) -> object:
    """`dup` and `fwd`."""
    kind = cursor.next()
    body: dict[str, object] = {}
    if cursor.now in ("ip", "ip6"):
        body["family"] = cursor.next()
    cursor.need("to")
    body["addr"] = expression(cursor)
    if cursor.has("device"):
        body["dev"] = expression(cursor)
    elif kind == "fwd" or ("family" not in body and not re.search(r"[.:]", render.expression(body["addr"]))):
        body["dev"] = body.pop("addr")
    return {kind: body}


def _notrack(cursor: Cursor) -> object:
    return {cursor.next(): None}


def _flow(cursor: Cursor) -> object:
    cursor.next()
    if cursor.has("table"):
        return _metered(cursor, name(cursor))
    one_of(cursor, frozenset({"add", "offload"}))
    return {"flow": {"op": "add", "flowtable": cursor.next()}}


def _synproxy(cursor: Cursor) -> object:
    cursor.next()
    if cursor.has("name"):
        return {"synproxy": expression(cursor)}
    body: dict[str, object] = {}
    flags: list[str] = []
    while cursor.now in ("mss", "wscale", "timestamp", "sack-perm"):
        word = cursor.next()
        if word in ("mss", "wscale"):
            body[word] = cursor.number()
        else:
            flags.append(word)
    body |= _flags(flags)
    return {"synproxy": body or None}


def _update(cursor: Cursor) -> object:
    """`add @name { key options statements : data }`."""
    op = cursor.next()
    name = cursor.next()
    if name[0] != "@":
        raise UnreadableError
    cursor.need("{")
    key, statements = _keyed(cursor)
    data = expression(cursor) if cursor.has(":") else None
    cursor.need("}")
    if data is not None:
        return {"map": {"op": op, "elem": key, "data": data, "map": name}}
    return {"set": {"op": op, "elem": key, "set": name} | ({"stmt": statements} if statements else {})}


def _old_update(cursor: Cursor) -> object:
    """`set add key @name`, of before nft 0.9."""
    cursor.next()
    op = one_of(cursor, frozenset({"add", "update", "delete"}))
    key, statements = _keyed(cursor)
    return {"set": {"op": op, "elem": key, "set": cursor.next()} | ({"stmt": statements} if statements else {})}


def _keyed(cursor: Cursor) -> tuple[object, list[object]]:
    key = joined(cursor, term)
    options: dict[str, object] = {}
    while cursor.now in ("timeout", "expires", "comment"):
        element_option(cursor, options)
    statements: list[object] = []
    while cursor.now not in ("}", ":") and cursor.now[:1] != "@":
        statements.append(_statement(cursor))
    return ({"elem": {"val": key, **options}} if options else key), statements


def _meter(cursor: Cursor) -> object:
    cursor.next()
    return _metered(cursor, name(cursor))


def _metered(cursor: Cursor, name: str) -> object:
    if cursor.has("size"):
        cursor.number()
    cursor.need("{")
    key, statements = _keyed(cursor)
    cursor.need("}")
    if len(statements) != 1:
        raise UnreadableError
    return {"meter": {"key": key, "stmt": statements[0], "name": name}}


def _reset(cursor: Cursor) -> object:
    cursor.next()
    return {"reset": selector(cursor)}


def _xtables(cursor: Cursor) -> object:
    cursor.next()
    return {"xt": {"type": one_of(cursor, frozenset({"match", "target", "watcher"})), "name": name(cursor)}}


def _flags(found: list[str]) -> dict[str, object]:
    """As libnftables writes them: one flag is no list."""
    return {"flags": found if len(found) > 1 else found[0]} if found else {}


def _match(op: str, left: object, right: object) -> object:
    return {"match": {"op": op, "left": left, "right": right}}


_STATEMENTS: dict[str, Callable[[Cursor], object]] = {
    **STATES,
    "ct": _connection,
    "log": _log,
    "reject": _reject,
    **dict.fromkeys(("snat", "dnat", "masquerade", "redirect", "tproxy"), _translation),
    "queue": _queue,
    **dict.fromkeys(("dup", "fwd"), _copy),
    "notrack": _notrack,
    "flow": _flow,
    "synproxy": _synproxy,
    **dict.fromkeys(("add", "update", "delete"), _update),
    "set": _old_update,
    "meter": _meter,
    "reset": _reset,
    "xt": _xtables,
    **dict.fromkeys(("jump", "goto"), verdict),
}
