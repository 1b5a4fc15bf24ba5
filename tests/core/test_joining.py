"""Tables that two programs tell of count once, rule by rule as the better of the two tells it."""

from __future__ import annotations

import json

from portgate.backends import get, reader
from portgate.core.capture import Reading
from portgate.core.joining import joined
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Chain,
    Container,
    Drop,
    Field,
    Jump,
    Opaque,
    Origin,
    Rule,
    Ruleset,
    Test,
)

COMMENT = {"xt": {"type": "match", "name": "comment"}}
NATIVE = {
    "match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"set": ["10.0.0.1"]}}
}


def nft(*rules: list[object], table: str = "filter") -> Ruleset:
    where = {"family": "ip", "table": table, "chain": "INPUT"}
    base = {
        "family": "ip",
        "table": table,
        "name": "INPUT",
        "type": "filter",
        "hook": "input",
        "prio": 0,
        "policy": "accept",
    }
    items = [{"table": {"family": "ip", "name": table}}, {"chain": base}]
    items += [{"rule": {**where, "handle": number, "expr": one}} for number, one in enumerate(rules, 4)]
    return get("nftables").parse((Reading("nft-json", json.dumps({"nftables": items}), "nft"),))


def iptables(*rules: str, kind: str = "iptables-save") -> Ruleset:
    text = "*filter\n:INPUT ACCEPT [0:0]\n" + "".join(f"-A INPUT {one}\n" for one in rules)
    return reader("iptables").parse((Reading(kind, text, "iptables"),))


def rules(container: Container) -> tuple[Rule, ...]:
    return container.chains[0].rules


def test_a_rule_that_nft_shows_in_part_is_taken_from_iptables() -> None:
    told = iptables("-p tcp -m comment --comment x -j DROP", "-j DROP")
    (table,) = joined([nft([COMMENT, {"drop": None}], [NATIVE, {"drop": None}]), told]).containers
    first, second = rules(table)
    assert first == rules(told.containers[0])[0]
    assert second == Rule(Test(Field.SRC4, ((10 << 24 | 1, 10 << 24 | 1),)), Drop())


def test_iptables_is_not_believed_about_a_table_of_a_native_tool() -> None:
    native = nft([NATIVE, {"drop": None}])
    assert joined([native, iptables("-j DROP")]) == native


def test_a_chain_that_has_changed_between_the_readings_stays_as_nft_tells_it() -> None:
    native = nft([COMMENT, {"drop": None}])
    assert joined([native, iptables("-j DROP", "-j ACCEPT")]) == native


def test_the_order_of_the_readings_does_not_matter() -> None:
    native, told = nft([COMMENT, {"drop": None}]), iptables("-j DROP")
    assert joined([native, told]) == joined([told, native])


def test_legacy_tables_stand_beside_those_of_nft_and_are_older() -> None:
    native, legacy = nft([{"drop": None}]), iptables("-j DROP", kind="iptables-legacy-save")
    assert [one.store for one in joined([native, legacy]).containers] == ["legacy", "nft"]


def test_a_listing_of_iptables_alone_counts() -> None:
    told = iptables("-j DROP")
    assert joined([told]) == told


def test_what_was_put_between_rules_of_ours_is_as_nft_tells_it() -> None:
    ours = Container(
        "ip portgate filter",
        chains=(
            Chain(
                "PORTGATE-INPUT",
                (
                    Rule(ALWAYS, Drop(), origin=Origin(line=1)),
                    Rule(ALWAYS, Accept(), comment="ssh", origin=Origin(line=2)),
                ),
            ),
        ),
        owned=True,
        hearsay=True,
        inside="ip filter",
    )
    told = Rule(Opaque("@banned", "the set banned"), Drop())
    jump = Rule(ALWAYS, Jump("PORTGATE-INPUT"))
    table = Container(
        "ip filter",
        chains=(
            Chain("INPUT", (jump,)),
            Chain("PORTGATE-INPUT", (told, Rule(ALWAYS, Accept(), origin=Origin("", 2, 2, partial=True)))),
        ),
    )
    mine, other = joined([Ruleset((ours,)), Ruleset((table,))]).containers
    assert {chain.name: chain.rules for chain in other.chains} == {"INPUT": ()}
    assert mine.chains[0].rules == (told, Rule(ALWAYS, Accept(), comment="ssh"))
