"""Rules that let nothing through while they take the place of others.

Facts
    Rules are in force at once, all else of a transaction later: a new base chain accepts by its policy until the kernel has gone
    through all, and the old one is gone before that; then new sets get what they hold, in the order in which they were declared.
    While a table was replaced 300 times, 30 of a million packets passed that nothing but the policy of the chain dropped, and 100 to 300
    that a set blocked; 3 where those were accepted by another set declared behind that, for one packet looks both up. None pass where a rule
    drops by default, and where blocks come behind a rule that drops all until the last set is filled (Linux 6.18).
"""

from __future__ import annotations

from portgate.core.dataclasses import replace
from portgate.core.ruleset import (
    ALWAYS,
    All,
    Chain,
    Container,
    Drop,
    Element,
    Field,
    Lookup,
    Match,
    NamedSet,
    Not,
    Reject,
    Rule,
    Ruleset,
)

READY = "ready"
"""The set that is declared last, and holds every packet that there is."""
_WAIT = Rule(Not(Lookup((Field.PROTOCOL,), READY)), Drop(), comment="wait")


def lower(desired: Ruleset) -> Ruleset:
    """With a default that drops as a rule, and one that drops all before the first that blocks what is in a set, until sets are filled."""
    return Ruleset(tuple(map(_lowered, desired.containers)))


def _lowered(container: Container) -> Container:
    chains = tuple(_waiting(_closed(one)) for one in container.chains)
    sets = container.sets
    if any(_WAIT in one.rules for one in chains):
        ready = NamedSet(READY, (Field.PROTOCOL,), (Element(((0, Field.PROTOCOL.top),)),))
        sets = tuple(sorted((*sets, ready), key=lambda one: one.name))
    return replace(container, chains=chains, sets=sets)


def _closed(chain: Chain) -> Chain:
    drops = chain.base is not None and chain.base.default == Drop()
    if not drops or (chain.rules and chain.rules[-1].match == ALWAYS):
        return chain
    return replace(chain, rules=(*chain.rules, Rule(ALWAYS, Drop(), comment="default")))


def _waiting(chain: Chain) -> Chain:
    place = next((place for place, rule in enumerate(chain.rules) if _blocks(rule)), None)
    if place is None:
        return chain
    return replace(chain, rules=(*chain.rules[:place], _WAIT, *chain.rules[place:]))


def refuses(rule: Rule) -> bool:
    return isinstance(rule.verdict, Drop | Reject)


def _blocks(rule: Rule) -> bool:
    return refuses(rule) and any(isinstance(part, Lookup) for part in _parts(rule.match))


def _parts(match: Match) -> tuple[Match, ...]:
    return match.matches if isinstance(match, All) else (match,)
