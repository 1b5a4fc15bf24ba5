"""Intervals against sets of numbers; addresses, prefixes and interface names there and back."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.net import (
    IFNAME_MAX,
    AddressSet,
    Family,
    Interval,
    Intervals,
    complement,
    contains,
    format_address,
    format_interval,
    interface_interval,
    interface_name,
    interface_pattern,
    intersect,
    intervals,
    normalize,
    parse_address,
    parse_prefix,
    prefixes,
    protocol_name,
    subtract,
    union,
)

TOP = 20
numbers = st.integers(0, TOP)
pairs = st.lists(st.tuples(numbers, numbers), max_size=8)
sets = pairs.map(normalize)
families = st.sampled_from(list(Family))


def members(values: Intervals | list[Interval]) -> set[int]:
    return {one for first, last in values for one in range(first, last + 1)}


# ------------------------------------------------------------------ texts

written = st.sampled_from(
    ["10.0.0.0/8", "10.0.0.1/8", "192.0.2.7", "192.0.2.7/32", "0.0.0.0/0", "10.0.0.0/", "10.0.0.0/33", "/8", "", "x",
     "10.0.0.1-10.0.0.9", "10.0.0.9-10.0.0.1", "010.0.0.1", "10.0.0", "2001:db8::/32", "2001:db8::1/32", "::1", "::/0", "::1/129",
     "2001:db8::1-2001:db8::9", "10.0.0.0/8/8"]
)  # fmt: skip


@given(st.sampled_from([*Family]), st.lists(written, max_size=6))
def test_many_addresses_are_read_as_one_by_one(family: Family, texts: list[str]) -> None:
    def one_by_one() -> list[Interval]:
        read = [parse_prefix(text) for text in texts]
        if any(found is not family for found, _ in read):
            raise ValueError("an address of the other family")
        return [interval for _, interval in read]

    try:
        expected = one_by_one()
    except ValueError:
        with pytest.raises(ValueError):
            intervals(family, texts)
    else:
        assert intervals(family, texts) == expected


# ------------------------------------------------------------------ intervals


@given(pairs)
def test_a_normal_form_holds_the_same_numbers_in_separate_ascending_intervals(some: list[Interval]) -> None:
    found = normalize(some)
    assert members(found) == members(some)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(found))
    assert all(first <= last for first, last in found)


@given(sets, sets)
def test_equal_sets_are_equal_tuples(left: Intervals, right: Intervals) -> None:
    assert (left == right) == (members(left) == members(right))


@given(sets, sets)
def test_union_intersection_and_difference_are_those_of_sets(left: Intervals, right: Intervals) -> None:
    assert union(left, right) == normalize((one, one) for one in members(left) | members(right))
    assert intersect(left, right) == normalize((one, one) for one in members(left) & members(right))
    assert subtract(left, right) == normalize((one, one) for one in members(left) - members(right))


@given(sets)
def test_the_complement_is_all_the_rest(values: Intervals) -> None:
    rest = complement(values, TOP)
    assert members(rest) == set(range(TOP + 1)) - members(values)
    assert complement(rest, TOP) == values


@given(sets, st.integers(0, TOP + 2))
def test_contains_asks_for_one_number(values: Intervals, number: int) -> None:
    assert contains(values, number) == (number in members(values))


def test_contains_reaches_the_highest_ipv6_address() -> None:
    assert contains(((0, Family.IPV6.top),), Family.IPV6.top)


# ------------------------------------------------------------------ addresses


@given(families, st.data())
def test_an_address_survives_its_text(family: Family, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, family.top))
    text = format_address(family, value)
    assert parse_address(text) == (family, value)
    assert int(ipaddress.ip_address(text)) == value


@given(families, st.data())
def test_an_interval_survives_its_text(family: Family, data: st.DataObject) -> None:
    first, last = sorted((data.draw(st.integers(0, family.top)), data.draw(st.integers(0, family.top))))
    assert parse_prefix(format_interval(family, (first, last))) == (family, (first, last))


@given(families, st.data())
def test_every_prefix_survives_its_text(family: Family, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, family.bits))
    host = (1 << family.bits - length) - 1
    first = data.draw(st.integers(0, family.top)) & ~host
    text = format_interval(family, (first, first | host))
    assert parse_prefix(text) == (family, (first, first | host))
    assert "-" not in text


@given(families, st.data())
def test_prefixes_make_up_an_interval_and_none_could_be_wider(family: Family, data: st.DataObject) -> None:
    first, last = sorted((data.draw(st.integers(0, family.top)), data.draw(st.integers(0, family.top))))
    parts = list(prefixes(family, (first, last)))
    reference = ipaddress.summarize_address_range(
        ipaddress.ip_address(format_address(family, first)), ipaddress.ip_address(format_address(family, last))
    )
    assert [(int(one.network_address), one.prefixlen) for one in reference] == parts


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/", "0 to 32"),
        ("10.0.0.0/+8", "0 to 32"),
        ("::/129", "0 to 128"),
        ("10.0.0.9-10.0.0.1", "inverted"),
        ("10.0.0.1-::1", "different families"),
        ("10.0.0", "not an IP address"),
        ("010.0.0.1", "not an IP address"),
        ("fe80::1%eth0", "not an IP address"),
        ("", "not an IP address"),
        ("1.2.3.4\n5", "not an IP address"),
        ("1.2.3.4\x00", "null"),
        ("10.0.0.0/٨", "0 to 32"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_prefix(text)


def test_address_sets_are_united_cut_and_subtracted_by_family() -> None:
    left = AddressSet.of("10.0.0.0/8", "2001:db8::/32")
    right = AddressSet.of("10.1.0.0/16", "192.0.2.1")
    assert list((left - right).texts()) == ["10.0.0.0/16", "10.2.0.0-10.255.255.255", "2001:db8::/32"]
    assert list((left & right).texts()) == ["10.1.0.0/16"]
    assert list((left | right).texts()) == ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
    assert len(left | right) == 3
    assert not AddressSet()
    assert left


def test_neighbouring_prefixes_become_one() -> None:
    assert AddressSet.of("10.0.0.0/25", "10.0.0.128/25") == AddressSet.of("10.0.0.0/24")


def test_a_protocol_without_a_name_is_its_number() -> None:
    assert [protocol_name(one) for one in (6, 17, 253)] == ["tcp", "udp", "253"]


# ------------------------------------------------------------------ interface names


names = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters="/*\"'\\\x7f"), min_size=1, max_size=15
).filter(lambda name: len(name.encode()) <= 15 and name not in (".", "..") and not any(map(str.isspace, name)))


@given(names)
def test_an_interface_name_survives_its_number(name: str) -> None:
    first, last = interface_interval(name)
    assert first == last <= IFNAME_MAX
    assert interface_name(first) == name
    assert interface_pattern((first, last)) == name


@given(names.filter(lambda name: len(name.encode()) < 15), names)
def test_a_wildcard_holds_the_names_that_start_with_it(start: str, other: str) -> None:
    first, last = interface_interval(start + "*")
    assert interface_pattern((first, last)) == start + "*"
    for name in (start, start + "0", other):
        if len(name.encode()) <= 15:
            assert (first <= interface_interval(name)[0] <= last) == name.startswith(start)


def test_a_lone_star_is_every_interface() -> None:
    assert interface_interval("*") == (0, IFNAME_MAX)
    assert interface_pattern((0, IFNAME_MAX)) == "*"


def test_an_interval_between_names_is_no_pattern() -> None:
    assert interface_pattern((interface_interval("eth0")[0], interface_interval("eth1")[0])) is None


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b", "a\tb", ".", "..", "a*b", 'a"', "a\\", "a\x00b", "a\nb"])
def test_what_the_kernel_would_not_call_an_interface_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        interface_interval(name)


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert interface_name(int.from_bytes(b"\xff\xfeth0".ljust(15, b"\0"), "big")) == "\\xff\\xfeth0"
