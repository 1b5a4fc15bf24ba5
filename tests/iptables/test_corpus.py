"""Listings of real hosts are read whole, and quickly."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from portgate.backends.iptables.parse import parse
from portgate.core.capture import Reading
from portgate.core.net import Family
from portgate.core.ruleset import All, Any, Container, Match, Not, Opaque, Ruleset, Unknown
from portgate.core.semantics import Analysis, Fate, answer_of
from tests.nftables import corpus

pytestmark = [pytest.mark.corpus, corpus.needed]

# Folders that hold something else than listings: output of `iptables -L`, policies of other tools, notations of tests.
NO_LISTINGS = (
    "ferm-tests", "fffuu-expected", "fffuu-golden", "firewallfabrik", "iptables-1.8.11-ext-t", "iptables-1.8.11-xlate", "jc-iptables-L",
    "kube-iptables-L", "ufw-transcripts", "firehol-tests", "awall", "aerleon",
)  # fmt: skip
LARGE = "iptables-save/blocklist-host/ipsum4-5000-chain.iptables-save"
# Of the rules in each folder, the share that may hang on what can't be decided for a packet.
MOSTLY_DECIDABLE = {
    "net-network": 0.4,
    "misc-hosts": 0.2,
    "kube-like": 0.15,
    "ufw-conf": 0.3,
    "iptables-formal-verifier": 0.15,
    "insights": 0.5,  # few rules, and lines that are none of iptables
}


def listings() -> Iterator[tuple[str, Reading]]:
    for path in corpus.files("iptables-save"):
        folder, name = path.split("/")[1:3]
        if folder not in NO_LISTINGS:
            kind = "ip6tables-save" if "6tables" in name or name.endswith(("6.rules", "v6")) else "iptables-save"
            yield folder, Reading(kind, corpus.text(path), path)


def test_every_listing_is_read_and_most_of_it_is_decidable(capsys: pytest.CaptureFixture[str]) -> None:
    rules: Counter[str] = Counter()
    opaque: Counter[str] = Counter()
    unknown = 0
    for folder, reading in listings():
        if not re.search(r"^\*\w", reading.text, re.MULTILINE):
            continue  # `iptables -L`, and notes beside the listings
        for container in parse((reading,)).containers:
            for rule in (rule for chain in container.chains for rule in chain.rules):
                rules[folder] += 1
                opaque[folder] += is_doubtful(rule.match)
                unknown += isinstance(rule.verdict, Unknown)
    shares = {folder: round(opaque[folder] / count, 3) for folder, count in rules.items()}
    with capsys.disabled():
        print(f"\niptables-save: {rules.total()} rules, {unknown} of unknown verdict; opaque: {shares}")
    assert rules.total() > 40_000
    assert unknown < 200
    assert {folder for folder, share in shares.items() if share > MOSTLY_DECIDABLE.get(folder, 0.1)} == set()


def is_doubtful(match: Match) -> bool:
    match match:
        case Opaque():
            return True
        case Not(inner):
            return is_doubtful(inner)
        case All(parts) | Any(parts):
            return any(map(is_doubtful, parts))
        case _:
            return False


def test_five_thousand_rules_are_read_and_decided(capsys: pytest.CaptureFixture[str]) -> None:
    reading = Reading("iptables-save", corpus.text(LARGE), LARGE)
    started = time.process_time()
    ruleset = parse((reading,))
    read = time.process_time()
    analysis = Analysis(Family.IPV4)
    decided = analysis.settle(analysis.inbound(ruleset))
    done = time.process_time()
    with capsys.disabled():
        print(
            f"\n{rule_count(ruleset.containers)} rules: read in {read - started:.2f} s, decided in {done - read:.2f} s"
        )
    fates = {answer_of(leaf).fate for leaf in analysis.space.leaves(decided)}
    assert {Fate.DROP, Fate.ACCEPT} <= fates


def rule_count(containers: tuple[Container, ...]) -> int:
    return sum(len(chain.rules) for one in containers for chain in one.chains)


def test_the_sets_of_firewalld_are_looked_up() -> None:
    path = "iptables-save/tool-generated/firewalld-iptables-policy-ipset.iptables-save"
    readings = (
        Reading("iptables-save", corpus.text(path), path),
        Reading("ipset", "create blk hash:net\nadd blk 10.0.0.0/8\n", ""),
    )
    found: Ruleset = parse(readings)
    assert any(one.name == "blk" for container in found.containers for one in container.sets)
