"""What a policy asks for and the host, as it is now, has not got."""

from __future__ import annotations

from datetime import date

import pytest

from portgate import language
from portgate.core.addresses import Host
from portgate.core.diagnostics import Diagnostic, Severity
from portgate.core.facts import Facts
from portgate.core.listener import Interface
from portgate.core.policy import Policy
from portgate.core.shortfalls import concerns, shortfalls

HOST = Host((Interface("lo"), Interface("eth0"), Interface("enp3s0")))


def policy(text: str) -> Policy:
    loaded = language.load("policy.yaml", lambda _: f"portgate: 1\n{text}".encode(), date(2026, 1, 1))
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


def found(text: str, host: Host = HOST, facts: Facts = Facts()) -> list[Diagnostic]:  # noqa: B008 - a frozen value
    return list(shortfalls(policy(text), host, facts))


ZONE = "zones: {lan: {interfaces: [%s]}}\ninbound: {allow: [{port: ssh, from: lan}, {port: https, from: lan}]}\n"


def test_an_interface_that_is_not_there_is_told_once_with_its_first_use_and_a_near_name() -> None:
    (one,) = found(ZONE % "eht0")
    assert one.code == "PG451"
    assert one.severity is Severity.WARNING
    assert one.span is not None
    assert one.span.line == 3
    assert "zone lan" in one.detail
    assert one.remedy == "did you mean eth0?"


def test_without_a_near_name_the_interfaces_are_listed() -> None:
    (one,) = found(ZONE % "tailscale0")
    assert one.remedy == "the interfaces of this host are lo, eth0, enp3s0"


@pytest.mark.parametrize("name", ["eth0", '"wg*"'])
def test_interfaces_that_are_there_and_patterns_are_no_matter(name: str) -> None:
    assert found(ZONE % name) == []


def test_nothing_is_said_where_the_interfaces_are_not_known() -> None:
    assert found(ZONE % "eht0", Host()) == []


def test_the_zone_of_management_counts_too() -> None:
    (one,) = found("zones: {lan: {interfaces: [eht0]}}\nmanagement: {from: lan}\n")
    assert one.span is None


FORWARD = "forward: [{port: 2222/tcp, to: '%s'}]\n"


def test_a_forward_to_another_host_needs_the_kernel_to_forward_in_its_family() -> None:
    off = Facts(forwards_ipv4=False, forwards_ipv6=True)
    (one,) = found(FORWARD % "10.0.0.7:22", facts=off)
    assert one.code == "PG452"
    assert "net.ipv4.ip_forward" in (one.remedy or "")
    assert found(FORWARD % "[2001:db8::7]:22", facts=off) == []


@pytest.mark.parametrize("facts", [Facts(), Facts(forwards_ipv4=True)])
def test_forwarding_that_is_on_or_not_known_is_no_matter(facts: Facts) -> None:
    assert found(FORWARD % "10.0.0.7:22", facts=facts) == []


def test_a_forward_to_a_local_port_needs_nothing() -> None:
    assert found("forward: [{port: 80/tcp, to: 8080}]\n", facts=Facts(forwards_ipv4=False)) == []


@pytest.mark.parametrize(
    ("text", "matters"),
    [(ZONE % "eth0", True), (FORWARD % "10.0.0.7:22", True), ("inbound: {allow: [https]}\n", False)],
)
def test_the_host_is_worth_asking_only_about_interfaces_and_forwards(text: str, matters: bool) -> None:
    assert concerns(policy(text)) is matters
