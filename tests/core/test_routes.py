"""Routes as `ip -json` prints them, and the ways back that they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from portgate.core import routes
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.net import AddressSet, Family, contains, format_address, parse_address
from portgate.core.routes import Routes, parse_routes

USUAL = [{"priority": n, "src": "all", "table": t} for n, t in ((0, "local"), (32766, "main"), (32767, "default"))]
IPV4, IPV6 = Family.IPV4, Family.IPV6
Route = Mapping[str, Any]


def parsed(listed: Sequence[Route], family: Family = IPV4, rules: Sequence[Route] | None = None) -> Routes | None:
    given = USUAL[: 3 if family is IPV4 else 2] if rules is None else rules
    return parse_routes(Reading("routes", f"{json.dumps(given)}\n{json.dumps(listed)}\n", "a test"), family)


def understood(listed: Sequence[Route], family: Family = IPV4) -> Routes:
    found = parsed(listed, family)
    assert found is not None
    return found


def to(dst: str, dev: str | None = None, **more: object) -> Route:
    return {"dst": dst, **({} if dev is None else {"dev": dev}), "flags": [], **more}


def said(found: Routes, text: str, interface: str, *, loose: bool = False) -> str:
    _, address = parse_address(text)
    ways = found.back(interface, loose=loose)
    surely, perhaps = contains(ways.surely, address), contains(ways.perhaps, address)
    assert not (surely and perhaps)
    return "surely" if surely else "perhaps" if perhaps else "not"


def test_the_longest_prefix_says_which_interface_leads_back() -> None:
    found = understood(
        [to("default", "eth0"), to("10.0.0.0/8", "eth1"), to("10.1.0.0/16", "eth0"), to("10.1.2.3", "eth1")]
    )
    answers = {
        "8.8.8.8": ("surely", "not"),
        "10.0.0.1": ("not", "surely"),
        "10.1.0.1": ("surely", "not"),
        "10.1.2.3": ("not", "surely"),
        "10.1.2.4": ("surely", "not"),
        "10.2.0.0": ("not", "surely"),
        "11.0.0.0": ("surely", "not"),
    }
    for address, expected in answers.items():
        assert tuple(said(found, address, name) for name in ("eth0", "eth1")) == expected
        assert said(found, address, "eth2") == "not"
        assert said(found, address, "eth2", loose=True) == "surely"


def test_own_addresses_refusing_routes_and_what_no_route_holds_have_no_way_back() -> None:
    own = to("192.0.2.1", "eth0", type="local", table="local")
    found = understood([own, to("192.0.2.0/24", "eth0"), to("10.0.0.0/8", type="unreachable")])
    for address in ("192.0.2.1", "10.0.0.1", "8.8.8.8"):
        assert said(found, address, "eth0") == said(found, address, "eth0", loose=True) == "not"


def test_the_least_metric_counts_in_ipv4_and_all_in_ipv6() -> None:
    listed = [to("default", "eth0", metric=100), to("default", "eth1", metric=50)]
    assert [said(understood(listed), "8.8.8.8", name) for name in ("eth0", "eth1", "eth2")] == ["not", "surely", "not"]
    six = understood(listed, IPV6)
    assert [said(six, "2001:db8::7", name) for name in ("eth0", "eth1", "eth2")] == ["perhaps", "perhaps", "not"]
    assert said(six, "2001:db8::7", "eth2", loose=True) == "surely"


def test_each_of_several_hops_counts_in_ipv4_and_one_of_them_in_ipv6() -> None:
    hops = [to("default", nexthops=[{"dev": "eth0", "flags": []}, {"dev": "eth1", "flags": []}])]
    assert [said(understood(hops), "8.8.8.8", name) for name in ("eth0", "eth1", "eth2")] == ["surely", "surely", "not"]
    six = understood(hops, IPV6)
    assert [said(six, "2001:db8::7", name) for name in ("eth0", "eth1", "eth2")] == ["perhaps", "perhaps", "not"]


@pytest.mark.parametrize(
    "more", [{"flags": ["linkdown"]}, {"flags": ["dead"]}, {"tos": "0x10"}, {"from": "10.0.0.0/8"}, {"type": "throw"}]
)
def test_what_hangs_on_more_than_the_source_is_not_known(more: Mapping[str, object]) -> None:
    found = understood([{**to("10.0.0.0/8", "eth0"), **more}, to("default", "eth1")])
    assert [said(found, "10.1.1.1", name) for name in ("eth0", "eth1", "eth2")] == ["perhaps"] * 3
    assert said(found, "10.1.1.1", "eth0", loose=True) == "perhaps"
    assert said(found, "11.1.1.1", "eth1") == "surely"


def test_a_next_hop_that_is_not_told_is_not_known() -> None:
    assert said(understood([to("10.0.0.0/8", nhid=7)]), "10.1.1.1", "eth0") == "perhaps"


def test_link_local_sources_are_looked_up_by_the_interface() -> None:
    own = to("fe80::1", "eth0", type="local", table="local")
    found = understood([own, to("fe80::/64", "eth0"), to("fe80::/64", "eth1"), to("default", "eth2")], IPV6)
    assert [said(found, "fe80::2", name) for name in ("eth0", "eth1", "eth2", "eth3")] == ["surely"] * 3 + ["not"]
    assert [said(found, "fe80::1", name) for name in ("eth0", "eth1")] == ["not", "surely"]
    assert [said(found, "fe80:0:0:1::2", name) for name in ("eth0", "eth2")] == ["not", "surely"]
    assert said(found, "fe80::2", "eth3", loose=True) == "not"


@pytest.mark.parametrize(
    "rules",
    [
        [],
        USUAL[1:],
        [*USUAL, {"priority": 100, "src": "10.0.0.0/8", "table": "100"}],
        [*USUAL, {"priority": 100, "src": "all", "fwmark": "0x1", "table": "100"}],
        [*USUAL, {"priority": 1000, "src": "all", "l3mdev": None}],
        [{**one, "priority": 5} for one in USUAL],
    ],
)
def test_other_rules_of_routing_than_the_usual_ones_are_not_understood(rules: list[Route]) -> None:
    assert parsed([to("default", "eth0")], rules=rules) is None


def test_too_many_routes_and_a_table_that_nobody_uses_are_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed([to("default", "eth0", table="default")]) is None
    monkeypatch.setattr(routes, "MOST", 2)
    assert parsed([to("10.0.0.0/8", "a"), to("11.0.0.0/8", "a")]) is not None
    assert parsed([to("10.0.0.0/8", "a"), to("11.0.0.0/8", "a"), to("12.0.0.0/8", "a")]) is None


def test_tables_of_others_count_for_nothing() -> None:
    assert said(understood([to("default", "wg0", table="51820"), to("default", "eth0")]), "8.8.8.8", "wg0") == "not"


@pytest.mark.parametrize(
    "text",
    [
        "x", "{}", "[1]", "[[]]", '["a"]', '[{"dst": 7}]', '[{"dst": "10.0.0.0/33"}]', '[{"dst": "10.0.0.1-10.0.0.9"}]', '[{}]',
        '[{"dst": "::/0", "dev": "a"}]', '[{"dst": "default", "dev": "a", "metric": "x"}]', '[{"priority": "x"}]', "default via 192.0.2.1",
        '[{"dst": "default", "nexthops": 7}]', '[{"dst": "default", "nexthops": ["x"]}]', '[{"dst": "1.1.1.1", "table": "local"}]', "[" * 99999,
    ],
)  # fmt: skip
def test_what_ip_does_not_print_is_refused_with_what_to_save(text: str) -> None:
    with pytest.raises(PortgateError) as refused:
        parse_routes(Reading("routes4", text, "a file"), IPV4)
    (one,) = refused.value.diagnostics
    assert one.code == "PG449"
    assert one.detail.startswith("a file: ")
    assert "ip -json -4 rule" in (one.remedy or "")


@pytest.mark.parametrize("family", Family)
def test_random_routes_lead_where_a_search_for_the_longest_prefix_says(family: Family) -> None:
    rng = Random(family.value)
    for _ in range(60):
        listed = []
        for _ in range(rng.randrange(1, 14)):
            length = rng.randrange(9)
            network = rng.getrandbits(length) << family.bits - length if length else 0
            dev = rng.choice(["a", "b", None])
            listed.append((network, length, dev))
        found = understood([_route(family, *one) for one in {(n, m): (n, m, d) for n, m, d in listed}.values()], family)
        for byte in range(256):
            address = byte << family.bits - 8 | 5
            holding = [
                (m, d)
                for (n, m), d in {(n, m): d for n, m, d in listed}.items()
                if address >> family.bits - m == n >> family.bits - m
            ]
            dev = max(holding, key=lambda one: one[0])[1] if holding else None
            if family is IPV6 and address >> 118 == 0xFE80 >> 6:
                continue
            text = format_address(family, address)
            assert [said(found, text, name) for name in ("a", "b")] == [
                "surely" if dev == name else "not" for name in ("a", "b")
            ]


def _route(family: Family, network: int, length: int, dev: str | None) -> Route:
    dst = "default" if length == 0 else f"{format_address(family, network)}/{length}"
    return to(dst, dev) if dev else to(dst, type="blackhole")


def test_the_ways_are_sets_of_addresses() -> None:
    found = understood([to("default", "eth0"), to("10.0.0.0/8", "eth1")])
    assert found.by_interface["eth0"].surely == (AddressSet.of("0.0.0.0/0") - AddressSet.of("10.0.0.0/8")).v4
    assert found.by_interface["eth1"].surely == AddressSet.of("10.0.0.0/8").v4
    assert found.by_any.surely == AddressSet.of("0.0.0.0/0").v4
