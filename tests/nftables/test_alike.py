"""The quick look at our table never finds it right where the texts of its rules differ."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from portgate.backends.nftables import BACKEND
from portgate.backends.nftables.alike import alike
from portgate.backends.nftables.transaction import transaction
from portgate.core.capture import Reading
from portgate.core.compile import compile as compiled
from portgate.core.dataclasses import replace
from portgate.core.ruleset import Accept, Chain, Container, Drop, Log, Ruleset
from portgate.language import load
from tests.generate import policies
from tests.written import TODAY


def wanted(text: str) -> Ruleset:
    loaded = load("policy.yaml", lambda _: text.encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return BACKEND.lower(compiled(loaded.policy, TODAY))


def listed(rules: Ruleset) -> Ruleset:
    return BACKEND.parse((Reading("nft", BACKEND.emit(rules).text, "nft"),))


@pytest.mark.parametrize("seed", range(60))
def test_what_was_loaded_is_found_right_and_what_another_policy_asks_for_is_not(seed: int) -> None:
    texts = [policies.policy(Random(2 * seed + one)) for one in (0, 1)]
    first, second = map(wanted, texts)
    loaded = listed(first)
    assert transaction(loaded, first) is None
    # The matches of rules that forward may come back in another order.
    assert alike(loaded, first) or "forward" in texts[0]
    assert not (alike(loaded, second) and transaction(loaded, second))


POLICY = "{portgate: 1, inbound: {block: [{from: 203.0.113.9}], allow: [{port: ssh, from: 192.0.2.0/24, log: true}, {port: http}]}}"


def edits(one: Container) -> Iterator[Container]:
    """One thing of it is otherwise."""
    for place, chain in enumerate(one.chains):
        for other in edited(chain):
            yield replace(one, chains=(*one.chains[:place], other, *one.chains[place + 1 :]))
    for place, some in enumerate(one.sets):
        for change in ({"elements": some.elements[1:]}, {"timed": not some.timed}, {"comment": "mine"}):
            if replace(some, **change) != some:
                yield replace(one, sets=(*one.sets[:place], replace(some, **change), *one.sets[place + 1 :]))
    yield replace(one, sets=one.sets[1:])
    yield replace(one, chains=one.chains[1:])
    yield replace(one, chains=(*one.chains, Chain("more")))
    yield replace(one, owned=False)


def edited(chain: Chain) -> Iterator[Chain]:
    for place, rule in enumerate(chain.rules):
        otherwise = Accept() if rule.verdict == Drop() else Drop()
        for changed in (
            (),
            (rule, rule),
            (replace(rule, verdict=otherwise),),
            (replace(rule, comment="mine"),),
            (replace(rule, effects=(*rule.effects, Log("mine"))),),
        ):
            yield replace(chain, rules=(*chain.rules[:place], *changed, *chain.rules[place + 1 :]))
    if chain.base:
        yield replace(chain, base=replace(chain.base, priority=chain.base.priority + 1))
        default = Accept() if chain.base.default == Drop() else Drop()
        yield replace(chain, base=replace(chain.base, default=default))


def test_whatever_was_edited_is_seen() -> None:
    rules = wanted(POLICY)
    (container,) = listed(rules).containers
    found = list(edits(container))
    assert len(found) > 90
    assert not [one for one in found if alike(Ruleset((one,)), rules)]


def test_tables_of_others_do_not_matter() -> None:
    rules = wanted(POLICY)
    other = Container("inet other", chains=(Chain("c"),))
    assert alike(Ruleset((other, *listed(rules).containers)), rules)
    assert not alike(Ruleset((other,)), rules)
    assert not alike(listed(rules), Ruleset())
