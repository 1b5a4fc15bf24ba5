"""pf.conf as people write it, and `pfctl -sr` as it prints it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from portgate.backends.pf import BACKEND
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import parse_interfaces
from portgate.core.listener import Interface
from portgate.core.net import Family, parse_address
from portgate.core.packets import Packet
from portgate.core.ruleset import Dnat, Hook, Lookup, Opaque, Ruleset
from portgate.core.trace import decide, trace
from tests.pf.texts import read
from tests.written import unequal

HOST = Host(None)


def packet(text: str, iif: str = "em0", port: int | None = None, proto: int = 6, oif: str = "") -> Packet:
    family, src = parse_address(text)
    ports = proto in (6, 17)
    dst = parse_address("192.0.2.1" if family is Family.IPV4 else "2001:db8::1")[1]
    return Packet(
        family=family, protocol=proto, iif=iif, src=src, dst=dst, sport=40000 if ports else None, dport=port,
        icmp_type=None if ports else 8, icmp_code=None if ports else 0, oif=oif,
    )  # fmt: skip


def fate(text: str | Ruleset, *packets: Packet) -> list[str]:
    ruleset = read(text) if isinstance(text, str) else text
    return [str(one.answer.fate) for one in decide(ruleset, packets, HOST)]


def same(left: str, right: str) -> bool:
    return unequal(read(left), read(right)) == []


SSH, HTTP = packet("198.51.100.7", port=22), packet("198.51.100.7", port=80)


def test_what_no_rule_matches_passes() -> None:
    assert fate("block in on em1\n", SSH) == ["accept"]


def test_the_last_rule_that_matches_decides() -> None:
    assert fate("pass in\nblock in proto tcp to port 22\n", SSH, HTTP) == ["drop", "accept"]
    assert fate("block in proto tcp to port 22\npass in\n", SSH) == ["accept"]


def test_quick_ends_the_search() -> None:
    assert fate("block in quick proto tcp to port 22\npass in\n", SSH, HTTP) == ["drop", "accept"]


def test_block_policy_return_is_an_answer_to_the_sender() -> None:
    assert fate("set block-policy return\nblock in\n", SSH) == ["reject"]
    assert fate("set block-policy return\nblock drop in\n", SSH) == ["drop"]


def test_skipped_interfaces_are_not_filtered() -> None:
    assert fate("set skip on { em0 lo }\nblock in quick\n", SSH, packet("198.51.100.7", "em1", 22)) == [
        "accept", "drop",
    ]  # fmt: skip


def test_macros_lists_ranges_and_operators() -> None:
    text = """
ext_if = "em0"
web = "{ 80, https 8000:8010 }"
nets = "{" 198.51.100.0/24 "10/8 }"
block in
pass in on $ext_if proto { tcp udp } from $nets to any port $web
pass in proto tcp to port 1023 >< 1026
"""
    ports = (80, 443, 8005, 8011, 1023, 1024, 1025, 1026)
    assert fate(text, *(packet("10.1.2.3", port=port) for port in ports)) == [
        "accept", "accept", "accept", "drop", "drop", "accept", "accept", "drop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "operator, open_ports",
    [
        ("= 22", {22}),
        ("!= 22", {21, 23, 24, 25}),
        ("< 23", {21, 22}),
        (">= 24", {24, 25}),
        ("22 <> 24", {21, 25}),
        ("22:24", {22, 23, 24}),
        ("{ 21 >24 }", {21, 25}),
        (":23", {21, 22, 23}),
        ("0x16", {22}),
    ],
)
def test_ports(operator: str, open_ports: set[int]) -> None:
    found = fate(
        f"block in\npass in proto tcp to port {operator}\n", *(packet("10.0.0.1", port=p) for p in range(21, 26))
    )
    assert {port for port, one in zip(range(21, 26), found, strict=True) if one == "accept"} == open_ports


def test_the_most_specific_entry_of_a_table_decides() -> None:
    text = "table <good> { 10/8, !10.9/16, 10.9.0.7, 2001:db8::/32 }\nblock in\npass in from <good>\n"
    sources = ("10.1.1.1", "10.9.1.1", "10.9.0.7", "2001:db8::7", "192.0.2.7")
    assert fate(text, *(packet(one, port=22) for one in sources)) == ["accept", "drop", "accept", "accept", "drop"]


def test_a_table_that_is_filled_at_run_time_is_doubtful() -> None:
    for declared in ("table <x> persist\n", 'table <x> persist file "/etc/x"\n', ""):
        assert fate(f"{declared}block in\npass in from <x>\n", SSH) == ["depends"]


def test_negation_is_within_the_family_of_the_address() -> None:
    text = "block in\npass in from ! 10.0.0.0/8\n"
    assert fate(text, SSH, packet("10.1.1.1", port=22), packet("2001:db8::7", port=22)) == ["accept", "drop", "drop"]


def test_rules_of_an_anchor_stand_in_its_place() -> None:
    text = 'block in\nanchor "web" in on em0 {\n  pass in proto tcp to port 80\n}\nblock in quick from 10.0.0.1\n'
    assert fate(text, HTTP, packet("198.51.100.7", "em1", 80), packet("10.0.0.1", port=80)) == [
        "accept", "drop", "drop",
    ]  # fmt: skip


def test_a_quick_anchor_ends_the_search_where_a_rule_of_it_matched() -> None:
    text = "anchor quick {\n  pass in proto tcp to port 80\n  block in proto tcp to port 80\n}\npass in\n"
    assert fate(text, HTTP, SSH) == ["drop", "accept"]


def test_an_anchor_that_was_not_read_may_do_anything() -> None:
    assert fate('block in\nanchor "ftp-proxy/*"\n', SSH) == ["depends"]


def test_rules_of_old_connections_do_not_matter() -> None:
    ack = Packet(**{**{name: getattr(SSH, name) for name in SSH.__slots__}, "tcp_flags": 16})
    assert fate("block in\npass in proto tcp to port 22\n", ack) == ["drop"]
    assert fate("block in\npass in proto tcp to port 22 flags any\n", ack) == ["accept"]


def test_parts_of_a_rule_may_stand_in_any_order() -> None:
    assert same(
        'pass in quick proto tcp to port 22 keep state flags S/SA label "x"\nblock in\n',
        'pass in quick proto tcp to port 22 label "x" flags S/SA keep state\nblock in\n',
    )


def test_translation_before_filtering_as_freebsd_has_it() -> None:
    text = "rdr on em0 inet proto tcp to port 8080 -> 127.0.0.1 port 80\nblock in\npass in proto tcp to port 80\n"
    assert fate(text, packet("10.0.0.1", port=8080), HTTP, SSH) == ["accept", "accept", "drop"]


def test_no_rdr_keeps_from_translation_and_rdr_pass_is_not_filtered() -> None:
    text = (
        "no rdr inet proto tcp from 10.0.0.1 to port 8080\n"
        "rdr pass inet proto tcp to port 8080 -> 127.0.0.1 port 80\nblock in\n"
    )
    assert fate(text, packet("10.0.0.1", port=8080), packet("10.0.0.2", port=8080)) == ["drop", "accept"]


def test_translation_by_filter_rules_as_openbsd_has_it() -> None:
    text = "block in\nblock in quick inet from 10.0.0.1\npass in inet proto tcp to port 8080 rdr-to 127.0.0.1 port 80\n"
    assert fate(text, packet("10.0.0.1", port=8080), packet("10.0.0.2", port=8080), HTTP) == ["drop", "accept", "drop"]
    chain = read(text).containers[0].chain("prerouting")
    assert chain is not None


def test_what_pfctl_prints_is_read_as_what_it_was_given() -> None:
    given = (
        'web = "{ 80 443 }"\nblock in\npass in proto tcp to port $web\npass out\npass in inet proto icmp icmp-type 8\n'
    )
    openbsd = (
        "block drop in all\npass in proto tcp from any to any port = 80 flags S/SA\n"
        "pass in proto tcp from any to any port = 443 flags S/SA\npass out all flags S/SA\n"
        "pass in inet proto icmp all icmp-type echoreq\n"
    )
    freebsd = (
        "block drop in all\npass in proto tcp from any to any port = http flags S/SA keep state\n"
        "pass in proto tcp from any to any port = https flags S/SA keep state\npass out all flags S/SA keep state\n"
        "pass in inet proto icmp all icmp-type echoreq keep state\n"
    )
    assert same(given, openbsd)
    assert same(given, freebsd)


def test_numbered_rules_with_counters_are_read() -> None:
    text = "@0 block drop in all\n  [ Evaluations: 10        Packets: 0  ]\n@1 pass in proto tcp from any to any port = 22\n"
    assert fate(text, SSH, HTTP) == ["accept", "drop"]


@pytest.mark.parametrize(
    "text",
    [
        "@(\npass",
        "@7(\npass",
        "block on t proto {}",
        "pass in proto icmp icmp-type {}",
        "pass to 10.0.0.0/{}",
        "pass to (em0)/{}",
        "pass to em0:network/{}",
        "pass in proto tcp to port {}",
        "pass in proto tcp keep state (max-src-conn-rate {}/5)",
    ],
)
def test_what_is_cut_off_and_numbers_without_end_are_doubts(text: str) -> None:
    (opened,) = fate(text.format("9" * 5000), SSH)
    assert opened in ("accept", "depends")


def test_a_comment_that_ends_in_a_backslash_hides_the_next_line() -> None:
    assert fate("block in\n# a comment \\\npass in proto tcp to port 22\n", SSH) == ["drop"]


@pytest.mark.parametrize(
    "doubtful",
    [
        "user root",
        "os Linux",
        "probability 50%",
        "tagged x",
        "tos lowdelay",
        "from no-route",
        "from egress",
        "from urpf-failed",
        "from route x",
        "group wheel",
        "user { > 1000, root }",
        "os { Linux, OpenBSD }",
        "max-pkt-rate 100/10",
        "on rdomain 3",
        "to (em0)/24",
        "tracker 7 frobnicate",
        "frobnicate 7",
    ],
)
def test_what_is_not_known_of_a_packet_is_a_doubt(doubtful: str) -> None:
    assert fate(f"block in\npass in {doubtful}\n", SSH) == ["depends"]


@pytest.mark.parametrize("statement", ["frobnicate", 'include "/etc/pf.more"', "ether block in on em0"])
def test_a_statement_that_is_not_known_may_do_anything(statement: str) -> None:
    assert fate(f"pass in\n{statement}\n", SSH) == ["depends"]


def test_what_only_shapes_or_repairs_traffic_decides_nothing() -> None:
    text = "scrub in all\nset timeout tcp.first 120\nset limit states 10000\naltq on em0 cbq queue std\nblock in\n"
    assert fate(text, SSH) == ["drop"]


def test_antispoof_is_about_the_network_of_an_interface_anywhere_else() -> None:
    text = "block in\npass in proto tcp to port 22\nantispoof quick for em1 inet\n"
    there, elsewhere, other = (
        packet("10.0.0.1", "em1", 22),
        packet("10.0.0.1", "em0", 22),
        packet("2001:db8::7", "em0", 22),
    )
    home = Interface("em0", ((Family.IPV4, 0xC0000201, 24), (Family.IPV6, parse_address("2001:db8::1")[1], 64)))
    own = (Interface("em1", ((Family.IPV4, 0x0A000001, 24),)), home)
    answers = decide(read(text), (there, elsewhere, other), Host(own))
    assert [str(one.answer.fate) for one in answers] == ["drop", "drop", "accept"]
    unknown = [one.answer for one in decide(read(text), (there, elsewhere, other), Host((*own[1:], Interface("lo0"))))]
    assert [str(one.fate) for one in unknown] == ["accept", "depends", "accept"]  # no address of this host is 10.0.0.1
    assert "(em1:network)" in str(unknown[1].reasons)
    stranger = packet("198.51.100.7", "em1", 22)  # no address of this host, and on the interface itself
    assert [str(one.answer.fate) for one in decide(read(text), (stranger,), Host(own))] == ["accept"]


def test_antispoof_for_loopback_is_no_doubt() -> None:
    text = "block in\nantispoof quick for { lo0 }\npass in proto tcp to port 22\n"
    assert fate(text, SSH, packet("127.0.0.1", port=22), packet("::1", port=22)) == ["accept", "drop", "drop"]
    assert fate("pass in\nblock in from (lo0:network)\n", SSH, packet("127.9.9.9", port=22)) == ["accept", "drop"]


def test_addresses_of_an_interface_are_some_of_the_hosts_own() -> None:
    text = "block in\npass in proto tcp from any to (em0) port 22\npass in from (em0) to any\n"
    assert fates(text, Host((Interface("em1", ((Family.IPV4, 0xC0000201, 24),)),)), SSH, HTTP) == ["depends", "drop"]
    assert fates(text, Host((Interface("em0", ((Family.IPV4, 0xC0000201, 24),)),)), SSH, HTTP) == ["accept", "drop"]


GATEWAY = Host(
    parse_interfaces(
        Reading(
            "interfaces",
            "em0:203.0.113.9/28,em0:203.0.113.10/28,em0:fe80::1/64,em0:2001:db8:1::9/64,em0:group=egress,"
            "em1:192.0.2.1/24,em1:2001:db8::1/64,em1:group=trusted,em2:10.0.0.1/8,em2:group=trusted,tun0:",
            "a test",
        )
    )
)


def fates(text: str, host: Host, *packets: Packet) -> list[str]:
    return [str(one.answer.fate) for one in decide(read(text), packets, host)]


@pytest.mark.parametrize(
    ("meant", "inside", "outside"),
    [
        ("(em0)", "203.0.113.10 2001:db8:1::9 fe80::1", "203.0.113.1 192.0.2.1 2001:db8::1"),
        ("em0", "203.0.113.9 203.0.113.10 2001:db8:1::9", "203.0.113.8"),
        ("(em0:0)", "203.0.113.9 2001:db8:1::9", "203.0.113.10 fe80::1"),
        ("(em0:2)", "203.0.113.9 203.0.113.10", "203.0.113.11"),
        ("em0:network", "203.0.113.1 203.0.113.15 2001:db8:1::77", "203.0.113.16 fe80::1 fe80::2"),
        ("(em0:network:0)", "203.0.113.1 2001:db8:1::77", "192.0.2.1 fe80::1"),
        ("(em0:broadcast)", "203.0.113.15", "203.0.113.9 2001:db8:1::9"),
        ("(em0)/24", "203.0.113.200", "203.0.114.1"),
        ("egress", "203.0.113.9 2001:db8:1::9", "192.0.2.1"),
        ("(egress:network)", "203.0.113.1", "192.0.2.1"),
        ("trusted:network", "192.0.2.200 10.9.9.9 2001:db8::5", "203.0.113.1"),
        ("(self:network)", "192.0.2.200 10.9.9.9 203.0.113.1", "198.51.100.1"),
        ("self", "192.0.2.1 203.0.113.9 127.0.0.1", "192.0.2.2"),
        ("! (em1)", "192.0.2.2 203.0.113.9 2001:db8:9::1", "192.0.2.1 2001:db8::1"),
        ("! (em1:network)", "203.0.113.9 2001:db8:9::1", "192.0.2.1 2001:db8::1"),
        ("{ em1 em2 }", "192.0.2.1 10.0.0.1", "203.0.113.9"),
        ("(tun0)", "", "203.0.113.9 2001:db8:1::9"),
    ],
)
def test_what_an_interface_stands_for_is_decided_where_the_interfaces_are_known(
    meant: str, inside: str, outside: str
) -> None:
    text = f"block in\npass in proto tcp from {meant} to any\n"
    found = fates(text, GATEWAY, *(packet(one, port=22) for one in (inside + " " + outside).split()))
    assert found == ["accept"] * len(inside.split()) + ["drop"] * len(outside.split())


@pytest.mark.parametrize(
    "meant", ["! em0", "! self", "(em7)", "em7:network", "(vlans)", "(em0:peer)", "(em0:frob)", "mail.example.net"]
)
def test_what_the_interfaces_do_not_tell_stays_a_doubt(meant: str) -> None:
    text = f"block in\npass in proto tcp from {meant} to any\n"
    assert fates(text, GATEWAY, packet("203.0.113.9", port=22)) == ["depends"]


def test_localhost_is_the_same_on_every_host() -> None:
    text = "block in\npass in proto tcp from localhost to any port 22\n"
    assert fate(text, packet("127.0.0.1", port=22), packet("::1", port=22), SSH) == ["accept", "accept", "drop"]
    redirect = "rdr on em0 inet proto tcp from any to any port 80 -> localhost port 8080\n"
    assert same(redirect, redirect.replace("localhost", "127.0.0.1"))


def test_a_rule_on_a_group_is_about_its_members_where_they_are_known() -> None:
    text = "block in\npass in on trusted proto tcp to port 22\npass in on ! egress proto tcp to port 80\n"
    arriving = [packet("198.51.100.7", interface, port) for port in (22, 80) for interface in ("em0", "em1", "em2")]
    assert fates(text, GATEWAY, *arriving) == ["drop", "accept", "accept"] * 2
    assert fates("block in\npass in on wan\n", GATEWAY, SSH) == ["depends"]
    assert fates("set skip on trusted\nblock in\n", GATEWAY, *arriving[:2]) == ["drop", "accept"]


def test_fragments_are_taken_for_reassembled() -> None:
    assert fate("pass in\nblock in quick fragment\n", SSH) == ["accept"]


def test_a_rule_that_holds_once_is_a_doubt() -> None:
    assert fate("block in\npass in proto tcp to port 22 once\n", SSH, HTTP) == ["depends", "drop"]


def test_an_unread_anchor_is_doubtful_only_where_it_is_called() -> None:
    text = 'block in\nanchor "relayd/*" in on em1\npass in proto tcp to port 22\n'
    assert fate(text, SSH, packet("10.0.0.1", "em1", 22), packet("10.0.0.1", "em1", 80)) == [
        "accept",
        "depends",
        "depends",
    ]


def test_an_unread_anchor_may_hold_quick_rules_which_later_ones_do_not_override() -> None:
    assert fate('anchor "ftp-proxy/*"\nblock in\n', SSH) == ["depends"]
    assert fate('block in quick\nanchor "ftp-proxy/*"\n', SSH) == ["drop"]
    assert fate('anchor "proxy" {\npass in quick proto tcp\n}\nblock in\n', SSH) == ["accept"]


def test_what_an_unread_anchor_for_nat_holds_decides_nothing_and_one_for_redirects_may() -> None:
    assert fate('nat-anchor "ftp-proxy/*"\nblock in\npass in proto tcp to port 22\n', SSH, HTTP) == ["accept", "drop"]
    assert fate('rdr-anchor "ftp-proxy/*"\nblock in\npass in proto tcp to port 22\n', HTTP) == ["depends"]


@pytest.mark.parametrize(
    "text",
    [
        "binat on em0 inet from 10.0.0.8 to any -> 192.0.2.1\nblock in\npass in from any to 10.0.0.8\n",
        "block in\npass on em0 inet from 10.0.0.8 to any binat-to 192.0.2.1\n",
    ],
)
def test_binat_leads_what_arrives_for_the_other_address_to_ours(text: str) -> None:
    here = Host((Interface("em0", ((Family.IPV4, 0xC0000201, 24),)),))
    answer = decide(read(text), (SSH, packet("198.51.100.7", "em1", 22)), here)
    assert [str(one.answer.fate) for one in answer] == ["accept", "drop"]
    chain = read(text).containers[0].chain("prerouting")
    assert chain is not None
    assert any(rule.verdict == Dnat(Family.IPV4, (0x0A000008, 0x0A000008), None) for rule in chain.rules)


def test_a_redirect_may_keep_the_address_and_change_the_port_alone() -> None:
    text = "rdr inet6 proto tcp from any to any port 80 -> ::/0 port 8080 bitmask\nblock in\npass in proto tcp to port 8080\n"
    printed = text.replace("::/0", "any")
    for one in (text, printed):
        assert fate(one, packet("2001:db8::7", port=80), packet("2001:db8::7", port=22)) == ["accept", "drop"]


def test_ports_that_follow_the_one_that_arrived() -> None:
    text = "rdr inet proto tcp from any to any port 2000:2999 -> 127.0.0.1 port 4000:*\nblock in\npass in proto tcp to port >= 4000\n"
    assert fate(text, packet("10.0.0.1", port=2500), HTTP) == ["accept", "drop"]


def test_what_pfctl_prints_when_it_tells_all() -> None:
    """`pfctl -vvsr` of FreeBSD: numbers with trackers, how much is in a table, who made the rule."""
    text = (
        "table <good> { 198.51.100.7 }\n"
        '@0(1000000103) block drop in log inet all label "Default deny rule IPv4" ridentifier 1000000103\n'
        "  [ Evaluations: 107876    Packets: 1        Bytes: 60          States: 0     ]\n"
        "  [ Inserted: uid 0 pid 12345 State Creations: 0     ]\n"
        "@1 pass in quick proto tcp from <good:1> to (self:*) port = 22 flags S/SA keep state\n"
    )
    assert fate(text, SSH, HTTP) == ["accept", "drop"]


def test_where_packets_are_routed_does_not_change_whether_they_pass() -> None:
    text = (
        "block in\npass in on em0 reply-to (em0 192.0.2.254) inet proto tcp to port 22 keep state\n"
        "pass in inet proto tcp to port 80 route-to <gateways> round-robin source-hash secret sticky-address\n"
    )
    assert fate(text, SSH, HTTP) == ["accept", "accept"]


def test_our_anchor_alone_in_the_main_rules_is_ours() -> None:
    inner = (
        'block drop in all label "default"\npass in quick proto tcp from any to any port = 22 flags S/SA label "ssh"\n'
    )
    found = read(f'anchor "portgate" all {{\n{inner}}}\n')
    assert [(one.name, one.owned) for one in found.containers] == [("portgate", True)]
    assert fate(found, SSH, HTTP) == ["accept", "drop"]


def test_rules_of_others_around_our_anchor_decide_with_it() -> None:
    ours = 'anchor "portgate" all {\nblock drop in all\npass in quick proto tcp from any to any port = 22\n}\n'
    found = read(f"block in quick from 10.0.0.1\n{ours}pass in proto tcp from any to any port = 80\n")
    assert fate(found, SSH, HTTP, packet("10.0.0.1", port=22)) == ["accept", "accept", "drop"]
    assert [one.name for one in found.owned().containers] == ["portgate"]


@pytest.mark.parametrize("text", ["hello world\n", "iptables -A INPUT -j DROP\n"])
def test_a_text_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(PortgateError) as refused:
        read(text)
    assert refused.value.diagnostics[0].code == "PG470"


def test_macros_that_grow_without_end_are_refused() -> None:
    names = "abcdefghijklm"
    lines = ['a = "x x x x x x x x x x"', *(f"{name} = {f'${before} ' * 10}" for before, name in pairwise(names))]
    with pytest.raises(PortgateError) as refused:
        read("\n".join(lines) + "\nblock in from $m\n")
    assert refused.value.diagnostics[0].code == "PG471"


def test_a_kind_of_reading_that_is_told_by_name() -> None:
    assert BACKEND.reading_kinds == ("pf",)
    found = read("table <x> persist\nblock in from <x>\n").containers[0].chain("input")
    assert found is not None and not isinstance(found.rules[1].match, Lookup | Opaque)


def test_binat_of_what_is_not_one_address_may_lead_anywhere() -> None:
    text = "binat on em0 inet from self to any -> 192.0.2.1\nblock in\npass in proto tcp to port 22\n"
    here = Host((Interface("em0", ((Family.IPV4, 0xC0000201, 24),)),))
    assert [str(one.answer.fate) for one in decide(read(text), (HTTP, packet("10.0.0.1", "em1", 80)), here)] == [
        "depends", "drop",
    ]  # fmt: skip


def test_a_source_translation_is_of_the_interface_that_a_packet_leaves_by() -> None:
    chain = read("nat on em0 inet from 10.0.0.0/8 to any -> (em0)\npass all\n").containers[0].chain("postrouting")
    assert chain is not None
    assert "OIF" in str(chain.rules[0].match) and "IIF" not in str(chain.rules[0].match)


# ------------------------------------------------------------------ what passes through

ROUTER = Host(
    tuple(parse_interfaces(Reading("interfaces", "em0:192.0.2.1/24,em1:10.0.0.1/8,em2:172.16.0.1/16", "a test")))
)
NAT = "nat on em0 from 10.0.0.0/8 to any -> (em0)\n"


def through(text: str, source: str = "10.0.0.7", iif: str = "em1", to: str = "192.0.2.9") -> str:
    one = replace(packet(source, iif, 22), dst=parse_address(to)[1])
    return str(decide(read(text), [one], ROUTER)[0].answer.fate)


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("block all\n", "drop"),
        ("", "accept"),
        ("block all\npass in on em1\n", "drop"),
        ("block all\npass out on em0\n", "drop"),
        ("block all\npass in on em1\npass out on em0\n", "accept"),
        ("block all\npass in on em1\npass out on em2\n", "drop"),
        ("set skip on em1\nblock all\npass out on em0\n", "accept"),
        ("set skip on em1\nblock all\n", "drop"),
        ("set skip on { em0 em1 }\nblock all\n", "accept"),
        ("block all\npass in\npass out on em0 received-on em1\n", "accept"),
        ("block all\npass in\npass out on em0 received-on em2\n", "drop"),
        ("block all\npass in\npass out on em0 ! received-on em2\n", "accept"),
        ("block return out\n", "reject"),
    ],
)
def test_what_passes_through_must_pass_where_it_arrives_and_where_it_leaves(text: str, fate: str) -> None:
    assert through(text) == fate


def test_a_trace_tells_the_rules_of_both_ways() -> None:
    one = replace(packet("10.0.0.7", "em1", 22), dst=parse_address("192.0.2.9")[1])
    steps = trace(read("block all\npass in on em1\n"), one, ROUTER).steps
    assert [(step.hook, step.outcome) for step in steps] == [(Hook.INPUT, "accept"), (Hook.OUTPUT, "drop")]


def test_which_way_out_is_not_known_is_a_doubt_only_where_rules_differ() -> None:
    assert through("block all\npass in\npass out\n", to="198.51.100.1") == "accept"
    assert through("block all\npass in\npass out on em0\n", to="198.51.100.1") == "depends"


@pytest.mark.parametrize(
    ("rules", "fate"),
    [
        ("pass in on em1 tag LAN", "accept"),
        ("pass in on em2 tag LAN\npass in on em1", "drop"),
        ("pass in on em1 tag LAN\npass in proto tcp", "accept"),  # another rule decides, and the tag stays
        ("match in on em1 tag LAN\npass in proto tcp", "accept"),
        ("pass in quick proto tcp\nmatch in on em1 tag LAN", "drop"),
        ("pass in on em1 tag LAN\npass in proto tcp tag OTHER", "drop"),
    ],
)
def test_a_tag_is_kept_on_the_way_through(rules: str, fate: str) -> None:
    assert through(f"block all\n{rules}\npass out tagged LAN\n") == fate


def test_a_tag_is_a_doubt_where_rules_that_were_not_read_may_give_it() -> None:
    assert (
        through('block all\nanchor "x" in on em2\npass in\npass in on em2 tag LAN\npass out tagged LAN\n') == "depends"
    )


def test_a_tag_is_a_doubt_where_rules_of_both_directions_give_another() -> None:
    assert through("block all\npass in tag LAN\npass on em1 tag OTHER\npass out tagged LAN\n") != "accept"
    assert through("block all\npass in tag LAN\nmatch out tag OTHER\npass out tagged LAN\n") == "depends"


def test_the_rules_for_what_leaves_see_a_translated_source() -> None:
    assert through(f"{NAT}block out\npass out on em0 from 10.0.0.0/8\n") == "depends"
    assert through(f"{NAT}block out\npass out on em0\n") == "accept"
    assert through(f"{NAT}block out\npass out on em2 from 10.0.0.0/8\n", to="172.16.0.9") == "accept"
    assert through("match out on em0 nat-to (em0)\nblock out\npass out from 10.0.0.0/8\n") == "depends"
    assert through("block out\npass out from 10.0.0.0/8 nat-to (em0)\n") == "accept"
    assert through(NAT.replace("nat on", "nat pass on") + "block all\npass in\n") == "depends"
    assert through('nat-anchor "x"\nblock out\npass out from 10.0.0.0/8\n') == "depends"


def test_another_way_out_is_a_doubt() -> None:
    assert through("block all\npass in route-to (em2 172.16.0.9)\npass out on em0\n") == "depends"


def test_a_redirect_to_another_host_is_filtered_on_both_ways() -> None:
    rdr = "rdr on em0 inet proto tcp from any to 192.0.2.1 port 22 -> 10.0.0.7\nblock all\n"

    def fate(rules: str) -> str:
        return through(rdr + rules, "192.0.2.9", "em0", "192.0.2.1")

    assert fate("pass in on em0 to 10.0.0.7\npass out on em1 to 10.0.0.7\n") == "accept"
    assert fate("pass in on em0 to 192.0.2.1\npass out on em1\n") == "drop"
    assert fate("pass in on em0\n") == "drop"
