"""libnftables JSON -> short text for people, near to what nft prints.

Two statements have the same text only when they say the same, so the text of a match also serves as its key.
"""

from __future__ import annotations

from collections.abc import Callable

OPERATORS = ("|", "^", "&", "<<", ">>")


def rule(statements: list[object]) -> str:
    return " ".join(filter(None, map(statement, statements)))


def statement(value: object) -> str:
    """One statement of a rule; counters without their values."""
    if not isinstance(value, dict) or len(value) != 1:
        return _word(value)
    ((kind, body),) = value.items()
    shape = _STATEMENTS.get(kind)
    return shape(body) if shape else _named(kind, body)


def expression(value: object) -> str:
    if isinstance(value, bool):
        return "exists" if value else "missing"
    if isinstance(value, str | int | float):
        return _word(value)
    if isinstance(value, list):
        return ",".join(map(expression, value))
    if isinstance(value, dict):
        if len(value) != 1:
            return " ".join(f"{key} {expression(one)}" for key, one in value.items())
        ((kind, body),) = value.items()
        shape = _EXPRESSIONS.get(kind)
        return shape(body) if shape else _named(kind, body)
    return ""


def match(body: object) -> str:
    if not isinstance(body, dict):
        return _word(body)
    left, op, right = body.get("left"), body.get("op", "=="), body.get("right")
    plain = op in ("==", "in") and not (op == "==" and is_flags(left) and not isinstance(right, dict))
    return f"{expression(left)} {'' if plain else f'{op} '}{expression(right)}"


def is_flags(left: object) -> bool:
    """Whether a bare word after `left` means "has this bit", and `==` must be written out."""
    match left:
        case {"ct": {"key": "state" | "status" | "label"}} | {"payload": {"protocol": "tcp", "field": "flags"}}:
            return True
        case _:
            return False


def _word(value: object) -> str:
    if isinstance(value, str) and value.isalnum():
        return value
    text = " ".join(str(value).split())
    return f'"{text}"' if " " in text and not text.startswith("jump {") else text


def _named(kind: str, body: object) -> str:
    """`kind` and whatever is said of it, in the order in which JSON says it."""
    return f"{kind} {expression(body)}".strip()


def _set(body: object) -> str:
    items = body if isinstance(body, list) else [body]
    return f"{{ {', '.join(map(_element, items))} }}"


def _element(item: object) -> str:
    if isinstance(item, list) and len(item) == 2:
        value = item[1]
        data = statement(value) if isinstance(value, dict) else expression(value)
        return f"{expression(item[0])} : {data}"
    return expression(item)


def _elem(body: object) -> str:
    if not isinstance(body, dict):
        return _word(body)
    rest = (f"{key} {_word(one)}" for key, one in body.items() if key in ("timeout", "comment"))
    return " ".join((expression(body.get("val")), *rest))


def _joined(body: object, separator: str) -> str:
    return separator.join(map(expression, body)) if isinstance(body, list) else expression(body)


def _operation(sign: str) -> Callable[[object], str]:
    return lambda body: f"({_joined(body, f' {sign} ')})"


def _prefix(body: object) -> str:
    match body:
        case {"addr": address, "len": length}:
            return f"{expression(address)}/{expression(length)}"
        case _:
            return expression(body)


def _payload(body: object) -> str:
    match body:
        case {"protocol": protocol, "field": field, **rest}:
            tunnel = f"{_word(rest['tunnel'])} " if "tunnel" in rest else ""
            return f"{tunnel}{_word(protocol)} {_word(field)}"
        case {"base": base, "offset": offset, "len": length}:
            return f"@{_word(base)},{_word(offset)},{_word(length)}"
        case _:
            return expression(body)


_KEY_PARTS = ("dir", "family", "name", "type", "key", "field")


def _keyed(kind: str) -> Callable[[object], str]:
    def shape(body: object) -> str:
        if not isinstance(body, dict):
            return _named(kind, body)
        words = (_word(body[part]) for part in _KEY_PARTS if part in body)
        rest = (f"{part} {expression(one)}" for part, one in body.items() if part not in _KEY_PARTS)
        return " ".join((kind, *words, *rest))

    return shape


def _fib(body: object) -> str:
    match body:
        case {"result": result, "flags": flags}:
            flags = flags if isinstance(flags, list) else [flags]
            return f"fib {' . '.join(map(expression, flags))} {result}"
        case _:
            return _named("fib", body)


def _numgen(body: object) -> str:
    match body:
        case {"mode": mode, "mod": modulus, **rest}:
            offset = f" offset {rest['offset']}" if rest.get("offset") else ""
            return f"numgen {mode} mod {modulus}{offset}"
        case _:
            return _named("numgen", body)


def _lookup(word: str) -> Callable[[object], str]:
    def shape(body: object) -> str:
        match body:
            case {"key": key, "data": data}:
                return f"{expression(key)} {word} {expression(data)}"
            case _:
                return _named(word, body)

    return shape


def _limit(body: object) -> str:
    if not isinstance(body, dict):
        return _named("limit name", body)
    unit = "" if (kind := body.get("rate_unit", "packets")) == "packets" else f" {kind}"
    burst = f" burst {body['burst']} {body.get('burst_unit', 'packets')}" if body.get("burst", 5) not in (0, 5) else ""
    return f"limit rate {_over(body)}{body.get('rate')}{unit}/{body.get('per', 'second')}{burst}"


def _quota(body: object) -> str:
    if not isinstance(body, dict) or "map" in body:
        return _named("quota name", body)
    return f"quota {_over(body)}{body.get('val')} {body.get('val_unit', 'bytes')}"


def _count(body: object) -> str:
    return f"ct count {_over(body)}{body.get('val')}" if isinstance(body, dict) else _named("ct count", body)


def _over(body: dict[str, object]) -> str:
    return "over " if body.get("inv") else ""


def _counter(body: object) -> str:
    return "counter" if not isinstance(body, str | dict) or _anonymous(body) else _named("counter name", body)


def _anonymous(body: object) -> bool:
    return isinstance(body, dict) and "map" not in body


def _mangle(body: object) -> str:
    match body:
        case {"key": key, "value": value}:
            return f"{expression(key)} set {expression(value)}"
        case _:
            return _named("set", body)


def _log(body: object) -> str:
    if isinstance(body, dict) and "prefix" in body:
        return f'log prefix "{body["prefix"]}"'
    return "log"


def _reject(body: object) -> str:
    match body:
        case {"type": kind, "expr": code}:
            return f"reject with {kind} {expression(code)}"
        case {"type": kind}:
            return f"reject with {kind}"
        case _:
            return "reject"


def _translation(kind: str) -> Callable[[object], str]:
    def shape(body: object) -> str:
        if not isinstance(body, dict):
            return kind
        family = f" {body['family']}" if "family" in body else ""
        port = f":{expression(body['port'])}" if "port" in body else ""
        target = f" to {expression(body['addr']) if 'addr' in body else ''}{port}" if "addr" in body or port else ""
        return f"{kind}{family}{target}"

    return shape


def _set_statement(body: object) -> str:
    match body:
        case {"op": op, "elem": element, "set": name, **rest}:
            inner = rest.get("stmt")
            statements = inner if isinstance(inner, list) else []
            return f"{op} {name} {{ {' '.join((expression(element), *map(statement, statements)))} }}"
        case _:
            return _named("set", body)


def _meter(body: object) -> str:
    match body:
        case {"key": key, "stmt": inner, **rest}:
            return f"meter {rest.get('name', '')} {{ {expression(key)} {statement(inner)} }}"
        case _:
            return _named("meter", body)


def _jump(kind: str) -> Callable[[object], str]:
    def shape(body: object) -> str:
        match body:
            case {"target": str() as target}:
                return f"{kind} {target}"
            case {"chain": list() as rules}:
                return f"{kind} {{ {'; '.join(rule(one) for one in rules if isinstance(one, list))} }}"
            case _:
                return _named(kind, body)

    return shape


def _native(body: object) -> str:
    return " ".join(str(body.get("text", "") if isinstance(body, dict) else body).split())


def _verdict(kind: str) -> Callable[[object], str]:
    return lambda _body: kind


_EXPRESSIONS: dict[str, Callable[[object], str]] = {
    "set": _set,
    "elem": _elem,
    "concat": lambda body: _joined(body, " . "),
    "range": lambda body: _joined(body, "-"),
    "prefix": _prefix,
    "payload": _payload,
    "fib": _fib,
    "numgen": _numgen,
    "map": _lookup("map"),
    **{
        name: _keyed(name)
        for name in (
            "meta",
            "ct",
            "socket",
            "osf",
            "rt",
            "exthdr",
            "tcp option",
            "ip option",
            "dccp option",
            "sctp chunk",
        )
    },
    **{name: _operation(name) for name in OPERATORS},
}

_STATEMENTS: dict[str, Callable[[object], str]] = {
    "match": match,
    "vmap": _lookup("vmap"),
    "limit": _limit,
    "quota": _quota,
    "ct count": _count,
    "counter": _counter,
    "mangle": _mangle,
    "log": _log,
    "reject": _reject,
    "set": _set_statement,
    "meter": _meter,
    "opaque": _native,
    **{name: _translation(name) for name in ("snat", "dnat", "masquerade", "redirect", "tproxy")},
    **{name: _jump(name) for name in ("jump", "goto")},
    **{name: _verdict(name) for name in ("accept", "drop", "continue", "return", "notrack", "last")},
}
