"""`expect`: every entry holds for every packet that it names, or a packet shows why not."""

from __future__ import annotations

from random import Random

import pytest

from portgate.core.broken import diagnostic
from portgate.core.diagnostics import Diagnostic
from portgate.core.expect import MOST, Result, check
from tests import policy_oracle
from tests.expect.reading import TODAY, policy
from tests.generate import policies as random_policies
from tests.packet import Packet

ALLOWED = """
zones:
  lan: {interfaces: [eth1]}
  office: {sources: [198.51.100.0/24, "2001:db8:42::/48"]}
inbound:
  block:
    - {from: 203.0.113.66}
  allow:
    - https
    - {port: ssh, from: office}
    - {port: 8000-8100/tcp, from: lan}
    - {port: smtp, limit: 10/minute}
    - {port: 9000/tcp, to: 192.0.2.5}
    - {port: 9999/tcp, expires: 2020-01-01}
    - ping
forward:
  - {port: 2222/tcp, to: "10.0.0.7:22", from: office}
  - {port: 81/tcp, to: 8081}
"""


def results(text: str, expectations: str) -> tuple[Result, ...]:
    return check(policy(f"{text}expect:\n{expectations}"), TODAY)


def one(expectation: str, text: str = ALLOWED) -> Result:
    return results(text, f"  - {expectation}\n")[0]


def told(expectation: str, text: str = ALLOWED) -> Diagnostic:
    wanted = policy(f"{text}expect:\n  - {expectation}\n")
    found = diagnostic(wanted, check(wanted, TODAY)[0], TODAY)
    assert found is not None
    return found


def line(diagnostic: Diagnostic, number: int) -> str:
    """What is said at the n-th related place, with the source line."""
    span, message = diagnostic.related[number]
    source = f"portgate: 1\n{ALLOWED}".splitlines()[span.line - 1].strip()
    return f"{source} {message}"


@pytest.mark.parametrize(
    "expectation",
    [
        "{port: https, from: {any: any, except: 203.0.113.66}, is: accepted}",
        "{port: ssh, from: office, is: accepted}",
        "{port: ssh, from: {any: any, except: office}, is: blocked}",
        "{port: telnet, from: any, is: blocked}",
        "{from: 203.0.113.66, is: blocked}",
        "{port: smtp, from: 198.51.100.1, is: accepted}",
        "{port: 9000/tcp, from: 198.51.100.1, to: 192.0.2.5, is: accepted}",
        "{port: 9000/tcp, to: 192.0.2.6, is: blocked}",
        "{port: 2222/tcp, from: 198.51.100.1, is: accepted}",
        "{port: 9999/tcp, is: blocked}",
        "{proto: [gre, esp], is: blocked}",
        "{only: [https, ssh, 8000-8100/tcp, smtp, 9000/tcp, ping, 2222/tcp, 81/tcp]}",
    ],
)
def test_a_kept_promise_has_no_counterexample(expectation: str) -> None:
    assert one(expectation).holds


def test_an_expectation_speaks_of_both_families() -> None:
    only_ipv4 = 'inbound: {allow: [{port: https, from: "0.0.0.0/0"}]}\n'
    result = one("{port: https, is: accepted}", only_ipv4)
    assert [each.packet.family for each in result.counterexamples] == [6]


def test_from_any_includes_the_blocked_sources_and_the_block_is_blamed() -> None:
    found = told("{port: https, from: any, is: accepted}")
    assert found.code == "PG620"
    assert "203.0.113.66" in found.detail
    assert "block" in found.detail
    assert line(found, 0).startswith("- {from: 203.0.113.66} blocks tcp 203.0.113.66")
    assert found.remedy is not None
    assert "except" in found.remedy


def test_what_nobody_allows_is_told_with_the_grants_that_come_near() -> None:
    found = told("{port: ssh, from: 192.0.2.7, is: accepted}")
    assert "no grant allows it, and the default is drop" in found.detail
    assert line(found, 0).startswith("- {port: ssh, from: office} allows the port")
    expired = told("{port: 9999/tcp, from: 192.0.2.7, is: accepted}")
    assert "expired" in line(expired, 0)


def test_a_limited_grant_is_blamed_for_what_it_lets_through() -> None:
    found = told("{port: smtp, is: blocked}")
    assert found.code == "PG621"
    assert "up to a rate limit" in found.detail
    assert line(found, 0).startswith("- {port: smtp, limit: 10/minute} allows tcp")


def test_a_forwarded_port_leads_back_to_its_forward() -> None:
    assert line(told("{port: 2222/tcp, is: blocked}"), 0).startswith("- {port: 2222/tcp, to:")
    assert line(told("{port: 81/tcp, is: blocked}"), 0).startswith("- {port: 81/tcp, to: 8081}")


def test_only_blames_each_grant_that_opens_more() -> None:
    found = told("{only: [https, ping]}")
    assert found.code == "PG622"
    lines = [line(found, number).split("} ")[0] for number in range(len(found.related))]
    assert len(lines) == 6
    assert {each.split(",")[0] for each in lines} == {
        "- {port: ssh", "- {port: 8000-8100/tcp", "- {port: smtp", "- {port: 9000/tcp", "- {port: 2222/tcp", "- {port: 81/tcp",
    }  # fmt: skip


def test_a_default_that_accepts_is_blamed_where_no_grant_is() -> None:
    found = told("{only: [https]}", "inbound: {default: accept}\n")
    assert "the default is accept" in found.detail
    assert found.related == ()


def test_only_does_not_mean_what_every_host_needs() -> None:
    assert one("{only: []}", "inbound: {default: drop}\n").holds
    assert not one("{only: []}", "inbound: {allow: [ping]}\n").holds


def test_a_broken_promise_does_not_fill_the_screen() -> None:
    many = "inbound:\n  allow:\n" + "".join(f"    - {port}/tcp\n" for port in range(1000, 1100))
    assert len(one("{only: []}", many).counterexamples) == MOST


def test_counterexamples_are_what_another_reading_of_the_policy_says() -> None:
    """Expectations over random policies, each answer checked packet by packet by the slow oracle."""
    broken = 0
    for seed in range(150):
        rng = Random(seed)
        text = random_policies.policy(rng).replace("portgate: 1\n", "")
        expectations = "".join(f"  - {each}\n" for each in EXPECTATIONS)
        wanted = policy(f"{text}expect:\n{expectations}")
        for result in check(wanted, TODAY):
            for example in result.counterexamples:
                assert policy_oracle.decide(wanted, as_test_packet(example.packet), TODAY) in MEANING[example.fate]
                if example.grant is not None:
                    assert policy_oracle.matches(example.grant, as_test_packet(example.packet))
                broken += 1
    assert broken > 500


EXPECTATIONS = (
    "{port: [ssh, 443/tcp], from: 10.0.0.0/8, is: accepted}",
    "{port: ssh, is: blocked}",
    '{port: 53/udp, from: ["2001:db8::/32", 198.51.100.0/24], is: accepted}',
    "{proto: gre, is: blocked}",
    "{only: [https, ping]}",
)
MEANING = {"accept": ("accept",), "drop": ("drop",), "reject": ("reject",), "depends": ("depends", "accept")}


def as_test_packet(packet: object) -> Packet:
    names = ("family", "protocol", "iif", "src", "dst", "sport", "dport", "icmp_type", "icmp_code")
    values = [getattr(packet, name) for name in names]
    values[4] = 0 if values[4] is None else values[4]
    return Packet(*values)
