"""What nft's matches mean."""

from __future__ import annotations

import pytest

from portgate.core.net import interface_interval, parse_prefix
from portgate.core.ruleset import (
    All,
    AnonymousLookup,
    Any,
    Bits,
    CtState,
    Field,
    Match,
    Not,
    Opaque,
    ReversePath,
    Test,
)
from tests.nftables.reading import is_one, json_rule, match, rules

TCP = is_one(Field.PROTOCOL, 6)
IPV4 = is_one(Field.FAMILY, 4)
IPV6 = is_one(Field.FAMILY, 6)
PORTS = Test(Field.PROTOCOL, ((6, 6), (17, 17), (33, 33), (132, 132), (136, 136)))
CONNECTED = Test(Field.CT_STATE, ((0, 2),))


def prefix(text: str, field: Field) -> Test:
    return Test(field, (parse_prefix(text)[1],))


def parts(text: str, family: str = "inet") -> tuple[Match, ...]:
    found = match(text, family)
    return found.matches if isinstance(found, All) else (found,)


def the_opaque(text: str, family: str = "inet") -> Opaque:
    (found,) = (one for one in parts(text, family) if isinstance(one, Opaque))
    return found


# ------------------------------------------------------------------ dependencies


def test_a_port_is_a_port_of_its_protocol() -> None:
    assert match("tcp dport 22 accept") == All((TCP, is_one(Field.DPORT, 22)))


def test_another_port_than_22_is_no_udp_packet() -> None:
    assert match("tcp dport != 22 drop") == All((TCP, Not(is_one(Field.DPORT, 22))))


def test_an_ipv4_source_needs_no_test_of_the_family() -> None:
    assert match("ip saddr 10.0.0.0/8") == prefix("10.0.0.0/8", Field.SRC4)


def test_another_source_than_one_is_no_ipv6_packet() -> None:
    assert match("ip saddr != 10.0.0.0/8") == All((IPV4, Not(prefix("10.0.0.0/8", Field.SRC4))))


def test_in_a_table_of_ipv4_the_family_goes_without_saying() -> None:
    assert match("ip saddr != 10.0.0.0/8", "ip") == Not(prefix("10.0.0.0/8", Field.SRC4))


def test_in_a_table_of_ipv4_a_test_for_ipv6_never_holds() -> None:
    assert match("meta nfproto ipv6", "ip") == IPV6


def test_the_protocol_of_the_ipv4_header_is_not_that_of_ipv6_packets() -> None:
    assert match("ip protocol tcp") == All((IPV4, TCP))
    assert match("meta l4proto tcp") == TCP


def test_the_same_dependency_is_written_once() -> None:
    assert match("tcp dport 22 tcp sport 1024-65535") == All(
        (TCP, is_one(Field.DPORT, 22), Test(Field.SPORT, ((1024, 65535),)))
    )


# ------------------------------------------------------------------ transport headers of any protocol


def test_th_is_a_port_where_the_rule_names_protocols_with_ports() -> None:
    assert match("meta l4proto { tcp, udp } th dport 53") == All(
        (is_one(Field.PROTOCOL, 6, 17), is_one(Field.DPORT, 53))
    )


def test_th_alone_is_opaque_for_protocols_without_ports() -> None:
    other = Opaque("th dport 53", "transport header of any protocol")
    assert match("th dport 53") == Any((All((PORTS, is_one(Field.DPORT, 53))), All((Not(PORTS), other))))


def test_raw_bytes_where_ports_are_are_ports() -> None:
    assert match("meta l4proto tcp @th,16,16 22") == All((TCP, is_one(Field.DPORT, 22)))


def test_other_raw_bytes_are_opaque() -> None:
    assert isinstance(match("@nh,8,16 0x1"), Opaque)


# ------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("22", ((22, 22),)),
        ("80-90", ((80, 90),)),
        ("{ 22, 80-90, 91 }", ((22, 22), (80, 91))),
        (">= 1024", ((1024, 65535),)),
        ("< 1024", ((0, 1023),)),
        ("ssh", ((22, 22),)),
        ("0x16", ((22, 22),)),
    ],
)
def test_values_of_ports(text: str, values: tuple[tuple[int, int], ...]) -> None:
    assert match(f"tcp dport {text}") == All((TCP, Test(Field.DPORT, values)))


def test_an_octal_number_is_rather_not_understood() -> None:
    assert the_opaque("tcp dport 010").reason == "value of an unknown form"


def test_a_name_that_is_not_known_is_opaque() -> None:
    assert parts("tcp dport frobnicate") == (TCP, Opaque("tcp dport frobnicate", "value of an unknown form"))


@pytest.mark.parametrize(("text", "pattern"), [('"eth0"', "eth0"), ('"wg*"', "wg*"), ("lo", "lo"), ('"*"', "*")])
def test_names_of_interfaces(text: str, pattern: str) -> None:
    assert match(f"iifname {text}") == Test(Field.IIF, (interface_interval(pattern),))


def test_an_interface_by_number_is_opaque() -> None:
    assert the_opaque("iif 3").reason == "interface by number"


def test_the_first_interface_is_the_loopback() -> None:
    assert match("iif 1") == match('iif "lo"')


@pytest.mark.parametrize("text", ["ip frag-off & 0x1fff != 0", "ip frag-off & 0x2000 == 0x2000", "exthdr frag exists"])
def test_no_packet_is_a_fragment(text: str) -> None:
    assert Any(()) in parts(text)


def test_a_packet_that_is_no_fragment_has_no_offset() -> None:
    assert match("ip frag-off & 0x1fff == 0") == IPV4


def test_that_fragments_are_forbidden_may_be_said_of_a_packet() -> None:
    assert the_opaque("ip frag-off & 0x4000 != 0").reason == "ip frag-off"


def test_an_interface_whose_name_holds_a_star_is_opaque() -> None:
    assert isinstance(match(r'iifname "e\*"'), Opaque)


def test_addresses_of_both_ends_together() -> None:
    both = match("ip saddr . tcp dport { 10.0.0.0/8 . 22, 192.0.2.1 . 80-90 }")
    assert both == All((TCP, AnonymousLookup((Field.SRC4, Field.DPORT), (
        ((0x0A000000, 0x0AFFFFFF), (22, 22)),
        ((0xC0000201, 0xC0000201), (80, 90)),
    ))))  # fmt: skip


def test_one_combination_is_two_tests() -> None:
    assert match("ip saddr . ip daddr { 192.0.2.1 . 192.0.2.2 }") == All(
        (is_one(Field.SRC4, 0xC0000201), is_one(Field.DST4, 0xC0000202))
    )


def test_a_mask_that_is_a_prefix_is_a_prefix() -> None:
    assert match("ip6 saddr & ffff:: == fe80::") == All((IPV6, prefix("fe80::/16", Field.SRC6)))


def test_a_mask_on_the_end_of_an_address_is_opaque() -> None:
    found = match("ip6 saddr & ::ffff == ::1")
    assert isinstance(found, All)
    assert found.matches[0] == IPV6
    assert found.matches[1] == Opaque("(ip6 saddr & ::ffff) ::1", "mask on an address")


def test_ethernet_types_that_are_no_ip_never_reach_ip_rules() -> None:
    assert match("meta protocol { ip, arp }") == IPV4
    assert match("meta protocol arp") == Test(Field.FAMILY, ())


def test_an_extension_header_is_not_the_protocol_of_the_packet() -> None:
    assert match("ip6 nexthdr tcp") == All((IPV6, TCP))
    assert the_opaque("ip6 nexthdr 44").reason == "IPv6 extension header"
    assert the_opaque("ip6 nexthdr 33-45").reason == "IPv6 extension header"


# ------------------------------------------------------------------ flags and states


def test_a_flag_is_set_whatever_others_are() -> None:
    assert match("tcp flags syn") == All((TCP, Bits(Field.TCP_FLAGS, 2, 2)))
    assert match("tcp flags syn,ack") == All((TCP, Not(Bits(Field.TCP_FLAGS, 18, 0))))


def test_a_flag_in_a_set_is_set_alone() -> None:
    assert match("tcp flags { syn, ack | syn }") == All((TCP, is_one(Field.TCP_FLAGS, 2, 18)))
    assert match("tcp flags == syn") == All((TCP, is_one(Field.TCP_FLAGS, 2)))


@pytest.mark.parametrize(
    "text", ["tcp flags syn / syn,ack", "tcp flags & (syn | ack) == syn", "tcp flags & (ack|syn) == syn"]
)
def test_a_flag_among_others(text: str) -> None:
    assert match(text) == All((TCP, Bits(Field.TCP_FLAGS, 18, 2)))


def test_none_of_some_flags() -> None:
    none = All((TCP, Bits(Field.TCP_FLAGS, 18, 0)))
    assert match("tcp flags ! syn,ack") == none
    assert match("tcp flags & (syn|ack) == 0") == none


def test_states_in_a_list_and_in_a_set_are_the_same() -> None:
    assert match("ct state established,related") == Test(Field.CT_STATE, ((1, 2),))
    assert match("ct state { established, related }") == Test(Field.CT_STATE, ((1, 2),))


def test_a_packet_is_never_in_two_states() -> None:
    assert match("ct state != established | related") == Not(Test(Field.CT_STATE, ()))


def test_the_kernels_bits_of_a_state() -> None:
    assert match("ct state & (new | untracked) != 0") == Test(
        Field.CT_STATE, ((CtState.NEW.value,) * 2, (CtState.UNTRACKED.value,) * 2)
    )


def test_a_translated_destination() -> None:
    assert match("ct status dnat") == is_one(Field.DNATED, 1)
    assert match("ct status & dnat == dnat") == All((CONNECTED, is_one(Field.DNATED, 1)))
    assert match("ct status ! dnat") == All((CONNECTED, Not(is_one(Field.DNATED, 1))))


def test_other_bits_of_the_status_are_opaque() -> None:
    assert isinstance(parts("ct status snat")[1], Opaque)


def test_the_destination_as_it_arrived() -> None:
    assert match("ct original ip daddr 192.0.2.1") == is_one(Field.ORIGINAL_DST4, 0xC0000201)
    assert match("meta l4proto tcp ct original proto-dst 80") == All((TCP, is_one(Field.ORIGINAL_DPORT, 80)))


def test_another_original_destination_than_one_is_that_of_a_connection() -> None:
    assert match("ct original ip daddr != 192.0.2.1") == All(
        (IPV4, CONNECTED, Not(is_one(Field.ORIGINAL_DST4, 0xC0000201)))
    )


def test_marks_with_a_mask() -> None:
    assert match("meta mark & 0xff == 0x10") == Bits(Field.MARK, 0xFF, 0x10)
    assert match("meta mark and 0xff != 0") == Not(Bits(Field.MARK, 0xFF, 0))
    assert match("meta mark 5") == is_one(Field.MARK, 5)


def test_only_a_connection_has_a_connection_mark() -> None:
    assert match("ct mark & 0xff == 1") == All((CONNECTED, Bits(Field.CT_MARK, 0xFF, 1)))


def test_types_of_addresses() -> None:
    assert match("fib daddr type local") == is_one(Field.DST_TYPE, 1)
    assert match("fib daddr type != { local, broadcast, multicast }") == Not(Test(Field.DST_TYPE, ((1, 3),)))


def test_icmp_types_by_name_and_number() -> None:
    assert match("icmp type { echo-request, 3 }") == All((is_one(Field.PROTOCOL, 1), is_one(Field.ICMP_TYPE, 3, 8)))
    assert match("icmpv6 type echo-request") == All((is_one(Field.PROTOCOL, 58), is_one(Field.ICMP_TYPE, 128)))


# ------------------------------------------------------------------ what is not understood


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('meta hour "09:00"-"17:00"', "time of day"),
        ("meta skuid 1000", "owner of the socket"),
        ("meta pkttype broadcast", "link-layer packet type"),
        ("fib daddr . iif type local", "route lookup"),
        ("fib daddr type anycast", "type of route"),
        ("ether saddr aa:bb:cc:dd:ee:ff", "link-layer header"),
        ('osf name "Linux"', "operating system fingerprint"),
        ("socket transparent 1", "a local socket"),
        ("meta ipsec exists", "IPsec state"),
        ("exthdr hbh exists", "IPv6 extension header"),
        ("ct direction original", "connection data"),
    ],
)
def test_what_no_header_tells_is_opaque_with_a_reason(text: str, reason: str) -> None:
    assert the_opaque(text).reason == reason


@pytest.mark.parametrize("flags", ["saddr . iif", "saddr . mark . iif", "saddr", "saddr . mark"])
@pytest.mark.parametrize("result", ["oif", "oifname", "check"])
def test_whether_there_is_a_way_back_is_one_question(flags: str, result: str) -> None:
    asked = ReversePath(Opaque(f"fib {flags} {result} exists", "route lookup"), loose="iif" not in flags)
    assert parts(f"fib {flags} {result} exists") == (asked,)
    assert parts(f"fib {flags} {result} missing") == (Not(asked),)


@pytest.mark.parametrize(
    "text", ["fib daddr . iif oif missing", "fib saddr . oif oif missing", 'fib saddr . iif oif "eth0"']
)
def test_other_questions_about_routes_are_opaque(text: str) -> None:
    assert the_opaque(text).reason == "route lookup"


def test_a_type_that_routes_give_is_no_type_of_an_address_of_this_host() -> None:
    unicast = Test(Field.DST_TYPE, ((0, 0),))
    assert parts("fib daddr type anycast", "ip") == (unicast, the_opaque("fib daddr type anycast", "ip"))


def test_the_same_text_has_the_same_answer_in_every_rule() -> None:
    assert match("meta skuid 1000 accept") == match("counter meta skuid 1000 drop")


@pytest.mark.parametrize(
    "text", ["limit rate 10/minute", "numgen random mod 2 0", "quota over 1 mbytes", "ct count over 5"]
)
def test_what_consumes_has_another_answer_in_every_rule(text: str) -> None:
    one, other = rules(f"{text} accept\n{text} accept")
    assert one.match != other.match


def test_the_opposite_of_an_opaque_field_that_can_be_read_is_correlated() -> None:
    positive, negative = match("ip dscp cs1"), match("ip dscp != cs1")
    assert isinstance(positive, All)
    assert isinstance(negative, All)
    assert negative.matches == (IPV4, Not(positive.matches[1]))


def test_the_opposite_of_a_field_that_may_be_missing_is_not() -> None:
    assert match("meta skuid != 0") == Opaque("meta skuid != 0", "owner of the socket")


def test_a_field_inside_a_tunnel_is_not_the_packets() -> None:
    inner = {"payload": {"protocol": "ip", "field": "saddr", "tunnel": "geneve"}}
    found = json_rule({"match": {"op": "==", "left": inner, "right": "192.0.2.1"}}).match
    assert isinstance(found, Opaque)
    assert found.key == "geneve ip saddr 192.0.2.1"


def test_a_field_that_rules_write_has_another_answer_in_every_rule() -> None:
    first, _, last = rules("ip dscp cs1 accept\nip dscp set cs1\nip dscp cs1 accept")
    assert first.match != last.match
