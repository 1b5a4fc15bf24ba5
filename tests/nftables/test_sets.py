"""Named sets, and what rules find in them."""

from __future__ import annotations

import json

import pytest

from portgate.core.net import interface_interval
from portgate.core.ruleset import All, Element, Field, Lookup, NamedSet, Not, Opaque
from tests.nftables.reading import is_one, match, read, table

TCP = is_one(Field.PROTOCOL, 6)
TEN = ((0x0A000000, 0x0AFFFFFF),)


def the_set(text: str, more: str = "") -> NamedSet:
    (one,) = table(f"set s {{\n{text}\n}}\n{more}").sets
    return one


def test_a_set_of_prefixes_with_comments() -> None:
    found = the_set(
        'type ipv4_addr; flags interval; comment "ours"\nelements = { 10.0.0.0/8 comment "ten", 192.0.2.1 }'
    )
    elements = (Element(TEN, "ten"), Element(((0xC0000201, 0xC0000201),)))
    assert found == NamedSet("s", (Field.SRC4,), elements, comment="ours")


def test_elements_that_expire() -> None:
    found = the_set("type ipv4_addr; flags timeout\nelements = { 192.0.2.1 timeout 1h expires 29m30s996ms }")
    assert found.elements[0].expires == 29 * 60 + 30
    assert found.timed


def test_a_set_of_combinations_with_ranges() -> None:
    text = "type ipv4_addr . inet_proto . inet_service\nflags interval\nelements = { 10.0.0.0/8 . tcp . 80-90 }"
    assert the_set(text).elements == (Element((*TEN, (6, 6), (80, 90))),)


def test_a_set_of_interface_names() -> None:
    assert the_set('type ifname; elements = { "wg*" }').elements == (Element((interface_interval("wg*"),)),)


def test_a_set_by_the_type_of_an_expression() -> None:
    assert the_set("typeof ip saddr . tcp dport; elements = { 192.0.2.1 . 22 }").fields == (Field.SRC4, Field.DPORT)


def test_a_set_takes_its_fields_from_the_rule_that_looks_it_up() -> None:
    found = the_set("type ipv4_addr", "chain c {\nip daddr @s drop\n}")
    assert found.fields == (Field.DST4,)


def test_elements_that_overlap_are_merged() -> None:
    found = the_set("type inet_service; flags interval; auto-merge; elements = { 80-90, 85-100, 22 }")
    assert found.elements == (Element(((22, 22),)), Element(((80, 100),)))


def test_the_element_that_holds_all_others() -> None:
    assert the_set("type inet_service; flags interval; elements = { 22, * }").elements == (Element(((0, 65535),)),)


def test_a_set_that_rules_fill_is_dynamic() -> None:
    filled = "chain c {\nadd @s { ip saddr }\n}"
    assert the_set("type ipv4_addr; flags dynamic,timeout; size 10", filled).dynamic
    assert not the_set("type ipv4_addr; flags dynamic; size 10").dynamic


def test_sets_within_a_set_come_from_variables() -> None:
    (container,) = read(
        "define lan = { 10.0.0.0/8 }\ndefine all = { $lan, 192.0.2.1 }\n"
        "table ip t {\nset s {\ntype ipv4_addr\nflags interval\nelements = { $all }\n}\n}"
    ).containers
    assert [one.box for one in container.sets[0].elements] == [TEN, ((0xC0000201, 0xC0000201),)]


@pytest.mark.parametrize(
    "text",
    [
        "type ether_addr; elements = { aa:bb:cc:dd:ee:ff }",
        "typeof vlan id; elements = { 5 }",
        "type ipv4_addr; elements = { example.org }",
        "type ipv4_addr; elements = { 192.0.2.1 limit rate 1/second }",
        "type ipv4_addr; frobnicate",
    ],
)
def test_what_looks_up_a_set_that_is_not_understood_is_opaque(text: str) -> None:
    found = match("ip saddr @s accept", more=f"set s {{\n{text}\n}}")
    opaque = Opaque("ip saddr @s [inet t]", "a set that is not understood")
    assert found == All((is_one(Field.FAMILY, 4), opaque))


def test_a_lookup() -> None:
    lookup = Lookup((Field.SRC4,), "s")
    declared = "set s {\ntype ipv4_addr\n}"
    assert match("ip saddr @s accept", more=declared) == lookup
    assert match("ip saddr != @s accept", more=declared) == All((is_one(Field.FAMILY, 4), Not(lookup)))


def test_a_lookup_of_combinations_where_all_protocols_have_ports() -> None:
    declared = "set s {\ntype inet_proto . inet_service\nelements = { tcp . 22, udp . 53 }\n}"
    assert match("meta l4proto . th dport @s accept", more=declared) == Lookup((Field.PROTOCOL, Field.DPORT), "s")


def test_a_lookup_of_another_number_of_fields_is_opaque() -> None:
    found = match("ip saddr . tcp dport @s", more="set s {\ntype ipv4_addr\n}")
    assert isinstance(found, All)
    assert isinstance(found.matches[-1], Opaque)


def test_elements_of_libnftables() -> None:
    elements = [
        {"prefix": {"addr": "10.0.0.0", "len": 8}},
        {"elem": {"val": {"range": ["192.0.2.1", "192.0.2.9"]}, "comment": "hi", "timeout": 60, "expires": 5}},
    ]
    body = {"family": "ip", "table": "t", "name": "s", "type": "ipv4_addr", "flags": ["interval"], "elem": elements}
    (found,) = read(json.dumps({"nftables": [{"set": body}]}), "nft-json").containers[0].sets
    assert found.elements == (Element(TEN), Element(((0xC0000201, 0xC0000209),), "hi", 5))


def test_ten_thousand_combinations_are_read_whole() -> None:
    elements = ", ".join(f"10.{i >> 8}.{i & 255}.0/24 . tcp . {i + 1}" for i in range(10_000))
    found = the_set(f"type ipv4_addr . inet_proto . inet_service\nflags interval\nelements = {{ {elements} }}")
    assert len(found.elements) == 10_000
    assert found.elements[-1].box == ((0x0A270F00, 0x0A270FFF), (6, 6), (10_000, 10_000))
