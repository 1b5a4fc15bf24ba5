"""What is opened for a time, as boxes: carried over, cut, closed, and left out of every comparison with a policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.compile import compile as compiled
from portgate.core.net import ICMP, TCP, UDP, AddressSet
from portgate.core.openings import Timed, entries, everywhere, kept, lost, openings, regions, timeless
from portgate.core.policy import Default, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import Element, Ruleset

POLICY = Policy("web", Rulebook(Default.DROP), Rulebook(Default.ACCEPT))
RULES = compiled(POLICY, date(2026, 11, 21))
OFFICE = Peer(addresses=AddressSet.of("198.51.100.0/24", "2001:db8:42::/48"), name="office")


def opened(*texts: str, seconds: int = 3600, host: Ruleset = RULES, source: Peer | None = None) -> Ruleset:
    """A host on which ports like `80-89/tcp` were opened."""
    traffic = [port(text) for text in texts]
    change = Timed(opened=tuple(regions(traffic, (source,) if source else ())), seconds=seconds, name="test")
    return kept(RULES, host, change)


def port(text: str) -> Traffic:
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    return Traffic({"tcp": TCP, "udp": UDP}[protocol], int(first), int(last or first))


def told(host: Ruleset) -> list[str]:
    return [f"{one} {one.seconds}" for one in openings(host)]


def test_what_a_host_has_open_is_carried_over() -> None:
    host = opened("8080/tcp", source=OFFICE, host=opened("53/udp", seconds=60))
    assert told(kept(RULES, host)) == [
        "53/udp 60",
        "8080/tcp from 198.51.100.0/24 3600",
        "8080/tcp from 2001:db8:42::/48 3600",
    ]
    assert timeless(kept(RULES, host)) == RULES


def test_the_last_word_counts_where_openings_overlap() -> None:
    assert told(opened("85/tcp", seconds=60, host=opened("80-89/tcp"))) == [
        "80-84/tcp 3600",
        "85/tcp 60",
        "86-89/tcp 3600",
    ]


def test_closing_leaves_the_pieces_beside() -> None:
    host = opened("80-89/tcp", source=OFFICE, host=opened("80/udp"))
    closed = kept(RULES, host, Timed(closed=tuple(everywhere([port("85/tcp")], []))))
    assert sorted(one.partition(" ")[0] for one in told(closed)) == ["80-84/tcp"] * 2 + ["80/udp"] + ["86-89/tcp"] * 2


def test_closing_for_some_leaves_it_open_for_others() -> None:
    some = Peer(addresses=AddressSet.of("198.51.100.128/25"))
    closed = kept(RULES, opened("80/tcp", source=OFFICE), Timed(closed=tuple(everywhere([port("80/tcp")], [some]))))
    assert told(closed) == ["80/tcp from 198.51.100.0/25 3600", "80/tcp from 2001:db8:42::/48 3600"]


def test_what_is_over_or_never_ends_is_not_carried_over() -> None:
    host = opened("80/tcp", "81/tcp", "82/tcp")
    (container,) = host.containers

    def ending(one: Element) -> Element:
        return one._replace(expires={80: 0, 81: None, 82: 5}[one.box[0][0]])

    sets = tuple(replace(one, elements=tuple(map(ending, one.elements))) for one in container.sets)
    assert told(kept(RULES, Ruleset((replace(container, sets=sets),)))) == ["82/tcp 5"]


def test_a_comment_that_portgate_would_not_give_is_left_out() -> None:
    host = kept(RULES, RULES, Timed(opened=tuple(regions([port("80/tcp")], ())), seconds=9, name='"; $(reboot)'))
    assert list(entries(host)) == [("opened_ports", "80 . 6", "", 9)]


def test_only_what_should_last_longer_than_reading_takes_is_missed() -> None:
    wanted = opened("80/tcp", host=opened("81/tcp", seconds=59))
    assert [str(one) for one in lost(wanted, RULES, patience=60)] == ["80/tcp"]
    assert lost(wanted, wanted, patience=60) == ()


@pytest.mark.parametrize(
    ("traffic", "source", "why"),
    [
        (Traffic(ICMP, 8, 8), Peer(), "icmp has no ports"),
        (port("80/tcp"), Peer(("eth1",), name="lan"), "lan is told by"),
    ],
)
def test_what_the_kernel_cannot_hold_is_refused(traffic: Traffic, source: Peer, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(regions([traffic], [source]))


RANGES = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda ends: (min(ends), max(ends)))
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "close"]), RANGES, st.sampled_from([None, "10.0.0.0/30", "10.0.0.2/31"])),
    max_size=6,
)


@given(STEPS)
def test_openings_are_the_points_that_were_opened_last(steps: list[tuple[str, tuple[int, int], str | None]]) -> None:
    """Point by point: (port, last byte of the source), in the sets for everybody and for addresses apart."""
    host, expected = RULES, dict[tuple[bool, int, int], int]()
    for number, (verb, (first, last), source) in enumerate(steps, 1):
        traffic, peers = [Traffic(TCP, first, last)], [Peer(addresses=AddressSet.of(source))] if source else []
        if verb == "open":
            change = Timed(opened=tuple(regions(traffic, peers)), seconds=number)
        else:
            change = Timed(closed=tuple(everywhere(traffic, peers)))
        host = kept(RULES, host, change)
        hosts = {None: range(4), "10.0.0.0/30": range(4), "10.0.0.2/31": range(2, 4)}[source]
        for at, byte in product(range(first, last + 1), hosts):
            if verb == "open":
                expected[source is None, at, byte] = number
            else:
                expected.pop((False, at, byte), None)
                if source is None:
                    expected.pop((True, at, byte), None)
    assert points(host) == expected


def points(host: Ruleset) -> dict[tuple[bool, int, int], int]:
    found: dict[tuple[bool, int, int], int] = {}
    for one in openings(host):
        first, last = one.source or (10 << 24, (10 << 24) + 3)
        for at, address in product(range(one.ports[0], one.ports[1] + 1), range(first, last + 1)):
            assert (one.source is None, at, address & 3) not in found, "elements of a set overlap"
            found[one.source is None, at, address & 3] = one.seconds
    return found
