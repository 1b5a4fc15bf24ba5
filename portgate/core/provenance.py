"""From a rule that decided a packet back to the grant that asked for it, or to the rule of somebody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from portgate.core.addresses import Host
from portgate.core.net import Family
from portgate.core.packets import DPORT, DST, ICMP_CODE, ICMP_TYPE, IIF, OIF, PROTOCOL, SPORT, SRC, Packet
from portgate.core.ruleset import All, Any, Dnat, Element, Field, Lookup, Match, NamedSet, Not, Place, Ruleset
from portgate.core.trace import trace
from portgate.core.words import rule_text

_LEVELS: Mapping[Field, int] = {
    Field.PROTOCOL: PROTOCOL,
    Field.IIF: IIF,
    Field.OIF: OIF,
    Field.SPORT: SPORT,
    Field.DPORT: DPORT,
    Field.ICMP_TYPE: ICMP_TYPE,
    Field.ICMP_CODE: ICMP_CODE,
    Field.ORIGINAL_SPORT: SPORT,
    Field.ORIGINAL_DPORT: DPORT,
}
_ADDRESSES: Mapping[Family, Mapping[Field, int]] = {
    Family.IPV4: {Field.SRC4: SRC, Field.DST4: DST, Field.ORIGINAL_SRC4: SRC, Field.ORIGINAL_DST4: DST},
    Family.IPV6: {Field.SRC6: SRC, Field.DST6: DST, Field.ORIGINAL_SRC6: SRC, Field.ORIGINAL_DST6: DST},
}
# What a packet that was translated no longer has as it arrived; a lookup that asks for the original port speaks of such.
_TRANSLATED = frozenset({Field.DPORT, Field.DST4, Field.DST6})


class Grants:
    """The grants behind the rules of a ruleset. What is found of a set is kept, for the sake of many packets."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._indexes: dict[tuple[int, str], _Index] = {}

    def behind(self, place: Place | None, packet: Packet) -> str | None:
        """The id of the grant behind a rule of ours that decided the packet; None for other rules and for defaults.

        A rule that many grants share looks the packet up in a set, whose element names the grant.
        """
        if place is None or not self._ruleset.containers[place.container].owned:
            return None
        rule = self._ruleset.rule(place)
        return None if rule is None else next(self._elements(place, rule.match, packet), rule.comment or None)

    def decider(self, place: Place | None, packet: Packet | None) -> str:
        """What to call the rule that decided: `portgate input: ssh-from-office-3f9a1c`, `ip filter INPUT rule 3: drop`.

        "" where no rule was asked.
        """
        if place is None:
            return ""
        container, rule = self._ruleset.containers[place.container], self._ruleset.rule(place)
        chain = f"{'portgate' if container.owned else container.name} {place.chain}"
        if rule is None:
            return f"{chain}: default"
        if container.owned:
            grant = rule.comment if packet is None else self.behind(place, packet)
            return f"{chain}: {grant or rule_text(rule)}"
        return f"{chain} rule {place.rule + 1}: {rule_text(rule)}"

    def _elements(self, place: Place, match: Match, packet: Packet) -> Iterator[str]:
        levels = packet.levels()
        known = {field: levels[level] for field, level in {**_LEVELS, **_ADDRESSES[packet.family]}.items()}
        for lookup in _lookups(match):
            index = self._index(place.container, lookup)
            if index is not None and all(field in known for field in lookup.fields):
                yield from index.comments([known[field] for field in lookup.fields])

    def _index(self, container: int, lookup: Lookup) -> _Index | None:
        """A set is always looked up by the same fields."""
        name = lookup.set_name
        if (container, name) not in self._indexes:
            named = self._ruleset.containers[container].sets_by_name().get(name)
            if named is None:
                return None
            changed = _TRANSLATED if Field.ORIGINAL_DPORT in lookup.fields else frozenset()
            kept = [column for column, field in enumerate(lookup.fields) if field not in changed]
            self._indexes[container, name] = _Index(named, kept)
        return self._indexes[container, name]


class _Index:
    """The elements of a set by their value in the column that tells them best apart; under None those that have a range there.

    Only the columns `kept` count: those that a packet still has as it arrived.
    """

    def __init__(self, named: NamedSet, kept: Sequence[int]) -> None:
        self._kept = kept
        columns = {column: [element.box[column] for element in named.elements] for column in kept}
        exact = {at: len({first for first, last in column if first == last}) for at, column in columns.items()}
        self._best = max(exact, key=lambda column: exact[column])
        self._elements: dict[int | None, list[Element]] = {}
        for element in named.elements:
            first, last = element.box[self._best]
            self._elements.setdefault(first if first == last else None, []).append(element)

    def comments(self, values: Sequence[int]) -> Iterator[str]:
        """Of the elements that hold these values."""
        for key in (values[self._best], None):
            for element in self._elements.get(key, ()):
                inside = all(element.box[at][0] <= values[at] <= element.box[at][1] for at in self._kept)
                if inside and element.comment:
                    yield element.comment


def grant_of(ruleset: Ruleset, place: Place | None, packet: Packet) -> str | None:
    """`Grants.behind` of one packet."""
    return Grants(ruleset).behind(place, packet)


def _lookups(match: Match) -> Iterator[Lookup]:
    match match:
        case Lookup():
            yield match
        case All(parts) | Any(parts):
            for part in parts:
                yield from _lookups(part)
        case Not(part):
            yield from _lookups(part)
        case _:
            return


# ------------------------------------------------------------------ rules of others


def foreign_decider(rules: Ruleset, packet: Packet, host: Host, *, accepted: bool) -> str | None:
    """What to call the rule that is not ours and decides about a packet; None where ours do."""
    place = _foreign(rules, packet, host, accepted=accepted)
    return None if place is None else Grants(rules).decider(place, packet)


def _foreign(rules: Ruleset, packet: Packet, host: Host, *, accepted: bool) -> Place | None:
    """The rule that leads the packet elsewhere, else the last that had a say; None where that one is ours."""
    places = [step.place for step in trace(rules, packet, host).steps]
    found = [place for place in places if not rules.containers[place.container].owned]
    if not accepted:
        return places[-1] if places and places[-1] in found else None
    leading = (place for place in found if (rule := rules.rule(place)) and isinstance(rule.verdict, Dnat))
    return next(leading, found[-1] if found else None)
