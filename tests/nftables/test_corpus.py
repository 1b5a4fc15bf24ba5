"""What people and tools have written is read whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import All, Any, Match, Not, Opaque, RateLimit, Rule, Ruleset, Unknown
from tests.nftables import corpus
from tests.nftables.reading import blurred, read

pytestmark = [pytest.mark.corpus, corpus.needed]

# Files that hold something else than a ruleset, by the first words of their paths.
NO_RULESETS = (
    "nft-json/nftables-py-json/", "nft/nftables-py-t/",  # tests of single rules, in a notation of their own
    "nft/bpf-iptables-bench/",  # scripts of the shell
    "nft/foomuuri/", "nft/aerleon/policies_", "nft/openwrt-firewall4-tests/",  # policies of other tools, beside rulesets
    "nft/nftables-bogons/", "nft/github-configs/",  # broken on purpose; a few templates and parts of tables
)  # fmt: skip

# Scripts whose listing says something else than they do.
DIFFERENT = {
    "nft/firewallfabrik/objects-for-regression-tests_firewall-ipv6-1.fw": "nft leaves the family before icmp out",
    "nft/firewallfabrik/objects-for-regression-tests_firewall-ipv6-3.fw": "nft leaves the family before icmp out",
    "nft/github-configs/KaseiHaku_Software__V2Ray_TransparentProxy_nftables_nftablesRuleset.nft": "its device was gone",
}


def all_rules(ruleset: Ruleset) -> Iterator[Rule]:
    for container in ruleset.containers:
        for chain in container.chains:
            yield from chain.rules


def is_doubtful(match: Match) -> bool:
    match match:
        case Opaque() | RateLimit():
            return True
        case Not(inner):
            return is_doubtful(inner)
        case All(parts) | Any(parts):
            return any(map(is_doubtful, parts))
        case _:
            return False


@pytest.mark.parametrize("kind", ["nft", "nft-json"])
def test_every_file_is_read(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    count: Counter[str] = Counter()
    refused = []
    for path in corpus.files(kind):
        try:
            ruleset = read(corpus.text(path), kind)
        except PortgateError:
            refused.append(path)
            continue
        for rule in all_rules(ruleset):
            count["rules"] += 1
            count["with an opaque match"] += is_doubtful(rule.match)
            count["with an unknown verdict"] += isinstance(rule.verdict, Unknown)
    with capsys.disabled():
        print(f"\n{kind}: {dict(count)}, {len(refused)} files are no rulesets")
    assert [path for path in refused if not path.startswith(NO_RULESETS)] == []
    assert count["with an unknown verdict"] < count["rules"] / 20


def test_a_script_and_the_listing_of_what_it_loaded_mean_the_same() -> None:
    compared = 0
    for pair in corpus.pairs():
        script = corpus.text(pair.script)
        if pair.script in DIFFERENT or "\ninclude " in script or "\tinclude " in script or "    include " in script:
            continue
        one, other = blurred(read(script)), blurred(read(corpus.text(pair.listing), "nft-json"))
        assert one == other, pair.script
        compared += 1
    assert compared > 150
