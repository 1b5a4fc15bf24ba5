"""What port numbers mean by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.numbers import Range, is_ephemeral, is_privileged, range_of


@given(st.integers(0, 65535))
def test_every_port_lies_in_the_range_that_it_is_said_to_lie_in(port: int) -> None:
    first, last = range_of(port).ports
    assert first <= port <= last


def test_the_ranges_follow_each_other() -> None:
    ends = [one.ports for one in Range]
    assert ends[0][0] == 0
    assert ends[-1][1] == 65535
    assert [last + 1 for _, last in ends[:-1]] == [first for first, _ in ends[1:]]


@pytest.mark.parametrize(
    ("port", "start", "expected"), [(1023, 1024, True), (1024, 1024, False), (80, 80, False), (0, 0, False)]
)
def test_who_may_listen(port: int, start: int, expected: bool) -> None:
    assert is_privileged(port, start) is expected


def test_what_the_kernel_hands_out_is_less_what_is_reserved() -> None:
    assert is_ephemeral(32768)
    assert is_ephemeral(60999)
    assert not is_ephemeral(32767)
    assert not is_ephemeral(61000)
    assert not is_ephemeral(40000, reserved=((39999, 40001),))
    assert is_ephemeral(20000, (10000, 20000))
