"""What people, tools and the authors of pf have written is read whole."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from portgate.core.addresses import Host
from portgate.core.diagnostics import PortgateError
from portgate.core.listener import Interface
from portgate.core.net import Family
from portgate.core.ruleset import All, Any, Match, Not, Opaque, RateLimit, Rule, Ruleset, Unknown
from portgate.core.semantics import Analysis
from portgate.core.trace import decide
from tests.pf.texts import read
from tests.pf.written import random_packets

ROOT = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")) / "pf"
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no pf files at {ROOT}; PORTGATE_CORPUS names another place"),
]
# Files that hold something else: lists of addresses, complaints and listings of tables, options of the command.
OTHERS = ("Makefile", "pf.os", "pfail", "pfchksum", "pfi3", "pfr", "pfcmd", "drduh_pf_")
HOST = Host(
    (Interface("em0", ((Family.IPV4, 0xC0000201, 24), (Family.IPV6, 0x20010DB8 << 96 | 1, 64))), Interface("em1"))
)
LARGE = 2000  # rules, of files whose every packet is not asked about here


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def rules(ruleset: Ruleset) -> list[Rule]:
    return [rule for container in ruleset.containers for chain in container.chains for rule in chain.rules]


def doubtful(match: Match) -> bool:
    match match:
        case Opaque() | RateLimit():
            return True
        case Not(inner):
            return doubtful(inner)
        case All(parts) | Any(parts):
            return any(map(doubtful, parts))
        case _:
            return False


def unclear(rule: Rule) -> bool:
    return doubtful(rule.match) or isinstance(rule.verdict, Unknown)


def asked(ruleset: Ruleset) -> float:
    """The share of packets of which the rules leave it open whether they arrive."""
    packets = [one for seed in range(2) for one in random_packets(Random(seed), 40)]
    found = decide(ruleset, packets, HOST)
    return sum(str(one.answer.fate) == "depends" for one in found) / len(found)


def test_every_file_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """`pytest -s` shows the share of every file."""
    count, opaque, refused, shares = 0, 0, [], []
    for path in sorted(one for one in ROOT.rglob("*") if one.is_file()):
        try:
            ruleset = read(text(path))
        except PortgateError as error:
            assert error.diagnostics[0].code == "PG470"
            refused.append(path.name)
            continue
        found = rules(ruleset)
        doubtful_here = sum(map(unclear, found))
        count, opaque = count + len(found), opaque + doubtful_here
        if len(found) < LARGE:
            shares.append(asked(ruleset))
            print(
                f"{path.relative_to(ROOT)}: {doubtful_here} of {len(found)} rules doubtful, {shares[-1]:.0%} of packets depend"
            )
    with capsys.disabled():
        mean = sum(shares) / len(shares)
        print(f"\npf: {count} rules of the corpus are read, {opaque} of them doubtful; {mean:.0%} of packets depend")
    assert count > 10_000
    assert opaque < count / 10
    assert mean < 0.2
    assert [one for one in refused if not any(word in one for word in OTHERS)] == []


def pairs() -> list[Path]:
    """Inputs of OpenBSD's and FreeBSD's own tests, with what pfctl prints of each."""
    return sorted(one for one in ROOT.rglob("pf[0-9]*.in") if one.with_suffix(".ok").is_file())


def test_what_pfctl_prints_means_what_it_was_given() -> None:
    compared = 0
    for path in pairs():
        given, printed = read(text(path)), read(text(path.with_suffix(".ok")))
        if any(map(unclear, (*rules(given), *rules(printed)))):
            continue
        compared += 1
        for family in Family:
            analysis = Analysis(family)
            for ask in (analysis.inbound, analysis.outbound):
                assert ask(given) is ask(printed), path.name
    assert compared > 15
