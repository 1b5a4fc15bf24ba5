"""What people and tools have written for ipfw is read whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family
from portgate.core.ruleset import All, Any, Match, Not, Opaque, Rule, Ruleset, Unknown
from portgate.core.semantics import Analysis
from tests.ipfw.texts import read

ROOT = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")) / "ipfw"
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no ipfw files at {ROOT}; PORTGATE_CORPUS names another place"),
]
# Numbers that no rule has, and lines that are no commands; a script that loads another one.
REFUSED = {"passivereader_faulty2.rules": "PG481", "change_rules.sh": "PG480"}
LARGE = 100_000  # bytes


def texts() -> list[Path]:
    return sorted(one for one in ROOT.rglob("*") if one.is_file())


def rules(ruleset: Ruleset) -> list[Rule]:
    return [rule for container in ruleset.containers for chain in container.chains for rule in chain.rules]


def doubtful(match: Match) -> bool:
    match match:
        case Opaque():
            return True
        case Not(inner):
            return doubtful(inner)
        case All(parts) | Any(parts):
            return any(map(doubtful, parts))
        case _:
            return False


def test_every_file_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    count, unclear = 0, 0
    refused: dict[str, str] = {}
    for path in texts():
        try:
            found = rules(read(path.read_text(encoding="utf-8", errors="surrogateescape")))
        except PortgateError as error:
            refused[path.name] = error.diagnostics[0].code
            continue
        count += len(found)
        unclear += sum(doubtful(one.match) or isinstance(one.verdict, Unknown) for one in found)
    with capsys.disabled():
        print(f"\nipfw: {count} rules of the corpus are read, {unclear} of them doubtful")
    assert count > 10_000
    assert unclear < count / 20
    assert refused == REFUSED


def test_every_file_can_be_asked_about() -> None:
    for path in texts():
        if path.name in REFUSED or path.stat().st_size > LARGE:
            continue
        ruleset = read(path.read_text(encoding="utf-8", errors="surrogateescape"))
        for family in Family:
            analysis = Analysis(family)
            for ask in (analysis.inbound, analysis.outbound):
                assert analysis.space.leaves(analysis.settle(ask(ruleset))), path.name
