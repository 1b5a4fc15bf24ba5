"""What a policy looks like in pf."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.backends.pf import BACKEND
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import lacking
from portgate.core.net import TCP, AddressSet
from portgate.core.policy import Default, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Accept, Base, Chain, Container, Field, Hook, Rule, Ruleset, Test
from tests.pf.texts import DIALECTS, lines, read
from tests.written import TODAY, loaded

SSH = "inbound:\n  allow:\n    - {port: ssh, from: 198.51.100.0/24, id: office-ssh}\n"
FORWARDS = """
inbound:
  block: [{from: 203.0.113.9, id: bad}]
forward:
  - {port: 80/tcp, to: 8080, id: web}
  - {port: 2222/tcp, to: "10.0.0.7:22", id: jump}
"""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_default_comes_first_and_grants_are_quick(dialect: str) -> None:
    found = lines(SSH, dialect)
    assert found[0] == 'block drop in all label "default"'
    assert (
        'pass in quick inet proto tcp from 198.51.100.0/24 to any port 22 flags S/SA keep state label "office-ssh"'
        in found
    )
    assert found[-1] == 'pass out all flags S/SA keep state label "default"'


def test_loopback_is_not_filtered_and_icmp_names_its_family() -> None:
    found = lines(SSH)
    assert 'pass in quick on lo0 all no state label "loopback"' in found
    assert all(" inet proto icmp " in one for one in found if "icmp-type" in one)
    assert all(" inet6 proto icmp6 " in one for one in found if "icmp6-type" in one)


def test_many_addresses_are_a_table() -> None:
    found = lines("inbound:\n  allow:\n    - {port: ssh, from: [10.0.0.1, 10.0.0.3, 10.0.0.5], id: three}\n")
    assert any(one.startswith("table <") for one in found)
    assert "    10.0.0.1, 10.0.0.3, 10.0.0.5" in found
    assert not any(one.endswith(",") for one in found)


def test_each_grant_has_its_own_label_also_where_many_block_addresses() -> None:
    found = lines("inbound:\n  block:\n    - {from: 10.0.0.1, id: one}\n    - {from: [10.0.0.3, 10.0.0.5], id: two}\n")
    labels = [one.partition(" label ")[2] for one in found if one.startswith("block drop in quick")]
    assert labels == ['"one"', '"two"']


def test_a_list_that_the_policy_names_keeps_its_name() -> None:
    many = ", ".join(f"10.0.{index}.1" for index in range(80))
    found = lines(f"addresses: {{abusers: [{many}]}}\ninbound:\n  block:\n    - {{from: abusers, id: bad}}\n")
    assert any(one.startswith("table <addr_abusers") for one in found)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_icmp_of_the_other_family_is_no_rule(dialect: str) -> None:
    """pfctl refuses `inet6 proto icmp`, and pf drops such packets by itself."""
    found = lines('inbound:\n  allow:\n    - {proto: icmp, from: [10.0.0.0/8, "2001:db8::/32"], id: x}\n', dialect)
    assert [one for one in found if '"x"' in one] == [
        'pass in quick inet proto icmp from 10.0.0.0/8 to any keep state label "x"'
    ]


def test_openbsd_translates_in_filter_rules() -> None:
    found = lines(FORWARDS, "openbsd")
    web = 'pass in quick inet proto tcp from any to (self) port 80 flags S/SA keep state label "web" rdr-to 127.0.0.1 port 8080'
    assert web in found
    assert not any(one.startswith("rdr") for one in found)
    blocked = next(index for index, one in enumerate(found) if one.startswith("block drop in quick"))
    assert blocked < found.index(web)


@pytest.mark.parametrize("dialect", ["freebsd", "macos"])
def test_freebsd_and_macos_translate_before_all_filter_rules(dialect: str) -> None:
    found = lines(FORWARDS, dialect)
    first_filter = next(index for index, one in enumerate(found) if one.split()[0] in ("pass", "block"))
    translations = [index for index, one in enumerate(found) if one.startswith(("rdr", "no rdr"))]
    assert max(translations) < first_filter
    assert "rdr pass inet proto tcp from any to (self) port 80 -> 127.0.0.1 port 8080" in found
    # FreeBSD drops what comes to ::1 from elsewhere.
    assert "rdr pass inet6 proto tcp from any to (self) port 80 -> ::/0 port 8080 bitmask" in found
    assert found[translations[0]] == "no rdr inet from 203.0.113.9 to any"


@pytest.mark.parametrize("dialect", ["freebsd", "macos"])
def test_no_translation_tests_an_icmp_type(dialect: str) -> None:
    found = lines(FORWARDS.replace("id: bad}", "id: bad}, {port: ping, from: 203.0.113.7, id: quiet}"), dialect)
    assert any(one.startswith("block drop in quick inet proto icmp from 203.0.113.7") for one in found)
    assert not any("icmp" in one for one in found if one.startswith(("rdr", "no rdr")))


def test_multicast_listeners_may_use_ip_options() -> None:
    found = [one for one in lines(SSH) if "icmp6-type" in one]
    assert found and all("allow-opts" in one for one in found)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_forwarded_to_another_host_may_leave(dialect: str) -> None:
    found = lines(FORWARDS + "outbound: {default: drop}\n", dialect)
    assert "pass out quick tagged portgate-forwarded keep state" in found
    assert any("tag portgate-forwarded" in one and "10.0.0.7 port 22" in one for one in found)


@pytest.mark.parametrize(
    "limit, written",
    [("10/minute", "5/30"), ("30/minute burst 30", "30/60"), ("5/second", "5/1"), ("4/hour", "5/4500")],
)
def test_a_limit_is_its_burst_in_the_time_that_refills_it(limit: str, written: str) -> None:
    found = lines(f"inbound:\n  allow:\n    - {{port: ssh, limit: {limit}, id: s}}\n")
    assert any(f"keep state (max-src-conn-rate {written})" in one for one in found)


@pytest.mark.parametrize(
    "policy, what",
    [
        ("inbound:\n  allow:\n    - {port: dns, limit: 10/minute}\n", "other than TCP"),
        ("inbound:\n  default: reject\n  allow:\n    - {port: ssh, limit: 10/minute}\n", "other rules decide"),
        ("inbound:\n  allow:\n    - {port: ssh, limit: 7/minute}\n", "whole seconds"),
        ("inbound:\n  allow:\n    - {port: 9/sctp}\n", "ports of SCTP"),
        ("zones: {vpn: {interfaces: ['wg*']}}\ninbound:\n  allow:\n    - {port: ssh, from: vpn}\n", "wildcard"),
        ("zones: {lan: {interfaces: [lan]}}\ninbound:\n  allow:\n    - {port: ssh, from: lan}\n", "end in a digit"),
        ("containers: enforce\n", "passes through"),
        (
            "inbound:\n  allow:\n    - {port: ssh, limit: 10/minute}\n    - {port: ssh, from: 10.0.0.0/8, limit: 5/second}\n",
            "other rules decide",
        ),
    ],
)
def test_what_pf_can_not_say_is_refused_at_the_grant(policy: str, what: str) -> None:
    found = lacking(loaded(f"portgate: 1\nname: t\n{policy}"), TODAY, BACKEND.features, "pf")
    assert found and all(one.code == "PG301" for one in found)
    assert any(what in one.detail for one in found)


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(PortgateError) as refused:
        BACKEND.emit(Ruleset(), "netbsd")
    assert refused.value.diagnostics[0].code == "PG303"


def test_icmp6_type_255_is_refused_where_it_would_be_any_type() -> None:
    grant = Grant("odd", (Traffic(58, 255, 255),))
    wanted = compile_policy(Policy("t", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT)), TODAY)
    assert "icmp6-type 255" in BACKEND.emit(wanted, "openbsd").text
    for dialect in ("freebsd", "macos"):
        with pytest.raises(PortgateError, match="any type"):
            BACKEND.emit(wanted, dialect)


def test_a_limit_that_was_read_back_is_the_limit_that_was_asked_for() -> None:
    for limit in (Limit(10, Unit.MINUTE), Limit(30, Unit.MINUTE, 30), Limit(1, Unit.DAY), Limit(5, Unit.SECOND)):
        window = limit.window()
        assert window is not None and Limit.of_window(*window) == limit
    assert Limit(7, Unit.MINUTE).window() is None


HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\"\\\n\r\t#${}()<>!=/, '`;\x00"), st.sampled_from(string.ascii_letters), st.characters()
    ),
    min_size=1,
    max_size=70,
)


@settings(max_examples=150, deadline=None)
@given(comment=HOSTILE, name=HOSTILE, dialect=st.sampled_from(DIALECTS))
def test_hostile_words_never_become_syntax(comment: str, name: str, dialect: str) -> None:
    """The text has the same lines as with plain words, and labels of plain characters."""
    plain = emitted("grant", "peers", dialect)
    found = emitted(comment, name, dialect)
    assert len(found) == len(plain)
    for one, other in zip(found, plain, strict=True):
        assert one.partition(" label ")[0].partition("<")[0] == other.partition(" label ")[0].partition("<")[0]
        assert one.count('"') == other.count('"')
        label = one.partition('label "')[2].partition('"')[0]
        assert len(label) <= 63 and not set(label) - set(string.ascii_letters + string.digits + "._-")
        assert not one.endswith("\\")


def emitted(comment: str, name: str, dialect: str) -> list[str]:
    peer = Peer((), AddressSet.of("10.0.0.1", "10.0.0.3"), name)
    grant = Grant(comment, (Traffic(TCP, 22, 22),), (peer,))
    wanted = compile_policy(Policy("t", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT)), TODAY)
    text = BACKEND.emit(wanted, dialect).text
    assert read(text).owned().containers
    return [one for one in text.split("\n") if not one.startswith("#")]


@pytest.mark.parametrize("interface", ['em0"', "em0;", "$x0", "pass", "0em0", "em0#0", "egress", "é0"])
def test_a_name_that_pf_would_read_as_something_else_is_refused(interface: str) -> None:
    number = int.from_bytes(interface.encode().ljust(15, b"\0"), "big")
    rule = Rule(Test(Field.IIF, ((number, number),)), Accept(), comment="x")
    chain = Chain("input", (rule,), Base(Hook.INPUT, 0))
    with pytest.raises(PortgateError) as refused:
        BACKEND.emit(Ruleset((Container("portgate", chains=(chain,), owned=True),)), "openbsd")
    assert refused.value.diagnostics[0].code == "PG302"
