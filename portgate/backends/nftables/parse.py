"""Rules of any host: `nft -j list ruleset` or `nft list ruleset`, and nft scripts -> `Ruleset`.

Facts
    Tables `ip`, `ip6` and `inet` see packets of their families. `netdev` chains on ingress see both, before all others; egress
    is after all that portgate decides, so that it is no base chain here. Bridge and arp tables see no packets that are
    delivered to this host through IP: their families are ().
    The base chains of a dormant table are not registered, nor is a chain on ingress whose devices are all gone: such chains
    are kept, and are no base chains. The JSON of nft 1.0.6 has the name of a table where its flags should be, and no
    devices: such chains may be in force or not. Its text has both.
    A set in which one element is not understood is not understood, and what looks it up is opaque.

Rules of this file
    Of several readings, the first that holds a table counts.
    What stands in a listing but is no table's (a line that could not be read, an `include` that was not followed) may hold
    any rule of any chain: each base chain begins with an unknown verdict, and so do base chains of a container of its own on
    every hook. Where only a base chain's place or default is not known, the others are not touched; nor are they in JSON, which is
    a list of all that there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from portgate.backends.nftables import render, sets, statements, values
from portgate.backends.nftables.draft import Draft
from portgate.backends.nftables.matches import FAMILIES, Scope
from portgate.backends.nftables.tables import Body, Key, Table, follow
from portgate.backends.nftables.tables import Chain as TableChain
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core import unread
from portgate.core.capture import Reading
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import Family, interface_interval
from portgate.core.ruleset import (
    OWNER,
    Accept,
    All,
    Any,
    Base,
    Chain,
    ChainKind,
    Container,
    Drop,
    Field,
    Hook,
    Lookup,
    Match,
    NamedSet,
    Not,
    Opaque,
    Origin,
    Rule,
    Ruleset,
)  # fmt: skip

OWN_TABLE = ("inet", "portgate")


def parse(readings: tuple[Reading, ...]) -> Ruleset:
    """**Shape** readings of kind `nft-json` and `nft`; others are ignored. **Errors** PortgateError (PG4xx) for a text that is no ruleset."""
    containers: dict[Key, Container] = {}
    for reading in readings:
        for key, container in _containers(reading):
            containers.setdefault(key, container)
    return Ruleset(tuple(containers.values()))


def _containers(reading: Reading) -> Iterator[tuple[Key, Container]]:
    try:
        yield from _read(reading)
    except RecursionError:
        raise _no_ruleset(reading, "it is nested too deeply") from None


def _read(reading: Reading) -> Iterator[tuple[Key, Container]]:
    if reading.kind == "nft-json":
        document = _load(reading)
    elif reading.kind == "nft":
        from portgate.backends.nftables.listing import to_json

        document = to_json(reading.text, reading.source)
    else:
        return
    match document:
        case {"nftables": [*items]}:
            tables, left = follow(items)
        case _:
            raise _no_ruleset(reading, 'it has no list "nftables"')
    anywhere = unread.rules(left.others) if reading.kind == "nft" else ()
    for key, table in tables.items():
        yield key, unread.beginning_with(anywhere, _container(table))
    if any(left):
        found = unread.rules([*left.bases, *left.others])
        yield ("unread", reading.source), unread.beginning_with(found, unread.container(tuple(Family)))


def _load(reading: Reading) -> object:
    try:
        return json.loads(reading.text)
    except (ValueError, RecursionError) as problem:
        raise _no_ruleset(reading, f"it is not JSON: {problem}") from None


def _no_ruleset(reading: Reading, why: str) -> PortgateError:
    remedy = "save it with `nft -j list ruleset` (nft-json) or `nft list ruleset` (nft)"
    return PortgateError(Diagnostic("PG411", f"{reading.source}: {why}", remedy=remedy))


# ------------------------------------------------------------------ tables -> containers


def _container(table: Table) -> Container:
    written = list(_written([rule.get("expr") for chain in table.chains.values() for rule in chain.rules]))
    changing = frozenset(written)
    named = dict(_named_sets(table, changing))
    looked_up = {name: one for name, one in named.items() if not sets.has_conditions(table.sets[name])}
    chains = [chain for name, one in table.chains.items() for chain in _chains(name, one, table, looked_up, changing)]
    used = _fields_in_use(chains)
    ours = (table.family, table.name) == OWN_TABLE and any(one.comment == OWNER for one in named.values())
    return Container(
        f"{table.family} {table.name}",
        FAMILIES.get(table.family, ()),
        tuple(chains),
        tuple(_typed(one, used.get(one.name)) for one in named.values()),
        owned=ours,
    )


def _written(expression: object) -> Iterator[str]:
    """The texts of what rules change: `@name` of sets, and fields that they write."""
    match expression:
        case {"set": {"op": _, "set": str(name)}} | {"map": {"op": _, "map": str(name)}}:
            yield name if name.startswith("@") else f"@{name}"
        case {"meter": {"name": str(name)}}:
            yield f"@{name}"
        case {"mangle": {"key": key}}:
            yield render.expression(key)
        case {"jump": {"chain": inner}} | {"goto": {"chain": inner}}:
            yield from _written(inner)
        case [*parts]:
            for part in parts:
                if isinstance(part, list | dict):
                    yield from _written(part)


def _named_sets(table: Table, changing: frozenset[str]) -> Iterator[tuple[str, NamedSet]]:
    for name, body in table.sets.items():
        try:
            yield name, sets.named_set(body, table.family, f"@{name}" in changing)
        except NotUnderstoodError:
            continue


def _chains(
    name: str, chain: TableChain, table: Table, named: Mapping[str, NamedSet], changing: frozenset[str]
) -> Iterator[Chain]:
    """The chain, then those that are written inside its rules."""
    rules: list[Rule] = []
    nested: list[tuple[str, list[object]]] = []
    for number, body in enumerate(chain.rules, 1):
        place = f"{table.family} {table.name} {name} #{number}"
        draft = Draft(Scope(table.family, table.name, place, named, changing), table.maps)
        rules.extend(_rule(body, draft))
        nested.extend(draft.nested)
    base = None if "dormant" in table.flags else _base(chain.body)
    doubts = _doubts_of_base(name, chain.body, table) if base else ()
    yield Chain(name, (*doubts, *rules), base)
    for inner_name, inner in nested:
        bodies: list[Body] = [{"expr": one} for one in inner]
        yield from _chains(inner_name, TableChain({}, bodies), table, named, changing)


def _doubts_of_base(name: str, body: Body, table: Table) -> Iterator[Rule]:
    """Rules before all others, by which a chain is passed if it may not be in force."""
    if not table.flags <= _TABLE_FLAGS:
        yield _passed(f"table {table.family} {table.name}", "whether the table is dormant")
    if body.get("hook") == Hook.INGRESS and "dev" not in body:
        yield _passed(
            f"devices of {table.family} {table.name} {name}", "the devices of a chain on ingress, which are not listed"
        )


_TABLE_FLAGS = {"dormant", "owner", "persist"}


def _passed(key: str, reason: str) -> Rule:
    return Rule(Opaque(key, reason), Accept(), origin=Origin(reason))


def _rule(body: Body, draft: Draft) -> tuple[Rule, ...]:
    expressions = values.as_list(body.get("expr"))
    comment, line, handle = body.get("comment"), body.get("line"), body.get("handle")
    origin = Origin(
        render.rule(expressions),
        line if isinstance(line, int) else None,
        handle if isinstance(handle, int) else None,
        any(isinstance(one, dict) and "xt" in one for one in expressions),
    )
    return statements.rules(expressions, draft, comment if isinstance(comment, str) else "", origin)


def _base(body: Body) -> Base | None:
    hook, priority, kind = body.get("hook"), body.get("prio"), body.get("type")
    devices = tuple(one for one in values.as_list(body.get("dev")) if isinstance(one, str) and _is_interface(one))
    if (
        hook not in tuple(Hook)
        or not isinstance(priority, int)
        or (hook == Hook.INGRESS and "dev" in body and not devices)
    ):
        return None
    return Base(
        Hook(str(hook)),
        priority,
        Drop() if body.get("policy") == "drop" else Accept(),
        ChainKind(str(kind)) if kind in tuple(ChainKind) else ChainKind.FILTER,
        devices,
    )


def _is_interface(name: str) -> bool:
    """Whether any interface can have the name; a listing that somebody edited can hold others."""
    try:
        interface_interval(name)
    except ValueError:
        return False
    return True


def _fields_in_use(chains: Iterable[Chain]) -> dict[str, tuple[Field, ...]]:
    """Of each set, the fields with which it is first looked up: its type does not tell source from destination."""
    used: dict[str, tuple[Field, ...]] = {}
    for chain in chains:
        for rule in chain.rules:
            for lookup in _lookups(rule.match):
                used.setdefault(lookup.set_name, lookup.fields)
    return used


def _lookups(match: Match) -> Iterator[Lookup]:
    match match:
        case Lookup():
            yield match
        case All(parts) | Any(parts):
            for one in parts:
                yield from _lookups(one)
        case Not(inner):
            yield from _lookups(inner)


def _typed(named: NamedSet, fields: tuple[Field, ...] | None) -> NamedSet:
    return replace(named, fields=fields) if fields else named
