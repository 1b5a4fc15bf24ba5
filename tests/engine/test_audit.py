"""Who can be reached from where, which rule decides, and each finding by its name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from portgate.core.audit import Audit, Exposure, Situation, audit
from portgate.core.facts import Facts
from portgate.core.listener import Listener, Process
from portgate.core.net import TCP, UDP, Family, parse_address
from portgate.core.policy import Default, Grant, Policy, Rulebook, Traffic
from portgate.core.ruleset import All, Element, Field, Hook, Lookup, NamedSet, Opaque, Place, Ruleset, Test
from portgate.core.semantics import Fate
from tests.engine.rules import (
    ACCEPT,
    DROP,
    HOST,
    always,
    base,
    chain,
    destination,
    dnat,
    filtering,
    goto,
    iif,
    jump,
    port,
    rule,
    rules,
    source,
    table,
    translating,
    udp,
)

V4, V6 = Family.IPV4, Family.IPV6
SSHD = Process(812, "sshd", "root")


def listener(number: int, address: str | None = None, *, protocol: int = TCP, family: Family = V4) -> Listener:
    kind = "stream" if protocol == TCP else "datagram"
    return Listener(
        kind, protocol, family, None if address is None else parse_address(address)[1], number, processes=(SSHD,)
    )


SSH = listener(22)


def audited(live: Ruleset, *listeners: Listener, wanted: Ruleset | None = None) -> Audit:
    return audit(Situation(live, listeners, HOST, desired=wanted))


def exposure(live: Ruleset, one: Listener) -> Exposure:
    (found,) = audited(live, one).exposures
    return found


def told(found: Exposure) -> dict[str, list[str]]:
    """Fate -> the packets that meet it, in words."""
    result: dict[str, list[str]] = {}
    for reach in found.reaches:
        words = [("all but " if reach.described.but else "") + str(cube) for cube in reach.described.cubes]
        result.setdefault(reach.fate.value, []).extend(words or ["everything"])
    return result


def codes(found: Audit) -> list[str]:
    return [one.code for one in found.findings]


OFFICE_ONLY = filtering(rule(All((port(22), source("198.51.100.0/24"))), ACCEPT))
OPEN = filtering(rule(port(22), ACCEPT))
CLOSED = filtering()


# ------------------------------------------------------------------ exposures


def test_an_open_listener_is_reachable_from_everywhere() -> None:
    found = exposure(OPEN, SSH)
    assert found.fate is Fate.ACCEPT
    assert [reach.answer.place for reach in found.reaches] == [Place(0, "input0", 0)]


def test_a_closed_listener_names_the_default_that_closes_it() -> None:
    found = exposure(CLOSED, SSH)
    assert found.fate is Fate.DROP
    assert not found.reachable
    assert found.reaches[0].answer.place == Place(0, "input0", -1)


def test_a_listener_is_reachable_from_where_rules_say() -> None:
    found = exposure(OFFICE_ONLY, SSH)
    assert found.fate is Fate.DEPENDS
    accepted = next(one for one in found.reaches if one.fate is Fate.ACCEPT)
    assert "198.51.100.0/24" in str(accepted.described.cubes[0])
    assert accepted.packet.src >> 8 == parse_address("198.51.100.0")[1] >> 8


def test_a_listener_on_loopback_is_local_whatever_the_rules_say() -> None:
    found = audited(CLOSED, listener(5432, "127.0.0.1"), listener(5433, "::1", family=V6))
    assert [(one.local, one.reaches) for one in found.exposures] == [(True, ()), (True, ())]
    assert codes(found) == []


def test_a_listener_bound_to_an_address_is_asked_there_only() -> None:
    one_address = filtering(rule(All((port(22), destination("10.0.0.1"))), ACCEPT))
    assert exposure(one_address, listener(22, "10.0.0.1")).fate is Fate.ACCEPT
    assert exposure(one_address, listener(22, "192.0.2.1")).fate is Fate.DROP


def test_a_wildcard_listener_has_all_addresses_of_the_host() -> None:
    one_address = filtering(rule(All((port(22), destination("10.0.0.1"))), ACCEPT))
    assert exposure(one_address, SSH).fate is Fate.DEPENDS


def test_a_listener_bound_to_a_device_is_reached_through_that_alone() -> None:
    lan_only = filtering(rule(All((port(22), iif("eth1"))), ACCEPT))
    assert exposure(lan_only, replace(SSH, device="eth1")).fate is Fate.ACCEPT
    assert exposure(lan_only, replace(SSH, device="eth0")).fate is Fate.DROP
    assert exposure(lan_only, replace(SSH, device="lo")).local


def test_a_dual_listener_is_asked_in_both_families() -> None:
    only_six = filtering(rule(All((port(22), Test(Field.FAMILY, ((6, 6),)))), ACCEPT))
    dual = Listener("stream", TCP, V6, None, 22, dual=True)
    found = exposure(only_six, dual)
    assert {one.family: one.fate for one in found.reaches} == {V4: Fate.DROP, V6: Fate.ACCEPT}
    assert found.fate is Fate.DEPENDS


def test_a_listener_of_one_protocol_is_not_opened_by_another() -> None:
    only_udp = filtering(rule(udp(53), ACCEPT))
    assert exposure(only_udp, listener(53)).fate is Fate.DROP
    assert exposure(only_udp, listener(53, protocol=UDP)).fate is Fate.ACCEPT


def test_a_listener_that_hangs_on_a_doubt_is_reachable_perhaps() -> None:
    found = exposure(filtering(rule(All((port(22), Opaque("rain", "the weather"))), ACCEPT)), SSH)
    assert found.fate is Fate.DEPENDS
    assert found.reachable
    assert found.reaches[0].answer.reasons == ("the weather",)


def test_a_forwarded_port_reaches_the_listener_behind_it() -> None:
    live = rules(
        table(
            translating(rule(port(80), dnat(None, 8080))),
            base(rule(All((port(8080), Test(Field.DNATED, ((1, 1),)))), ACCEPT), default=DROP),
        )
    )
    found = exposure(live, listener(8080))
    accepted = [one for one in found.reaches if one.fate is Fate.ACCEPT]
    assert {one.answer.landing.port for one in accepted if one.answer.landing} == {8080}
    assert {one.packet.dport for one in accepted} == {80}
    assert told(found)["drop"]


def test_a_port_that_is_sent_elsewhere_does_not_reach_the_listener_on_it() -> None:
    live = rules(table(translating(rule(port(80), dnat(None, 8080))), base(rule(port(8080), ACCEPT), default=DROP)))
    found = exposure(live, listener(80))
    assert [one.fate for one in found.reaches] == []
    assert found.fate is None


def test_loopback_packets_are_not_from_outside() -> None:
    only_lo = filtering(rule(iif("lo"), ACCEPT))
    assert exposure(only_lo, SSH).fate is Fate.DROP


def test_exposures_come_sorted_whatever_the_order_of_listeners() -> None:
    some = [listener(443), SSH, listener(53, protocol=UDP), listener(80)]
    forward, backward = audited(OPEN, *some), audited(OPEN, *reversed(some))
    assert forward.exposures == backward.exposures
    assert [one.listener.port for one in forward.exposures] == [22, 80, 443, 53]


def test_large_sets_are_cut_to_the_listeners_and_nothing_changes() -> None:
    keys = (Field.PROTOCOL, Field.DPORT)
    some = NamedSet("allowed", keys, tuple(Element(((TCP, TCP), (one, one))) for one in range(1, 3000, 3)))
    live = rules(table(base(rule(Lookup(keys, "allowed"), ACCEPT), default=DROP), sets=(some,)))
    found = audited(live, listener(22), listener(23), listener(25))
    assert [one.fate for one in found.exposures] == [Fate.ACCEPT, Fate.DROP, Fate.ACCEPT]


# ------------------------------------------------------------------ findings about listeners


def test_pg601_listening_and_blocked_names_the_rule() -> None:
    found = audited(filtering(rule(port(22), DROP), default=ACCEPT), SSH)
    assert codes(found) == ["PG601"]
    (finding,) = found.findings
    assert finding.place == Place(0, "input0", 0)
    assert "rule 1 of chain input0 in filter" in finding.diagnostic.detail
    assert "sshd listens on tcp 0.0.0.0:22" in finding.diagnostic.detail
    assert "22/tcp" in (finding.diagnostic.remedy or "")


def test_pg601_counts_the_connections_that_go_on() -> None:
    (finding,) = audited(CLOSED, replace(SSH, connections=3)).findings
    assert "3 established connections" in finding.diagnostic.detail


def test_a_listener_that_somebody_may_reach_is_not_called_blocked() -> None:
    assert codes(audited(OFFICE_ONLY, SSH)) == []


def test_pg602_reachable_but_not_allowed() -> None:
    found = audited(OPEN, SSH, wanted=CLOSED)
    assert codes(found) == ["PG602"]
    (finding,) = found.findings
    assert finding.packet is not None
    assert finding.packet.dport == 22
    assert finding.place == Place(0, "input0", 0)


def test_what_the_policy_allows_is_no_finding() -> None:
    assert codes(audited(OPEN, SSH, wanted=OPEN)) == []


def test_pg602_is_found_where_the_policy_allows_fewer_sources() -> None:
    (finding,) = audited(OPEN, SSH, wanted=OFFICE_ONLY).findings
    assert finding.code == "PG602"
    assert finding.packet is not None
    assert finding.packet.src >> 8 != parse_address("198.51.100.0")[1] >> 8


def test_pg602_through_a_port_that_another_tool_forwards() -> None:
    forwarding = table(translating(rule(port(80), dnat(None, 8080))), base(rule(port(8080), ACCEPT), default=DROP))
    found = audited(rules(forwarding), listener(8080), wanted=filtering(rule(port(8080), ACCEPT)))
    assert codes(found) == ["PG602"]
    assert found.findings[0].packet is not None
    assert found.findings[0].packet.dport == 80
    assert codes(audited(rules(forwarding), listener(8080), wanted=rules(forwarding))) == []


def test_pg602_of_the_other_family() -> None:
    dual = Listener("stream", TCP, V6, None, 22, dual=True, processes=(SSHD,))
    only_four = filtering(rule(All((port(22), Test(Field.FAMILY, ((4, 4),)))), ACCEPT))
    (finding,) = audited(OPEN, dual, wanted=only_four).findings
    assert finding.code == "PG602"
    assert finding.packet is not None
    assert finding.packet.family is V6


def ours(*some: int, closed: bool = True) -> Ruleset:
    accepting = [rule(port(one), ACCEPT) for one in some]
    return rules(table(base(*accepting, default=DROP if closed else ACCEPT), name="portgate", owned=True))


def test_pg604_reachable_past_rules_of_ours_that_say_what_the_policy_says() -> None:
    publishing = table(translating(rule(port(8080), dnat("10.0.0.7", 80))), name="docker")
    live = Ruleset((*ours().containers, publishing))
    found = audited(live, listener(8080), wanted=ours())
    assert "PG604" in codes(found)


def test_pg605_allowed_by_the_policy_and_dropped_by_another_tool() -> None:
    meddling = table(base(rule(port(22), DROP), priority=-10), name="fail2ban")
    found = audited(Ruleset((*ours(22).containers, meddling)), SSH, wanted=ours(22))
    assert codes(found) == ["PG601", "PG605"]
    assert "in fail2ban" in found.findings[1].diagnostic.detail


def test_what_our_own_rules_drop_is_not_another_tools_doing() -> None:
    assert "PG605" not in codes(audited(ours(), SSH, wanted=ours(22)))


def test_pg606_listening_on_all_addresses_where_one_is_opened() -> None:
    one_address = filtering(rule(All((port(22), destination("10.0.0.1"))), ACCEPT))
    found = audited(one_address, SSH, wanted=one_address)
    assert codes(found) == ["PG606"]
    assert "1 of 2" in found.findings[0].diagnostic.detail
    assert codes(audited(one_address, listener(22, "10.0.0.1"), wanted=one_address)) == []


def test_pg609_a_listener_on_a_port_that_the_kernel_hands_out() -> None:
    everything = Ruleset()
    assert codes(audited(everything, listener(32768))) == ["PG609"]
    assert codes(audited(everything, listener(60999))) == ["PG609"]
    assert codes(audited(everything, listener(32767), listener(61000))) == []
    chosen = Situation(everything, (listener(32768),), HOST, facts=Facts(ephemeral_ports=(40000, 50000)))
    assert codes(audit(chosen)) == []
    kept = Situation(
        everything, (listener(40000), listener(40001)), HOST, facts=Facts(reserved_ports=((40001, 40001),))
    )
    assert [one.listener.port for one in audit(kept).findings if one.listener] == [40000]


@pytest.mark.parametrize("kind", ["raw", "packet"])
def test_pg610_sockets_that_firewalls_do_not_see(kind: str) -> None:
    sniffer = Listener(
        kind, 1 if kind == "raw" else 0x0800, V4 if kind == "raw" else None, None, None, processes=(SSHD,)
    )
    (finding,) = audited(CLOSED, sniffer).findings
    assert finding.code == "PG610"
    assert f"sshd has a {kind} socket open" in finding.diagnostic.detail


RISKS = {(6, 6379): "redis: no authentication by default"}


def test_pg611_a_risky_service_that_everybody_reaches() -> None:
    situation = Situation(Ruleset(), (listener(6379), listener(22)), HOST, risks=RISKS)
    (finding,) = audit(situation).findings
    assert finding.code == "PG611"
    assert "from everywhere; redis: no authentication by default" in finding.diagnostic.detail
    assert finding.packet is not None
    assert finding.packet.dport == 6379


def test_pg611_is_not_about_what_some_reach_or_nobody() -> None:
    some = filtering(rule(All((port(6379), source("198.51.100.0/24"))), ACCEPT))
    for live in (some, CLOSED):
        assert "PG611" not in codes(audit(Situation(live, (listener(6379),), HOST, risks=RISKS)))
    local = Situation(Ruleset(), (listener(6379, "127.0.0.1"),), HOST, risks=RISKS)
    assert codes(audit(local)) == []


# ------------------------------------------------------------------ findings about the policy and the rules


def granting(*traffic: Traffic, expires: date | None = None) -> Policy:
    grant = Grant("web-1", traffic, expires=expires)
    return Policy("web", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT))


def of_policy(policy: Policy, *listeners: Listener, today: date = date(2026, 11, 21), seen: bool = True) -> list[str]:
    return codes(audit(Situation(Ruleset(), listeners, HOST, policy, today=today, knows_listeners=seen)))


def test_pg603_a_grant_for_which_nothing_listens() -> None:
    assert of_policy(granting(Traffic(TCP, 443, 443))) == ["PG603"]
    assert of_policy(granting(Traffic(TCP, 443, 443)), listener(443)) == []
    assert of_policy(granting(Traffic(TCP, 443, 443)), listener(443, protocol=UDP)) == ["PG603"]
    assert of_policy(granting(Traffic(TCP, 8000, 8100)), listener(8042)) == []


def test_pg603_tells_when_any_user_may_take_a_port_that_is_root_s_elsewhere() -> None:
    def told(first: int | None) -> str:
        facts = Facts(first_unprivileged_port=first)
        policy = granting(Traffic(TCP, 443, 443))
        (finding,) = audit(Situation(Ruleset(), (), HOST, policy, today=date(2026, 11, 21), facts=facts)).findings
        return finding.diagnostic.detail

    assert told(80).endswith("nothing listens there; any user of this host may, for ip_unprivileged_port_start is 80")
    for first in (None, 1024, 444):
        assert told(first).endswith("nothing listens there")


def test_a_grant_of_a_protocol_without_ports_needs_no_listener() -> None:
    assert of_policy(granting(Traffic(1, 8, 8))) == []


def test_an_expired_grant_needs_no_listener() -> None:
    assert of_policy(granting(Traffic(TCP, 443, 443), expires=date(2026, 11, 20))) == []
    assert of_policy(granting(Traffic(TCP, 443, 443), expires=date(2026, 11, 21))) == ["PG603"]


def test_without_a_list_of_listeners_nothing_is_said_to_be_missing() -> None:
    assert of_policy(granting(Traffic(TCP, 443, 443)), seen=False) == []


def dead(live: Ruleset) -> list[Place | None]:
    found = audit(Situation(live))
    assert {one.code for one in found.findings} <= {"PG608"}
    return [one.place for one in found.findings]


def test_pg608_a_rule_behind_one_that_takes_everything() -> None:
    assert dead(filtering(rule(port(22), ACCEPT), always(DROP), rule(port(443), ACCEPT))) == [Place(0, "input0", 2)]


def test_pg608_a_rule_that_several_earlier_ones_cover_together() -> None:
    halves = rule(source("10.0.0.0/9"), DROP), rule(source("10.128.0.0/9"), DROP)
    assert dead(filtering(*halves, rule(source("10.0.0.0/8"), ACCEPT))) == [Place(0, "input0", 2)]
    assert dead(filtering(*halves, rule(source("10.0.0.0/7"), ACCEPT))) == []


def test_pg608_in_a_called_chain() -> None:
    called = chain("called", rule(port(22), ACCEPT), rule(port(22), DROP))
    assert dead(rules(table(base(jump("called")), called))) == [Place(0, "called", 1)]


def test_pg608_behind_a_jump_to_a_chain_that_always_decides() -> None:
    called = chain("called", always(DROP))
    assert dead(rules(table(base(jump("called"), rule(port(22), ACCEPT)), called))) == [Place(0, "input0", 1)]
    assert dead(rules(table(base(goto("called"), rule(port(22), ACCEPT)), called))) == [Place(0, "input0", 1)]


def test_a_rule_behind_a_doubt_is_not_called_dead() -> None:
    doubtful = rule(Opaque("rain", "the weather"), DROP)
    assert dead(filtering(doubtful, rule(port(22), ACCEPT))) == []


def test_a_rule_that_lives_in_one_family_only_is_not_called_dead() -> None:
    v4 = Test(Field.FAMILY, ((4, 4),))
    assert dead(filtering(rule(All((v4, port(22))), ACCEPT), rule(port(22), DROP), default=ACCEPT)) == []


def test_rules_for_marks_and_old_connections_are_not_called_dead() -> None:
    established = Test(Field.CT_STATE, ((1, 2),))
    marked = Test(Field.MARK, ((7, 7),))
    assert dead(filtering(rule(established, ACCEPT), rule(marked, ACCEPT), rule(port(22), ACCEPT))) == []


def test_rules_of_chains_that_translate_are_judged_in_their_own_chain() -> None:
    shadowed = rule(port(80), dnat(None, 8080)), rule(port(80), dnat(None, 9090))
    assert dead(rules(table(translating(*shadowed)))) == [Place(0, "prerouting-100nat", 1)]


def test_our_own_rules_are_not_blamed() -> None:
    assert dead(rules(table(base(always(DROP), always(DROP)), owned=True))) == []


def test_rules_of_hooks_beside_the_path_are_looked_at_as_well() -> None:
    live = rules(table(base(always(DROP), rule(port(22), ACCEPT), hook=Hook.FORWARD)))
    assert dead(live) == [Place(0, "forward0", 1)]
