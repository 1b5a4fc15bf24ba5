"""Tables, chains and scripts."""

from __future__ import annotations

import json

import pytest

from portgate.backends.nftables import listing
from portgate.backends.nftables.parse import parse
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family
from portgate.core.ruleset import (
    OWNER,
    Accept,
    Base,
    Chain,
    ChainKind,
    Container,
    Drop,
    Field,
    Hook,
    Opaque,
    Rule,
    Ruleset,
    Unknown,
)
from tests.nftables.reading import is_one, read, table

INPUT = "type filter hook input priority filter; policy drop;"


def names(ruleset: Ruleset) -> list[str]:
    return [one.name for one in ruleset.containers]


def base(line: str, family: str = "inet") -> Base | None:
    return table(f"chain c {{\n{line}\n}}", family).chains[0].base


def verdicts(ruleset: Ruleset, chain: str = "c") -> list[object]:
    found = ruleset.containers[0].chain(chain)
    assert found is not None
    return [one.verdict for one in found.rules]


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    ("family", "families"),
    [
        ("ip", (Family.IPV4,)),
        ("ip6", (Family.IPV6,)),
        ("inet", (Family.IPV4, Family.IPV6)),
        ("netdev", (Family.IPV4, Family.IPV6)),
        ("arp", ()),
        ("bridge", ()),
    ],
)
def test_families_of_tables(family: str, families: tuple[Family, ...]) -> None:
    assert table("", family).families == families


def test_a_table_without_a_family_is_of_ipv4() -> None:
    assert names(read("table filter {\n}")) == ["ip filter"]


def test_chains_of_a_dormant_table_hang_nowhere() -> None:
    (chain,) = table(f"flags dormant\nchain c {{\n{INPUT}\ndrop\n}}").chains
    assert chain.base is None
    assert chain.rules == (Rule(chain.rules[0].match, Drop()),)


def test_flags_of_a_table_may_be_a_word_or_a_list() -> None:
    for flags in ("dormant", ["owner", "dormant"]):
        objects = [
            {"table": {"family": "ip", "name": "t", "flags": flags}},
            {"chain": {"family": "ip", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": 0}},
        ]
        assert read(json.dumps({"nftables": objects}), "nft-json").containers[0].chains[0].base is None


@pytest.mark.parametrize(
    ("family", "more", "reason"),
    [
        ("ip", {"flags": "t"}, "whether the table is dormant"),
        ("netdev", {}, "the devices of a chain on ingress, which are not listed"),
    ],
)
def test_what_the_json_of_nft_106_does_not_tell_is_a_doubt(family: str, more: dict[str, str], reason: str) -> None:
    hook = {"type": "filter", "hook": "ingress" if family == "netdev" else "input", "prio": 0, "policy": "drop"}
    objects = [
        {"table": {"family": family, "name": "t", **more}},
        {"chain": {"family": family, "table": "t", "name": "c", **hook}},
    ]
    (chain,) = read(json.dumps({"nftables": objects}), "nft-json").containers[0].chains
    assert chain.base is not None
    (passed,) = chain.rules
    assert isinstance(passed.match, Opaque)
    assert (passed.match.reason, passed.verdict) == (reason, Accept())


def test_our_table_is_the_one_with_our_mark() -> None:
    mark = f'set opened {{\ntype inet_service\ncomment "{OWNER}"\n}}'
    assert [one.owned for one in read(f"table inet portgate {{\n{mark}\n}}").containers] == [True]
    assert [one.owned for one in read("table inet portgate {\n}").containers] == [False]
    assert [one.owned for one in read(f"table ip portgate {{\n{mark}\n}}").containers] == [False]


def test_of_two_readings_the_first_that_holds_a_table_counts() -> None:
    one = Reading("nft", "table ip a {\nchain c {\naccept\n}\n}", "one")
    other = Reading("nft", "table ip a {\n}\ntable ip b {\n}", "other")
    found = parse((one, Reading("ss", "", "sockets"), other))
    assert names(found) == ["ip a", "ip b"]
    assert len(found.containers[0].chains) == 1


def test_a_host_without_rules() -> None:
    assert read("") == read("\n# nothing\n") == Ruleset()
    assert read('{"nftables": [{"metainfo": {"version": "1.0.6"}}]}', "nft-json") == Ruleset()


# ------------------------------------------------------------------ chains


@pytest.mark.parametrize(
    ("text", "family", "priority"),
    [
        ("0", "inet", 0),
        ("-150", "inet", -150),
        ("filter", "inet", 0),
        ("mangle - 5", "ip", -155),
        ("dstnat + 10", "ip", -90),
        ("security", "inet", 50),
        ("srcnat", "inet", 100),
        ("raw", "inet", -300),
        ("filter", "bridge", -200),
        ("dstnat", "bridge", -300),
    ],
)
def test_priorities(text: str, family: str, priority: int) -> None:
    found = base(f"type filter hook prerouting priority {text}; policy accept;", family)
    assert found == Base(Hook.PREROUTING, priority)


def test_a_base_chain() -> None:
    found = base("type nat hook prerouting priority -105; policy drop;")
    assert found == Base(Hook.PREROUTING, -105, Drop(), ChainKind.NAT)


@pytest.mark.parametrize("devices", ["device eth0", "devices = { eth0 }", 'device "eth0"'])
def test_a_chain_on_the_ingress_of_devices(devices: str) -> None:
    found = base(f"type filter hook ingress {devices} priority 0; policy accept;", "netdev")
    assert found == Base(Hook.INGRESS, 0, devices=("eth0",))


def test_a_chain_on_the_ingress_of_devices_that_are_gone_hangs_nowhere() -> None:
    assert base("type filter hook ingress priority 0; policy accept;", "netdev") is None


def test_egress_is_no_hook_of_ours() -> None:
    assert base('type filter hook egress device "eth0" priority 0; policy accept;', "netdev") is None


def test_one_line_holds_a_whole_table() -> None:
    (container,) = read(
        "table ip t { chain c { type filter hook input priority 0; tcp dport 22 accept; drop } }"
    ).containers
    assert [one.verdict for one in container.chains[0].rules] == [Accept(), Drop()]
    assert container.chains[0].base == Base(Hook.INPUT, 0)


def test_rules_keep_their_comments() -> None:
    assert table('chain c {\ntcp dport 22 accept comment "for # all; {really}"\n}').chains[0].rules[0].comment == (
        "for # all; {really}"
    )


def test_a_chain_may_come_before_and_after_all_others() -> None:
    found = table(
        "chain a {\ntype filter hook input priority -2147483648;\n}\nchain b {\ntype filter hook input priority 2147483647;\n}"
    )
    assert [one.base.priority for one in found.chains if one.base] == [-(2**31), 2**31 - 1]


def test_a_priority_that_is_not_known_makes_every_hook_doubtful() -> None:
    found = read("table inet t {\nchain c {\ntype filter hook input priority $P; policy drop;\n}\n}")
    assert names(found) == ["inet t", "unread"]
    assert found.containers[0].chains[0].base is None
    hooks = {chain.base.hook for chain in found.containers[1].chains if chain.base}
    assert hooks == set(Hook) - {Hook.INGRESS}
    assert all(isinstance(chain.rules[0].verdict, Unknown) for chain in found.containers[1].chains)


# ------------------------------------------------------------------ scripts


def test_commands_build_up_a_ruleset() -> None:
    found = read(
        "flush ruleset\n"
        "add table inet t\n"
        "add chain inet t c { type filter hook input priority 0; policy drop; }\n"
        "add set inet t ports { type inet_service; }\n"
        "add element inet t ports { 22, 80 }\n"
        "add rule inet t c tcp dport @ports accept\n"
        "insert rule inet t c iifname lo accept\n"
    )
    (container,) = found.containers
    assert [one.box for one in container.sets[0].elements] == [((22, 22),), ((80, 80),)]
    assert container.chains[0].base == Base(Hook.INPUT, 0, Drop())
    first, second = container.chains[0].rules
    assert first.match == is_one(Field.IIF, first.match.values[0][0])  # type: ignore[union-attr]
    assert second.verdict == Accept()


@pytest.mark.parametrize(
    "command", ["flush ruleset", "flush ruleset ip", "delete table ip t", "destroy table t", "flush table ip t"]
)
def test_what_was_deleted_is_gone(command: str) -> None:
    found = read(f"table ip t {{\nchain c {{\ndrop\n}}\n}}\n{command}\n")
    assert found == Ruleset() or verdicts(found) == []


def test_a_table_is_emptied_before_it_is_made_anew() -> None:
    found = read(
        "table ip t {\nchain c {\ndrop\n}\n}\ntable ip t\ndelete table ip t\ntable ip t {\nchain c {\naccept\n}\n}"
    )
    assert verdicts(found) == [Accept()]


def test_rules_are_placed_by_index_and_deleted_by_handle() -> None:
    found = read(
        "table ip t {\nchain c {\naccept # handle 5\ndrop # handle 6\n}\n}\n"
        "add rule ip t c index 0 return\ninsert rule ip t c index 0 continue\ndelete rule ip t c handle 6\n"
    )
    assert [type(one).__name__ for one in verdicts(found)] == ["Continue", "Accept", "Return"]


def test_the_word_rule_may_be_left_out() -> None:
    found = read("add table ip t\nadd chain t c\nadd t c drop\n")
    assert verdicts(found) == [Drop()]


def test_elements_that_cannot_be_deleted_make_a_set_opaque() -> None:
    found = read(
        "table ip t {\nset s {\ntype inet_service\nflags interval\nelements = { 80-90 }\n}\n}\n"
        "delete element ip t s { 85 }\n"
    )
    assert found.containers[0].sets == ()


def test_variables_hold_in_their_block() -> None:
    found = read(
        "define port = 22\ntable ip t {\nchain c {\ndefine port = 80\ntcp dport $port accept\n}\n"
        "chain d {\ntcp dport $port accept\nudp dport $missing accept\n}\n}"
    )
    texts = [[one.origin.text for one in chain.rules] for chain in found.containers[0].chains]
    assert texts == [["tcp dport 80 accept"], ["tcp dport 22 accept", "udp dport $missing accept"]]


def test_lines_are_continued_by_a_backslash() -> None:
    (chain,) = table("chain c {\ntcp dport 22 \\\n  accept\ndrop\n}").chains
    assert [one.verdict for one in chain.rules] == [Accept(), Drop()]
    assert [one.origin.line for one in chain.rules] == [3, 5]


def test_a_comment_that_ends_in_a_backslash_does_not_continue() -> None:
    (chain,) = table("chain c {\n# all \\\ndrop\n}").chains
    assert [one.verdict for one in chain.rules] == [Drop()]


def test_an_include_may_hold_any_rule() -> None:
    found = read(f'include "/etc/nftables.d/*.nft"\ntable inet t {{\nchain c {{\n{INPUT}\n}}\n}}')
    unread = found.containers[-1]
    assert unread.name == "unread"
    assert unread.chains[0].rules[0].verdict == Unknown('include "/etc/nftables.d/*.nft"')
    assert found.containers[0].chains[0].rules[0].verdict == Unknown('include "/etc/nftables.d/*.nft"')


def test_a_line_that_is_no_command_is_not_ignored() -> None:
    assert names(read("table ip t {\n}\nfrobnicate everything\n")) == ["ip t", "unread"]


def test_a_table_that_is_cut_off_is_not_taken_for_whole() -> None:
    assert names(read("table ip t {\nchain c {\naccept\n")) == ["ip t", "unread"]


def test_objects_that_decide_nothing_by_themselves() -> None:
    text = (
        "counter web {\npackets 1 bytes 2\n}\nquota q {\nover 10 mbytes\n}\nlimit l {\nrate 10/second\n}\n"
        'ct helper ftp {\ntype "ftp" protocol tcp\nl3proto ip\n}\n'
        "flowtable f {\nhook ingress priority 0\ndevices = { eth0 }\n}\nsynproxy s {\nmss 1460\nwscale 7\n}"
    )
    assert table(text) == Container("inet t", chains=())


def test_commands_of_libnftables() -> None:
    commands = [
        {"flush": {"ruleset": None}},
        {"add": {"table": {"family": "ip", "name": "t"}}},
        {"add": {"chain": {"family": "ip", "table": "t", "name": "c"}}},
        {"add": {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"accept": None}]}}},
        {"insert": {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"drop": None}]}}},
    ]
    assert verdicts(read(json.dumps({"nftables": commands}), "nft-json")) == [Drop(), Accept()]


# ------------------------------------------------------------------ what is no ruleset


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("nft", "Hello, world.\nThis is a letter.\n", "PG412"),
        ("nft", "#!/bin/sh\niptables -A INPUT -j DROP\n", "PG412"),
        ("nft-json", "table ip t {\n}", "PG411"),
        ("nft-json", "[]", "PG411"),
        ("nft-json", '{"nftables": 5}', "PG411"),
        ("nft-json", "[" * 100_000, "PG411"),
        ("nft-json", '{"nftables": [{"rule": ' + '{"a": ' * 20_000 + "1" + "}" * 20_000 + "}]}", "PG411"),
    ],
)
def test_what_is_no_ruleset(kind: str, text: str, code: str) -> None:
    with pytest.raises(PortgateError) as caught:
        read(text, kind)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.remedy


def test_the_structure_of_a_text_is_that_of_libnftables() -> None:
    text = "table inet t {\nset s {\ntype ipv4_addr\n}\nchain c {\ntcp dport { 22, 80-90 } ip saddr @s drop\n}\n}"
    assert listing.to_json(text) == {"nftables": [
        {"table": {"family": "inet", "name": "t"}},
        {"set": {"family": "inet", "table": "t", "name": "s", "type": ["ipv4_addr"]}},
        {"chain": {"family": "inet", "table": "t", "name": "c"}},
        {"rule": {"family": "inet", "table": "t", "chain": "c", "line": 6, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                       "right": {"set": [22, {"range": [80, 90]}]}}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@s"}},
            {"drop": None},
        ]}},
    ]}  # fmt: skip


def test_an_empty_chain() -> None:
    assert table("chain c {\n}").chains == (Chain("c"),)
