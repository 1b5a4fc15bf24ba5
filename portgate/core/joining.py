"""Readings of one host's rules, joined: every rule once, as its own store tells it.

Theory
    The rules that iptables puts into nf_tables are told twice: nft shows where they stand, but of their xtables matches
    only the names; iptables shows those, but misreports, without a word, what a native tool wrote into the same table
    (iptables 1.8.9 prints `ip saddr @blocked drop` as `-j DROP`). Both list the rules of a chain in the kernel's
    order. So nft's reading counts, and the rules that it tells in part are taken from the other one.
    Legacy tables are registered once, at their first use; nft chains with every load of theirs. So the former are taken
    to be the older ones where priorities are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from portgate.core.dataclasses import replace
from portgate.core.ruleset import Chain, Container, Jump, Rule, Ruleset


def joined(readings: Iterable[Ruleset]) -> Ruleset:
    """One ruleset of them all. Tables that were read in two ways count once."""
    containers = [container for reading in readings for container in reading.containers]
    hearsay = {one.name: one for one in containers if one.hearsay}
    direct = {one.name: one for one in containers if not one.hearsay}
    inside = {one.inside: {chain.name for chain in one.chains} for one in containers if one.inside and one.hearsay}
    counting = (
        _corrected(one, direct.get(one.inside))
        if one.hearsay
        else _completed(_without(one, inside.get(one.name, set())), hearsay.get(one.name))
        for one in containers
        if not (one.hearsay and one.name in direct)
    )
    return Ruleset(tuple(sorted(counting, key=lambda one: one.store != "legacy")))


def _without(container: Container, chains: set[str]) -> Container:
    """The table without chains that are counted as a container of their own, and without what leads to them."""
    if not chains:
        return container
    kept = (
        replace(
            chain,
            rules=tuple(
                rule for rule in chain.rules if not (isinstance(rule.verdict, Jump) and rule.verdict.chain in chains)
            ),
        )
        for chain in container.chains
        if chain.name not in chains
    )
    return replace(container, chains=tuple(kept))


def _corrected(container: Container, table: Container | None) -> Container:
    """Chains of ours that stand in another table, with what was put between our rules as that table's own language has it."""
    if table is None:
        return container
    return replace(container, chains=tuple(_corrected_chain(one, table.chain(one.name)) for one in container.chains))


def _corrected_chain(chain: Chain, other: Chain | None) -> Chain:
    """Every rule of ours has a comment."""
    ours, theirs = _as_listed(chain.rules), _as_listed(other.rules if other else ())
    if len(ours) != len(theirs):
        return chain  # it has changed between the two readings
    chosen = (
        our if our[0].comment or their[0].origin.partial else their for our, their in zip(ours, theirs, strict=True)
    )
    return replace(chain, rules=tuple(rule for rules in chosen for rule in rules))


def _completed(container: Container, other: Container | None) -> Container:
    """The container, with the rules that its listing shows in part as the other reading has them."""
    if other is None or {one.name for one in container.sets} & {one.name for one in other.sets}:
        return container
    chains = tuple(_completed_chain(one, other.chain(one.name)) for one in container.chains)
    return replace(container, chains=chains, sets=(*container.sets, *other.sets))


def _completed_chain(chain: Chain, other: Chain | None) -> Chain:
    if other is None:
        return chain
    ours, theirs = _as_listed(chain.rules), _as_listed(other.rules)
    if len(ours) != len(theirs):
        return chain  # it has changed between the two readings
    chosen = (_completed_rule(our, their) for our, their in zip(ours, theirs, strict=True))
    return replace(chain, rules=tuple(rule for rules in chosen for rule in rules))


def _completed_rule(ours: tuple[Rule, ...], theirs: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """One listed rule: as the other reading has it, or where both say the same, in the words of the other, who wrote it."""
    if ours[0].origin.partial:
        return theirs
    if len(ours) == len(theirs) == 1 and (ours[0].match, ours[0].verdict) == (theirs[0].match, theirs[0].verdict):
        return (replace(ours[0], origin=replace(ours[0].origin, text=theirs[0].origin.text)),)
    return ours


def _as_listed(rules: Sequence[Rule]) -> list[tuple[Rule, ...]]:
    """Rules by the listed rule that they were read from."""
    return [tuple(group) for _, group in groupby(rules, lambda one: (one.origin.handle, one.origin.line))]
