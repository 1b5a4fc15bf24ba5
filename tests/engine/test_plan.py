"""What applying rules would change: traffic, rules, elements."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from portgate.core.addresses import Host
from portgate.core.compile import compile as compile_policy
from portgate.core.decision import Diagram
from portgate.core.net import TCP, Family
from portgate.core.plan import Action, RuleChange, focus, planned, rule_changes, traffic
from portgate.core.policy import Policy
from portgate.core.ruleset import Container, Element, Field, Lookup, NamedSet, Ruleset
from portgate.core.semantics import Analysis, Fate
from portgate.core.verify import Difference
from portgate.core.words import rule_text
from tests.compile.worlds import TODAY, policy
from tests.engine.rules import (
    ACCEPT,
    DROP,
    HOST,
    always,
    base,
    dnat,
    port,
    rule,
    rules,
    table,
    translating,
)
from tests.generate import world

WORLD = Host(world.HOST)
KEYS = (Field.PROTOCOL, Field.DPORT)


def opening(*ports: int, name: str = "portgate", comment: str = "") -> Container:
    """A container of ours that accepts TCP ports by one set."""
    allowed = NamedSet("allowed", KEYS, tuple(Element(((TCP, TCP), (one, one)), comment) for one in ports))
    return table(base(rule(Lookup(KEYS, "allowed"), ACCEPT), default=DROP), name=name, sets=(allowed,), owned=True)


# ------------------------------------------------------------------ focus


def changed(rng: Random, original: Policy) -> Policy:
    """One grant of the policy left out."""
    book = original.inbound
    if not book.allow:
        return original
    gone = rng.randrange(len(book.allow))
    return replace(original, inbound=replace(book, allow=(*book.allow[:gone], *book.allow[gone + 1 :])))


def compared(analysis: Analysis, before: Ruleset, after: Ruleset) -> tuple[Diagram, Diagram]:
    """Where two rulesets differ, and how, for both directions."""
    space = analysis.space
    old, new = ([analysis.settle(ask(one)) for ask in (analysis.inbound, analysis.outbound)] for one in (before, after))
    return space.compare(old[0], new[0]), space.compare(old[1], new[1])


def test_the_same_packets_differ_when_only_what_matters_is_compared() -> None:
    cut = 0
    for seed in range(60):
        original = policy(seed)
        before = compile_policy(original, TODAY)
        after = compile_policy(changed(Random(seed), original), TODAY)
        narrow = focus(before, after, rule_text)
        cut += narrow != (before, after)
        for family in Family:
            analysis = Analysis(family, WORLD)
            assert compared(analysis, *narrow) == compared(analysis, before, after), f"seed {seed}"
    assert cut >= 5, "hardly anything was ever left out"


def test_only_elements_near_a_changed_one_are_compared() -> None:
    before, after = focus(rules(opening(22, 80, 443)), rules(opening(22, 80, 443, 8080)), rule_text)
    assert before.containers[0].sets[0].elements == ()
    assert [one.box for one in after.containers[0].sets[0].elements] == [((TCP, TCP), (8080, 8080))]


def test_another_rule_means_that_everything_is_compared() -> None:
    before, after = rules(opening(22, 80)), rules(opening(22), table(base(always(DROP))))
    assert focus(before, after, rule_text) == (before, after)


def test_where_ports_are_translated_they_tell_nothing_about_elements() -> None:
    moving = table(translating(rule(port(80), dnat(None, 8080))), name="nat")
    before, after = rules(moving, opening(8080)), rules(moving, opening(443))
    cut = focus(before, after, rule_text)
    for family in Family:
        analysis = Analysis(family, HOST)
        assert compared(analysis, *cut) == compared(analysis, before, after)
    found = changed_traffic(before, after)
    assert {str(cube) for one in found for cube in one.described.cubes} >= {"tcp 80", "tcp 8080", "tcp 443"}


# ------------------------------------------------------------------ traffic


def changed_traffic(live: Ruleset, ours: Ruleset) -> tuple[Difference, ...]:
    """How packets fare once these rules have replaced ours."""
    return traffic(live, planned(live, ours), HOST, rule_text)


def test_our_rules_are_replaced_and_those_of_others_stay() -> None:
    foreign = table(base(rule(port(23), DROP)), name="docker")
    after = planned(rules(foreign, opening(22)), rules(opening(443)))
    assert after.containers == (foreign, opening(443))


def test_a_port_more_is_told_as_traffic() -> None:
    found = changed_traffic(rules(opening(22)), rules(opening(22, 443)))
    assert {(one.before.fate, one.after.fate) for one in found} == {(Fate.DROP, Fate.ACCEPT)}
    assert {str(cube) for one in found for cube in one.described.cubes} == {"tcp 443"}


def test_a_port_that_others_block_is_no_change_of_traffic() -> None:
    foreign = table(base(rule(port(443), DROP)), name="docker")
    assert changed_traffic(rules(foreign, opening(22)), rules(opening(22, 443))) == ()


def test_the_first_load_closes_what_was_open() -> None:
    found = changed_traffic(Ruleset(), rules(opening(22)))
    assert {(one.before.fate, one.after.fate) for one in found} == {(Fate.ACCEPT, Fate.DROP)}


def test_more_changes_than_are_worth_singling_out_are_compared_as_a_whole() -> None:
    many = range(1000, 1200, 2)
    before, after = rules(opening(22)), rules(opening(22, *many))
    assert focus(before, after, rule_text) == (before, after)
    assert changed_traffic(before, after)


# ------------------------------------------------------------------ rules and elements


def test_an_element_that_comes_names_its_grant() -> None:
    found = rule_changes(rules(opening(22)), rules(opening(22, 443, comment="web")), rule_text)
    assert found == (RuleChange(Action.ADD, "set allowed", "tcp . 443", "web"),)


def test_an_element_that_goes_is_told_before_those_that_come() -> None:
    found = rule_changes(rules(opening(22)), rules(opening(443)), rule_text)
    assert [(one.action, one.text) for one in found] == [(Action.REMOVE, "tcp . 22"), (Action.ADD, "tcp . 443")]


def test_a_rule_that_changes_goes_and_comes() -> None:
    before = table(base(rule(port(22), ACCEPT)), owned=True)
    after = table(base(rule(port(22), DROP)), owned=True)
    found = rule_changes(rules(before), rules(after), rule_text)
    assert [(one.action, one.where, one.text) for one in found] == [
        (Action.REMOVE, "chain input0", "meta l4proto tcp dport 22 accept"),
        (Action.ADD, "chain input0", "meta l4proto tcp dport 22 drop"),
    ]


def test_rules_of_others_are_never_listed_as_changes() -> None:
    foreign = table(base(rule(port(23), DROP)), name="docker")
    assert rule_changes(rules(foreign, opening(22)), rules(opening(22)), rule_text) == ()


def test_what_rules_have_added_to_a_set_is_no_change() -> None:
    seen = NamedSet("seen", (Field.SRC4,), dynamic=True)
    empty = table(base(), sets=(seen,), owned=True)
    filled = table(base(), sets=(replace(seen, elements=(Element(((7, 7),)),)),), owned=True)
    assert rule_changes(rules(filled), rules(empty), rule_text) == ()
