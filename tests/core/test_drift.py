"""How a host differs from the rules that were confirmed: what somebody did to ours, and whose rules void them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from portgate.backends.nftables import BACKEND
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.compile import compile as compiled
from portgate.core.drift import of_ours, of_theirs
from portgate.core.listener import Interface
from portgate.core.net import Family
from portgate.core.openings import timeless
from portgate.core.ruleset import Ruleset
from portgate.language import load

HOST = Host((Interface("eth0", ((Family.IPV4, 0xC0000201, 24),)),))


def confirmed() -> Ruleset:
    loaded = load("web.yaml", lambda _: b"{portgate: 1, inbound: {allow: [https, 8000-8100/tcp]}}", date(2026, 11, 21))
    assert loaded.policy is not None
    return compiled(loaded.policy, date(2026, 11, 21))


def listed(*edits: tuple[str, str], more: str = "") -> Ruleset:
    """Our table as nft lists it, after some edits of the text; with other tables."""
    text = BACKEND.emit(confirmed()).text.partition("delete table inet portgate\n")[2]
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return BACKEND.parse((Reading("nft", more + text, "test"),))


def told(live: Ruleset) -> list[str]:
    repair = BACKEND.transaction(timeless(live), confirmed())
    return [str(one) for one in of_ours(live, confirmed(), BACKEND.words, repair)]


LOOPBACK = '\t\tiifname "lo" counter accept comment "loopback"\n'
SETS = "\t\tth dport . meta l4proto @allow_ports counter accept"


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ((), []),
        (((LOOPBACK, ""),), ['chain input: somebody removed iifname "lo" counter accept comment "loopback"']),
        (((SETS, f"\t\ttcp dport 4444 accept\n{SETS}"),), ["chain input: somebody added tcp dport 4444 counter accept"]),
        ((("443 . tcp", "444 . tcp"),), ["set allow_ports: somebody added 444 . tcp", "set allow_ports: somebody removed 443 . tcp"]),
        ((("policy drop", "policy accept"),), ["chain input: somebody changed it: hook input, priority -5, default accept"]),
        (((LOOPBACK, ""), (SETS, f"{LOOPBACK}{SETS}")), ["rules: somebody changed their order"]),
    ],
)  # fmt: skip
def test_what_somebody_did_to_our_rules_is_told_in_words(
    edits: tuple[tuple[str, str], ...], expected: list[str]
) -> None:
    assert told(listed(*edits)) == expected


def test_what_is_opened_for_a_time_is_no_drift() -> None:
    opened = ("flags interval,timeout\n", "flags interval,timeout\n\telements = { 53 . udp timeout 1h expires 5m }\n")
    assert told(listed(opened)) == []


OTHER = "table inet other {{\n\tchain in {{\n\t\ttype filter hook input priority 10; policy {0};\n\t\t{1}\n\t}}\n}}\n"
DOCKER = "table ip nat {\n\tchain pre {\n\t\ttype nat hook prerouting priority -110; policy accept;\n\t\ttcp dport 9000 dnat to 172.17.0.2:80\n\t}\n}\n"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", []),
        (OTHER.format("accept", "iifname eth0 tcp dport 9 drop"), []),
        (OTHER.format("accept", "tcp dport 443 drop"), [("PG605", "by inet other in rule 1: tcp dport 443 drop")]),
        (OTHER.format("drop", ""), [("PG605", "by inet other in: default")]),
        (DOCKER, [("PG604", "by ip nat pre rule 1: tcp dport 9000 dnat to 172.17.0.2:80")]),
    ],
)
def test_rules_of_others_count_only_where_they_void_ours(more: str, expected: list[tuple[str, str]]) -> None:
    found = of_theirs(listed(more=more), confirmed(), HOST)
    assert [(one.code, one.detail.partition(", ")[2]) for one in found] == expected


def test_the_rules_of_others_are_judged_as_if_ours_were_in_force() -> None:
    live = listed(("policy drop", "policy accept"), more=OTHER.format("accept", ""))
    assert of_theirs(live, confirmed(), HOST) == ()
    assert of_theirs(replace(live), confirmed(), HOST) == ()
