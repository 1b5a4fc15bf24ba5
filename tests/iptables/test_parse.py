"""What rules of iptables mean, one by one."""

from __future__ import annotations

import pytest

from portgate.backends.iptables.parse import parse
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family, interface_interval, parse_prefix
from portgate.core.ruleset import (
    Accept,
    All,
    Any,
    Base,
    Bits,
    Chain,
    ChainKind,
    Container,
    Continue,
    Dnat,
    Drop,
    Field,
    Goto,
    Hook,
    Jump,
    Log,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    Queue,
    Reject,
    Return,
    Rule,
    SetMark,
    SideNote,
    Snat,
    Template,
    Test,
    Unknown,
)  # fmt: skip

TCP = Test(Field.PROTOCOL, ((6, 6),))
CONNECTED = Test(Field.CT_STATE, ((0, 2),))


def read(text: str, kind: str = "iptables-save", sets: str = "") -> tuple[Container, ...]:
    readings = (Reading(kind, text, "a test"), Reading("ipset", sets, "a test"))
    return parse(readings).containers


def rules(text: str, kind: str = "iptables-save", table: str = "filter", sets: str = "") -> tuple[Rule, ...]:
    (container,) = read(f"*{table}\n:user - [0:0]\n-A user {text}\nCOMMIT\n", kind, sets)
    chain = container.chain("user")
    assert chain is not None
    return chain.rules


def rule(text: str, kind: str = "iptables-save", table: str = "filter", sets: str = "") -> Rule:
    (one,) = rules(text, kind, table, sets)
    return one


def network(text: str, field: Field = Field.SRC4) -> Test:
    return Test(field, (parse_prefix(text)[1],))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("-s 10.0.0.5/8", network("10.0.0.0/8")),
        ("-s 10.0.0.0/255.0.0.0", network("10.0.0.0/8")),
        ("! --source 192.0.2.1", Not(network("192.0.2.1"))),
        ("-s ! 192.0.2.1", Not(network("192.0.2.1"))),
        ("-d 10/8", network("10.0.0.0/8", Field.DST4)),
        ("-i eth+", Test(Field.IIF, (interface_interval("eth*"),))),
        ("! -i lo", Not(Test(Field.IIF, (interface_interval("lo"),)))),
        ("-i +", All(())),
        ("-o eth0", Test(Field.OIF, (interface_interval("eth0"),))),
        ("-p all", All(())),
        ("-p 47", Test(Field.PROTOCOL, ((47, 47),))),
        ("! -p tcp", Not(TCP)),
        ("-p tcp -m tcp --dport 22", All((TCP, Test(Field.DPORT, ((22, 22),))))),
        ("-p tcp -m tcp ! --sport 1024:", All((TCP, Not(Test(Field.SPORT, ((1024, 65535),)))))),
        ("-m state --state NEW -p tcp --dport ssh", All((TCP, Test(Field.DPORT, ((22, 22),)), Test(Field.CT_STATE, ((0, 0),))))),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", All((TCP, Bits(Field.TCP_FLAGS, 0x17, 2)))),
        ("-p tcp ! --syn", All((TCP, Not(Bits(Field.TCP_FLAGS, 0x17, 2))))),
        ("-p tcp -m multiport --dports 22,80:90", All((TCP, Test(Field.PROTOCOL, ((6, 6), (17, 17), (33, 33), (132, 132), (136, 136))), Test(Field.DPORT, ((22, 22), (80, 90)))))),
        ("-p icmp -m icmp --icmp-type 8", All((Test(Field.PROTOCOL, ((1, 1),)), Test(Field.ICMP_TYPE, ((8, 8),))))),
        ("-p icmp --icmp-type port-unreachable", All((Test(Field.PROTOCOL, ((1, 1),)), Test(Field.ICMP_TYPE, ((3, 3),)), Test(Field.ICMP_CODE, ((3, 3),))))),
        ("-m iprange ! --src-range 10.0.0.1-10.0.0.9", Not(Test(Field.SRC4, (parse_prefix("10.0.0.1-10.0.0.9")[1],)))),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", Test(Field.CT_STATE, ((1, 2),))),
        ("-m conntrack ! --ctstate INVALID", Not(Test(Field.CT_STATE, ((3, 3),)))),
        ("-m conntrack --ctstate DNAT", All((CONNECTED, Test(Field.DNATED, ((1, 1),))))),
        ("-m addrtype --dst-type LOCAL", Test(Field.DST_TYPE, ((1, 1),))),
        ("-m addrtype ! --src-type LOCAL,BROADCAST", Not(Test(Field.SRC_TYPE, ((1, 2),)))),
        ("-m mark --mark 0x1/0xff", Bits(Field.MARK, 0xFF, 1)),
        ("-m mark ! --mark 0x1", Not(Bits(Field.MARK, 0xFFFFFFFF, 1))),
        ("-m connmark --mark 0x1", All((CONNECTED, Bits(Field.CT_MARK, 0xFFFFFFFF, 1)))),
        ("-f", Any(())),
    ],
)  # fmt: skip
def test_a_match_that_is_decidable_is_exact(text: str, match: Match) -> None:
    assert rule(f"{text} -j ACCEPT") == Rule(match, Accept())


def test_a_type_that_routes_give_is_no_type_of_an_address_of_this_host() -> None:
    found = rule("-m addrtype --dst-type ANYCAST -j DROP").match
    assert isinstance(found, All)
    assert found.matches == (Test(Field.DST_TYPE, ((0, 0),)), Opaque("--dst-type ANYCAST", "type of the route"))


def test_unicast_of_ipv6_is_all_that_is_not_multicast() -> None:
    one = rule("-m addrtype --dst-type UNICAST -j DROP", "ip6tables-save")
    assert one.match == Test(Field.DST_TYPE, ((0, 1), (4, 4)))


def test_without_a_connection_the_state_alone_decides() -> None:
    state, port = Test(Field.CT_STATE, ((3, 3),)), Test(Field.ORIGINAL_DPORT, ((80, 80),))
    one = rule("-p tcp -m conntrack --ctstate INVALID --ctorigdstport 80 -j DROP")
    assert isinstance(one.match, All)
    assert one.match.matches[-1] == Any((All((CONNECTED, state, port)), All((Not(CONNECTED), state))))


def test_original_ports_are_a_doubt_for_protocols_that_have_none() -> None:
    named, any_protocol, esp, others = (
        rule(f"{protocol} -m conntrack --ctorigdstport 80") for protocol in ("-p tcp", "", "-p esp", "! -p udp")
    )
    assert "in place of ports" not in str(named.match)
    assert all("in place of ports" in str(one.match) for one in (esp, others))
    assert isinstance(any_protocol.match, Any)
    assert isinstance(any_protocol.match.matches[1], All)
    assert isinstance(any_protocol.match.matches[1].matches[1], Opaque)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-m limit --limit 5/min", "rate limit"),
        ("-m mac --mac-source 02:00:00:00:00:01", "link layer"),
        ("-m recent --rcheck --name ssh", "addresses seen recently"),
        ("-m string --string -x --algo bm", "content of the packet"),
        ("-m set --match-set blocked src", "the set blocked, which is not known"),
        ("-m brandnew --thing 1", "brandnew --thing 1"),
        ("-s host.example", "-s host.example"),
        ("-s 10.0.0.1/255.0.255.0", "-s 10.0.0.1/255.0.255.0"),
        ("-s 2001:db8::1", "-s 2001:db8::1"),
        ("-p tcp --dport nosuchservice", "--dport nosuchservice"),
        ("-p tcp --dport 90:80", "--dport 90:80"),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", "addrtype --dst-type LOCAL --limit-iface-in"),
    ],
)
def test_a_match_that_is_not_is_opaque_with_its_reason(text: str, reason: str) -> None:
    match = rule(f"{text} -j DROP").match
    last = match.matches[-1] if isinstance(match, All) else match
    assert isinstance(last, Opaque)
    assert last.reason == reason


def test_the_same_text_is_the_same_doubt_and_its_negation_the_contrary() -> None:
    plain = rule("-m time --timestart 08:00 -j DROP").match
    assert rule("-m time ! --timestart 08:00 -j ACCEPT").match == Not(plain)


def test_an_option_of_a_match_is_not_the_beginning_of_another() -> None:
    found = rule("-m recent --set --name seen -j DROP").match
    assert isinstance(found, Opaque)
    assert found.key.startswith("-m recent --set --name seen")


def test_what_counts_is_another_doubt_in_every_rule() -> None:
    text = "*filter\n:INPUT ACCEPT [0:0]\n" + "-A INPUT -m limit --limit 5/min -j ACCEPT\n" * 2
    (table,) = read(text)
    first, second = table.chains[0].rules
    assert first.match != second.match


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("-j ACCEPT", Accept()), ("-j DROP", Drop()), ("-j RETURN", Return()), ("", Continue()),
        ("-j REJECT --reject-with tcp-reset", Reject("tcp-reset")), ("-j user", Jump("user")), ("-g user", Goto("user")),
        ("-j NFQUEUE --queue-num 1 --queue-bypass", Queue(bypass=True)), ("-j QUEUE", Queue()),
        ("-j MASQUERADE", Snat("MASQUERADE")), ("-j REDIRECT --to-ports 8080", Dnat(None, None, (8080, 8080))),
        ("-j DNAT --to-destination 192.0.2.1:80-90", Dnat(Family.IPV4, parse_prefix("192.0.2.1")[1], (80, 90))),
        ("-j DNAT --to-destination 192.0.2.1-192.0.2.2", Dnat(Family.IPV4, parse_prefix("192.0.2.1-192.0.2.2")[1], None)),
        ("-j DNAT --to 192.0.2.1", Dnat(Family.IPV4, parse_prefix("192.0.2.1")[1], None)),
        ("-j REDIRECT --to 8080", Dnat(None, None, (8080, 8080))),
        ("-j DNAT --to-destination :80", Dnat(Family.IPV4, (0, 0xFFFFFFFF), (0, 0xFFFF))),
        ("-j TPROXY --on-port 1", Unknown("TPROXY --on-port 1")), ("-j nowhere", Unknown("nowhere")),
    ],
)  # fmt: skip
def test_targets_are_verdicts(text: str, verdict: object) -> None:
    assert rule(text).verdict == verdict


def test_the_destination_of_ipv6_stands_in_brackets() -> None:
    one = rule("-j DNAT --to-destination [2001:db8::1]:80", "ip6tables-save", "nat")
    assert one.verdict == Dnat(Family.IPV6, parse_prefix("2001:db8::1")[1], (80, 80))


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("LOG --log-prefix \"a \\\"b\\\" -j \"", (Log('a "b" -j '),)),
        ("MARK --set-mark 0x1", (SetMark(Field.MARK, 0xFFFFFFFF, 1),)),
        ("MARK --set-mark 0x1/0x2", (SetMark(Field.MARK, 3, 1),)),
        ("MARK --set-xmark 0x4000/0x4000", (SetMark(Field.MARK, 0x4000, 0x4000),)),
        ("MARK --set-xmark 0x3/0x1", (SetMark(Field.MARK, 1, 3),)),
        ("MARK --and-mark 0x1", (SetMark(Field.MARK, 0xFFFFFFFE, 0),)),
        ("MARK --or-mark 0x6", (SetMark(Field.MARK, 6, 6),)),
        ("MARK --xor-mark 0x6", (SetMark(Field.MARK, 0, 6),)),
        ("CONNMARK --set-mark 2", (SetMark(Field.CT_MARK, 0xFFFFFFFF, 2),)),
        ("CONNMARK --save-mark", (SetMark(Field.CT_MARK, 0xFFFFFFFF, 0, 0xFFFFFFFF),)),
        ("CONNMARK --save-mark --mask 0xff", (SetMark(Field.CT_MARK, 0xFF, 0, 0xFF),)),
        ("CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xff", (SetMark(Field.MARK, 0xF0, 0, 0xFF),)),
        ("CONNMARK --restore-mark --right-shift-mark 8", (SetMark(Field.MARK, 0xFFFFFFFF, None),)),
        ("CT --notrack", (NoTrack(),)), ("NOTRACK", (NoTrack(),)), ("CT --zone 0", (Template("CT --zone 0"),)),
        ("CT --helper ftp", (Template("CT --helper ftp"),)),
        ("TCPMSS --clamp-mss-to-pmtu", (SideNote("TCPMSS --clamp-mss-to-pmtu"),)),
    ],
)  # fmt: skip
def test_targets_that_only_change_something_go_on(text: str, effects: object) -> None:
    one = rule(f"-j {text}", table="mangle")
    assert (one.effects, one.verdict) == (effects, Continue())


def test_several_addresses_are_several_rules() -> None:
    found = rules("-s 192.0.2.1,192.0.2.2 -d 10.0.0.0/8 -j DROP")
    assert [one.match for one in found] == [
        All((network(source), network("10.0.0.0/8", Field.DST4))) for source in ("192.0.2.1", "192.0.2.2")
    ]


def test_a_comment_is_kept_and_is_no_match() -> None:
    one = rule('-m comment --comment "-j \\"DROP\\" it" -j ACCEPT')
    assert one == Rule(All(()), Accept(), comment='-j "DROP" it')


def test_tables_are_base_chains_at_their_places() -> None:
    found = read(
        "*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n*mangle\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n*nat\n:INPUT ACCEPT [0:0]\n"
        ":PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:FORWARD DROP [1:2]\n:user - [0:0]\nCOMMIT\n"
    )
    assert [(one.name, chain.name, chain.base) for one in found for chain in one.chains] == [
        ("ip raw", "PREROUTING", Base(Hook.PREROUTING, -300)),
        ("ip mangle", "OUTPUT", Base(Hook.OUTPUT, -150, kind=ChainKind.ROUTE)),
        ("ip nat", "INPUT", Base(Hook.INPUT, 100, kind=ChainKind.NAT)),
        ("ip nat", "PREROUTING", Base(Hook.PREROUTING, -100, kind=ChainKind.NAT)),
        ("ip filter", "FORWARD", Base(Hook.FORWARD, 0, Drop())),
        ("ip filter", "user", None),
    ]


@pytest.mark.parametrize(
    ("kind", "header", "name", "store"),
    [
        ("iptables-legacy-save", "", "ip filter (legacy)", "legacy"),
        ("ip6tables-save", "", "ip6 filter", "nft"),
        ("iptables-save", "# Generated by iptables-save v1.8.9 (nf_tables) on a day\n", "ip filter", "nft"),
        ("iptables-save", "# Generated by iptables-save v1.8.9 on a day\n", "ip filter (legacy)", "legacy"),
    ],
)
def test_the_store_is_known_from_the_kind_or_the_first_line(kind: str, header: str, name: str, store: str) -> None:
    (table,) = read(f"{header}*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", kind)
    assert (table.name, table.store, table.families) == (name, store, (Family.IPV6 if "6" in kind else Family.IPV4,))


def test_commands_of_a_restore_file_are_followed_in_order() -> None:
    (table,) = read(
        "-N user\n-P INPUT DROP\n-A INPUT -j user\n-I INPUT -j ACCEPT\n-I INPUT 2 -j DROP\n-A user -j RETURN"
    )
    assert table.chains == (
        Chain("user", (Rule(All(()), Return()),)),
        Chain(
            "INPUT", tuple(Rule(All(()), one) for one in (Accept(), Drop(), Jump("user"))), Base(Hook.INPUT, 0, Drop())
        ),
    )


def test_a_table_that_begins_again_is_emptied() -> None:
    (table,) = read("*filter\n-A INPUT -j DROP\nCOMMIT\n*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")
    assert [one.verdict for one in table.chains[0].rules] == [Accept()]


def test_counters_before_a_rule_are_no_part_of_it() -> None:
    (table,) = read("*filter\n[12:3456] -A INPUT -c 1 2 -j DROP\n")
    (one,) = table.chains[0].rules
    assert one == Rule(All(()), Drop())
    assert one.origin.text == "-A INPUT -c 1 2 -j DROP"


def test_a_line_that_is_not_understood_may_hold_any_rule() -> None:
    table, unread = read("*filter\n:INPUT DROP [0:0]\n-R INPUT 1 -j ACCEPT\nCOMMIT\n")
    assert {chain.base.hook for chain in unread.chains if chain.base} == set(Hook) - {Hook.INGRESS}
    assert all(isinstance(chain.rules[0].verdict, Unknown) for chain in unread.chains)
    assert isinstance(table.chains[0].rules[0].verdict, Unknown)


def test_the_family_of_a_rule_may_stand_before_its_command() -> None:
    (table,) = read("*filter\n-4 -A INPUT -s 10.0.0.0/8 -j ACCEPT\n-6 -A INPUT -s 2001:db8::/32 -j ACCEPT\nCOMMIT\n")
    assert [one.match for one in table.chains[0].rules] == [network("10.0.0.0/8")]


def test_the_family_of_a_rule_may_stand_anywhere_in_it() -> None:
    (table,) = read("*filter\n-A INPUT -p tcp -6 -j ACCEPT\n-A INPUT -p tcp -4 -j DROP\nCOMMIT\n")
    assert [one.verdict for one in table.chains[0].rules] == [Drop()]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("-p tcp -m tcp -j ACCEPT --dport 22", "-p tcp -m tcp --dport 22 -j ACCEPT"),
        ("-m state -j ACCEPT --state NEW", "-m state --state NEW -j ACCEPT"),
        ("-p tcp -m state -m multiport --state NEW --dports 80,443 -j DROP", "-p tcp -m state --state NEW -m multiport --dports 80,443 -j DROP"),
        ("--proto tcp -mtcp --dport=22 --jum DROP", "-p tcp -m tcp --dport 22 -j DROP"),
        ("--sou 192.0.2.1 -p tcp --destination-po 22 -j DROP", "-s 192.0.2.1 -p tcp --dport 22 -j DROP"),
        ("-ieth0 -j DROP", "-i -ieth0 -j DROP"),
        ("-p tcp --tcp-flags=SYN,ACK SYN -j DROP", "-p tcp --tcp-flags SYN,ACK SYN -j DROP"),
        ("-m mark -j MARK --mark 1 --set-mark 2", "-m mark --mark 1 -j MARK --set-mark 2"),
    ],
)  # fmt: skip
def test_an_option_belongs_to_whoever_knows_it_wherever_it_stands(text: str, same: str) -> None:
    assert rule(text) == rule(same)


def test_a_text_without_one_line_of_iptables_is_refused() -> None:
    with pytest.raises(PortgateError) as refused:
        read("#!/bin/sh\nip addr add\n")
    assert [one.code for one in refused.value.diagnostics] == ["PG413"]


def test_an_empty_listing_has_no_tables() -> None:
    assert read("") == ()


def test_a_set_that_is_known_is_looked_up() -> None:
    sets = "create blocked hash:net,port family inet\nadd blocked 10.0.0.0/8,tcp:80\n"
    one = rule("-m set ! --match-set blocked src,dst -j DROP", sets=sets)
    assert one.match == Not(Lookup((Field.SRC4, Field.PROTOCOL, Field.DPORT), "blocked"))
