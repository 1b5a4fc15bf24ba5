"""Objects and commands of libnftables -> the tables that they leave behind.

Rules of this file
    A listing is a list of things to add; a script's commands are obeyed in order, from a host without rules.
    Bodies stay JSON. What can't be obeyed is given back as text.
"""

from __future__ import annotations

from dataclasses import field
from typing import NamedTuple

from portgate.backends.nftables import render, values
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.dataclasses import dataclass
from portgate.core.ruleset import ChainKind, Hook

Key = tuple[str, str]
Body = dict[str, object]


@dataclass(slots=True)
class Chain:
    """A chain's declaration and its rules, in order."""

    body: Body
    rules: list[Body] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """A table while commands are followed."""

    family: str
    name: str
    flags: set[str] = field(default_factory=set)
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Body] = field(default_factory=dict)
    maps: dict[str, Body] = field(default_factory=dict)


class Unread(NamedTuple):
    """What could not be followed: where a chain hangs and how it ends (`bases`), and what may be anything else."""

    bases: list[str]
    others: list[str]


def follow(items: list[object]) -> tuple[dict[Key, Table], Unread]:
    """The tables after all commands, and what could not be followed."""
    tables: dict[Key, Table] = {}
    unread = Unread([], [])
    for item in items:
        if not isinstance(item, dict) or not _obey(item, tables):
            (unread.bases if _is_of_chain(item) else unread.others).append(render.statement(item))
    return tables, unread


def _is_of_chain(item: object) -> bool:
    """Whether it adds a chain, or says something of one that is no rule."""
    match item:
        case {"chain": _} | {"add": {"chain": _}} | {"create": {"chain": _}} | {"opaque": {"of": "chain"}}:
            return True
    return False


def _obey(item: dict[str, object], tables: dict[Key, Table]) -> bool:
    """Follows one command, or adds one object. False: it is not known what it does."""
    verb, what = next(iter(item.items()), ("", None))
    if verb in _VERBS:
        return isinstance(what, dict) and _command(verb, what, tables)
    return verb == "metainfo" or _command("", item, tables)


def _command(verb: str, what: dict[str, object], tables: dict[Key, Table]) -> bool:
    if verb in ("list", "reset"):
        return True
    kind, body = next(iter(what.items()), ("", None))
    if kind == "ruleset" and verb == "flush":
        _flush_ruleset(body, tables)
        return True
    if not isinstance(body, dict) or not isinstance(body.get("family", "ip"), str):
        return False
    if kind == "table":
        return _on_table(verb, body, tables)
    if not isinstance(body.get("table"), str):
        return False
    table = _table(tables, body, str(body["table"]))
    handler = {"chain": _on_chain, "rule": _on_rule, "set": _on_set, "map": _on_set, "element": _on_element}.get(kind)
    return handler(verb, kind, body, table) if handler else kind in _OBJECTS


_VERBS = frozenset({
    "add", "create", "insert", "replace", "delete", "destroy", "flush", "rename", "list", "reset",
})  # fmt: skip
_OBJECTS = frozenset({
    "counter", "quota", "limit", "flowtable", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy", "meter",
    "tunnel",
})  # fmt: skip


def _table(tables: dict[Key, Table], body: Body, name: str) -> Table:
    family = str(body.get("family", "ip"))
    return tables.setdefault((family, name), Table(family, name))


def _flush_ruleset(body: object, tables: dict[Key, Table]) -> None:
    family = body.get("family") if isinstance(body, dict) else None
    for key in [key for key in tables if family in (None, key[0])]:
        del tables[key]


def _on_table(verb: str, body: Body, tables: dict[Key, Table]) -> bool:
    name = body.get("name")
    if not isinstance(name, str):
        return False
    if verb in ("delete", "destroy"):
        tables.pop((str(body.get("family", "ip")), name), None)
        return True
    table = _table(tables, body, name)
    if verb == "flush":
        for chain in table.chains.values():
            chain.rules.clear()
    else:
        table.flags.update(one for one in values.as_list(body.get("flags")) if isinstance(one, str))
    return True


def _on_chain(verb: str, _kind: str, body: Body, table: Table) -> bool:
    name = body.get("name")
    if not isinstance(name, str):
        return False
    if verb in ("delete", "destroy"):
        table.chains.pop(name, None)
    elif verb == "flush":
        table.chains.setdefault(name, Chain({})).rules.clear()
    elif verb == "rename":
        table.chains[str(body.get("newname"))] = table.chains.pop(name, Chain({}))
    else:
        # Adding again a chain that exists changes what is given, such as its policy.
        table.chains.setdefault(name, Chain({})).body.update(body)
        return _is_known_base(body)
    return True


def _is_known_base(body: Body) -> bool:
    """Whether all is known of where a chain hangs."""
    if "hook" not in body:
        return "policy" not in body or body["policy"] in ("accept", "drop")
    return (
        body["hook"] in (*Hook, "egress")
        and isinstance(body.get("prio"), int)
        and body.get("type") in tuple(ChainKind)
        and body.get("policy", "accept") in ("accept", "drop")
        and all(map(_is_device, values.as_list(body.get("dev"))))
    )


def _is_device(name: object) -> bool:
    try:
        values.INTERFACE.interval(name)
    except NotUnderstoodError:
        return False
    return name != "*"


def _on_rule(verb: str, _kind: str, body: Body, table: Table) -> bool:
    name, handle = body.get("chain"), body.get("handle")
    if not isinstance(name, str) or (verb not in ("delete", "destroy") and not isinstance(body.get("expr"), list)):
        return False
    rules = table.chains.setdefault(name, Chain({})).rules
    if verb not in ("delete", "destroy"):
        body = {**body, "expr": [_spelled_out(one) for one in values.as_list(body.get("expr"))]}
    if not verb:
        rules.append(body)
        return True
    position = next((i for i, one in enumerate(rules) if handle is not None and one.get("handle") == handle), None)
    if verb == "replace" or verb in ("delete", "destroy"):
        if position is None:
            return False
        rules[position : position + 1] = [body] if verb == "replace" else []
    else:
        rules.insert(_place(verb, body, position, len(rules)), body)
    return True


def _place(verb: str, body: Body, handle: int | None, length: int) -> int:
    """Where a new rule goes: `insert` before, `add` after the rule that is named."""
    index = body.get("index", handle)
    if not isinstance(index, int):
        return 0 if verb == "insert" else length
    return index if verb == "insert" else index + 1


def _on_set(verb: str, kind: str, body: Body, table: Table) -> bool:
    name = body.get("name")
    if not isinstance(name, str):
        return False
    home = table.sets if kind == "set" else table.maps
    if verb in ("delete", "destroy"):
        home.pop(name, None)
    elif verb == "flush":
        home[name] = {**home.get(name, {}), "elem": []}
    else:
        known = home.get(name, {})
        home[name] = {**known, **body, "elem": [*values.as_list(known.get("elem")), *values.as_list(body.get("elem"))]}
    return True


def _on_element(verb: str, _kind: str, body: Body, table: Table) -> bool:
    name = body.get("name")
    home = next((one for one in (table.sets, table.maps) if isinstance(name, str) and name in one), None)
    if not isinstance(name, str) or home is None:
        return False
    elements = values.as_list(home[name].get("elem"))
    given = values.as_list(body.get("elem"))
    if verb in ("delete", "destroy"):
        if any(one not in elements for one in given):
            # A part of an interval, say: what is left is not known.
            home[name] = {**home[name], "type": None}
        home[name] = {**home[name], "elem": [one for one in elements if one not in given]}
    else:
        home[name] = {**home[name], "elem": [*elements, *given]}
    return True


def _spelled_out(statement: object) -> object:
    """nft 1.0.6 gives `jump { ... }` as text inside of its JSON."""
    if isinstance(statement, str):
        from portgate.backends.nftables.listing import rule

        inner = rule(statement)
        return inner[0] if len(inner) == 1 else {"opaque": {"text": statement}}
    return statement
