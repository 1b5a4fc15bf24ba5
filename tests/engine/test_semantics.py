"""What rulesets do to packets, one behaviour at a time."""

from __future__ import annotations

import pytest

from portgate.core.addresses import Host
from portgate.core.dataclasses import replace
from portgate.core.decision import LEAF
from portgate.core.listener import Interface
from portgate.core.net import ICMP, SCTP, TCP, UDP, Family, interface_interval, parse_address
from portgate.core.packets import Packet
from portgate.core.policy import Limit, Unit
from portgate.core.ruleset import (
    ALWAYS,
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Base,
    Bits,
    Chain,
    ChainKind,
    CtState,
    Dnat,
    Effect,
    Element,
    Field,
    Hook,
    Jump,
    Lookup,
    Match,
    NamedSet,
    Not,
    NoTrack,
    Opaque,
    Place,
    Queue,
    RateLimit,
    Ruleset,
    SetMark,
    Snat,
    Template,
    Test,
    Unknown,
    VerdictMap,
)
from portgate.core.semantics import Analysis, Landing
from tests.engine.rules import (
    ACCEPT,
    CONTINUE,
    DROP,
    HOST,
    REJECT,
    RETURN,
    always,
    base,
    chain,
    decided,
    destination,
    dnat,
    fate,
    filtering,
    goto,
    jump,
    port,
    rule,
    rules,
    source,
    state,
    table,
    to_port,
    translating,
    udp,
)

SSH, WEB = to_port(22), to_port(443)
RAIN = Opaque("rain", "the weather")
ALL_BITS = 0xFFFFFFFF


def mark_is(value: int, mask: int = ALL_BITS) -> Bits:
    return Bits(Field.MARK, mask, value)


# ------------------------------------------------------------------ verdicts and chains


def test_the_first_rule_that_matches_decides() -> None:
    both = filtering(rule(port(22), DROP), rule(port(22), ACCEPT), default=ACCEPT)
    assert fate(both, SSH) == "drop"
    assert fate(both, WEB) == "accept"


def test_without_rules_everything_passes() -> None:
    assert fate(Ruleset(), SSH) == "accept"


def test_a_reject_is_told_from_a_drop() -> None:
    assert fate(filtering(rule(port(22), REJECT)), SSH) == "reject"


def test_accept_ends_only_its_own_base_chain() -> None:
    both = rules(
        table(base(rule(port(22), ACCEPT), priority=-10), name="early"),
        table(base(rule(port(22), DROP), priority=10), name="late"),
    )
    assert fate(both, SSH) == "drop"


def test_a_drop_is_final_for_all_later_base_chains() -> None:
    both = rules(
        table(base(rule(port(22), DROP), priority=-10), name="early"),
        table(base(rule(port(22), ACCEPT), priority=10), name="late"),
    )
    assert fate(both, SSH) == "drop"


def test_every_table_must_let_a_packet_pass() -> None:
    closed = rules(
        table(base(rule(port(22), ACCEPT), default=DROP), name="one"),
        table(base(rule(port(443), ACCEPT), default=DROP), name="other"),
    )
    assert {fate(closed, SSH), fate(closed, WEB)} == {"drop"}


def test_of_equal_priorities_the_chain_registered_last_decides_first() -> None:
    both = rules(
        table(base(rule(port(22), REJECT)), name="first"),
        table(base(rule(port(22), DROP)), name="second"),
    )
    assert fate(both, SSH) == "drop"


def test_prerouting_comes_before_input_whatever_the_priorities() -> None:
    both = rules(
        table(
            base(rule(port(22), DROP), priority=-300), base(rule(port(22), REJECT), hook=Hook.PREROUTING, priority=300)
        )
    )
    assert fate(both, SSH) == "reject"


def test_a_chain_of_devices_sees_no_other_device() -> None:
    one = rules(table(base(always(DROP), hook=Hook.INGRESS, devices=("eth1",))))
    assert fate(one, to_port(22, iif="eth1")) == "drop"
    assert fate(one, SSH) == "accept"


def test_a_jump_goes_on_behind_itself() -> None:
    one = rules(
        table(base(jump("services"), rule(port(443), ACCEPT), default=DROP), chain("services", rule(port(22), ACCEPT)))
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "accept")


def test_a_return_leads_back_behind_the_jump() -> None:
    called = chain("called", rule(port(22), RETURN), always(DROP))
    one = rules(table(base(jump("called"), always(ACCEPT)), called))
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_return_in_a_base_chain_is_its_default() -> None:
    one = filtering(rule(port(22), RETURN), always(ACCEPT), default=DROP)
    assert (fate(one, SSH), fate(one, WEB)) == ("drop", "accept")


def test_a_goto_does_not_come_back() -> None:
    one = rules(table(base(goto("called"), always(ACCEPT), default=DROP), chain("called", rule(port(22), ACCEPT))))
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_goto_in_a_called_chain_returns_to_the_caller() -> None:
    one = rules(
        table(
            base(jump("called"), rule(port(443), ACCEPT), default=DROP),
            chain("called", goto("there"), always(DROP)),
            chain("there", rule(port(22), ACCEPT)),
        )
    )
    assert (fate(one, SSH), fate(one, WEB), fate(one, to_port(80))) == ("accept", "accept", "drop")


def test_a_chain_that_is_missing_may_do_anything() -> None:
    one = rules(table(base(jump("gone"), always(ACCEPT))))
    answer = decided(one, SSH).answer
    assert answer.fate == "depends"
    assert answer.reasons == ("a chain that is missing or calls itself",)


def test_a_jump_loop_ends_in_doubt() -> None:
    one = rules(table(base(jump("a"), always(ACCEPT)), chain("a", jump("b")), chain("b", jump("a"))))
    assert fate(one, SSH) == "depends"


# ------------------------------------------------------------------ matches


def test_a_negated_port_never_matches_another_protocol() -> None:
    not_ssh = All((Test(Field.PROTOCOL, ((TCP, TCP),)), Not(Test(Field.DPORT, ((22, 22),)))))
    one = filtering(rule(not_ssh, DROP), default=ACCEPT)
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")
    assert fate(one, to_port(443, UDP)) == "accept"


def test_a_test_of_the_other_family_is_false_and_its_negation_true() -> None:
    six = Test(Field.SRC6, ((0, Family.IPV6.top),))
    assert fate(filtering(rule(six, DROP), default=ACCEPT), SSH) == "accept"
    assert fate(filtering(rule(Not(six), DROP), default=ACCEPT), SSH) == "drop"


def test_the_family_is_a_field_as_well() -> None:
    one = filtering(rule(Test(Field.FAMILY, ((6, 6),)), DROP), default=ACCEPT)
    assert fate(one, SSH) == "accept"
    assert fate(one, to_port(22, source="2001:db8::7", to="2001:db8::1")) == "drop"


def test_all_of_nothing_is_always_true_and_any_of_nothing_never() -> None:
    assert fate(filtering(rule(All(()), ACCEPT)), SSH) == "accept"
    assert fate(filtering(rule(Any(()), ACCEPT)), SSH) == "drop"


def test_an_element_of_a_concatenated_set_needs_all_its_fields() -> None:
    allowed = NamedSet(
        "allowed",
        (Field.PROTOCOL, Field.SRC4, Field.DPORT),
        (Element(((TCP, TCP), parse_range("198.51.100.0", "198.51.100.255"), (22, 22))),),
    )
    lookup = rule(Lookup(allowed.fields, "allowed"), ACCEPT)
    one = rules(table(base(lookup, default=DROP), sets=(allowed,)))
    assert fate(one, SSH) == "accept"
    assert fate(one, to_port(22, source="203.0.113.7")) == "drop"
    assert fate(one, to_port(22, UDP)) == "drop"
    assert fate(one, WEB) == "drop"


def parse_range(first: str, last: str) -> tuple[int, int]:
    return parse_address(first)[1], parse_address(last)[1]


def test_a_set_without_elements_matches_nothing() -> None:
    one = rules(table(base(rule(Lookup((Field.SRC4,), "empty"), DROP)), sets=(NamedSet("empty", (Field.SRC4,)),)))
    assert fate(one, SSH) == "accept"


def test_a_set_that_is_not_known_is_a_doubt_for_packets_that_have_its_fields() -> None:
    one = rules(table(base(rule(Lookup((Field.SRC6,), "gone"), DROP))))
    assert fate(one, SSH) == "accept"
    assert fate(one, to_port(22, source="2001:db8::7", to="2001:db8::1")) == "depends"


def test_a_set_that_rules_fill_holds_its_elements_and_perhaps_more() -> None:
    office = Element((parse_range("198.51.100.0", "198.51.100.255"),))
    banned = NamedSet("banned", (Field.SRC4,), (office,), dynamic=True)
    one = rules(table(base(rule(Lookup((Field.SRC4,), "banned"), DROP)), sets=(banned,)))
    assert fate(one, SSH) == "drop"
    elsewhere = decided(one, to_port(22, source="203.0.113.7")).answer
    assert elsewhere.fate == "depends"
    assert "banned" in elsewhere.reasons[0]


def test_a_lookup_written_in_the_rule_is_the_same_as_its_set() -> None:
    boxes = (((TCP, TCP), (22, 23)), ((UDP, UDP), (53, 53)))
    one = filtering(rule(AnonymousLookup((Field.PROTOCOL, Field.DPORT), boxes), ACCEPT))
    assert [fate(one, each) for each in (SSH, to_port(23), to_port(53, UDP), to_port(53))] == [
        "accept", "accept", "accept", "drop",
    ]  # fmt: skip


def test_a_verdict_map_decides_by_its_box_and_a_miss_goes_on() -> None:
    verdicts = VerdictMap((Field.DPORT,), ((((22, 22),), ACCEPT), (((80, 90),), DROP)))
    one = filtering(rule(Test(Field.PROTOCOL, ((TCP, TCP),)), verdicts), always(REJECT))
    assert [fate(one, to_port(each)) for each in (22, 85, 443)] == ["accept", "drop", "reject"]


def test_a_verdict_map_may_call_a_chain_and_come_back() -> None:
    verdicts = VerdictMap((Field.DPORT,), ((((22, 22),), Jump("ssh")),))
    one = rules(
        table(
            base(rule(Test(Field.PROTOCOL, ((TCP, TCP),)), verdicts), always(REJECT)),
            chain("ssh", rule(source("198.51.100.0/24"), ACCEPT)),
        )
    )
    assert fate(one, SSH) == "accept"
    assert fate(one, to_port(22, source="203.0.113.7")) == "reject"


def test_flags_are_compared_under_their_mask() -> None:
    syn_only = All((Test(Field.PROTOCOL, ((TCP, TCP),)), Bits(Field.TCP_FLAGS, 0x17, 2)))
    one = filtering(rule(syn_only, ACCEPT))
    answers = [fate(one, Packet(Family.IPV4, TCP, "eth0", 7, 8, 1, 2, tcp_flags=flags)) for flags in (2, 0x12, 0x0A, 0)]
    assert answers == ["accept", "drop", "accept", "drop"]


def test_icmp_types_are_those_of_icmp() -> None:
    echo = All((Test(Field.PROTOCOL, ((ICMP, ICMP),)), Test(Field.ICMP_TYPE, ((8, 8),))))
    one = filtering(rule(echo, ACCEPT))
    assert fate(one, Packet(Family.IPV4, ICMP, "eth0", 7, 8, icmp_type=8, icmp_code=0)) == "accept"
    assert fate(one, Packet(Family.IPV4, ICMP, "eth0", 7, 8, icmp_type=13, icmp_code=0)) == "drop"


# ------------------------------------------------------------------ connection tracking


def test_a_new_connection_is_not_established() -> None:
    one = filtering(rule(state(CtState.ESTABLISHED, CtState.RELATED), ACCEPT))
    assert fate(one, SSH) == "drop"
    assert fate(one, to_port(22, ct_state=CtState.ESTABLISHED)) == "accept"


def test_before_connection_tracking_every_packet_is_invalid() -> None:
    one = rules(table(base(rule(state(CtState.INVALID), DROP), hook=Hook.PREROUTING, priority=-300)))
    other = rules(table(base(rule(state(CtState.INVALID), DROP), hook=Hook.PREROUTING, priority=-150)))
    assert (fate(one, SSH), fate(other, SSH)) == ("drop", "accept")


@pytest.mark.parametrize("asked", [CtState.NEW, CtState.ESTABLISHED])
def test_a_packet_from_loopback_was_tracked_when_it_was_sent(asked: CtState) -> None:
    raw = base(rule(state(asked), ACCEPT), hook=Hook.PREROUTING, priority=-300, default=DROP)
    assert fate(rules(table(raw)), to_port(22, iif="lo", to="127.0.0.1", ct_state=asked)) == "accept"
    assert fate(rules(table(raw)), to_port(22, ct_state=asked)) == "drop"
    untracking = base(always(CONTINUE, NoTrack()), hook=Hook.PREROUTING, priority=-300)
    one = rules(table(untracking, base(rule(state(asked), ACCEPT), default=DROP)))
    assert fate(one, to_port(22, iif="lo", to="127.0.0.1", ct_state=asked)) == "accept"


def test_a_packet_that_this_host_may_have_sent_untracked_is_a_doubt_where_that_matters() -> None:
    def raw(hook: Hook) -> Chain:
        return base(always(CONTINUE, NoTrack()), hook=hook, priority=-300)

    def one(*states: CtState) -> Ruleset:
        return rules(table(raw(Hook.OUTPUT), raw(Hook.PREROUTING), base(rule(state(*states), ACCEPT), default=DROP)))

    own = to_port(22, iif="lo", to="127.0.0.1")
    assert fate(one(CtState.UNTRACKED), own) == "depends"
    assert fate(one(CtState.NEW), own) == "depends"
    assert fate(one(CtState.UNTRACKED, CtState.NEW), own) == "accept"
    assert fate(one(CtState.UNTRACKED), SSH) == "accept"
    early = base(rule(state(CtState.NEW), ACCEPT), hook=Hook.PREROUTING, priority=-290, default=DROP)
    assert fate(rules(table(raw(Hook.OUTPUT), early)), own) == "depends"
    assert fate(rules(table(early)), own) == "accept"


ZONE, HELPER = Template("ct zone set 1", untracked=True), Template("CT --helper ftp")


@pytest.mark.parametrize("template", [ZONE, HELPER])
def test_a_packet_with_a_template_is_new_until_it_is_tracked(template: Template) -> None:
    one = rules(
        table(
            base(always(CONTINUE, template), hook=Hook.PREROUTING, priority=-300),
            base(rule(state(CtState.NEW), ACCEPT), hook=Hook.PREROUTING, priority=-250, default=DROP),
            base(rule(state(CtState.ESTABLISHED), ACCEPT), default=DROP),
        )
    )
    assert fate(one, to_port(22, ct_state=CtState.ESTABLISHED)) == "accept"
    assert fate(one, to_port(22)) == "drop"


@pytest.mark.parametrize(
    ("effects", "then"),
    [
        ((ZONE, NoTrack()), CtState.NEW),
        ((HELPER, NoTrack()), CtState.NEW),
        ((NoTrack(), ZONE), CtState.NEW),
        ((NoTrack(), HELPER), CtState.UNTRACKED),
    ],
)
def test_of_a_template_and_notrack_the_first_counts_but_for_zones(effects: tuple[Effect, ...], then: CtState) -> None:
    taking = base(always(CONTINUE, *effects), hook=Hook.PREROUTING, priority=-300)
    assert fate(rules(table(taking, base(rule(state(then), ACCEPT), default=DROP))), SSH) == "accept"


@pytest.mark.parametrize("test", [Bits(Field.CT_MARK, ALL_BITS, 0), port(22, field=Field.ORIGINAL_DPORT)])
def test_what_a_template_knows_of_its_connection_is_a_doubt(test: Match) -> None:
    def one(*effects: Effect) -> Ruleset:
        taking = base(always(CONTINUE, *effects), hook=Hook.PREROUTING, priority=-300)
        return rules(table(taking, base(rule(test, DROP), hook=Hook.PREROUTING, priority=-250)))

    assert (fate(one(ZONE), SSH), fate(one(), SSH)) == ("depends", "accept")


def test_a_mark_that_is_given_to_a_template_does_not_last() -> None:
    marking = (ZONE, SetMark(Field.CT_MARK, ALL_BITS, 7))
    taking = base(always(CONTINUE, *marking), hook=Hook.PREROUTING, priority=-300)
    one = rules(table(taking, base(rule(Bits(Field.CT_MARK, ALL_BITS, 0), ACCEPT), default=DROP)))
    assert fate(one, SSH) == "accept"


def test_a_mark_that_is_copied_from_a_template_is_a_doubt() -> None:
    marking = (ZONE, SetMark(Field.MARK, ALL_BITS, 0, ALL_BITS))
    taking = base(always(CONTINUE, *marking), hook=Hook.PREROUTING, priority=-300)
    assert fate(rules(table(taking, base(rule(mark_is(0), ACCEPT), default=DROP))), SSH) == "depends"


def test_notrack_makes_later_chains_see_an_untracked_packet() -> None:
    untracking = base(rule(port(53, UDP), CONTINUE, NoTrack()), hook=Hook.PREROUTING, priority=-300)
    one = rules(
        table(untracking, base(rule(state(CtState.UNTRACKED), ACCEPT), rule(state(CtState.NEW), REJECT), default=DROP))
    )
    assert fate(one, to_port(53, UDP)) == "accept"
    assert fate(one, SSH) == "reject"


def test_an_untracked_packet_skips_nat() -> None:
    untracking = base(rule(port(80), CONTINUE, NoTrack()), hook=Hook.PREROUTING, priority=-300)
    moving = translating(rule(port(80), dnat(None, 8080)), rule(port(81), dnat(None, 8080)))
    one = rules(table(untracking, moving, base(rule(port(8080), ACCEPT), default=DROP)))
    assert (fate(one, to_port(80)), fate(one, to_port(81))) == ("drop", "accept")


@pytest.mark.parametrize("nat_first", [True, False])
def test_whether_a_chain_of_the_priority_of_nat_runs_before_it_is_a_doubt(nat_first: bool) -> None:
    moving = translating(rule(port(80), dnat(None, 8080)))
    other = replace(base(rule(port(8080), DROP), hook=Hook.PREROUTING, priority=-100), name="other")
    one = rules(table(*((moving, other) if nat_first else (other, moving))))
    assert fate(one, to_port(80)) == "depends"
    assert (fate(one, to_port(8080)), fate(one, to_port(22))) == ("drop", "accept")
    later = replace(base(rule(port(8080), DROP), hook=Hook.PREROUTING, priority=-99), name="other")
    assert fate(rules(table(moving, later)), to_port(80)) == "drop"


def test_a_nat_chain_sees_only_packets_that_begin_a_connection() -> None:
    one = rules(table(base(always(DROP), hook=Hook.PREROUTING, kind=ChainKind.NAT)))
    assert fate(one, SSH) == "drop"
    assert fate(one, to_port(22, ct_state=CtState.ESTABLISHED)) == "accept"


# ------------------------------------------------------------------ translation


def test_behind_a_redirect_input_sees_the_new_port_and_the_old_one_in_ct_original() -> None:
    moving = translating(rule(port(80), dnat(None, 8080)))
    by_new = rules(table(moving, base(rule(port(8080), ACCEPT), default=DROP)))
    by_old = rules(table(moving, base(rule(port(80), ACCEPT), default=DROP)))
    original = rules(table(moving, base(rule(port(80, field=Field.ORIGINAL_DPORT), ACCEPT), default=DROP)))
    assert [fate(one, to_port(80)) for one in (by_new, by_old, original)] == ["accept", "drop", "accept"]


def test_a_redirected_packet_lands_on_the_host_and_says_so() -> None:
    answer = decided(rules(table(translating(rule(port(80), dnat(None, 8080))))), to_port(80), HOST).answer
    address = parse_address("192.0.2.1")[1]
    assert answer.landing == Landing(((address, address),), 8080)


def test_a_packet_that_is_not_translated_lands_nowhere_else() -> None:
    answer = decided(rules(table(translating(rule(port(80), dnat(None, 8080))))), WEB, HOST).answer
    assert answer.landing is None


def test_a_packet_may_get_any_port_where_the_new_one_is_not_known() -> None:
    anywhere = Dnat(Family.IPV4, (0, Family.IPV4.top), (0, 65535))
    one = rules(table(translating(rule(port(80), anywhere)), base(rule(port(22), ACCEPT), default=DROP)))
    assert (fate(one, to_port(80)), fate(one, to_port(81))) == ("depends", "drop")


def test_ct_status_dnat_tells_translated_packets() -> None:
    moved = Test(Field.DNATED, ((1, 1),))
    one = rules(table(translating(rule(port(80), dnat(None, 8080))), base(rule(moved, ACCEPT), default=DROP)))
    assert (fate(one, to_port(80)), fate(one, to_port(8080))) == ("accept", "drop")


def test_a_packet_translated_to_another_host_meets_forward_and_not_input() -> None:
    moving = translating(rule(port(2222), dnat("10.0.0.7", 22)))
    guarded = rules(table(moving, base(always(ACCEPT)), base(rule(port(22), DROP), hook=Hook.FORWARD)))
    open_forward = rules(
        table(moving, base(always(DROP)), base(rule(port(22), ACCEPT), hook=Hook.FORWARD, default=DROP))
    )
    assert fate(guarded, to_port(2222), HOST) == "drop"
    assert fate(open_forward, to_port(2222), HOST) == "accept"
    assert fate(open_forward, SSH, HOST) == "drop"


def test_a_forwarded_packet_leaves_through_the_interface_of_its_network() -> None:
    out = Test(Field.OIF, (interface_interval("eth1"),))
    moving = translating(rule(port(2222), dnat("10.0.0.7", 22)))
    one = rules(table(moving, base(rule(out, ACCEPT), hook=Hook.FORWARD, default=DROP)))
    assert fate(one, to_port(2222), HOST) == "accept"


def test_what_is_only_forwarded_leaves_through_the_interface_of_its_network() -> None:
    out = Test(Field.OIF, (interface_interval("eth1"),))
    one = rules(table(base(rule(out, ACCEPT), hook=Hook.FORWARD, default=DROP)))
    assert fate(one, to_port(22, to="10.0.0.7"), HOST) == "accept"
    assert fate(one, to_port(22, to="192.0.2.7", iif="eth1"), HOST) == "drop"
    elsewhere = decided(one, to_port(22, to="203.0.113.7"), HOST).answer
    assert (elsewhere.fate, elsewhere.reasons) == ("depends", ("the interface that it leaves by",))


def test_the_smallest_network_that_holds_an_address_is_its_way_out() -> None:
    networks = (("eth0", "10.0.0.1", 8), ("eth1", "10.0.0.2", 24))
    host = Host(tuple(Interface(name, ((*parse_address(own), length),)) for name, own, length in networks))
    out = Test(Field.OIF, (interface_interval("eth1"),))
    one = rules(table(base(rule(out, ACCEPT), hook=Hook.FORWARD, default=DROP)))
    assert [fate(one, to_port(22, to=to), host) for to in ("10.0.0.7", "10.0.1.7")] == ["accept", "drop"]


def test_the_first_translation_counts() -> None:
    twice = rules(
        table(
            translating(rule(port(80), dnat(None, 8080)), priority=-110),
            translating(rule(port(80), dnat(None, 9090)), rule(port(8080), dnat(None, 9090)), priority=-100),
            base(rule(port(8080), ACCEPT), default=DROP),
        )
    )
    assert fate(twice, to_port(80)) == "accept"


def test_a_translation_of_the_other_family_does_nothing() -> None:
    one = rules(
        table(translating(rule(port(80), dnat("2001:db8::7", 8080))), base(rule(port(80), ACCEPT), default=DROP))
    )
    assert fate(one, to_port(80)) == "accept"


def test_prerouting_before_nat_sees_the_port_as_it_arrives() -> None:
    early = base(rule(port(80), DROP), hook=Hook.PREROUTING, priority=-150)
    late = base(rule(port(80), DROP), hook=Hook.PREROUTING, priority=-50)
    moving = translating(rule(port(80), dnat(None, 8080)))
    assert fate(rules(table(early, moving)), to_port(80)) == "drop"
    assert fate(rules(table(late, moving)), to_port(80)) == "accept"


def test_one_of_several_ports_is_a_doubt_only_where_it_matters() -> None:
    moving = translating(rule(port(80), Dnat(None, None, (8000, 8001))))
    all_open = rules(table(moving, base(rule(port(8000), ACCEPT), rule(port(8001), ACCEPT), default=DROP)))
    one_open = rules(table(moving, base(rule(port(8000), ACCEPT), default=DROP)))
    assert fate(one_open, to_port(80)) == "depends"
    assert fate(all_open, to_port(80)) in ("accept", "depends")


def test_a_translation_of_the_source_only_accepts() -> None:
    one = rules(
        table(
            base(rule(port(22), Snat("masquerade")), always(DROP), hook=Hook.INPUT, priority=100, kind=ChainKind.NAT),
        )
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


# ------------------------------------------------------------------ routing and address types


def test_a_packet_for_another_host_meets_forward() -> None:
    one = rules(table(base(always(ACCEPT)), base(always(DROP), hook=Hook.FORWARD)))
    assert fate(one, to_port(22, to="203.0.113.9"), HOST) == "drop"
    assert fate(one, SSH, HOST) == "accept"


@pytest.mark.parametrize("address", ["192.0.2.255", "224.0.0.251", "255.255.255.255", "10.0.0.1", "127.0.0.1"])
def test_broadcasts_multicasts_and_own_addresses_meet_input(address: str) -> None:
    one = rules(table(base(always(REJECT)), base(always(DROP), hook=Hook.FORWARD)))
    assert fate(one, to_port(68, UDP, to=address), HOST) == "reject"


def of_type(*types: AddressType) -> Test:
    return Test(Field.DST_TYPE, tuple((one.value, one.value) for one in types))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("192.0.2.1", AddressType.LOCAL),
        ("127.0.0.9", AddressType.LOCAL),
        ("192.0.2.255", AddressType.BROADCAST),
        ("239.1.2.3", AddressType.MULTICAST),
        ("203.0.113.9", AddressType.UNICAST),
    ],
)
def test_the_type_of_an_address_follows_from_the_interfaces(address: str, kind: AddressType) -> None:
    for tested in AddressType:
        one = rules(table(base(rule(of_type(tested), DROP), hook=Hook.PREROUTING, priority=0)))
        assert fate(one, to_port(22, to=address), HOST) == ("drop" if tested is kind else "accept")


def test_without_interfaces_a_packet_is_for_this_host() -> None:
    one = rules(
        table(
            base(rule(of_type(AddressType.LOCAL), DROP), hook=Hook.PREROUTING), base(always(REJECT), hook=Hook.FORWARD)
        )
    )
    assert fate(one, to_port(22, to=None)) == "drop"


def test_without_interfaces_the_type_of_a_source_is_a_doubt() -> None:
    one = filtering(rule(Test(Field.SRC_TYPE, ((AddressType.LOCAL.value,) * 2,)), DROP), default=ACCEPT)
    assert fate(one, SSH) == "depends"
    assert fate(one, SSH, HOST) == "accept"


def test_a_packet_to_an_unnamed_address_goes_to_the_one_of_its_interface() -> None:
    one = filtering(rule(destination("10.0.0.1"), ACCEPT))
    assert fate(one, to_port(22, to=None, iif="eth1"), HOST) == "accept"
    assert fate(one, to_port(22, to=None, iif="eth0"), HOST) == "drop"
    assert fate(one, to_port(22, to=None)) == "depends"


# ------------------------------------------------------------------ marks


def test_a_mark_is_seen_by_later_rules() -> None:
    one = filtering(rule(port(22), CONTINUE, SetMark(Field.MARK, 0xFFFFFFFF, 7)), rule(mark_is(7), ACCEPT))
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_mark_set_in_a_called_chain_lasts() -> None:
    marking = chain("marking", rule(port(22), CONTINUE, SetMark(Field.MARK, 0xFF, 5)))
    one = rules(table(base(jump("marking"), rule(mark_is(5, 0xFF), ACCEPT), default=DROP), marking))
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_mark_crosses_base_chains_and_hooks() -> None:
    one = rules(
        table(base(rule(port(22), ACCEPT, SetMark(Field.MARK, 0xFFFFFFFF, 7)), hook=Hook.PREROUTING), name="early"),
        table(base(rule(mark_is(7), ACCEPT), default=DROP), name="late"),
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_mark_is_set_under_its_mask() -> None:
    one = filtering(
        always(CONTINUE, SetMark(Field.MARK, 0xFFFFFFFF, 0x0F)),
        rule(port(22), CONTINUE, SetMark(Field.MARK, 0x03, 0x00)),
        rule(mark_is(0x0C), ACCEPT),
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_a_mark_that_nobody_set_is_zero() -> None:
    assert fate(filtering(rule(Test(Field.MARK, ((0, 0),)), ACCEPT)), SSH) == "accept"
    assert fate(filtering(rule(Test(Field.CT_MARK, ((1, 0xFFFFFFFF),)), ACCEPT)), SSH) == "drop"


def test_unknown_bits_of_a_mark_are_a_doubt_and_the_others_are_not() -> None:
    unknown = always(CONTINUE, SetMark(Field.MARK, 0x01, None))
    assert fate(filtering(unknown, rule(mark_is(0x01, 0x01), ACCEPT)), SSH) == "depends"
    assert fate(filtering(unknown, rule(mark_is(0x02, 0x02), ACCEPT)), SSH) == "drop"


def connection_mark_is(value: int, mask: int = ALL_BITS) -> Bits:
    return Bits(Field.CT_MARK, mask, value)


def test_a_mark_is_saved_and_restored_under_masks() -> None:
    one = filtering(
        rule(port(22), CONTINUE, SetMark(Field.MARK, ALL_BITS, 0x5A)),
        always(CONTINUE, SetMark(Field.CT_MARK, 0xFF, 0, 0x0F)),  # save
        always(CONTINUE, SetMark(Field.MARK, ALL_BITS, 0)),
        always(CONTINUE, SetMark(Field.MARK, 0x0C, 0, 0xFF)),  # restore
        rule(All((mark_is(0x0A), connection_mark_is(0x0A))), ACCEPT),
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_marks_that_change_places_keep_their_values() -> None:
    swap = (
        SetMark(Field.MARK, 0, 0, ALL_BITS),
        SetMark(Field.CT_MARK, 0, 0, ALL_BITS),
        SetMark(Field.MARK, 0, 0, ALL_BITS),
    )
    one = filtering(
        rule(port(22), CONTINUE, SetMark(Field.MARK, ALL_BITS, 7), SetMark(Field.CT_MARK, ALL_BITS, 9)),
        always(CONTINUE, *swap),
        rule(All((mark_is(9), connection_mark_is(7))), ACCEPT),
    )
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_flipped_bits_are_known() -> None:
    flips = always(CONTINUE, SetMark(Field.MARK, 0, 0x03))
    assert fate(filtering(flips, rule(mark_is(3), ACCEPT)), SSH) == "accept"
    assert fate(filtering(flips, flips, rule(mark_is(0), ACCEPT)), SSH) == "accept"


def test_a_copy_in_a_called_chain_is_of_the_mark_that_it_is_called_with() -> None:
    saving = chain("saving", always(CONTINUE, SetMark(Field.CT_MARK, ALL_BITS, 0, ALL_BITS)))
    marks = [rule(port(number), CONTINUE, SetMark(Field.MARK, ALL_BITS, number)) for number in (22, 80)]
    one = rules(table(base(*marks, jump("saving"), rule(connection_mark_is(22), ACCEPT), default=DROP), saving))
    assert (fate(one, SSH), fate(one, WEB)) == ("accept", "drop")


def test_without_a_connection_its_mark_is_neither_read_nor_written() -> None:
    copies = always(CONTINUE, SetMark(Field.CT_MARK, ALL_BITS, 1), SetMark(Field.MARK, ALL_BITS, 2, ALL_BITS))
    early = table(base(copies, hook=Hook.PREROUTING, priority=-300), name="early")
    late = table(base(rule(mark_is(0), ACCEPT), default=DROP), name="late")
    assert fate(rules(early, late), SSH) == "accept"


def test_the_mark_of_an_old_connection_is_a_doubt_also_when_it_is_restored() -> None:
    restored = always(CONTINUE, SetMark(Field.MARK, ALL_BITS, 0, 0xFF))
    old = to_port(22, ct_state=CtState.ESTABLISHED)
    assert fate(filtering(restored, rule(mark_is(1), ACCEPT)), SSH) == "drop"
    assert fate(filtering(restored, rule(mark_is(1), ACCEPT)), old) == "depends"
    assert fate(filtering(restored, rule(mark_is(0x100, 0x100), ACCEPT)), old) == "drop"


def test_the_mark_of_an_old_connection_is_a_doubt() -> None:
    one = filtering(rule(Test(Field.CT_MARK, ((1, 1),)), ACCEPT))
    assert fate(one, SSH) == "drop"
    assert fate(one, to_port(22, ct_state=CtState.ESTABLISHED)) == "depends"


# ------------------------------------------------------------------ doubt


def test_what_hangs_on_a_doubt_says_on_which() -> None:
    answer = decided(filtering(rule(RAIN, ACCEPT)), SSH).answer
    assert (answer.fate, answer.reasons) == ("depends", ("the weather",))


def test_a_doubt_that_changes_nothing_is_no_doubt() -> None:
    answer = decided(filtering(rule(RAIN, DROP), default=DROP), SSH).answer
    assert (answer.fate, answer.reasons) == ("drop", ())


def test_a_doubt_and_its_negation_cover_everything() -> None:
    assert fate(filtering(rule(RAIN, ACCEPT), rule(Not(RAIN), ACCEPT)), SSH) == "accept"
    assert fate(filtering(rule(All((RAIN, Not(RAIN))), ACCEPT)), SSH) == "drop"


def test_the_same_doubt_in_two_tables_has_the_same_answer() -> None:
    both = rules(
        table(base(rule(RAIN, DROP), priority=-1), name="one"), table(base(rule(Not(RAIN), DROP)), name="other")
    )
    assert fate(both, SSH) == "drop"


def test_two_different_doubts_are_not_the_same() -> None:
    snow = Opaque("snow", "the weather")
    assert fate(filtering(rule(RAIN, ACCEPT), rule(Not(snow), ACCEPT)), SSH) == "depends"


def test_an_unknown_return_before_a_drop_is_not_left_out() -> None:
    called = chain("limits", rule(RAIN, RETURN), always(DROP))
    one = rules(table(base(jump("limits"), always(ACCEPT)), called))
    assert fate(one, SSH) == "depends"


def test_a_queue_is_decided_by_a_program() -> None:
    answer = decided(filtering(rule(port(22), Queue()), default=ACCEPT), SSH).answer
    assert (answer.fate, answer.reasons) == ("depends", ("a program that decides",))


def test_a_statement_that_is_not_understood_may_accept_drop_or_do_nothing() -> None:
    before_drop = filtering(rule(port(22), Unknown("tproxy to :1")), default=DROP)
    before_accept = filtering(rule(port(22), Unknown("tproxy to :1")), default=ACCEPT)
    assert {fate(before_drop, SSH), fate(before_accept, SSH)} == {"depends"}
    assert (fate(before_drop, WEB), fate(before_accept, WEB)) == ("drop", "accept")
    assert decided(before_drop, SSH).answer.reasons == ("tproxy to :1",)


def test_a_rate_limit_is_a_doubt_for_packets_of_its_family() -> None:
    limited = RateLimit(Field.SRC4, Limit(10, Unit.MINUTE), "limits")
    one = filtering(rule(limited, ACCEPT))
    answer = decided(one, SSH).answer
    assert (answer.fate, answer.reasons) == ("depends", ("rate limit",))
    assert fate(one, to_port(22, source="2001:db8::7", to="2001:db8::1")) == "drop"


def test_every_reason_is_told_once_and_in_order() -> None:
    snow = Opaque("snow", "snow")
    answer = decided(filtering(rule(RAIN, ACCEPT), rule(snow, ACCEPT), rule(All((RAIN, snow)), ACCEPT)), SSH).answer
    assert answer.reasons == ("snow", "the weather")


def test_a_settled_diagram_has_no_doubt_left() -> None:
    analysis = Analysis(Family.IPV4)
    found = analysis.inbound(filtering(rule(RAIN, ACCEPT)))
    assert found.level != LEAF
    assert analysis.settle(found).level == LEAF


# ------------------------------------------------------------------ which rule


def test_the_answer_names_the_rule_that_decides() -> None:
    one = filtering(rule(port(80), DROP), rule(port(22), ACCEPT))
    assert decided(one, SSH).place == Place(0, "input0", 1)


def test_a_default_that_decides_is_named_as_such() -> None:
    assert decided(filtering(rule(port(80), DROP)), SSH).place == Place(0, "input0", -1)


def test_a_rule_in_a_called_chain_is_named_there() -> None:
    one = rules(
        table(base(jump("services"), default=DROP), chain("services", rule(udp(1), DROP), rule(port(22), ACCEPT)))
    )
    assert decided(one, SSH).place == Place(0, "services", 1)


def test_an_accepting_rule_is_named_even_if_later_chains_accept_by_default() -> None:
    one = rules(
        table(base(rule(port(22), ACCEPT), priority=-10, default=DROP), name="early"),
        table(base(rule(port(80), DROP), priority=10), name="late"),
    )
    assert decided(one, SSH).place == Place(0, "input-10", 0)


def test_without_any_base_chain_no_rule_decides() -> None:
    assert decided(rules(table(chain("unused", always(DROP)))), SSH).place is None


def test_rules_that_do_the_same_in_another_way_are_the_same_diagram() -> None:
    analysis = Analysis(Family.IPV4)
    left = filtering(rule(port(22), ACCEPT), rule(port(443), ACCEPT))
    right = rules(
        table(
            base(jump("services"), default=DROP),
            chain(
                "services",
                rule(Test(Field.PROTOCOL, ((SCTP, SCTP),)), RETURN),
                rule(Any((port(443), port(22))), ACCEPT),
            ),
        )
    )
    assert analysis.inbound(left) is analysis.inbound(right)


def test_outgoing_packets_meet_output_and_postrouting() -> None:
    one = rules(
        table(base(rule(port(25), REJECT), hook=Hook.OUTPUT), base(rule(port(22), DROP), hook=Hook.POSTROUTING))
    )
    address = parse_address("198.51.100.7")[1]

    def sent(number: int) -> Packet:
        return Packet(Family.IPV4, TCP, "", 7, address, 40000, number, oif="eth0")

    assert [fate(one, sent(number)) for number in (25, 22, 443)] == ["reject", "drop", "accept"]


def test_a_base_chain_of_another_hook_has_no_say() -> None:
    for hook in (Hook.OUTPUT, Hook.FORWARD, Hook.POSTROUTING):
        assert fate(rules(table(base(always(DROP), hook=hook))), SSH, HOST) == "accept"
    assert Base(Hook.INPUT, 0).default == ACCEPT
    assert fate(filtering(rule(ALWAYS, ACCEPT)), SSH) == "accept"
