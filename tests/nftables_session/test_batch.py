"""Changes of elements that the kernel gets without libnftables: what nft lists afterwards is what was wanted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

from portgate.backends.nftables import BACKEND, batch
from portgate.backends.nftables.kernel import netlink
from portgate.backends.nftables.session import NftablesSession
from portgate.core.capture import Artifact
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.grouping import SHARED
from portgate.core.net import ICMP, TCP, UDP, AddressSet, Family, Interval, normalize
from portgate.core.openings import kept, timeless
from portgate.core.policy import Default, Grant, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import Element, NamedSet, Ruleset
from tests.compile.worlds import TODAY

pytestmark = pytest.mark.kernel
Inside = Callable[..., object]
NO_ADDRESSES = AddressSet()


FILLING = AddressSet(
    tuple((0x0A000000 + 2 * index, 0x0A000000 + 2 * index) for index in range(SHARED)),
    tuple((0x20010DB8 + 2 * index << 96, 0x20010DB8 + 2 * index << 96) for index in range(SHARED)),
)
"""As much as makes a list a set of its own."""


def rules(*allow: Grant, listed: AddressSet = NO_ADDRESSES) -> Ruleset:
    """With a list that is blocked."""
    peer = Peer((), FILLING | listed, "list")
    book = Rulebook(Default.DROP, allow=allow, block=(Grant("blocked", (), (peer,)),))
    return compile_policy(Policy("test", book, Rulebook(Default.ACCEPT)), TODAY)


def granting(number: int, *sources: str, protocol: int = TCP) -> Grant:
    return Grant(
        f"g{number}", (Traffic(protocol, number, number),), (Peer((), AddressSet.of(*sources)),) if sources else ()
    )


def live(on: NftablesSession) -> Ruleset:
    return BACKEND.parse((on.read_own(),))


def change(on: NftablesSession, wanted: Ruleset) -> None:
    """Without libnftables, and read back through it."""
    artifact = BACKEND.transaction(live(on), wanted)
    if artifact is not None:
        assert batch.changes(artifact.text), artifact.text[:500]
        on.load(artifact)
    assert BACKEND.transaction(live(on), wanted) is None


def test_random_edits_of_lists_end_in_what_was_wanted(inside: Inside) -> None:
    def body() -> None:
        rng, on = Random(7), NftablesSession()
        wanted = NO_ADDRESSES
        on.load(BACKEND.emit(rules(granting(22), listed=wanted)))
        for _ in range(25):
            wanted = AddressSet(edited(rng, Family.IPV4, wanted.v4), edited(rng, Family.IPV6, wanted.v6))
            change(on, rules(granting(22), listed=wanted))

    inside(body)


def edited(rng: Random, family: Family, old: Sequence[Interval]) -> tuple[Interval, ...]:
    """Some go, some come; near to each other and to both ends of the addresses, so that they touch and merge."""
    left = [one for one in old if rng.random() < 0.7]
    middle = rng.getrandbits(family.bits)
    come = []
    for _ in range(rng.randrange(60)):
        near = rng.choice((0, middle, family.top - 300))
        first = min(family.top, near + rng.randrange(300))
        come.append((first, min(family.top, first + rng.choice((0, 0, 0, 1, 7)))))
    return normalize([*left, *come])


@pytest.mark.parametrize(
    "listed",
    [
        ("0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("0.0.0.0/5", "16.0.0.0-255.255.255.254", "::1-2000::", "3000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("128.0.0.0/1", "8000::/1"),
        ("1.2.3.4", "1.2.3.6", "1.2.3.8-1.2.3.9", "::ffff:1.2.3.4", "::1"),
    ],
)
def test_the_ends_of_the_addresses_come_and_go(inside: Inside, listed: tuple[str, ...]) -> None:
    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(granting(22))))
        change(on, rules(granting(22), listed=AddressSet.of(*listed)))
        change(on, rules(granting(22)))

    inside(body)


def test_grants_of_every_shape_come_and_go(inside: Inside) -> None:
    shapes = (
        granting(22),
        granting(53, protocol=UDP),
        granting(443, "192.0.2.0/24", "2001:db8:1::/48"),
        granting(80, "198.51.100.7-198.51.100.9"),
        granting(8, protocol=ICMP),
        Grant("range", (Traffic(TCP, 1000, 2000),), ()),
        Grant("long" + "x" * 116, (Traffic(TCP, 1, 1),), ()),
    )
    others = tuple(replace(one, id=f"b{one.id[1:]}", traffic=tuple(map(moved, one.traffic))) for one in shapes)

    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(*shapes)))
        for wanted in (others, shapes, (*shapes[:3], *others[3:]), shapes):
            change(on, rules(*wanted))

    inside(body)


def moved(traffic: Traffic) -> Traffic:
    return traffic._replace(first=traffic.first + 3, last=traffic.last + 3)


def test_what_is_opened_for_a_time_gets_its_time(inside: Inside) -> None:
    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(granting(22))))
        element = Element(((8080, 8080), (TCP, TCP)), "opened", 600)

        def opened(one: NamedSet) -> NamedSet:
            return replace(one, elements=(element,)) if one.name == "opened_ports" else one

        (container,) = rules(granting(22)).containers
        wanted = Ruleset((replace(container, sets=tuple(map(opened, container.sets))),))
        artifact = BACKEND.transaction(live(on), wanted)
        assert artifact is not None
        assert batch.changes(artifact.text)
        on.load(artifact)
        (found,) = (
            one for named in live(on).containers[0].sets if named.name == "opened_ports" for one in named.elements
        )
        assert (found.box, found.comment) == (element.box, "opened")
        assert found.expires in range(590, 601)
        more = rules(granting(22), granting(23))
        artifact = BACKEND.transaction(live(on), kept(more, live(on)))
        assert artifact is not None
        on.load(artifact)
        assert BACKEND.transaction(timeless(live(on)), more) is None  # a second may have passed meanwhile

    inside(body)


def test_more_than_one_message_is_still_one_transaction_and_leaves_others_alone(inside: Inside) -> None:
    def body() -> None:
        on = NftablesSession()
        subprocess.run(
            ["nft", "add table inet foreign; add set inet foreign s { type ipv4_addr; elements = { 1.2.3.4 }; }"],
            check=True,
        )
        foreign = listing("foreign")
        on.load(BACKEND.emit(rules(granting(22))))
        before = on.generation()
        many = AddressSet(tuple((2 * index, 2 * index) for index in range(5_000)), ((5, 5),))
        artifact = BACKEND.transaction(live(on), rules(granting(22), listed=many))
        assert artifact is not None
        on.load(artifact)
        assert on.outline_after(before) is not None
        assert BACKEND.transaction(live(on), rules(granting(22), listed=many)) is None
        assert listing("foreign") == foreign

    inside(body)


def listing(table: str) -> bytes:
    return subprocess.run(["nft", "list", "table", "inet", table], capture_output=True, check=True).stdout


def test_a_change_of_what_somebody_changed_meanwhile_is_refused_whole(inside: Inside) -> None:
    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(granting(22), listed=AddressSet.of("192.0.2.1"))))
        artifact = BACKEND.transaction(live(on), rules(granting(22), listed=AddressSet.of("::2")))
        assert artifact is not None
        subprocess.run(["nft", "flush set inet portgate addr_list_v4"], check=True)
        before = on.read_own()
        with pytest.raises(PortgateError, match=r"PG531.*No such file or directory") as refused:
            on.load(artifact)
        assert len(refused.value.diagnostics) == 1
        assert on.read_own() == before

    inside(body)


def test_what_is_wrong_with_a_script_is_explained_by_nft(inside: Inside) -> None:
    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(granting(22))))
        for text in ("add element inet portgate nosuch { 1.2.3.4 }", "add element inet portgate addr_list_v4 { ::1 }"):
            with pytest.raises(PortgateError, match=r"PG531.*line 1 of the script"):
                on.load(Artifact("nftables", f"{text}\n"))

    inside(body)


def test_a_change_that_does_not_fit_says_so(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose root may not exceed the usual buffer."""

    def body() -> None:
        on = NftablesSession()
        on.load(BACKEND.emit(rules(granting(22))))
        many = AddressSet(tuple((2 * index, 2 * index) for index in range(50_000)), ((5, 5),))
        artifact = BACKEND.transaction(live(on), rules(granting(22), listed=many))
        assert artifact is not None
        with pytest.raises(PortgateError, match=r"PG531.* bytes did not reach the kernel"):
            on.load(artifact)

    monkeypatch.setattr(netlink, "_enlarge", lambda link, size: None)
    inside(body)
