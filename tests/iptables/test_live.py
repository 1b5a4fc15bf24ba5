"""Which programs of iptables are asked on a live host: none whose answer is known, or that no rule needs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from portgate import programs
from portgate.backends.iptables import live
from portgate.core.capture import Reading

SAVES = ["iptables-nft-save", "ip6tables-nft-save"]
LOOKING_UP = "*filter\n-A INPUT -m set --match-set blocked src -j DROP\nCOMMIT\n"
FILLING = "*filter\n-A INPUT -j SET --add-set seen src\nCOMMIT\n"
PLAIN = "*filter\n-A INPUT -p tcp -m comment --comment a-set -j DROP\nCOMMIT\n"
LISTED = '{"nftables": [{"table": {"family": "ip", "name": "filter", "handle": 1}}]}'
OURS_ONLY = '{"nftables": [{"table": {"family": "inet", "name": "portgate", "handle": 1}}]}'


def asked(monkeypatch: pytest.MonkeyPatch, answer: str, *others: Reading) -> list[str]:
    """The programs that are run on a host that has all of them, and on which each answers this."""
    names: list[str] = []

    def run(command: Sequence[str], text: str = "") -> str:
        names.append(command[0])
        return answer

    monkeypatch.setattr(programs, "find", lambda program: program)
    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(live, "has_legacy_tables", lambda family: False)
    live.capture(others)
    return names


def nft(text: str, kind: str = "nft-json") -> Reading:
    return Reading(kind, text, "nft")


def test_tables_are_asked_for_unless_nft_says_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, PLAIN) == SAVES
    assert asked(monkeypatch, PLAIN, nft(LISTED)) == SAVES
    assert asked(monkeypatch, PLAIN, nft(OURS_ONLY), nft("table ip6 mangle {\n}\n", "nft")) == SAVES
    assert asked(monkeypatch, PLAIN, nft(OURS_ONLY)) == []
    assert asked(monkeypatch, PLAIN, Reading("pf", "pass", "pfctl")) == SAVES


@pytest.mark.parametrize(("listing", "sets"), [(PLAIN, []), (LOOKING_UP, ["ipset"]), (FILLING, ["ipset"])])
def test_sets_are_asked_for_where_a_rule_looks_one_up(
    monkeypatch: pytest.MonkeyPatch, listing: str, sets: list[str]
) -> None:
    assert asked(monkeypatch, listing) == [*SAVES, *sets]
