"""What nft's effects and verdicts mean."""

from __future__ import annotations

import json

import pytest

from portgate.core.net import Family
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    Continue,
    Counter,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Jump,
    Log,
    Not,
    NoTrack,
    Opaque,
    Queue,
    RateLimit,
    Reject,
    Return,
    Rule,
    SetMark,
    SideNote,
    Snat,
    Template,
    Test,
    Unknown,
    Verdict,
    VerdictMap,
)
from tests.nftables.reading import is_one, json_rule, json_rules, read, rule, rules, table

TCP = is_one(Field.PROTOCOL, 6)
IPV4 = is_one(Field.FAMILY, 4)
ALL_BITS = 0xFFFFFFFF
ANYWHERE = Dnat(Family.IPV4, (0, ALL_BITS), (0, 0xFFFF))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("accept", Accept()),
        ("drop", Drop()),
        ("continue", Continue()),
        ("return", Return()),
        ("counter", Continue()),
        ("jump other", Jump("other")),
        ("goto other", Goto("other")),
        ("queue", Queue()),
        ("queue num 3 bypass", Queue(bypass=True)),
        ("queue flags bypass,fanout to 1-3", Queue(bypass=True)),
        ("reject", Reject()),
        ("reject with icmpx port-unreachable", Reject()),
        ("reject with icmpx type admin-prohibited", Reject("icmpx admin-prohibited")),
        ("redirect", Dnat(None, None, None)),
        ("redirect to :8080", Dnat(None, None, (8080, 8080))),
        ("dnat ip to 192.0.2.1:80-90", Dnat(Family.IPV4, (0xC0000201, 0xC0000201), (80, 90))),
        ("dnat ip to 192.0.2.1-192.0.2.4", Dnat(Family.IPV4, (0xC0000201, 0xC0000204), None)),
        ("dnat ip6 to [2001:db8::1]:80", Dnat(Family.IPV6, (0x20010DB8 << 96 | 1,) * 2, (80, 80))),
        ("masquerade", Snat("masquerade")),
        ("snat ip to 192.0.2.1", Snat("snat ip to 192.0.2.1")),
    ],
)
def test_verdicts(text: str, verdict: Verdict) -> None:
    assert rule(text).verdict == verdict


def test_a_reset_is_for_tcp() -> None:
    assert rule("reject with tcp reset") == Rule(TCP, Reject("tcp reset"))


def test_an_icmp_answer_is_for_its_family() -> None:
    assert rule("reject with icmp host-unreachable").match == IPV4
    assert rule("reject with icmp host-unreachable", "ip").match == ALWAYS


@pytest.mark.parametrize("text", ["tproxy to :8080", "synproxy mss 1460", 'fwd to "eth0"', "frobnicate all"])
def test_a_statement_that_may_decide_is_unknown(text: str) -> None:
    assert isinstance(rule(text).verdict, Unknown)


def test_a_match_after_a_statement_that_may_decide_has_no_say() -> None:
    assert rule("tcp dport 80 tproxy to :8080 meta skuid 0 accept").match == All((TCP, is_one(Field.DPORT, 80)))


def test_what_stands_before_text_that_is_not_understood_still_holds() -> None:
    found = rule("tcp dport 80 frobnicate accept")
    assert found.match == All((TCP, is_one(Field.DPORT, 80)))
    assert found.verdict == Unknown("frobnicate accept")


def test_a_rule_tells_how_it_was_written_and_where() -> None:
    container = table("chain c {\n\n  tcp dport { 22,\n 80 } counter packets 5 bytes 7 accept # handle 12\n}")
    origin = container.chains[0].rules[0].origin
    assert origin.text == "tcp dport { 22, 80 } counter accept"
    assert (origin.line, origin.handle) == (4, 12)


# ------------------------------------------------------------------ verdict maps


def test_a_verdict_map() -> None:
    found = rule("ct state vmap { established : accept, invalid : drop, new : jump other }")
    entries = (((0, 0),), Jump("other")), (((1, 1),), Accept()), (((3, 3),), Drop())
    assert found == Rule(ALWAYS, VerdictMap((Field.CT_STATE,), entries))


def test_a_verdict_map_of_tcp_ports_is_for_tcp() -> None:
    found = rule("tcp dport vmap { 22 : accept, 80-90 : drop }")
    assert found == Rule(TCP, VerdictMap((Field.DPORT,), ((((22, 22),), Accept()), (((80, 90),), Drop()))))


def test_a_named_verdict_map() -> None:
    found = rule("ip saddr vmap @m", more="map m { type ipv4_addr : verdict; elements = { 192.0.2.1 : drop } }")
    assert found.verdict == VerdictMap((Field.SRC4,), ((((0xC0000201, 0xC0000201),), Drop()),), "m")


def test_all_other_keys_of_a_map() -> None:
    first, rest = rules("tcp dport vmap { 22 : accept, * : drop }")
    assert first == Rule(TCP, VerdictMap((Field.DPORT,), ((((22, 22),), Accept()),)))
    assert rest == Rule(All((TCP, Test(Field.DPORT, ((0, 21), (23, 0xFFFF))))), Drop())


def test_a_map_that_is_not_known_may_decide() -> None:
    assert isinstance(rule("ip saddr vmap @missing").verdict, Unknown)


def test_a_map_by_something_opaque_is_a_rule_for_each_entry() -> None:
    nothing, accept, drop = rules("meta skuid vmap { 0 : accept, 1 : drop }")
    assert nothing == Rule(ALWAYS, Continue())
    assert accept == Rule(Opaque("meta skuid 0", "owner of the socket"), Accept())
    assert drop == Rule(Opaque("meta skuid 1", "owner of the socket"), Drop())


def test_a_lot_that_is_drawn_has_always_a_winner() -> None:
    _, first, second = rules("numgen inc mod 2 vmap { 0 : accept, 1 : drop }")
    assert isinstance(first.match, Opaque)
    assert second == Rule(ALWAYS, Drop())


# ------------------------------------------------------------------ translation


def test_a_destination_by_port() -> None:
    found = rule("dnat ip to tcp dport map { 22 : 192.0.2.1, 80 : 192.0.2.2 . 8080 }")
    assert found == Rule(TCP, VerdictMap((Field.DPORT,), (
        (((22, 22),), Dnat(Family.IPV4, (0xC0000201, 0xC0000201), None)),
        (((80, 80),), Dnat(Family.IPV4, (0xC0000202, 0xC0000202), (8080, 8080))),
    )))  # fmt: skip


def test_a_destination_that_is_drawn_by_lot() -> None:
    _, first, second = rules("dnat ip to numgen inc mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }")
    assert isinstance(first.match, Opaque)
    assert second.verdict == Dnat(Family.IPV4, (0xC0000202, 0xC0000202), None)


def test_a_new_port_alone_keeps_the_address_whatever_it_is() -> None:
    v4, v6 = rules("tcp dport 8080 dnat to :80")
    assert v4.verdict == Dnat(Family.IPV4, (0, ALL_BITS), (80, 80))
    assert v6.verdict == Dnat(Family.IPV6, (0, 2**128 - 1), (80, 80))


@pytest.mark.parametrize("text", ["dnat ip to example.org", "dnat ip to ip saddr map @missing"])
def test_a_destination_that_is_not_known_is_any(text: str) -> None:
    assert rule(text, "ip").verdict == ANYWHERE


def test_a_source_by_a_map_is_for_its_keys_only() -> None:
    found = rule("snat ip to ip saddr map { 192.0.2.1 : 198.51.100.1 }", "ip")
    assert found.match == is_one(Field.SRC4, 0xC0000201)


# ------------------------------------------------------------------ effects


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("counter", Counter()),
        ('counter name "web"', Counter()),
        ('log prefix "in: " level info', Log("in: ")),
        ("log flags tcp sequence,options", Log()),
        ("notrack", NoTrack()),
        ("meta mark set 5", SetMark(Field.MARK, ALL_BITS, 5)),
        ("mark set 5", SetMark(Field.MARK, ALL_BITS, 5)),
        ("meta mark set meta mark and 0xff or 0x100", SetMark(Field.MARK, 0xFFFFFF00, 0x100)),
        ("meta mark set mark or 0x100", SetMark(Field.MARK, 0x100, 0x100)),
        ("meta mark set mark and 0xffffff00 xor 0x10", SetMark(Field.MARK, 0xFF, 0x10)),
        ("meta mark set mark xor 0x10", SetMark(Field.MARK, 0, 0x10)),
        ("meta mark set ct mark", SetMark(Field.MARK, ALL_BITS, 0, ALL_BITS)),
        ("meta mark set ct mark and 0xff", SetMark(Field.MARK, ALL_BITS, 0, 0xFF)),
        ("ct mark set mark or 0x10", SetMark(Field.CT_MARK, ALL_BITS, 0x10, 0xFFFFFFEF)),
        ("ct mark set ct mark xor 0x10", SetMark(Field.CT_MARK, 0, 0x10)),
        ("meta mark set jhash ip saddr mod 2", SetMark(Field.MARK, ALL_BITS, None)),
        ("ct mark set 7", SetMark(Field.CT_MARK, ALL_BITS, 7)),
        ('ct helper set "ftp"', SideNote("ct helper ftp")),
        ("ct zone set 1", Template("ct zone set 1", untracked=True)),
        ("ct original zone set 1", Template("ct original zone set 1", untracked=True)),
        ("meta nftrace set 1", SideNote("meta nftrace set 1")),
        ("ip dscp set cs1", SideNote("ip dscp set cs1")),
        ("meta priority set 1:2", SideNote("meta priority set 1:2")),
        ("last", SideNote("last")),
    ],
)
def test_effects(text: str, effect: Effect) -> None:
    assert rule(text).effects == (effect,)


def test_a_mark_from_a_map_is_for_its_keys_only() -> None:
    found = rule("meta mark set tcp dport map { 22 : 1, 80 : 2 } accept")
    assert found == Rule(All((TCP, is_one(Field.DPORT, 22, 80))), Accept(), (SetMark(Field.MARK, ALL_BITS, None),))


def test_what_stands_behind_a_verdict_map_is_never_reached() -> None:
    found = rule("ct state vmap { established : accept } drop")
    assert found == rule("ct state vmap { established : accept }")
    assert isinstance(rule("ct state vmap { new : continue, established : drop } accept").verdict, Unknown)


def test_a_mark_stays_set_although_a_later_match_fails() -> None:
    marked, accepted = rules("iifname lo meta mark set 5 tcp dport 22 accept")
    assert marked.verdict == Continue()
    assert marked.effects == (SetMark(Field.MARK, ALL_BITS, 5),)
    assert accepted == Rule(All((marked.match, TCP, is_one(Field.DPORT, 22))), Accept())


def test_a_rule_that_tests_a_mark_and_then_sets_it_remembers_the_answer_as_a_doubt() -> None:
    marked, accepted = rules("meta mark 1 meta mark set 5 tcp dport 22 accept")
    assert marked.match == is_one(Field.MARK, 1)
    assert isinstance(accepted.match, All)
    assert isinstance(accepted.match.matches[0], Opaque)


def test_writing_an_address_is_not_understood() -> None:
    assert rule("ip daddr set 192.0.2.1").verdict == Unknown("ip daddr set 192.0.2.1")


def test_a_header_that_is_missing_ends_the_rule_that_writes_it() -> None:
    assert rule("ip dscp set cs1 accept") == Rule(IPV4, Accept(), (SideNote("ip dscp set cs1"),))


def test_what_follows_the_clamping_of_a_segment_size_is_for_packets_that_have_one() -> None:
    found = rule("tcp option maxseg size set rt mtu accept")
    assert isinstance(found.match, All)
    assert found.match.matches[0] == TCP
    assert isinstance(found.match.matches[1], Opaque)


# ------------------------------------------------------------------ limits and sets that rules fill


def test_a_limit_for_each_source() -> None:
    found = rule("update @s { ip saddr limit rate 10/minute burst 3 packets } accept")
    assert found == Rule(All((IPV4, RateLimit(Field.SRC4, Limit(10, Unit.MINUTE, 3), "s"))), Accept())


def test_over_a_limit() -> None:
    found = rule("add @s { ip6 saddr timeout 1m limit rate over 10/second } drop", "ip6")
    assert found.match == Not(RateLimit(Field.SRC6, Limit(10, Unit.SECOND, 5), "s"))


def test_a_meter_is_a_limit_for_each_source() -> None:
    found = rule("meter m size 65535 { ip saddr limit rate 10/second } accept", "ip")
    assert found.match == RateLimit(Field.SRC4, Limit(10, Unit.SECOND, 5), "m")


@pytest.mark.parametrize(
    "text", ["add @s { ip saddr . tcp dport limit rate 1/second }", "add @s { ip saddr limit rate 1 kbytes/second }"]
)
def test_other_limits_in_a_set_are_opaque(text: str) -> None:
    found = rule(text, "ip").match
    assert isinstance(found, Opaque) or (isinstance(found, All) and isinstance(found.matches[-1], Opaque))


def test_adding_to_a_set_decides_nothing() -> None:
    assert rule("add @s { ip saddr } accept", "ip") == Rule(ALWAYS, Accept(), (SideNote("add @s { ip saddr }"),))


# ------------------------------------------------------------------ rules within rules


def test_a_chain_written_inside_a_rule() -> None:
    container = table("chain c {\niifname lo jump {\ntcp dport 22 accept\ndrop\n}\n}")
    outer, inner = container.chains
    assert outer.rules[0].verdict == Jump(inner.name)
    assert [one.verdict for one in inner.rules] == [Accept(), Drop()]


def test_nft_106_writes_such_a_chain_as_text_in_its_json() -> None:
    statement = "jump {\n\t\ttcp dport 22 accept\n\t\tdrop\n\t}"
    listing = [{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [statement]}}]
    outer, inner = read(json.dumps({"nftables": listing}), "nft-json").containers[0].chains
    assert outer.rules[0].verdict == Jump(inner.name)
    assert [one.verdict for one in inner.rules] == [Accept(), Drop()]


# ------------------------------------------------------------------ xtables


def test_a_match_of_xtables_has_lost_its_arguments() -> None:
    found = json_rule({"xt": {"type": "match", "name": "multiport"}}, {"accept": None})
    assert found.match == Opaque("xt match multiport [inet t c #1]", "xtables match")


def test_a_comment_of_xtables_matches_all() -> None:
    assert json_rule({"xt": {"type": "match", "name": "comment"}}, {"accept": None}) == Rule(ALWAYS, Accept())


@pytest.mark.parametrize(
    ("name", "verdict"), [("MASQUERADE", Snat("MASQUERADE")), ("REJECT", Reject()), ("LOG", Continue())]
)
def test_targets_of_xtables_whose_name_tells_enough(name: str, verdict: Verdict) -> None:
    assert json_rule({"xt": {"type": "target", "name": name}}).verdict == verdict


def test_a_ct_target_of_xtables_may_change_what_is_known_of_the_connection_and_decides_nothing() -> None:
    untracking, taking, rest = json_rules({"xt": {"type": "target", "name": "CT"}})
    assert (untracking.effects, taking.effects, rest.effects) == ((NoTrack(),), (Template("xt target CT"),), ())
    assert [type(one.match) for one in (untracking, taking)] == [Opaque, Opaque]
    assert {one.verdict for one in (untracking, taking, rest)} == {Continue()}


def test_other_targets_of_xtables_may_decide() -> None:
    assert isinstance(json_rule({"xt": {"type": "target", "name": "NFQUEUE"}}).verdict, Unknown)
    assert json_rule({"xt": {"type": "target", "name": "DNAT"}}, family="ip").verdict == ANYWHERE


def test_a_mark_of_xtables_is_not_known() -> None:
    assert json_rule({"xt": {"type": "target", "name": "MARK"}}).effects == (SetMark(Field.MARK, ALL_BITS, None),)
