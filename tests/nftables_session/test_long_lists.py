"""Long lists: staged before the rules, and concluded after them in place of being listed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from portgate.backends.nftables import BACKEND
from portgate.backends.nftables.session import NftablesSession
from portgate.backends.nftables.staging import staged
from portgate.backends.nftables.transaction import same
from portgate.core.capture import Artifact, Loaded
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.net import TCP, AddressSet
from portgate.core.openings import openings
from portgate.core.policy import Default, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Ruleset
from tests.compile.worlds import TODAY

pytestmark = pytest.mark.kernel
Inside = Callable[..., object]
LIMITED = Limit(3, Unit.HOUR)
SSH = Grant("ssh", (Traffic(TCP, 22, 22),))


def blocking(*lists: int, allow: Grant = SSH) -> Ruleset:
    """Each list begins at a number, and has 20,000 addresses of each family."""
    peers = [
        Peer((), AddressSet(every_other(start << 16), every_other(1 << 120 | start << 16)), f"list{start}")
        for start in lists
    ]
    block = tuple(Grant(peer.name, (), (peer,)) for peer in peers)
    return compile_policy(
        Policy("test", Rulebook(Default.DROP, allow=(allow,), block=block), Rulebook(Default.ACCEPT)), TODAY
    )


def every_other(start: int) -> tuple[tuple[int, int], ...]:
    return tuple((start + 2 * index, start + 2 * index) for index in range(20_000))


def listed(session: NftablesSession) -> Ruleset:
    return BACKEND.parse((session.read_own(),))


def transactions(session: NftablesSession, load: Callable[[], None]) -> int:
    before = int(str(session.generation()).rpartition(":")[2])
    load()
    return int(str(session.generation()).rpartition(":")[2]) - before


def nft(script: str) -> str:
    return subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=True).stdout


# ------------------------------------------------------------------ staging


def test_a_first_load_fills_long_lists_before_the_rules_are_there(inside: Inside) -> None:
    def body() -> None:
        session, before = NftablesSession(), NftablesSession().generation()
        artifact = BACKEND.emit(blocking(1, 2))
        assert staged(artifact.text) is not None
        assert transactions(session, lambda: session.load(artifact)) == 2 + 4
        assert session.outline_after(before) is not None
        assert same(listed(session), blocking(1, 2))

    inside(body)


def test_many_grants_are_a_long_list_too_and_keep_their_comments(inside: Inside) -> None:
    many = [Peer((), AddressSet(((number << 8, number << 8 | 255),))) for number in range(2_000)]
    grants = tuple(
        Grant(f"g{number}", (Traffic(TCP, 1 + number % 700, 1 + number % 700),), (peer,))
        for number, peer in enumerate(many)
    )
    wanted = compile_policy(Policy("test", Rulebook(Default.DROP, allow=grants), Rulebook(Default.ACCEPT)), TODAY)

    def body() -> None:
        session = NftablesSession()
        artifact = BACKEND.emit(wanted)
        assert transactions(session, lambda: session.load(artifact)) == 2 + 1
        assert same(listed(session), wanted)
        told = nft("list table inet portgate")
        assert all(f'comment "{one.id}"' in told for one in grants)

    inside(body)


@pytest.mark.parametrize(
    "odd", ['10.9.9.9 comment "a, b"', "10.9.9.9 timeout 1h", "10.9.9.9 counter packets 1 bytes 2"]
)
def test_a_list_with_anything_else_is_left_to_nft(odd: str) -> None:
    listed = "".join(f",\n\t\t\t10.0.{number >> 8}.{number & 255}" for number in range(9_000))
    script = f"table inet portgate {{\n\tset s {{\n\t\ttype ipv4_addr\n\t\telements = {{\n\t\t\t%s{listed}\n\t\t}}\n\t}}\n}}\n"
    assert staged(script % "10.9.9.9") is not None
    found = staged(script % odd)
    assert found is None or found.lists[0].comments[0] == "a, b"


def test_a_long_list_of_what_portgate_never_lists_is_left_to_nft(inside: Inside) -> None:
    listed = ",\n\t\t\t".join(str(number) for number in range(1, 30_000, 2))
    script = f"table inet portgate {{\n\tset s {{\n\t\ttype mark\n\t\telements = {{\n\t\t\t{listed}\n\t\t}}\n\t}}\n}}\n"

    def body() -> None:
        assert staged(script) is not None
        NftablesSession().load(Artifact("nftables", script))
        assert nft("list set inet portgate s").count("0x0000") == 15_000

    inside(body)


def test_a_new_long_list_is_filled_beside_the_rules_that_are_in_force(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        session.load(BACKEND.emit(blocking(1)))
        artifact = BACKEND.transaction(listed(session), blocking(1, 2))
        assert artifact is not None
        assert transactions(session, lambda: session.load(artifact)) == 2 + 2
        assert same(listed(session), blocking(1, 2))

    inside(body)


@pytest.mark.parametrize("first", [None, 1])
def test_what_was_staged_goes_again_when_the_rules_are_refused(inside: Inside, first: int | None) -> None:
    def body() -> None:
        session = NftablesSession()
        if first:
            session.load(BACKEND.emit(blocking(first)))
        before = nft("list ruleset")
        artifact = BACKEND.transaction(listed(session), blocking(*filter(None, (first,)), 2))
        assert artifact is not None
        broken = Artifact("nftables", artifact.text + "add rule inet portgate input jump nowhere\n")
        assert staged(broken.text) is not None
        with pytest.raises(PortgateError, match="PG531"):
            session.load(broken)
        assert nft("list ruleset") == before

    inside(body)


def test_a_list_that_is_in_force_is_replaced_in_one_transaction(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        session.load(BACKEND.emit(blocking(1)))
        own = session.read_own()
        for artifact in (BACKEND.emit(blocking(2)), BACKEND.restoring(own)):
            assert transactions(session, lambda artifact=artifact: session.load(artifact)) == 1  # type: ignore[misc]
        assert same(listed(session), blocking(1))

    inside(body)


# ------------------------------------------------------------------ conclusions


def loaded(session: NftablesSession, rules: Ruleset) -> Loaded:
    artifact = BACKEND.emit(rules)
    session.load(artifact)
    return Loaded(str(session.generation()), len(artifact.text), lambda: artifact.text)


OTHERS = """
table ip other {
    set s {
        type ipv4_addr
        elements = { 1.2.3.4 }
    }
    chain c {
        ip saddr @s drop comment "list"
    }
}
"""


def test_what_is_concluded_is_what_is_there(inside: Inside) -> None:
    """With handles and counters, what was opened since, and what a limit has counted; and beside it the tables of others."""

    def body() -> None:
        nft(OTHERS)
        known = loaded(NftablesSession(), blocking(1, 2, allow=replace(SSH, limit=LIMITED)))
        session = NftablesSession(known)
        concluded, whole = session.read_own(), NftablesSession().read_own()
        assert "as they were loaded" in concluded.source
        assert BACKEND.parse((concluded,)) == BACKEND.parse((whole,))
        assert [line for line in concluded.text.splitlines() if "handle" in line] == [
            line for line in whole.text.splitlines() if "handle" in line
        ]
        assert concluded in session.read()
        assert BACKEND.parse(session.read()) == BACKEND.parse(NftablesSession().read())

    inside(body)


def test_what_changes_by_itself_is_read(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        loaded(session, blocking(1))
        nft('add element inet portgate opened_ports { 8080 . tcp timeout 10s comment "opened" }')
        text = BACKEND.emit(blocking(1)).text
        known = Loaded(str(session.generation()), len(text), lambda: text)
        assert len(openings(listed(NftablesSession(known)))) == 1
        time.sleep(10)
        assert not openings(listed(NftablesSession(known)))
        assert session.generation() == known.generation

    inside(body)


def test_after_any_change_of_anybody_all_is_read(inside: Inside) -> None:
    def body() -> None:
        known = loaded(NftablesSession(), blocking(1))
        nft("add table ip other")
        session = NftablesSession(known)
        assert "as they were loaded" not in session.read_own().source
        assert [one.kind for one in session.read()] == ["nft-json"]

    inside(body)


@pytest.mark.parametrize("text", [None, "", "table inet portgate {\n}\n"])
def test_what_is_not_known_is_read(inside: Inside, text: str | None) -> None:
    def body() -> None:
        known = replace(loaded(NftablesSession(), blocking(1)), text=lambda: text)
        assert same(listed(NftablesSession(known)), blocking(1))

    inside(body)


def test_a_concluded_table_can_be_restored(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession(loaded(NftablesSession(), blocking(1)))
        own = session.read_own()
        session.load(BACKEND.emit(blocking(2)))
        session.load(BACKEND.restoring(own))
        assert same(listed(session), blocking(1))

    inside(body)
