"""From a rule that decided a packet back to the grant that asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portgate.core.net import Family
from portgate.core.packets import DPORT, DST, ICMP_CODE, ICMP_TYPE, IIF, OIF, PROTOCOL, SPORT, SRC, Packet
from portgate.core.ruleset import All, Any, Container, Field, Lookup, Match, Not, Place, Ruleset
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


def grant_of(ruleset: Ruleset, place: Place | None, packet: Packet) -> str | None:
    """The id of the grant behind a rule of ours that decided the packet; None for other rules and for defaults.

    A rule that many grants share looks the packet up in a set, whose element names the grant.
    """
    if place is None or not ruleset.containers[place.container].owned:
        return None
    rule = ruleset.rule(place)
    if rule is None:
        return None
    container = ruleset.containers[place.container]
    return next(_elements(container, rule.match, packet), rule.comment or None)


def decider(ruleset: Ruleset, place: Place | None, packet: Packet | None) -> str:
    """What to call the rule that decided: `portgate input: ssh-from-office-3f9a1c`, `ip filter INPUT rule 3: drop`.

    "" where no rule was asked.
    """
    if place is None:
        return ""
    container, rule = ruleset.containers[place.container], ruleset.rule(place)
    chain = f"{'portgate' if container.owned else container.name} {place.chain}"
    if rule is None:
        return f"{chain}: default"
    if container.owned:
        grant = rule.comment if packet is None else grant_of(ruleset, place, packet)
        return f"{chain}: {grant or rule_text(rule)}"
    return f"{chain} rule {place.rule + 1}: {rule_text(rule)}"


def _elements(container: Container, match: Match, packet: Packet) -> Iterator[str]:
    levels = packet.levels()
    known = {field: levels[level] for field, level in {**_LEVELS, **_ADDRESSES[packet.family]}.items()}
    sets = container.sets_by_name()
    for lookup in _lookups(match):
        named = sets.get(lookup.set_name)
        if named is None or not all(field in known for field in lookup.fields):
            continue
        changed = _TRANSLATED if Field.ORIGINAL_DPORT in lookup.fields else frozenset()
        sides = [(column, known[field]) for column, field in enumerate(lookup.fields) if field not in changed]
        for element in named.elements:
            if element.comment and all(element.box[at][0] <= value <= element.box[at][1] for at, value in sides):
                yield element.comment


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
