"""What is portgate's in the tables of a listing, apart from what is not.

Theory
    Our chains stand in a table of others, and one rule of it leads to each. Where nothing before that rule can accept a packet,
    it is the same as a table of our own before theirs: both only take away. So it is read as that, and RETURN as what it
    then means, accepted by us. Chains that are not hooked like this, or that somebody taught to accept for everybody, stay what
    they are, chains of the others' table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portgate.backends.iptables.ipset import Set, named_set
from portgate.backends.iptables.names import BASES, IP, TABLES, base_of, is_ours, table_of
from portgate.backends.iptables.parse_values import NotUnderstoodError
from portgate.core.dataclasses import replace
from portgate.core.ruleset import (
    ALWAYS,
    OWNER,
    Accept,
    All,
    Chain,
    Container,
    Continue,
    Drop,
    Goto,
    Jump,
    Lookup,
    Match,
    NamedSet,
    Reject,
    Return,
    Rule,
)

_NAMES = {
    f"{family} {table}{legacy}": (family, table, legacy)
    for family in IP.values()
    for table in TABLES
    for legacy in ("", " (legacy)")
}


def apart(container: Container) -> Iterator[Container]:
    """The table without what is ours, then ours; the table alone where nothing is, or is not in its place."""
    ours = [chain for chain in container.chains if is_ours(chain.name)]
    family, table, legacy = _NAMES.get(container.name, ("", "", ""))
    if not (table and ours and all(_in_place(chain.name, container, table) and _only_returns(chain) for chain in ours)):
        yield container
        return
    own_sets = [one for one in container.sets if base_of(one.name)]
    yield replace(
        container,
        chains=tuple(_unhooked(chain) for chain in container.chains if not is_ours(chain.name)),
        sets=tuple(one for one in container.sets if not base_of(one.name)),
    )
    yield replace(
        container,
        name=f"{family} portgate {table}{legacy}",
        chains=tuple(_ours(chain) for chain in ours),
        sets=tuple(map(own_set, own_sets)),
        owned=True,
        inside=f"{family} {table}",
    )


def own_set(native: NamedSet) -> NamedSet:
    """By the name that it takes turns in; its comment says which of the two it is."""
    return replace(native, name=base_of(native.name), comment=native.name)


def unused(containers: Iterable[Container], sets: Iterable[Set]) -> Iterator[NamedSet]:
    """Our sets that no rule looks up: what an apply that was cut off has left."""
    used = {one.name for container in containers if container.owned for one in container.sets}
    for one in sets:
        if base_of(one.name) and base_of(one.name) not in used:
            try:
                yield own_set(named_set(one))
            except NotUnderstoodError:
                continue


def is_jump_to_us(rule: Rule) -> bool:
    """Whether it leads to a chain of ours."""
    return isinstance(rule.verdict, Jump) and is_ours(rule.verdict.chain)


def _in_place(name: str, container: Container, table: str) -> bool:
    """Whether every packet of its hook comes to a chain of ours; those that only ours lead to are where they belong."""
    jumps = [
        (chain, index)
        for chain in container.chains
        if not is_ours(chain.name)
        for index, rule in enumerate(chain.rules)
        if rule.verdict == Jump(name)
    ]
    if name not in BASES or table_of(BASES[name]) != table:
        return not jumps
    if len(jumps) != 1:
        return False
    chain, index = jumps[0]
    before = chain.rules[:index]
    return (
        chain.name == BASES[name].hook.upper()
        and (chain.rules[index].match, chain.rules[index].comment) == (ALWAYS, OWNER)
        and all(is_jump_to_us(rule) or _takes_away(rule, container, 0) for rule in before)
    )


def _only_returns(chain: Chain) -> bool:
    """Whether what it does not drop or translate goes on behind the jump."""
    return not any(
        isinstance(rule.verdict, Accept | Jump) or (isinstance(rule.verdict, Goto) and not is_ours(rule.verdict.chain))
        for rule in chain.rules
    )


_DEEPEST = 8


def _takes_away(rule: Rule, container: Container, depth: int) -> bool:
    """Whether it drops a packet or goes on, so that it does not matter if it stands before or behind our chains."""
    match rule.verdict:
        case Drop() | Reject() | Continue():
            return True
        case Return():
            return depth > 0
        case Jump(name) if depth < _DEEPEST and not is_ours(name):
            called = container.chain(name)
            return called is not None and all(_takes_away(one, container, depth + 1) for one in called.rules)
        case _:
            return False


def _unhooked(chain: Chain) -> Chain:
    return replace(chain, rules=tuple(rule for rule in chain.rules if not is_jump_to_us(rule)))


def _ours(chain: Chain) -> Chain:
    """With sets by the names that they take turns in."""
    rules = tuple(
        replace(
            rule,
            match=_with_bases(rule.match),
            verdict=Accept() if isinstance(rule.verdict, Return) else rule.verdict,
        )
        for rule in chain.rules
    )
    return Chain(chain.name, rules, BASES.get(chain.name))


def _with_bases(match: Match) -> Match:
    match match:
        case Lookup(fields, name):
            return Lookup(fields, base_of(name) or name)
        case All(parts):
            return All(tuple(map(_with_bases, parts)))
        case _:
            return match
