"""Differences and listeners in words: where packets end, who they come from, and which family is meant."""

from __future__ import annotations

from datetime import date

import pytest

from portgate import backends, language
from portgate.core.addresses import Host
from portgate.core.audit import Audit, Finding, Situation, audit
from portgate.core.capture import Reading
from portgate.core.compile import compile as compiled
from portgate.core.diagnostics import Diagnostic
from portgate.core.listener import Interface, Listener
from portgate.core.net import TCP, Family, parse_address
from portgate.core.plan import Plan
from portgate.core.ruleset import Ruleset
from portgate.core.verify import differences
from portgate.report import audit as listeners
from portgate.report.plan import difference
from portgate.report.plan import lines as plan_lines

TODAY = date(2026, 1, 1)


def interface(name: str, *addresses: str) -> Interface:
    parsed = (one.partition("/") for one in addresses)
    return Interface(name, tuple((*parse_address(address), int(length)) for address, _, length in parsed))


HOST = Host((
    interface("lo", "127.0.0.1/8"),
    interface("eth0", "192.0.2.1/24", "2001:db8::1/64"),
    interface("eth1", "10.0.0.1/24"),
))  # fmt: skip


def desired(text: str) -> Ruleset:
    loaded = language.load("policy.yaml", lambda _: f"portgate: 1\n{text}".encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return compiled(loaded.policy, TODAY)


def told(before: str, after: str) -> list[str]:
    found = differences(desired(before), desired(after), HOST)
    return [line for one in found for line in difference(one)]


CLOSED = "inbound: {default: drop}\n"


def test_a_forward_to_a_local_port_is_one_difference_whatever_the_interface() -> None:
    lines = told(CLOSED, CLOSED + "forward: [{port: 80/tcp, to: 8080}]\n")
    assert [line for line in lines if "IPv4" in line] == ["  + to this host, IPv4: dropped -> accepted at port 8080"]
    assert "    such as tcp 198.51.100.7:40000 to 192.0.2.1:80 in eth0" in lines


def test_a_forward_to_another_host_says_where_to() -> None:
    lines = told(CLOSED, CLOSED + 'forward: [{port: 2222/tcp, to: "10.0.0.7:22"}]\n')
    assert lines[0] == "  + to this host, IPv4: dropped -> accepted at 10.0.0.7:22"


def test_what_the_host_sends_comes_from_its_own_address() -> None:
    lines = told(CLOSED, CLOSED + "outbound: {default: accept, block: [{port: smtp}]}\n")
    assert lines == [
        "  - from this host, IPv4: accepted -> dropped",
        "      tcp 25",
        "    such as tcp 192.0.2.1:40000 to 198.51.100.7:25 out eth0",
        "  - from this host, IPv6: accepted -> dropped",
        "      tcp 25",
        "    such as tcp [2001:db8::1]:40000 to [2001:db8::7]:25 out eth0",
    ]


def test_a_rate_limit_is_what_it_depends_on() -> None:
    lines = told(CLOSED, "inbound: {default: drop, allow: [{port: ssh, limit: 3/minute, from: 198.51.100.0/24}]}\n")
    assert lines == [
        "  + to this host, IPv4: dropped -> depends on rate limit",
        "      tcp 22 from 198.51.100.0/24",
        "    such as tcp 198.51.100.7:40000 to 192.0.2.1:22 in eth0",
    ]


# ------------------------------------------------------------------ who reaches a listener

SSH = Listener("stream", TCP, Family.IPV6, None, 22, dual=True)


def rows(rules: Ruleset, listener: Listener = SSH, host: Host = HOST) -> list[str]:
    found = audit(Situation(rules, (listener,), host))
    return [" ".join(line.split()) for line in listeners.lines(found, rules)][1:]


def test_a_family_that_is_open_to_anybody_is_not_mixed_with_one_that_is_not() -> None:
    text = "inbound: {default: drop, allow: [{port: ssh, from: [198.51.100.0/24, '::/0']}]}\n"
    four, six, *_ = rows(desired(text))
    assert "yes, from 198.51.100.0/24 (IPv4)" in four
    assert "yes, from anywhere (IPv6)" in six


def test_one_row_tells_both_families_where_they_are_alike() -> None:
    text = "inbound: {default: drop, allow: [{port: ssh, from: [198.51.100.0/24, '2001:db8:42::/48']}]}\n"
    (row,) = rows(desired(text))
    assert "yes, from 198.51.100.0/24, 2001:db8:42::/48 portgate input: ssh-" in row


def test_a_rate_limit_names_its_grant() -> None:
    row = rows(desired("inbound: {default: drop, allow: [{port: ssh, limit: 3/minute, id: jump}]}\n"))[0]
    assert "depends on rate limit, from anywhere portgate limited: jump" in row


def test_a_listener_in_a_family_without_addresses_cannot_be_reached() -> None:
    six = Listener("stream", TCP, Family.IPV6, None, 22)
    (row,) = rows(desired(CLOSED), six, Host((interface("eth0", "192.0.2.1/24"),)))
    assert "no, the host has no address for it" in row


def test_a_rule_of_somebody_else_is_named_by_table_chain_and_number() -> None:
    listing = "table ip other { chain input { type filter hook input priority 0; tcp dport 22 drop\n } }"
    rules = backends.get("nftables").parse((Reading("nft", listing, "saved"),))
    row = rows(rules, Listener("stream", TCP, Family.IPV4, None, 22))[0]
    assert row.startswith("tcp 0.0.0.0:22 no ip other input rule 1: tcp dport 22 drop")


@pytest.mark.parametrize(("device", "reached"), [("eth0", "yes, from anywhere"), ("eth1", "no")])
def test_a_listener_on_a_device_is_reached_through_that_device(device: str, reached: str) -> None:
    text = "zones: {lan: {interfaces: [eth0]}}\ninbound: {default: drop, allow: [{port: ssh, from: lan}]}\n"
    row = rows(desired(text), Listener("stream", TCP, Family.IPV4, None, 22, device=device))[0]
    assert reached in row


def test_a_plan_tells_some_of_many_findings_that_are_alike_and_an_audit_all() -> None:
    missing = [Finding(Diagnostic("PG603", f"nothing listens on {port}")) for port in range(25)]
    other = Finding(Diagnostic("PG601", "blocked"))
    found = Audit((), (*missing[:10], other, *missing[10:]), ())
    planned = list(plan_lines(Plan("web", "nftables", (), None, (), (), found), Ruleset(())))
    assert planned[-22:-1] == [*(f"PG603 nothing listens on {port}" for port in range(10)), "PG601 blocked"] + [
        f"PG603 nothing listens on {port}" for port in range(10, 20)
    ]
    assert planned[-1] == "and PG603 5 times more; `portgate audit POLICY` tells all"
    assert len([line for line in listeners.lines(found, Ruleset(())) if line.startswith("PG603")]) == 25
