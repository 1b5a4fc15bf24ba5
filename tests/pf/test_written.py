"""Random pf.conf files mean what pf.conf(5) says, packet by packet."""

from __future__ import annotations

from random import Random

import pytest

from portgate.core.addresses import Host
from portgate.core.trace import decide
from tests.pf.texts import read
from tests.pf.written import Conditions, Rule, fate, random_packets, random_rules, text, with_tags

PACKETS = 40
BATCH = 50


def answers(rules: tuple[Rule, ...], seed: int) -> list[tuple[str, str]]:
    """What portgate says of each packet, and what is so."""
    packets = random_packets(Random(seed), PACKETS)
    found = decide(read(text(rules)), packets, Host(None))
    return [(str(one.answer.fate), fate(rules, packet)) for one, packet in zip(found, packets, strict=True)]


@pytest.mark.parametrize("batch", range(8))
def test_packets_fare_as_pf_would_have_it(batch: int) -> None:
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        rules = random_rules(Random(seed))
        for said, is_so in answers(rules, seed):
            assert said == is_so, text(rules)


@pytest.mark.parametrize("batch", range(2))
def test_with_tags_the_answer_is_right_or_a_doubt(batch: int) -> None:
    certain = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        rules = with_tags(Random(seed), random_rules(Random(seed)))
        for said, is_so in answers(rules, seed):
            assert said in (is_so, "depends"), text(rules)
            certain += said == is_so
    assert certain > BATCH * PACKETS / 2


def test_the_referee_tells_rules_in_another_order_apart() -> None:
    """So that the tests before can fail."""
    rules = (Rule("block", Conditions()), Rule("pass", Conditions(protocols=("tcp",))))
    packets = random_packets(Random(1), PACKETS)
    assert [fate(rules, one) for one in packets] != [fate(rules[::-1], one) for one in packets]
