"""A rule while it is read, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from portgate.backends.nftables import matches, render, sets, values
from portgate.backends.nftables.matches import Scope
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.dataclasses import dataclass
from portgate.core.focus import fields_of
from portgate.core.net import Family
from portgate.core.ruleset import (
    ALWAYS,
    All,
    Continue,
    Effect,
    Field,
    Match,
    NoTrack,
    Opaque,
    SetMark,
    Template,
    Verdict,
)  # fmt: skip


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
        """Adds matches. Those after a statement that may decide have no say: it may have decided before."""
        for one in conditions:
            if one == ALWAYS or one in self.matches or self.doubt:
                continue
            self.settle()
            self.matches.append(one)

    def settle(self) -> None:
        """What was set so far holds although a later match fails."""
        changed = {
            effect.field if isinstance(effect, SetMark) else Field.CT_STATE
            for effect in self.effects
            if isinstance(effect, SetMark | NoTrack | Template)
        }
        if changed:
            self.done.append((conjunction(self.matches), tuple(self.effects), Continue()))
            self.effects = []
            self.matches = [self._remembered(i, one, changed) for i, one in enumerate(self.matches)]

    def _remembered(self, index: int, match: Match, changed: set[Field]) -> Match:
        if changed.isdisjoint(fields_of(match)):
            return match
        key = f"match {index} before change {len(self.done)} [{self.scope.place}]"
        return Opaque(key, "a mark that this rule tests, then sets")

    def require_fields(self, expression: object) -> None:
        """The packet has what `expression` reads, also in its maps."""
        self.require(*(one for one in matches.guards(expression) if one != self.scope.family_test))
        for key, data in _maps_in(expression):
            self.require(self._has_key(key, data))

    def require_family(self, family: Family) -> None:
        """The packet is of this family."""
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
        """See `matches.opaque`."""
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

    def perhaps(self, text: str, effect: Effect) -> None:
        """Notes what a statement of which only the name is known may do."""
        condition = self.opaque(text, "what a target does")
        self.done.append((conjunction([*self.matches, condition]), (effect,), Continue()))

    def doubtful(self, statement: object) -> None:
        """Notes a statement that may decide."""
        self.doubt = self.doubt or render.statement(statement) or "a statement of an unknown form"


def conjunction(parts: list[Match]) -> Match:
    """All of them, in the simplest form."""
    flat: list[Match] = []
    for one in parts:
        flat.extend(one.matches if isinstance(one, All) else (one,))
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def _maps_in(expression: object) -> Iterator[tuple[object, object]]:
    match expression:
        case {"map": {"key": key, "data": data}}:
            yield key, data
        case _:
            for part in values.children(expression):
                yield from _maps_in(part)
