"""Rules that could go: never more than that, and all of them."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest

from portgate.core.audit import Situation, audit
from portgate.core.focus import fields_of
from portgate.core.net import Family
from portgate.core.redundant import DEFAULT, Surplus, Surplusage, Surpluses
from portgate.core.ruleset import (
    Accept,
    All,
    Base,
    Bits,
    Chain,
    Container,
    Counter,
    CtState,
    Dnat,
    Drop,
    Field,
    Hook,
    Log,
    Match,
    NoTrack,
    Opaque,
    Reject,
    Rule,
    Ruleset,
    SetMark,
    SideNote,
    Snat,
    Template,
    Test,
    VerdictMap,
)
from portgate.core.semantics import Analysis
from tests.engine.rules import (
    ACCEPT,
    CONTINUE,
    DROP,
    REJECT,
    RETURN,
    always,
    base,
    chain,
    filtering,
    iif,
    jump,
    port,
    rule,
    rules,
    source,
    state,
    table,
    udp,
)
from tests.generate.rulesets import ruleset

RAIN = Opaque("rain", "the weather")
TEN = source("10.0.0.0/8")


def told(live: Ruleset, number: int = 0) -> tuple[Surplus, ...]:
    container = live.containers[0]
    return Surplusage(container).of(container.chains[number]).rules


def redundant(*some: Rule, default: Accept | Drop = DROP) -> dict[int, tuple[int, ...]]:
    """The rules that could go, with their takers."""
    return {one.rule: one.takers for one in told(filtering(*some, default=default))}


# ------------------------------------------------------------------ which


def test_a_rule_inside_a_later_one_with_its_verdict_is_redundant() -> None:
    assert redundant(rule(source("10.1.0.0/16"), ACCEPT), rule(TEN, ACCEPT)) == {0: (1,)}
    assert redundant(rule(source("10.1.0.0/16"), DROP), rule(TEN, ACCEPT)) == {}


def test_not_where_something_between_would_decide_otherwise() -> None:
    between = rule(source("10.1.2.0/24"), DROP)
    assert redundant(rule(source("10.1.0.0/16"), ACCEPT), between, rule(TEN, ACCEPT)) == {1: ()}
    assert redundant(between, rule(source("10.1.0.0/16"), ACCEPT), rule(TEN, ACCEPT)) == {1: (2,)}


def test_of_two_equal_rules_one_is_told() -> None:
    assert redundant(rule(port(22), ACCEPT), rule(port(22), ACCEPT)) == {1: ()}


def test_of_rules_that_stand_in_for_each_other_only_as_many_as_can_go_together() -> None:
    halves = rule(source("10.0.0.0/9"), ACCEPT), rule(source("10.128.0.0/9"), ACCEPT)
    assert redundant(rule(TEN, ACCEPT), *halves) == {1: (), 2: ()}
    assert redundant(*halves, rule(source("10.0.0.0/7"), ACCEPT)) == {0: (2,), 1: (2,)}
    overlap = (
        rule(source("10.0.0.0/9"), ACCEPT),
        rule(TEN, ACCEPT),
        rule(source("10.64.0.0/10", "10.128.0.0/9"), ACCEPT),
    )
    assert redundant(*overlap) == {0: (1,), 2: ()}


def test_several_rules_and_the_default_can_make_one_redundant_together() -> None:
    halves = rule(source("10.0.0.0/9"), ACCEPT), rule(source("10.128.0.0/9"), ACCEPT)
    inside = All((TEN, port(22)))
    assert redundant(rule(inside, ACCEPT), *halves) == {0: (1, 2)}
    assert redundant(rule(inside, DROP), rule(source("10.0.0.0/9"), DROP), rule(port(80), ACCEPT)) == {0: (1, DEFAULT)}


def test_more_takers_than_are_named() -> None:
    parts = [rule(source(f"10.{number << 5}.0.0/11"), ACCEPT) for number in range(8)]
    (one,) = told(filtering(rule(All((TEN, port(22))), ACCEPT), *parts))
    assert (one.takers, one.more) == ((1, 2, 3), True)
    assert one.why == "is redundant, rules 2, 3, 4 and others do the same"


def test_a_drop_in_front_of_a_default_of_drop_is_redundant() -> None:
    assert redundant(rule(port(22), DROP), rule(port(80), ACCEPT)) == {0: (DEFAULT,)}
    assert redundant(rule(port(80), ACCEPT), always(DROP)) == {1: (DEFAULT,)}
    assert redundant(rule(port(80), ACCEPT), always(DROP), default=ACCEPT) == {}


def test_what_never_matches_is_told_as_that() -> None:
    (one,) = told(filtering(always(DROP), rule(port(22), DROP), default=ACCEPT))
    assert one == Surplus(1) and one.why == "never matches"


def test_removing_one_rule_may_not_wake_another() -> None:
    """The drop never matches, and with it gone the first rule would be redundant: but not as long as it stands there."""
    assert redundant(rule(TEN, ACCEPT), rule(source("10.1.0.0/16"), DROP), default=ACCEPT) == {1: ()}


def test_reject_is_not_drop_and_answers_differ() -> None:
    assert redundant(rule(port(22), REJECT), always(DROP)) == {1: (DEFAULT,)}
    assert redundant(rule(port(22), Reject("tcp reset")), always(Reject("icmp port-unreachable"))) == {}
    assert redundant(rule(port(22), Reject("tcp reset")), always(Reject("tcp reset"))) == {0: (1,)}


# ------------------------------------------------------------------ what else a rule does


@pytest.mark.parametrize("effect", [Log("x"), SetMark(Field.MARK, 1, 1), SideNote("add @seen { ip saddr }")])
def test_a_rule_that_does_more_than_decide_is_needed(effect: Log | SetMark | SideNote) -> None:
    assert redundant(rule(port(22), ACCEPT, effect), always(ACCEPT)) == {}


def test_a_rule_that_keeps_packets_from_a_log_is_needed() -> None:
    assert redundant(rule(port(137), DROP), always(CONTINUE, Log("odd")), always(DROP)) == {2: (DEFAULT,)}
    assert redundant(rule(port(137), DROP), always(CONTINUE, Counter()), always(DROP)) == {0: (DEFAULT,), 2: (DEFAULT,)}


def test_a_log_in_a_called_chain_counts_as_well() -> None:
    logging = chain("logging", always(CONTINUE, Log("odd")), always(DROP))
    silent = chain("silent", always(DROP))
    first = rule(port(137), DROP)
    for called, expected in ((logging, []), (silent, [0])):
        assert [one.rule for one in told(rules(table(base(first, jump(called.name)), called)))] == expected


def test_a_limit_is_neither_redundant_nor_asked_for_nothing() -> None:
    limited = rule(RAIN, ACCEPT)
    assert redundant(limited, always(ACCEPT)) == {}
    assert redundant(rule(port(22), ACCEPT), limited, always(ACCEPT)) == {}
    assert redundant(rule(port(22), ACCEPT), rule(udp(53), ACCEPT), rule(port(22), ACCEPT), limited) == {2: ()}


def test_translations_are_told_only_where_they_never_match() -> None:
    one, every = Dnat(None, None, (8080, 8080)), Dnat(None, None, (8080, 8080))
    assert redundant(rule(port(80), one), rule(port(80), every), default=ACCEPT) == {1: ()}
    assert redundant(rule(port(80), ACCEPT), always(Snat("masquerade")), default=ACCEPT) == {}


def test_marks_that_change_on_the_way_are_not_mixed_up() -> None:
    def marked(value: int) -> Match:
        return Bits(Field.MARK, 3, value)

    setting = rule(port(22), CONTINUE, SetMark(Field.MARK, 3, 1))
    assert redundant(rule(marked(1), DROP), setting, rule(marked(1), ACCEPT)) == {}
    assert redundant(rule(marked(1), ACCEPT), rule(iif("eth0"), CONTINUE), rule(marked(1), ACCEPT)) == {2: ()}


@pytest.mark.parametrize(
    ("effect", "now"), [(NoTrack(), CtState.UNTRACKED), (Template("ct zone set 1", untracked=True), CtState.NEW)]
)
def test_a_state_that_changes_on_the_way_is_another_one_behind(effect: NoTrack | Template, now: CtState) -> None:
    changing, last = rule(port(53), CONTINUE, effect), rule(All((state(now), port(53))), DROP)
    assert redundant(rule(state(now), ACCEPT), changing, last, default=ACCEPT) == {}
    assert redundant(rule(state(now), ACCEPT), last, changing, default=ACCEPT) == {1: ()}
    called = chain("called", changing)
    one = rules(table(base(rule(state(now), ACCEPT), jump("called"), last, default=ACCEPT), called))
    assert told(one) == ()


def test_a_return_ends_as_the_chain_does() -> None:
    some = rule(port(22), DROP), rule(TEN, RETURN), rule(source("10.1.0.0/16"), ACCEPT)
    assert [one.rule for one in told(filtering(*some, default=DROP))] == [0, 2]


def test_a_rule_counts_where_it_does_in_one_family() -> None:
    both = rules(table(base(rule(source("10.0.0.0/8"), ACCEPT), rule(port(22), ACCEPT), default=DROP)))
    assert told(both) == ()


# ------------------------------------------------------------------ chance, against what the rules mean


RULESETS = int(os.environ.get("PORTGATE_RULESETS", "150"))


def meaning(analyses: tuple[Analysis, ...], container: Container, chain: Chain) -> tuple[object, ...]:
    """All that the chain does, in every state."""
    kept = tuple(chain if one.name == chain.name else replace(one, base=None) for one in container.chains)
    live = Ruleset((replace(container, chains=kept),))
    return tuple(one.inbound(live, {}) for one in analyses)


def without(chain: Chain, gone: set[int]) -> Chain:
    return replace(chain, rules=tuple(one for index, one in enumerate(chain.rules) if index not in gone))


NOT_OF_THE_HEADER = {Field.MARK, Field.CT_MARK, Field.SRC_TYPE, Field.DST_TYPE, Field.OIF}


def plain(container: Container) -> Container:
    """Without what a chain does not know and its way to it does: marks, routes, whether an address is the host's."""
    chains = tuple(
        replace(
            one,
            rules=tuple(replace(each, effects=()) for each in one.rules if header_only(each)),
            base=one.base and Base(Hook.INPUT, 0, one.base.default),
        )
        for one in container.chains
    )
    return replace(container, chains=chains)


def header_only(one: Rule) -> bool:
    fields = {*fields_of(one.match), *(one.verdict.fields if isinstance(one.verdict, VerdictMap) else ())}
    return not any(
        each in NOT_OF_THE_HEADER or each.label.startswith("original") or each is Field.DNATED for each in fields
    )


def test_exactly_the_rules_that_change_nothing_are_told() -> None:
    asked = told_of = 0
    for seed in range(RULESETS):
        for container in ruleset(Random(seed), doubts=False).containers:
            container = plain(container)  # noqa: PLW2901
            looking = Surplusage(container)
            for one in (each for each in container.chains if each.base and each.name != "nat"):
                analyses = tuple(Analysis(family) for family in Family)
                whole = meaning(analyses, container, one)
                found = looking.of(one)
                gone = {each.rule for each in found.rules}
                assert meaning(analyses, container, without(one, gone)) == whole, f"seed {seed} {one}: {gone} together"
                for index, each in enumerate(one.rules):
                    alone = meaning(analyses, container, without(one, {index})) == whole
                    further = meaning(analyses, container, without(one, {*gone, index})) == whole
                    if index in gone:
                        assert alone, f"seed {seed} {one}: {index} alone"
                    elif isinstance(each.verdict, Accept | Drop | Reject):
                        assert not (alone and further), f"seed {seed} {one}: {index} is missing"
                    asked += 1
                told_of += len(gone)
    assert told_of > asked / 20


def test_a_long_chain_is_looked_at_in_blocks_as_if_it_were_one() -> None:
    rng = Random(7)
    some = [
        rule(Test(Field.SRC4, ((first, first + (1 << rng.randrange(6)) - 1),)), rng.choice((ACCEPT, DROP)))
        for first in (rng.randrange(2000) for _ in range(1200))
    ]
    live = filtering(*some)
    analyses = tuple(Analysis(family) for family in Family)
    container = live.containers[0]
    whole = meaning(analyses, container, container.chains[0])
    gone = {one.rule for one in told(live)}
    assert {index // 512 for index in gone} == {0, 1, 2}
    assert meaning(analyses, container, without(container.chains[0], gone)) == whole
    for index in rng.sample(range(1200), 40):
        alone = meaning(analyses, container, without(container.chains[0], {index})) == whole
        further = meaning(analyses, container, without(container.chains[0], {*gone, index})) == whole
        assert (alone and further) == (index in gone)


def test_where_it_would_take_too_long_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portgate.core.redundant.MOST_NODES", 0)
    live = filtering(
        rule(port(22), ACCEPT),
        rule(TEN, ACCEPT),
        rule(port(22), ACCEPT),
        rule(source("10.1.0.0/16"), DROP),
        rule(port(22), ACCEPT),
    )
    found = Surplusage(live.containers[0]).of(live.containers[0].chains[0])
    assert isinstance(found, Surpluses) and {one.takers for one in found.rules} == {()}
    assert [one.code for one in audit(Situation(live)).findings][-1] in ("PG608", "PG612")
