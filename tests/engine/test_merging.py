"""Dozens of doubts at once: answers stay true, and are told in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest

from portgate.backends.iptables.parse import parse as parse_iptables
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.chains import TOGETHER
from portgate.core.decision import Diagram
from portgate.core.net import Family
from portgate.core.ruleset import Bits, Field, Opaque, Rule, Ruleset, SetMark
from portgate.core.semantics import Analysis, Answer, Fate, answer_of
from portgate.core.verify import equivalent
from tests.engine.rules import ACCEPT, CONTINUE, DROP, HOST, always, filtering, port, rule
from tests.generate.rulesets import ruleset
from tests.generate.world import HOST as INTERFACES
from tests.nftables.reading import read as read_nft

BOUNDS = ("FEW_DOUBTS", "MOST_DOUBTFUL", "MOST_STATES", "MOST_PLACES")


def answers(analysis: Analysis, rules: Ruleset) -> Diagram:
    return analysis.settle(analysis.inbound(rules, {}))


def test_merged_doubts_never_turn_into_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """With bounds that nothing keeps, against the same without: what is known must be so, what is not may be more."""
    merged = 0
    for seed in range(60):
        rules = ruleset(Random(seed))
        for family in Family:
            analysis = Analysis(family, Host(INTERFACES))
            exact = answers(analysis, rules)
            with monkeypatch.context() as patch:
                for bound in BOUNDS:
                    patch.setattr(f"portgate.core.chains.{bound}", 0)
                bounded = answers(analysis, rules)
            for leaf in analysis.space.leaves(analysis.space.compare(exact, bounded)):
                if isinstance(leaf.value, tuple) and not isinstance(leaf.value, Answer):
                    before, after = leaf.value
                    assert after.fate is Fate.DEPENDS or after.fate is before.fate, f"seed {seed}: {leaf.value}"
                    merged += before.fate is not Fate.DEPENDS and after.fate is Fate.DEPENDS
    assert merged > 0


def limit(number: int) -> Opaque:
    return Opaque(f"limit {number}", "rate limit")


def bit(number: int, values: int = 1) -> tuple[int, int]:
    return 1 << number % 32, values << number % 32


def marking(count: int) -> Ruleset:
    """Each limit sets a bit of the mark; what follows looks at several bits."""
    rng = Random(1)
    setting = [rule(limit(one), CONTINUE, SetMark(Field.MARK, *bit(one))) for one in range(count)]
    copying = [always(CONTINUE, SetMark(Field.CT_MARK, rng.getrandbits(32), 0, rng.getrandbits(32))) for _ in range(3)]
    masks = [sum({bit(rng.randrange(count))[0] for _ in range(3)}) for _ in range(count)]
    testing = [
        rule(Bits(field, mask, mask & rng.getrandbits(32)), rng.choice((ACCEPT, DROP)))
        for mask in masks
        for field in (Field.MARK, Field.CT_MARK)
    ]
    return filtering(rule(port(22), ACCEPT), *setting, *copying, *testing, rule(port(80), DROP))


def crossing(count: int) -> Ruleset:
    """Pairs of doubts that stand in an order in which each combination counts."""
    first = [rule(limit(one), CONTINUE, SetMark(Field.MARK, *bit(one))) for one in range(count)]
    pairs: list[Rule] = [
        rule(Opaque(f"time {(one * 7) % count}", "time of day"), ACCEPT if one % 2 else DROP) for one in range(count)
    ]
    marks = [rule(Bits(Field.MARK, *bit(one)), DROP if one % 3 else ACCEPT) for one in range(count)]
    mixed = [each for both in zip(pairs, marks, strict=True) for each in both]
    return filtering(rule(port(22), ACCEPT), *first, *mixed)


def saved(count: int) -> Ruleset:
    """Marks that are copied to and fro, in a listing of iptables."""
    rng = Random(2)
    lines = ["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"]
    for one in range(count):
        value, mask, other = (f"{number:#x}" for number in (bit(one)[0], rng.getrandbits(32), rng.getrandbits(32)))
        lines.append(f"-A INPUT -m limit --limit {one + 1}/min -j MARK --set-xmark {value}/{value}")
        lines.append(
            f"-A INPUT -m recent --update --name r{one} -j CONNMARK --save-mark --nfmask {mask} --ctmask {other}"
        )
        lines.append(
            f"-A INPUT -m recent --update --name s{one} -j CONNMARK --restore-mark --nfmask {mask} --ctmask {other}"
        )
        lines.append(f"-A INPUT -p tcp -m mark --mark {value}/{value} -m tcp --dport {100 + one} -j ACCEPT")
    text = "\n".join(["*filter", ":INPUT DROP [0:0]", *lines, "COMMIT", ""])
    return parse_iptables((Reading("iptables-save", text, "a test"),))


def scripted(count: int) -> Ruleset:
    """Limits that set marks, in a script of nft."""
    marks = "".join(
        f"limit rate {one + 1}/second meta mark set meta mark or {bit(one)[0]:#x}\n" for one in range(count)
    )
    tests = "".join(f"meta mark & {bit(one, 3)[1] & 0xFFFFFFFF:#x} == {bit(one)[0]:#x} drop\n" for one in range(count))
    chain = f"type filter hook input priority 0; policy drop;\ntcp dport 22 accept\n{marks}{tests}tcp dport 81 accept\n"
    return read_nft(f"table inet filter {{\nchain input {{\n{chain}}}\n}}\n", "nft")


@pytest.mark.parametrize("make", [marking, crossing, saved, scripted])
def test_dozens_of_doubts_are_decided_in_seconds(make: Callable[[int], Ruleset]) -> None:
    rules = make(40)
    started = time.process_time()
    analysis = Analysis(Family.IPV4, HOST)
    decided = analysis.settle(analysis.inbound(rules))
    assert time.process_time() - started < 20  # alone on a machine a tenth of that; without a bound, hours
    assert len(analysis.space) < 1_000_000
    found = {answer_of(leaf).fate for leaf in analysis.space.leaves(decided)}
    assert {Fate.ACCEPT, Fate.DEPENDS} <= found
    reasons = {reason for leaf in analysis.space.leaves(decided) for reason in answer_of(leaf).reasons}
    assert any(reason.startswith(TOGETHER) and "rate limit" in reason for reason in reasons)


def test_few_doubts_stay_apart() -> None:
    """A bit that is set under one of five limits, and tested under the same one, is known."""
    limits = [rule(limit(one), CONTINUE, SetMark(Field.MARK, *bit(one))) for one in range(4)]
    both = [rule(limit(one), DROP) for one in range(4)]
    one = filtering(*limits, *both, rule(Bits(Field.MARK, 0xF, 0), ACCEPT))
    analysis = Analysis(Family.IPV4)
    reasons = [answer_of(leaf).reasons for leaf in analysis.space.leaves(analysis.settle(analysis.inbound(one)))]
    assert reasons == [("rate limit",)]


def test_sets_whose_doubts_are_merged_are_never_taken_for_equal_if_they_are_not() -> None:
    one = crossing(24)
    rules = one.containers[0].chains[0].rules
    assert equivalent(one, crossing(24))
    for index in (1, 24, 25, 40):
        assert not equivalent(one, filtering(*rules[:index], *rules[index + 1 :]))
