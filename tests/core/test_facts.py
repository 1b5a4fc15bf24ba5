"""Interfaces and kernel settings, from text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.facts import Facts, format_interfaces, parse_facts, parse_interfaces
from portgate.core.listener import Interface
from portgate.core.net import Family


def interfaces(text: str) -> tuple[Interface, ...]:
    return parse_interfaces(Reading("interfaces", text, "--from"))


def facts(text: str) -> Facts:
    return parse_facts(Reading("sysctl", text, "sysctl.txt"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(PortgateError) as caught:
        interfaces(text)
    assert {one.code for one in caught.value.diagnostics} == {"PG446"}
    return [one.detail for one in caught.value.diagnostics]


def test_the_first_colon_ends_the_name_and_items_of_one_name_are_joined() -> None:
    v4 = (Family.IPV4, 0xC0000201, 24)
    v6 = (Family.IPV6, 0x20010DB8 << 96 | 1, 64)
    assert interfaces("eth0:192.0.2.1/24,eth0:2001:db8::1/64") == (Interface("eth0", (v4, v6)),)


def test_an_interface_may_have_no_address_or_be_down() -> None:
    assert interfaces("eth1:,eth2:down,eth2:192.0.2.1") == (
        Interface("eth1"),
        Interface("eth2", ((Family.IPV4, 0xC0000201, 32),), up=False),
    )


def test_an_interface_may_be_in_groups() -> None:
    found = interfaces("em0:192.0.2.1/24,em0:group=egress,em0:group=wan-1x,em1:down,em1:group=lan")
    assert [(one.name, one.groups, one.up) for one in found] == [
        ("em0", ("egress", "wan-1x"), True),
        ("em1", ("lan",), False),
    ]
    assert interfaces(format_interfaces(found)) == found


def test_lines_separate_items_too_and_a_name_may_hold_a_comma() -> None:
    assert [one.name for one in interfaces("lo:127.0.0.1/8\na,b:\n\neth0:\n")] == ["lo", "a,b", "eth0"]


def test_no_text_is_no_interface() -> None:
    assert interfaces(" \n") == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("eth0", "'eth0'"),
        (":192.0.2.1/24", "''"),
        ("eth*:192.0.2.1/24", "'eth*' is a pattern"),
        ("a-name-of-17-byte:", "'a-name-of-17-byte'"),
        ("a b:", "'a b'"),
        ("eth0:192.0.2.256/24", "'192.0.2.256'"),
        ("eth0:192.0.2.1/33", "'192.0.2.1/33'"),
        ("eth0:192.0.2.1/", "'192.0.2.1/'"),
        ("eth0:192.0.2.1/²", "'192.0.2.1/²'"),
        ("eth0:fe80::1%eth0/64", "'fe80::1%eth0'"),
        ("eth0:up", "'up'"),
        ("eth0:group=", "'group='"),
        ("eth0:group=em0", "'group=em0'"),
        ("eth0:group=a b", "'group=a b'"),
    ],
)
def test_the_bad_part_is_named(text: str, named: str) -> None:
    (detail,) = mistakes(text)
    assert named in detail


def test_all_bad_items_are_named_at_once() -> None:
    assert len(mistakes("eth0:x,eth1:192.0.2.1/24,eth2:y")) == 2


NAMES = st.text("abz019.-_,@+", min_size=1, max_size=15).filter(lambda name: name not in (".", ".."))
ADDRESSES = st.one_of(
    st.tuples(st.just(Family.IPV4), st.integers(0, Family.IPV4.top), st.integers(0, 32)),
    st.tuples(st.just(Family.IPV6), st.integers(0, Family.IPV6.top), st.integers(0, 128)),
)
INTERFACES = st.lists(
    st.builds(
        Interface,
        NAMES,
        st.lists(ADDRESSES, max_size=3, unique=True).map(tuple),
        st.booleans(),
        st.lists(st.sampled_from(("egress", "wg-lan", "a.b_c")), unique=True).map(tuple),
    ),
    unique_by=lambda one: one.name,
    max_size=4,
)


@given(INTERFACES)
def test_what_is_written_is_read_back(some: list[Interface]) -> None:
    assert interfaces(format_interfaces(some)) == tuple(some)


@given(st.text())
def test_no_text_ends_in_anything_but_a_diagnostic(text: str) -> None:
    for parse, code in ((interfaces, "PG446"), (facts, "PG447")):
        try:
            parse(text)
        except PortgateError as error:
            assert {one.code for one in error.diagnostics} == {code}


def test_settings_are_read_as_sysctl_prints_them() -> None:
    found = facts(
        "net.ipv4.ip_local_port_range = 32768\t60999\n"
        "net.ipv4.ip_local_reserved_ports = 8080,9000-9100\n"
        "net.ipv4.ip_unprivileged_port_start = 1024\n"
        "net.ipv4.ip_forward = 1\n"
        "net.ipv6.conf.all.forwarding = 0\n"
        "kernel.hostname = web=1\n"
        "net.netfilter.nf_conntrack_max = 262144\n"
    )
    assert found == Facts(
        ephemeral_ports=(32768, 60999),
        reserved_ports=((8080, 8080), (9000, 9100)),
        first_unprivileged_port=1024,
        forwards_ipv4=True,
        forwards_ipv6=False,
        conntrack_max=262144,
    )


@pytest.mark.parametrize(
    "line",
    [
        "net.ipv4.ip_local_port_range = 32768",
        "net.ipv4.ip_local_port_range = 60999 32768",
        "net.ipv4.ip_local_port_range = 1 99999",
        "net.ipv4.ip_local_reserved_ports = 80-",
        "net.ipv4.ip_forward = yes",
        "net.netfilter.nf_conntrack_max =",
    ],
)
def test_a_setting_with_an_impossible_value_is_named(line: str) -> None:
    with pytest.raises(PortgateError) as caught:
        facts(line)
    (told,) = caught.value.diagnostics
    assert told.code == "PG447"
    assert line.partition(" =")[0] in told.detail
