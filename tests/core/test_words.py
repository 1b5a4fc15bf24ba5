"""Rules in words, for people."""

from __future__ import annotations

import pytest

from portgate.core.net import TCP, UDP, AddressSet, Family, interface_interval
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Continue,
    Counter,
    Dnat,
    Drop,
    Effect,
    Element,
    Field,
    Goto,
    Jump,
    Log,
    Lookup,
    Match,
    Not,
    NoTrack,
    Opaque,
    Origin,
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
from portgate.core.words import effect_text, element_text, match_text, rule_text, verdict_text

HERE = AddressSet.of("10.0.0.7", "2001:db8::7")


def test_a_rule_reads_like_the_native_one() -> None:
    one = Rule(
        All((Test(Field.PROTOCOL, ((TCP, TCP),)), Test(Field.DPORT, ((22, 22),)))), Accept(), (Counter(), Log("ssh "))
    )
    assert rule_text(one) == 'meta l4proto tcp dport 22 log prefix "ssh " accept'


def test_the_native_text_is_taken_where_there_is_one() -> None:
    assert rule_text(Rule(ALWAYS, Drop(), origin=Origin("-A INPUT -j DROP"))) == "-A INPUT -j DROP"


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (ALWAYS, ""),
        (Test(Field.SRC4, AddressSet.of("198.51.100.0/24").v4), "ip saddr 198.51.100.0/24"),
        (Test(Field.SRC6, AddressSet.of("2001:db8::/32", "fd00::/8").v6), "ip6 saddr { 2001:db8::/32, fd00::/8 }"),
        (Test(Field.ORIGINAL_DST4, HERE.v4), "ct original ip daddr 10.0.0.7"),
        (Test(Field.DPORT, ((0, 1023),)), "dport 0-1023"),
        (Test(Field.DPORT, ((0, 0xFFFF),)), "dport any"),
        (Test(Field.IIF, (interface_interval("wg*"),)), "iifname wg*"),
        (Test(Field.FAMILY, ((6, 6),)), "meta nfproto ipv6"),
        (Test(Field.CT_STATE, ((1, 2),)), "ct state established,related"),
        (Test(Field.DST_TYPE, ((1, 1),)), "fib daddr type local"),
        (Test(Field.PROTOCOL, ((0, 5), (7, 255))), "meta l4proto { 0-5, 7-255 }"),
        (Test(Field.DPORT, tuple((one, one) for one in range(10, 26, 2))), "dport { 10, 12, 14, 16, 18, 3 more }"),
        (Bits(Field.MARK, 0xFF, 0x10), "mark & 0xff == 0x10"),
        (Lookup((Field.SRC4, Field.DPORT), "allowed"), "ip saddr . dport @allowed"),
        (
            AnonymousLookup((Field.PROTOCOL, Field.DPORT), (((UDP, UDP), (53, 53)),)),
            "meta l4proto . dport { udp . 53 }",
        ),
        (RateLimit(Field.SRC4, Limit(10, Unit.MINUTE, 5), "x"), "limit 10/minute burst 5 per source"),
        (Opaque("key", "time of day"), "(time of day)"),
        (Not(Test(Field.DPORT, ((22, 22),))), "not (dport 22)"),
        (Any((Test(Field.DPORT, ((22, 22),)), Test(Field.SPORT, ((22, 22),)))), "(dport 22 or sport 22)"),
    ],
)
def test_a_match_in_words(match: Match, text: str) -> None:
    assert match_text(match) == text


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Accept(), "accept"),
        (Drop(), "drop"),
        (Return(), "return"),
        (Queue(), "queue"),
        (Reject(), "reject"),
        (Reject("tcp reset"), "reject with tcp reset"),
        (Continue(), ""),
        (Jump("docker"), "jump docker"),
        (Goto("docker"), "goto docker"),
        (Dnat(None, None, (8080, 8080)), "redirect to :8080"),
        (Dnat(Family.IPV4, HERE.v4[0], (22, 22)), "dnat to 10.0.0.7:22"),
        (Dnat(Family.IPV6, HERE.v6[0], (22, 23)), "dnat to [2001:db8::7]:22-23"),
        (Dnat(Family.IPV6, HERE.v6[0], None), "dnat to 2001:db8::7"),
        (Snat("masquerade"), "masquerade"),
        (Unknown("tproxy to :1"), "tproxy to :1"),
        (VerdictMap((Field.DPORT,), ((((22, 22),), Accept()), (((80, 80),), Jump("web")))), "dport vmap { 22 : accept, 80 : jump web }"),
    ],
)  # fmt: skip
def test_a_verdict_in_words(verdict: Verdict, text: str) -> None:
    assert verdict_text(verdict) == text


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (Counter(), ""),
        (Log(), "log"),
        (NoTrack(), "notrack"),
        (SetMark(Field.MARK, 0xFFFFFFFF, 7), "set mark 0x7"),
        (SetMark(Field.CT_MARK, 0xFF, None), "set ct mark unknown mask 0xff"),
        (SetMark(Field.MARK, 0xFFFFFFFF, 0, 0xFFFFFFFF), "set mark ct mark"),
        (SetMark(Field.CT_MARK, 0, 1, 0xF0), "set ct mark 0x1 xor mark & 0xf0 mask 0x0"),
        (SideNote("ip dscp set cs1"), "ip dscp set cs1"),
        (Template("ct zone set 1"), "ct zone set 1"),
    ],
)
def test_an_effect_in_words(effect: Effect, text: str) -> None:
    assert effect_text(effect) == text


def test_an_element_in_words() -> None:
    fields = (Field.PROTOCOL, Field.SRC4, Field.DPORT)
    box = ((TCP, TCP), AddressSet.of("10.0.0.0/8").v4[0], (22, 22))
    assert element_text(fields, Element(box)) == "tcp . 10.0.0.0/8 . 22"
