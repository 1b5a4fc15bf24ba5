"""Whether a host has our table as it should be: the commonest case, decided by comparing values, without the texts of rules."""

from __future__ import annotations

from portgate.core.ruleset import Chain, Container, Counter, Rule, Ruleset


def alike(observed: Ruleset, desired: Ruleset) -> bool:
    """False says nothing: then the texts are compared."""
    ours, wanted = observed.owned().containers, desired.containers
    return len(ours) == len(wanted) == 1 and not ours[0].inside and _content(ours[0]) == _content(wanted[0])


def _content(one: Container) -> object:
    return one.sets, [_chain(chain) for chain in one.chains]


def _chain(one: Chain) -> object:
    return one.name, one.base, [_rule(rule) for rule in one.rules]


def _rule(one: Rule) -> object:
    """Every rule of ours has a counter, which a policy does not ask for."""
    return one.match, one.verdict, [effect for effect in one.effects if effect != Counter()], one.comment
