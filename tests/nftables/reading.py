"""Short ways to a ruleset, and rulesets without what differs by how they were written down."""

from __future__ import annotations

import json
from dataclasses import replace

from portgate.backends.nftables.parse import parse
from portgate.core.capture import Reading
from portgate.core.net import normalize
from portgate.core.ruleset import (
    All,
    Any,
    Chain,
    Container,
    Element,
    Field,
    Match,
    NamedSet,
    Not,
    Opaque,
    Rule,
    Ruleset,
    SideNote,
    Snat,
    Test,
    Unknown,
    Verdict,
)


def read(text: str, kind: str = "nft") -> Ruleset:
    return parse((Reading(kind, text, "a test"),))


def table(text: str, family: str = "inet") -> Container:
    """The one table with this inside."""
    (container,) = read(f"table {family} t {{\n{text}\n}}\n").containers
    return container


def rules(text: str, family: str = "inet", more: str = "") -> tuple[Rule, ...]:
    """What a rule of a text becomes, in a table with `more` in it."""
    chain = table(f"{more}\nchain c {{\n{text}\n}}", family).chain("c")
    assert chain is not None
    return chain.rules


def rule(text: str, family: str = "inet", more: str = "") -> Rule:
    (one,) = rules(text, family, more)
    return one


def match(text: str, family: str = "inet", more: str = "") -> Match:
    return rule(text, family, more).match


def json_rule(*statements: object, family: str = "inet") -> Rule:
    """The same from libnftables JSON."""
    (one,) = json_rules(*statements, family=family)
    return one


def json_rules(*statements: object, family: str = "inet") -> tuple[Rule, ...]:
    """The rules that one of libnftables JSON is read as."""
    body = {"family": family, "table": "t", "chain": "c"}
    listing = [{"table": {"family": family, "name": "t"}}, {"rule": {**body, "expr": list(statements)}}]
    (container,) = read(json.dumps({"nftables": listing}), "nft-json").containers
    (chain,) = container.chains
    return chain.rules


def is_one(field: Field, *values: int) -> Test:
    return Test(field, normalize((value, value) for value in values))


# ------------------------------------------------------------------ the same meaning in other words


def timeless(ruleset: Ruleset) -> Ruleset:
    """Without the seconds that elements have left, which pass between two listings."""
    return Ruleset(tuple(
        replace(one, sets=tuple(
            replace(named, elements=tuple(element._replace(expires=None) for element in named.elements)) for named in one.sets
        ))
        for one in ruleset.containers
    ))  # fmt: skip


def blurred(ruleset: Ruleset) -> Ruleset:
    """Without the texts of what is not understood, which nft writes in several ways."""
    return Ruleset(tuple(_container(one) for one in ruleset.containers))


def _container(one: Container) -> Container:
    chains = sorted((_chain(chain) for chain in one.chains), key=lambda chain: chain.name)
    sets = sorted((_set(named) for named in one.sets), key=lambda named: named.name)
    return replace(one, chains=tuple(chains), sets=tuple(sets))


def _chain(chain: Chain) -> Chain:
    return replace(chain, rules=tuple(_rule(one) for one in chain.rules))


def _set(one: NamedSet) -> NamedSet:
    """Neighbours that nft merges are one."""
    if len(one.fields) > 1:
        return one
    merged = normalize(element.box[0] for element in one.elements)
    return replace(one, elements=tuple(Element((interval,)) for interval in merged))


def _rule(one: Rule) -> Rule:
    effects = tuple(SideNote("") if isinstance(effect, SideNote) else effect for effect in one.effects)
    return replace(one, match=_match(one.match), verdict=_verdict(one.verdict), effects=effects)


def _match(one: Match) -> Match:
    match one:
        case Opaque() | Not(Opaque()):
            return Opaque("", "")
        case Not(inner):
            return Not(_match(inner))
        case All(parts):
            return All(tuple(map(_match, parts)))
        case Any(parts):
            return Any(tuple(map(_match, parts)))
        case _:
            return one


def _verdict(one: Verdict) -> Verdict:
    match one:
        case Snat():
            return Snat("")
        case Unknown():
            return Unknown("")
        case _:
            return one
