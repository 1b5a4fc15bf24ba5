"""Whether planned rules would lock the administrators out: decided by the engine, before anything is touched."""

from __future__ import annotations

from datetime import date

import pytest

from portgate import language
from portgate.backends import get
from portgate.core.addresses import Host
from portgate.core.audit import Finding, Situation
from portgate.core.capture import Reading
from portgate.core.compile import compile as compiled
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import parse_interfaces
from portgate.core.listener import Listener, Process
from portgate.core.lockout import lockouts
from portgate.core.net import Family, parse_address
from portgate.core.ruleset import Ruleset
from portgate.core.sessions import Session, parse_sessions, session_of

TODAY = date(2026, 11, 21)
INTERFACES = "lo:127.0.0.1/8,eth0:192.0.2.1/24,eth0:2001:db8:1::1/64,eth1:10.0.0.1/24"
OFFICE = "198.51.100.7 40000 192.0.2.1 22"
HEAD = """portgate: 1
zones:
  office: {sources: [198.51.100.0/24, "2001:db8:42::/48"]}
  inner: {interfaces: [eth1]}
"""


def rules_of(script: str) -> Ruleset:
    return get("nftables").parse((Reading("nft", script, "test"),)) if script else Ruleset(())


def listener(port: int, program: str = "sshd", address: str | None = None) -> Listener:
    at = None if address is None else parse_address(address)
    family = Family.IPV6 if at is None else at[0]
    return Listener("stream", 6, family, at and at[1], port, at is None, processes=(Process(1, program),))


def objections(
    policy: str, *sessions: str, live: str = "", listeners: tuple[Listener, ...] = (listener(22),), known: bool = True
) -> tuple[Finding, ...]:
    loaded = language.load("policy.yaml", lambda path: (HEAD + policy).encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    host = Host(parse_interfaces(Reading("interfaces", INTERFACES, "test")) if known else None)
    desired = compiled(loaded.policy, TODAY)
    situation = Situation(rules_of(live), listeners, host, loaded.policy, desired, TODAY)
    return lockouts(situation, [session_of(one) for one in sessions])


def codes(found: tuple[Finding, ...]) -> list[str]:
    return [one.code for one in found]


# ------------------------------------------------------------------ sessions


def test_a_policy_that_lets_the_session_back_in_is_no_lock_out() -> None:
    assert objections("inbound: {allow: [{port: ssh, from: office}]}", OFFICE) == ()


def test_a_policy_without_ssh_would_not_let_the_caller_back_in() -> None:
    (found,) = objections("inbound: {allow: [https]}", OFFICE)
    assert found.code == "PG541"
    assert "198.51.100.7 to port 22" in found.diagnostic.detail
    assert "the default of chain input in portgate decides" in found.diagnostic.detail
    assert found.diagnostic.remedy == (
        "allow {port: 22/tcp, from: 198.51.100.7}, or go on all the same with --override PG541"
    )
    assert found.packet is not None
    assert (found.packet.iif, found.packet.dport) == ("eth0", 22)


def test_a_block_that_takes_the_session_away_is_named_with_its_line() -> None:
    (found,) = objections("inbound:\n  allow: [ssh]\n  block:\n    - {id: bad, from: 198.51.100.7}\n", OFFICE)
    assert found.code == "PG541"
    assert found.diagnostic.span is not None
    assert (found.diagnostic.span.file, found.diagnostic.span.line) == ("policy.yaml", 8)
    assert "take 198.51.100.7 out of bad" in (found.diagnostic.remedy or "")


def test_a_session_on_another_port_is_judged_by_its_own_port() -> None:
    session = OFFICE.replace(" 22", " 2222")
    assert objections("inbound: {allow: [2222/tcp]}", session) == ()
    assert codes(objections("inbound: {allow: [ssh]}", session)) == ["PG541"]


def test_a_session_over_ipv6_is_judged_by_ipv6() -> None:
    session = "2001:db8:42::7 40000 2001:db8:1::1 22"
    assert objections("inbound: {allow: [{port: ssh, from: office}]}", session) == ()
    assert codes(objections("inbound: {allow: [{port: ssh, from: 198.51.100.0/24}]}", session)) == ["PG541"]


def test_a_mapped_address_is_ipv4() -> None:
    session = "::ffff:198.51.100.7 40000 ::ffff:192.0.2.1 22"
    assert objections("inbound: {allow: [{port: ssh, from: 198.51.100.0/24}]}", session) == ()


def test_the_interface_is_that_of_the_peers_network_or_of_the_address_it_sends_to() -> None:
    policy = "inbound: {allow: [{port: ssh, from: inner}]}"
    assert objections(policy, "10.0.0.9 40000 10.0.0.1 22") == ()
    assert objections(policy, "203.0.113.9 40000 10.0.0.1 22") == ()
    assert codes(objections(policy, OFFICE)) == ["PG541"]


def test_a_limit_of_new_connections_locks_nobody_out() -> None:
    assert objections("inbound: {allow: [{port: ssh, limit: 3/minute}]}\nmanagement: {from: office}", OFFICE) == ()


@pytest.mark.parametrize("hook", ["input", "output"])
def test_foreign_rules_without_connection_tracking_cut_the_session(hook: str) -> None:
    live = f"table inet other {{ chain c {{ type filter hook {hook} priority 0; policy drop; }} }}"
    found = objections("inbound: {allow: [ssh]}", OFFICE, live=live)
    assert codes(found)[0] == "PG540"
    assert "your session" in found[0].diagnostic.detail
    assert "chain c in inet other" in found[0].diagnostic.detail
    assert (found[0].diagnostic.remedy or "").startswith("change the rules that decide it")


def test_a_doubt_that_is_there_already_is_no_objection() -> None:
    live = (
        "table inet other { chain c { type filter hook input priority 0; policy drop;"
        " ct state established accept; tcp dport 22 limit rate 5/second accept; } }"
    )
    assert objections("inbound: {allow: [ssh]}", OFFICE, live=live) == ()


def test_others_who_could_not_come_back_are_told_and_stop_nothing() -> None:
    (found,) = objections("inbound: {allow: [{port: ssh, from: office}]}", OFFICE, "203.0.113.9 50000 192.0.2.1 22")
    assert found.code == "PG543"
    assert found.diagnostic.severity == "warning"


def test_a_session_that_ends_in_another_network_namespace_is_not_ours_to_judge() -> None:
    assert objections("inbound: {allow: [https]}", "198.51.100.7 40000 203.0.113.80 22") == ()


def test_a_session_from_this_host_itself_comes_in_on_loopback() -> None:
    assert objections("inbound: {allow: [https]}", "192.0.2.1 40000 192.0.2.1 22") == ()


# ------------------------------------------------------------------ management


def test_management_without_a_grant_for_ssh_is_locked_out_in_both_families() -> None:
    found = objections("inbound: {allow: [https]}\nmanagement: {from: office}")
    assert codes(found) == ["PG542", "PG542"]
    assert "management from office would not reach port 22" in found[0].diagnostic.detail
    assert found[0].packet is not None
    assert found[0].packet.src >> 8 == parse_address("198.51.100.0")[1] >> 8


def test_management_must_get_in_as_a_whole() -> None:
    policy = "inbound: {allow: [ssh], block: [{id: one, from: 198.51.100.77}]}\nmanagement: {from: office}"
    (found,) = objections(policy)
    assert found.packet is not None
    assert found.packet.src == parse_address("198.51.100.77")[1]
    assert found.diagnostic.span is not None


def test_management_that_gets_in_is_no_objection() -> None:
    assert objections("inbound: {allow: [{port: ssh, from: office}]}\nmanagement: {from: office}") == ()
    assert objections("inbound: {allow: [{port: ssh, from: office}]}\nmanagement: {from: office}", known=False) == ()


def test_the_servers_own_port_counts_and_not_its_number() -> None:
    policy = "inbound: {allow: [2222/tcp]}\nmanagement: {from: office}"
    assert objections(policy, listeners=(listener(2222),)) == ()
    assert codes(objections(policy, listeners=(listener(2222), listener(22, "other")))) == ["PG542"] * 2


def test_a_server_on_one_family_is_asked_about_that_only() -> None:
    found = objections("inbound: {}\nmanagement: {from: office}", listeners=(listener(22, address="192.0.2.1"),))
    assert codes(found) == ["PG542"]


def test_foreign_rules_that_stop_the_management_are_named() -> None:
    live = "table inet other { chain c { type filter hook input priority 0; ip saddr 198.51.100.128/25 tcp dport 22 drop; } }"
    (found,) = objections("inbound: {allow: [ssh]}\nmanagement: {from: office}", live=live)
    assert "rule 1 of chain c in inet other decides" in found.diagnostic.detail
    assert found.packet is not None
    assert found.packet.src >> 7 == parse_address("198.51.100.128")[1] >> 7


# ------------------------------------------------------------------ readings


def test_what_is_written_of_a_session_reads_back() -> None:
    for line in (OFFICE, "2001:db8::7 1 2001:db8:1::1 65535", "fe80::7%eth0 5 fe80::1 22"):
        assert str(session_of(line)) == line


def test_a_zone_is_the_interface() -> None:
    assert session_of("fe80::7%eth1 5 fe80::1 22").zone == "eth1"


@pytest.mark.parametrize(
    "line",
    ["", "198.51.100.7", "a 1 b 2", "198.51.100.7 1 2001:db8::1 22", "198.51.100.7 x 192.0.2.1 22", "1 2 3 99999"],
)
def test_a_line_that_is_no_connection_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        session_of(line)


def test_a_damaged_reading_is_told() -> None:
    with pytest.raises(PortgateError, match="PG445"):
        parse_sessions(Reading("ssh-connections", f"{OFFICE}\nnonsense\n", "saved"))


def test_the_first_session_is_the_callers() -> None:
    reading = Reading("ssh-connections", f"{OFFICE}\n203.0.113.9 5 192.0.2.1 22\n{OFFICE}\n", "saved")
    assert parse_sessions(reading) == (session_of(OFFICE), session_of("203.0.113.9 5 192.0.2.1 22"))
    assert isinstance(parse_sessions(reading)[0], Session)
