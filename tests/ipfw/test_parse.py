"""What ipfw's rules are read as, asked packet by packet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portgate.backends.ipfw import BACKEND
from portgate.core.addresses import Host
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import parse_interfaces
from portgate.core.net import Family, parse_address
from portgate.core.packets import Packet
from portgate.core.ruleset import CtState, Ruleset
from portgate.core.semantics import Fate
from portgate.core.trace import decide
from tests.ipfw.texts import read

OWN = "interfaces=em0:192.0.2.1/24,em0:2001:db8::1/64,lo0:127.0.0.1/8,lo0:::1/128".removeprefix("interfaces=")
HOST = Host(tuple(parse_interfaces(Reading("interfaces", OWN, "a test"))))
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "gre": 47, "sctp": 132, "dccp": 33}


def packet(text: str) -> Packet:
    """`tcp 198.51.100.7 22 em0 16`: protocol, source, port or ICMP type, interface, flags."""
    name, source, number, iif, flags = [*text.split(), "em0", "2"][:5] if text.count(" ") != 3 else [*text.split(), "2"]
    family, src = parse_address(source)
    dst = parse_address("192.0.2.1" if family is Family.IPV4 else "2001:db8::1")[1]
    one = Packet(family, NUMBERS[name], iif, src, dst, tcp_flags=int(flags) if name == "tcp" else 0)
    if name in ("icmp", "icmp6"):
        return replace(one, icmp_type=int(number), icmp_code=0)
    return replace(one, sport=40000, dport=int(number))


def fates(text: str | Ruleset, *packets: str) -> list[str]:
    rules = read(text) if isinstance(text, str) else text
    return [one.answer.fate.value for one in decide(rules, [packet(one) for one in packets], HOST)]


def accepted(text: str, one: str) -> bool:
    return fates(text, one) == ["accept"]


SSH, WEB, UDP, PING = "tcp 198.51.100.7 22", "tcp 198.51.100.7 80", "udp 198.51.100.7 53", "icmp 198.51.100.7 8"
SSH6 = "tcp 2001:db8:9::7 22"


# ------------------------------------------------------------------ order


def test_the_first_rule_by_number_that_matches_decides() -> None:
    assert fates("add 200 allow tcp from any to any\nadd 100 deny tcp from any to me 22\n", SSH, WEB) == [
        "drop",
        "accept",
    ]
    assert fates("add 100 allow tcp from any to any\nadd 100 deny tcp from any to me 22\n", SSH, WEB) == ["accept"] * 2


def test_rules_without_a_number_follow_the_last_one() -> None:
    assert fates(
        "add 500 count ip from any to any\nadd deny tcp from any to me 22\nadd 550 allow ip from any to any\n", SSH
    ) == ["accept"]
    assert fates(
        "add 500 count ip from any to any\nadd deny tcp from any to me 22\nadd 601 allow ip from any to any\n", SSH
    ) == ["drop"]


def test_what_no_rule_decides_is_denied_unless_the_kernel_says_otherwise() -> None:
    assert fates("add 100 count ip from any to any\n", SSH) == ["drop"]
    assert fates("net.inet.ip.fw.default_to_accept: 1\nadd 100 count ip from any to any\n", SSH) == ["accept"]
    assert fates("00100 count ip from any to any\n65535 allow ip from any to any\n", SSH) == ["accept"]


def test_a_firewall_that_is_switched_off_lets_all_pass() -> None:
    off = "net.inet.ip.fw.enable: 0\n00100 deny ip from any to any\n65535 deny ip from any to any\n"
    assert fates(off, SSH, SSH6) == ["accept", "drop"]
    assert fates("add deny ip from any to any\ndisable firewall\n", SSH) == ["accept"]


def test_skipto_goes_forward_only() -> None:
    text = (
        "add 100 skipto 300 tcp from any to any 22\nadd 200 deny ip from any to any\nadd 300 allow ip from any to any\n"
    )
    assert fates(text, SSH, WEB) == ["accept", "drop"]
    back = "add 100 allow tcp from any to any 80\nadd 200 skipto 50 ip from any to any\nadd 200 allow ip from any to any\nadd 201 deny ip from any to any\n"
    assert fates(back, SSH, WEB) == ["drop", "accept"]
    assert fates("add 100 skipto 9000 ip from any to any\nadd 200 allow ip from any to any\n", SSH) == ["drop"]


CALLS = """
add 100 call 1000 tcp from any to any
add 100 deny tcp from any to any
add 200 allow tcp from any to any 22
add 300 deny ip from any to any
add 1000 deny tcp from 203.0.113.0/24 to any
add 1100 return ip from any to any
add 1200 allow ip from any to any
"""


def test_a_call_comes_back_behind_its_number() -> None:
    assert fates(CALLS, SSH, WEB, "tcp 203.0.113.5 22", UDP) == ["accept", "drop", "drop", "drop"]


def test_return_without_a_call_does_nothing() -> None:
    assert fates("add 100 return ip from any to any\nadd 200 allow ip from any to any\n", SSH) == ["accept"]


def test_what_a_call_reaches_ends_with_the_default_not_with_the_caller() -> None:
    assert fates(
        "add 100 call 500 ip from any to any\nadd 200 allow ip from any to any\nadd 500 count ip from any to any\n", SSH
    ) == ["drop"]


def test_a_call_of_a_call_comes_back_twice() -> None:
    text = """
        add 100 call 1000 ip from any to any
        add 200 allow tcp from any to any 22
        add 900 deny ip from any to any
        add 1000 call 2000 tcp from any to any
        add 1100 return ip from any to any
        add 2000 deny tcp from any to any 80
        add 2100 return ip from any to any
    """
    assert fates(text, SSH, WEB, UDP) == ["accept", "drop", "drop"]


def test_a_call_that_calls_itself_is_a_doubt() -> None:
    assert fates("add 100 call 100 ip from any to any\n", SSH) == ["depends"]


def test_a_thousand_skips_are_followed() -> None:
    skips = "".join(
        f"add {number} skipto {number + 10} tcp from any to any {number}\nadd {number + 5} count ip from any to any\n"
        for number in range(100, 10100, 10)
    )
    assert fates(f"{skips}add 60000 allow tcp from any to any 22\n", SSH, WEB) == ["accept", "drop"]


# ------------------------------------------------------------------ directions and states


def test_rules_for_what_leaves_are_not_for_what_arrives() -> None:
    assert fates("add allow ip from any to any out\n", SSH) == ["drop"]
    assert fates("add allow ip from any to any not out\n", SSH) == ["accept"]
    assert fates("add allow ip from any to any in recv em0\nadd allow ip from any to any xmit em0\n", SSH) == ["accept"]
    assert fates("add allow ip from any to any xmit em0\n", SSH) == ["drop"]
    assert fates("add allow ip from any to any via em0\n", SSH, "tcp 198.51.100.7 22 em1") == ["accept", "drop"]
    assert fates("add allow ip from any to any via em*\n", SSH, "tcp 198.51.100.7 22 wg0") == ["accept", "drop"]


def test_lo0_is_the_loopback_interface() -> None:
    assert fates("add allow ip from any to any via lo0\n", "tcp 127.0.0.1 22 lo", SSH) == ["accept", "drop"]
    assert fates("add allow ip from any to any via lo*\n", "tcp 127.0.0.1 22 lo", SSH) == ["accept", "drop"]


KEEPING = (
    "add 100 check-state\nadd 200 allow tcp from me to any out setup keep-state\nadd 300 deny ip from any to any\n"
)


def of_state(text: str, state: CtState) -> str:
    one = replace(packet(f"{SSH} em0 16"), ct_state=state)
    return decide(read(text), [one], HOST)[0].answer.fate.value


def test_known_connections_fare_as_their_first_packet() -> None:
    assert of_state(KEEPING, CtState.ESTABLISHED) == "accept"
    assert of_state(KEEPING, CtState.NEW) == "drop"
    assert of_state(KEEPING.replace("keep-state", ""), CtState.ESTABLISHED) == "drop"


def test_states_are_found_by_their_name() -> None:
    named = KEEPING.replace("keep-state", "keep-state :mine")
    assert of_state(named, CtState.ESTABLISHED) == "accept"
    other = "add 100 check-state :other\nadd 200 deny ip from any to any in\nadd 300 allow ip from any to any out keep-state :mine\n"
    assert of_state(other, CtState.ESTABLISHED) == "drop"
    assert of_state(other.replace(":other", ":any"), CtState.ESTABLISHED) == "accept"


def test_a_rule_that_records_a_state_does_not_look_for_one() -> None:
    text = "add 200 allow tcp from me to any out setup {}\nadd 300 deny ip from any to any\n"
    assert of_state(text.format("keep-state"), CtState.ESTABLISHED) == "accept"
    assert of_state(text.format("record-state"), CtState.ESTABLISHED) == "drop"


def test_a_limit_of_connections_is_a_doubt_and_drops_beyond() -> None:
    assert fates(
        "add allow tcp from any to me 22 setup limit src-addr 3\nadd allow ip from any to any\n", SSH, WEB
    ) == ["depends", "accept"]


def test_an_action_that_waits_for_the_state_does_not_decide() -> None:
    assert fates(
        "add 100 deny ip from any to any keep-state defer-action\nadd 200 allow ip from any to any\n", SSH
    ) == ["accept"]


# ------------------------------------------------------------------ bodies


@pytest.mark.parametrize(
    "body, matching, other",
    [
        ("tcp from any to any", SSH, UDP),
        ("6 from any to any", SSH, UDP),
        ("{ tcp or udp } from any to any", UDP, PING),
        ("not udp from any to any", SSH, UDP),
        ("ip4 from any to any", SSH, SSH6),
        ("ip6 from any to any", SSH6, SSH),
        ("ip from any to any ip6", SSH6, SSH),
        ("ip from any to any proto tcp", SSH, UDP),
        ("tcp from 198.51.100.0/24 to any", SSH, "tcp 198.51.101.7 22"),
        ("tcp from 198.51.100.0:255.255.255.0 to any", SSH, "tcp 198.51.101.7 22"),
        ("tcp from 198.51.100.7,10.0.0.1 to any", SSH, "tcp 10.0.0.2 22"),
        ("tcp from 198.51.100.0/24{5,7-9} to any", SSH, "tcp 198.51.100.6 22"),
        ("tcp from { 10.0.0.1 or 198.51.100.7 } to any", SSH, "tcp 10.0.0.2 22"),
        ("tcp from not 10.0.0.0/8 to any", SSH6, "tcp 10.0.0.2 22"),
        ("tcp from { not 10.0.0.0/8 or 10.0.0.1 } to any", "tcp 10.0.0.1 22", "tcp 10.0.0.2 22"),
        ("tcp from 2001:db8:9::/48 to any", SSH6, "tcp 2001:db8:8::1 22"),
        ("tcp from any to me", SSH6, UDP),
        ("tcp from any to me6", SSH6, SSH),
        ("tcp from any to not me6", SSH, SSH6),
        ("tcp from any to 0.0.0.0/0", SSH6, UDP),
        ("tcp from any to any 22", SSH, WEB),
        ("tcp from any to any ssh,8000-8100", "tcp 10.0.0.1 8080", WEB),
        ("tcp from any to any not 80", SSH, WEB),
        ("ip from any to any not 80", PING, WEB),
        ("ip from any to any 80", WEB, PING),
        ("tcp from any 40000 to any", SSH, UDP),
        ("tcp from any to any src-port 40000 dst-port 22", SSH, WEB),
        ("ip from any to any dst-ip 192.0.2.1 src-ip 198.51.100.7", SSH, "tcp 10.0.0.2 22"),
        ("ip from any to any src-ip6 2001:db8:9::7", SSH6, SSH),
        ("tcp from any to any setup", SSH, f"{SSH} em0 18"),
        ("tcp from any to any established", f"{SSH} em0 18", SSH),
        ("tcp from any to any tcpflags syn,!ack,!fin", SSH, f"{SSH} em0 3"),
        ("tcp from any to any tcpflags !ack", SSH, f"{SSH} em0 16"),
        ("icmp from any to any icmptypes 0,8", PING, "icmp 198.51.100.7 13"),
        ("ipv6-icmp from any to any icmp6types 128", "icmp6 2001:db8:9::7 128", "icmp6 2001:db8:9::7 129"),
        ("icmp6 from any to any", "icmp6 2001:db8:9::7 1", PING),
        ("ip from any to any { dst-port 22 or proto udp }", UDP, WEB),
        ("ip from any to any not { dst-port 22", WEB, SSH),
        ("ip from any to any !recv em1", SSH, "tcp 198.51.100.7 22 em1"),
        ("ip from any to any not frag", SSH, ""),
        ("ip from any to any ipversion 4", SSH, SSH6),
        ("via em0", SSH, "tcp 198.51.100.7 22 em1"),
        ("tcp from any to any 22, 80", WEB, UDP),
        ("ip from any to any not layer2 // a comment, with 'quotes' and { braces", SSH, ""),
    ],
)
def test_bodies(body: str, matching: str, other: str) -> None:
    if body.endswith("{ dst-port 22"):
        assert fates(f"add allow {body}\n", SSH) == ["depends"]  # no block can be negated
        return
    assert fates(f"add allow {body}\n", matching) == ["accept"]
    assert not other or fates(f"add allow {body}\n", other) == ["drop"]


@pytest.mark.parametrize(
    "rule",
    [
        "allow tcp from any to any uid root",
        "prob 0.5 allow tcp from any to any",
        "allow tcp from any to any verrevpath",
        "allow tcp from any to any iplen 1-100",
        "allow tcp from www.example.org to any",
        "allow tcp from any to any tagged 5",
        "allow tcp from any to any something new",
        "allow tcp from any to any 70000",
        "allow tcp from table(nowhere) to any",
        "divert natd ip from any to any",
        "nat 1 ip from any to any",
        "pipe 1 ip from any to any",
        "skipto tablearg ip from table(x) to any",
        "blunder tcp from any to any",
    ],
)
def test_what_no_packet_decides_is_a_doubt(rule: str) -> None:
    assert fates(f"00100 {rule}\n65535 deny ip from any to any\n", SSH) == ["depends"]


@pytest.mark.parametrize("action", ["reject", "unreach port", "unreach6 admin-prohib", "reset", "reset6", "abort"])
def test_rejections(action: str) -> None:
    assert fates(f"add {action} ip from any to any\n", SSH) == ["reject"]


@pytest.mark.parametrize(
    "action", ["count", "count log logamount 5", "setfib 1", "tag 5", "setdscp ef", "tee 8000", "count altq q tag 7"]
)
def test_actions_that_go_on(action: str) -> None:
    action = action if action != "tag 5" else "count tag 5"
    assert fates(f"add {action} ip from any to any\nadd allow ip from any to any\n", SSH) == ["accept"]


def test_a_pipe_passes_or_goes_on_as_one_pass_has_it() -> None:
    text = "net.inet.ip.fw.one_pass: {}\nadd pipe 1 ip from any to any\nadd deny ip from any to any\n"
    assert [fates(text.format(one), SSH) for one in (0, 1)] == [["drop"], ["accept"]]


def test_fwd_to_this_host_leads_to_another_port() -> None:
    rules = read("add fwd 127.0.0.1,8080 tcp from any to me 80\nadd deny ip from any to any\n")
    answer = decide(rules, [packet(WEB)], HOST)[0].answer
    assert answer.fate is Fate.ACCEPT
    assert answer.landing is not None and answer.landing.port == 8080
    assert fates("add fwd 127.0.0.1,22 tcp from any to me 22\nadd deny ip from any to any\n", SSH, WEB) == [
        "accept",
        "drop",
    ]


def test_a_rule_before_fwd_keeps_packets_from_it() -> None:
    rules = read("add allow tcp from 198.51.100.0/24 to any\nadd fwd 127.0.0.1,8080 tcp from any to me 80\n")
    landings = [one.answer.landing for one in decide(rules, [packet(WEB), packet("tcp 10.0.0.1 80")], HOST)]
    assert landings[0] is None and landings[1] is not None


# ------------------------------------------------------------------ sets and tables


def test_disabled_sets_are_not_asked() -> None:
    text = "add 100 set 5 deny ip from any to any\nadd 200 allow ip from any to any\n"
    assert fates(text, SSH) == ["drop"]
    assert fates(f"{text}set disable 5\n", SSH) == ["accept"]
    assert fates(f"set disable 5 7\n{text}set disable 6 enable 5\n", SSH) == ["drop"]
    assert fates(f"{text}set disable 5\nset swap 5 0\n", SSH) == ["drop"]
    assert fates(f"{text}set move 5 to 6\nset disable 6\n", SSH) == ["accept"]
    assert fates(f"{text}set move rule 100 to 6\nset disable 6\n", SSH) == ["accept"]
    assert fates("add set 31 deny ip from any to any\nset disable 31\nadd allow ip from any to any\n", SSH) == ["drop"]


def test_rules_that_are_deleted_are_gone() -> None:
    text = "add 100 set 5 deny ip from any to any\nadd 200 allow ip from any to any\n"
    for removal in ("delete 100", "delete 50-150", "delete set 5", "set 5 delete 100", "set 5 flush"):
        assert fates(f"{text}{removal}\n", SSH) == ["accept"], removal
    assert fates(f"{text}flush\nadd allow tcp from any to any 80\n", SSH, WEB) == ["drop", "accept"]
    assert fates("add 100 set 31 deny ip from any to any\nflush\nadd allow ip from any to any\n", SSH) == ["drop"]


TABLE = (
    "table good create type addr\ntable good add 198.51.100.0/24 5 2001:db8:9::/48 7\ntable good add 198.51.100.7 7\n"
)


def test_tables_of_addresses() -> None:
    rule = "add allow ip from table({}) to any\n"
    assert fates(TABLE + rule.format("good"), SSH, SSH6, "tcp 10.0.0.1 22") == ["accept", "accept", "drop"]
    assert fates(TABLE + rule.format("good,7"), SSH, "tcp 198.51.100.8 22") == ["accept", "drop"]
    assert fates(TABLE + rule.format("good,5"), SSH, "tcp 198.51.100.8 22") == ["drop", "accept"]
    assert fates(TABLE + "add allow ip from any to any lookup src-ip good\n", SSH, "tcp 10.0.0.1 22") == [
        "accept",
        "drop",
    ]
    assert fates(f"{TABLE}table good delete 198.51.100.0/24 198.51.100.7\n{rule.format('good')}", SSH) == ["drop"]
    assert fates(f"{TABLE}table good flush\ntable good add 10.0.0.0/8\n{rule.format('good')}", SSH) == ["drop"]


def test_tables_of_interfaces_and_ports() -> None:
    text = "table lan create type iface\ntable lan add em0\ntable web create type number\ntable web add 80 0 443 0\n"
    assert fates(f"{text}add allow ip from any to any via table(lan)\n", SSH, "tcp 198.51.100.7 22 em1") == [
        "accept",
        "drop",
    ]
    assert fates(f"{text}add allow tcp from any to any lookup dst-port web\n", WEB, SSH) == ["accept", "drop"]


def test_a_table_that_is_swapped_has_the_other_content() -> None:
    text = "table a add 10.0.0.0/8\ntable b add 198.51.100.0/24\ntable a swap b\nadd allow ip from table(a) to any\n"
    assert fates(text, SSH, "tcp 10.0.0.1 22") == ["accept", "drop"]


# ------------------------------------------------------------------ listings


SHOWN = """\
00010      8      416 check-state :default
00100   1204   109372 allow ip from any to any via lo0
00200      0        0 deny ip from any to 127.0.0.0/8
00300 Sat Nov 21 06:12:57 2026 allow tcp from table(good) to me 22 setup keep-state :default // ssh
00400                          allow log logamount 100 tcp from any to me dst-port 80 in
65535     53     4321 deny ip from any to any
## Dynamic rules (2 304):
00300     12     1200 (300s) STATE tcp 198.51.100.7 40000 <-> 192.0.2.1 22 :default
00300      0        0 (5s) PARENT 1 tcp 198.51.100.7 0 <-> 0.0.0.0 0 :default
--- table(good), set(0) ---
198.51.100.0/24 0
2001:db8:9::/48 0
--- table(empty), set(0) ---
"""


def test_a_listing_with_counters_dates_states_and_tables() -> None:
    assert fates(SHOWN, SSH, SSH6, "tcp 10.0.0.1 22", WEB) == ["accept", "accept", "drop", "accept"]
    assert fates("--- table(empty), set(0) ---\n00100 allow ip from table(empty) to any\n", SSH) == ["drop"]


def test_rules_that_are_listed_as_disabled_are_not_asked() -> None:
    assert fates("# DISABLED 00100 set 5 allow ip from any to any\n00200 set 0 deny ip from any to any\n", SSH) == [
        "drop"
    ]


def test_the_line_of_a_rule_leads_back_to_the_text() -> None:
    rules = read(SHOWN)
    place = decide(rules, [packet(SSH)], HOST)[0].place
    rule = None if place is None else rules.rule(place)
    assert rule is not None and (rule.origin.line, rule.comment) == (4, "ssh")


# ------------------------------------------------------------------ scripts


SCRIPT = """#!/bin/sh
# a comment's quote
fwcmd="/sbin/ipfw -q"
cmd='ipfw -q add'
oif="em0"; good=198.51.100.0/24
ports="22,\\
80"
${fwcmd} -f flush
$cmd 100 allow ip from any to any via lo0
$cmd 00200 deny tcp from 203.0.113.0/24 to me \\
    in via ${oif}   # the rest of a line
for port in 8080 8081; do
    $cmd allow tcp from any to me $port in
done
services() {
    $cmd allow tcp from $1 to me ${ports} in via "$oif" setup
}
services "$good"
number=$((100 + 900))
ipfw add $number deny ip from any to any || exit 1
echo done | logger
"""


def test_a_script_is_followed_through_variables_loops_and_functions() -> None:
    assert fates(SCRIPT, SSH, WEB, "tcp 203.0.113.5 22", "tcp 10.0.0.1 8081", "tcp 10.0.0.1 22") == [
        "accept",
        "accept",
        "drop",
        "accept",
        "drop",
    ]


@pytest.mark.parametrize(
    "script, fate",
    [
        (
            "ipfw add 10 deny ip from any to any\nif [ -f /x ]; then\n ipfw add 5 allow ip from any to any\nfi\n",
            "depends",
        ),
        ("case $x in\n[Yy]*) ipfw add allow ip from any to any ;;\n*) true ;;\nesac\n", "depends"),
        ("test -f /x && ipfw add allow ip from any to any\n", "depends"),
        ("ipfw add allow ip from $unknown to any\n", "depends"),
        ("ipfw add $number allow ip from any to any\n", "depends"),
        ("ipfw -q /etc/ipfw.rules\n", "depends"),
        ("for net in `cat list`; do ipfw add allow ip from $net to any; done\n", "depends"),
        ("ipfw add allow ip from table\\(1\\) to any\n", "depends"),
        (
            "cat list | xargs ipfw table 1 add\nipfw table 1 add 10.0.0.1\nipfw add allow ip from 'table(1)' to any\n",
            "depends",
        ),
        ("ipfw -n add allow ip from any to any\nipfw -f flush\n", "drop"),
        ("if a; then x=1; else x=2; fi\nipfw add $x allow ip from any to any\n", "depends"),
        ("ipfw 'add allow ip from any to any'\n", "accept"),
        ("FW=${FW:-/sbin/ipfw}\n$FW add allow ip from any to any\n", "accept"),
        ("sudo /sbin/ipfw add allow ip from any to any && echo ok\n", "accept"),
        ("sysctl net.inet.ip.fw.one_pass=1\nipfw add pipe 1 ip from any to any\n", "accept"),
        ("f() { f; }\nf\nipfw add allow ip from any to any\n", "accept"),
    ],
)
def test_what_a_script_does_perhaps_is_a_doubt(script: str, fate: str) -> None:
    assert fates(f"#!/bin/sh\n{script}", SSH) == [fate]


def test_both_branches_of_a_condition_leave_what_they_agree_on() -> None:
    text = "if a; then fw='ipfw -q'; else fw=ipfw; fi\n$fw add allow ip from any to any\n"
    assert fates(text, SSH) == ["accept"]


# ------------------------------------------------------------------ what is no ruleset


@pytest.mark.parametrize(
    "text", ["no such word;", "{", '"', "\x00", "é", "hello world\nsecond line here too\n", "\\", "add"]
)
def test_what_is_nothing_of_ipfw_is_refused(text: str) -> None:
    with pytest.raises(PortgateError) as refused:
        read(text)
    assert refused.value.diagnostics[0].code in ("PG480", "PG481")


def test_every_line_that_ipfw_would_refuse_is_told() -> None:
    text = "add 100 allow ip from any to any\niadd 200 deny ip from any to any\nadd 65535 allow ip from any to any\nadd 10 set 32 deny ip from any to any\n"
    with pytest.raises(PortgateError) as refused:
        read(text)
    assert sorted(one.code for one in refused.value.diagnostics) == ["PG481"] * 3
    assert all(f"line {line}" in str(refused.value) for line in (2, 3, 4))


def test_a_line_of_a_listing_that_is_not_understood_is_a_doubt() -> None:
    assert fates("00100 allow ip from any to any\nsomething else was printed here\n", SSH) == ["depends"]


def test_a_script_that_never_ends_is_refused() -> None:
    words = " ".join(map(str, range(200)))
    loops = "".join(f"for {name} in {words}; do " for name in "abcd")
    text = f"#!/bin/sh\n{loops}ipfw add count ip from any to any; {'done; ' * 4}\n"
    with pytest.raises(PortgateError) as refused:
        read(text)
    assert refused.value.diagnostics[0].code == "PG483"


def test_the_kind_of_readings() -> None:
    assert BACKEND.reading_kinds == ("ipfw",)


# ------------------------------------------------------------------ what passes through

ROUTER = Host(tuple(parse_interfaces(Reading("interfaces", "em0:192.0.2.1/24,em1:10.0.0.1/8", "a test"))))


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("add deny ip from any to any\n", "drop"),
        ("add allow ip from any to any\n", "accept"),
        ("add allow ip from any to any in\n", "drop"),
        ("add allow ip from any to any out\n", "drop"),
        ("add allow ip from any to any via em1\n", "drop"),
        ("add allow ip from any to any via em1\nadd allow ip from any to any via em0\n", "accept"),
        ("add allow ip from any to any in\nadd allow ip from any to any out recv em1 xmit em0\n", "accept"),
        ("add allow ip from any to any in\nadd allow ip from any to any out recv em0\n", "drop"),
        ("add reset ip from any to any out\nadd allow ip from any to any\n", "reject"),
        ("add check-state\nadd allow tcp from any to any in recv em1 setup keep-state\n", "accept"),
        ("add allow tcp from any to any in recv em1 setup keep-state\n", "accept"),
        ("add check-state :a\nadd allow tcp from any to any in setup record-state :a\n", "accept"),
        ("add check-state :b\nadd allow tcp from any to any in setup record-state :a\n", "drop"),
        (
            "add allow tcp from any to any in setup record-state :a\nadd count udp from any to any keep-state :b\n",
            "drop",
        ),
        ("add fwd 10.9.9.9 ip from any to any in\nadd allow ip from any to any\n", "depends"),
        ("net.inet.ip.fw.default_to_accept: 1\n", "accept"),
    ],
)
def test_what_passes_through_must_pass_where_it_arrives_and_where_it_leaves(text: str, fate: str) -> None:
    one = replace(packet("tcp 10.0.0.7 22 em1 2"), dst=parse_address("192.0.2.9")[1])
    assert decide(read(text), [one], ROUTER)[0].answer.fate.value == fate
