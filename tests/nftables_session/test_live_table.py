"""What an apply leaves alone in a live table, and what it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from portgate.backends.nftables import BACKEND
from portgate.backends.nftables.session import NftablesSession
from portgate.backends.nftables.transaction import same
from portgate.core.capture import Artifact, Reading
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.net import TCP, AddressSet
from portgate.core.openings import kept, timeless
from portgate.core.policy import Default, Forward, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Container, Element, NamedSet, Ruleset
from tests.compile.worlds import TODAY
from tests.generate import nft as foreign

pytestmark = pytest.mark.kernel
Inside = Callable[..., object]


def grant(number: int, source: str | None = None) -> Grant:
    sources = (Peer((), AddressSet.of(source)),) if source else ()
    return Grant(f"g{number}", (Traffic(TCP, number, number),), sources)


def allowing(*grants: Grant, default: Default = Default.DROP, forward: bool = False) -> Ruleset:
    forwards = (Forward(grant(80), None, 8080),) if forward else ()
    return compile_policy(
        Policy("test", Rulebook(default, allow=grants), Rulebook(Default.ACCEPT), forwards=forwards), TODAY
    )


def read(session: NftablesSession) -> Ruleset:
    return BACKEND.parse(session.read())


def apply(session: NftablesSession, rules: Ruleset) -> str:
    """The script that was loaded, without its comments; "" when there was nothing to do."""
    artifact = BACKEND.transaction(read(session), rules)
    if artifact is None:
        return ""
    session.load(artifact)
    assert BACKEND.transaction(timeless(read(session)), timeless(rules)) is None
    return "".join(line for line in artifact.text.splitlines(keepends=True) if not line.startswith("#"))


def nft(*arguments: str, script: str | None = None) -> str:
    done = subprocess.run(["nft", *arguments], input=script, capture_output=True, text=True, check=True)
    return done.stdout


def send_to_loopback_and_count(session: NftablesSession) -> str:
    """Makes the rule for loopback count something; its line in the listing."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["python3", "-c", "import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 9))"], check=True)
    line = next(line for line in session.read_own().text.splitlines() if '"loopback"' in line)
    assert not re.search(r"packets 0 ", line)
    return line


def test_one_changed_grant_changes_one_element(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        grants = [grant(1000 + index, f"10.0.{index}.0/24") for index in range(100)]
        apply(session, allowing(*grants))
        counted = send_to_loopback_and_count(session)
        grants[50] = replace(grants[50], sources=(Peer((), AddressSet.of("192.0.2.0/24")),))
        assert apply(session, allowing(*grants)) == (
            "delete element inet portgate allow_src4_ports { 10.0.50.0/24 . 1050 . tcp }\n"
            'add element inet portgate allow_src4_ports { 192.0.2.0/24 . 1050 . tcp comment "g1050" }\n'
        )
        assert counted in session.read_own().text

    inside(body)


def test_an_added_grant_only_adds(inside: Inside) -> None:
    """A transaction without a deletion does not wait for the kernel."""

    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        assert apply(session, allowing(grant(22), grant(443))) == (
            'add element inet portgate allow_ports { 443 . tcp comment "g443" }\n'
        )

    inside(body)


def test_a_long_list_changes_by_its_difference(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(listed(0)))
        script = apply(session, allowing(listed(500)))
        assert [line.partition(" { ")[0] for line in script.splitlines()] == [
            "delete element inet portgate addr_list_v4",
            "add element inet portgate addr_list_v4",
        ]
        assert script.count(",") == 998

    inside(body)


def test_rules_and_elements_change_in_one_transaction(inside: Inside) -> None:
    """nft makes it, so what it is slow at is not in the script: a set that loses something is declared anew."""

    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(listed(0), grant(22)))
        before = session.generation()
        artifact = BACKEND.transaction(read(session), allowing(listed(500), grant(23), replace(grant(25), log=True)))
        session.load(some(artifact))
        assert session.outline_after(before) is not None
        assert "flush set inet portgate addr_list_v4\n" in some(artifact).text
        assert " element " not in some(artifact).text
        assert same(read(session), allowing(listed(500), grant(23), replace(grant(25), log=True)))

    inside(body)


def listed(start: int) -> Grant:
    """A grant to 10,000 networks."""
    intervals = tuple((512 * index, 512 * index + 255) for index in range(start, start + 10_000))
    return Grant("listed", (Traffic(TCP, 22, 22),), (Peer((), AddressSet(intervals), "list"),))


def test_counters_of_rules_that_stay_survive_new_and_removed_rules(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        counted = send_to_loopback_and_count(session)
        more = (grant(22), grant(80, "10.0.0.0/8"), replace(grant(25), log=True), replace(grant(26), limit=LIMIT))
        for rules in (allowing(*more), allowing(grant(22), default=Default.REJECT), allowing(*more[2:]), allowing()):
            apply(session, rules)
            assert counted in session.read_own().text

    inside(body)


LIMIT = Limit(3, Unit.HOUR)


def test_the_default_changes_in_place(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        script = apply(session, allowing(grant(22), default=Default.ACCEPT))
        assert script == "chain inet portgate input { type filter hook input priority -5; policy accept; }\n"

    inside(body)


def test_what_was_opened_for_an_hour_survives_any_apply(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        nft('add element inet portgate opened_ports { 8080 . tcp timeout 1h comment "opened" }')
        live = read(session)  # once: a second later less time is left
        assert BACKEND.transaction(live, kept(allowing(grant(22)), live)) is None
        apply(session, kept(allowing(grant(23), default=Default.REJECT), read(session)))
        assert remaining(session) in range(3590, 3601)
        nft("add chain inet portgate prerouting { type nat hook prerouting priority 7; }")
        replaced = apply(session, kept(allowing(grant(24), forward=True), read(session)))
        assert replaced.startswith("table inet portgate\ndelete table inet portgate\n")
        assert remaining(session) in range(3590, 3601)

    inside(body)


def test_a_snapshot_gives_back_only_the_time_that_is_left(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        nft('add element inet portgate opened_ports { 8080 . tcp timeout 1h comment " expires 9s," }')
        nft("add element inet portgate opened_src4_ports { 10.0.0.0/8 . 22 . tcp timeout 10m }")
        own = session.read_own()
        session.load(BACKEND.restoring(own))
        assert remaining(session) in range(3590, 3601)
        session.load(BACKEND.restoring(own, 1800.5))
        assert remaining(session) in range(1790, 1801)
        assert '" expires 9s,"' in session.read_own().text
        time.sleep(0.1)
        assert "10.0.0.0/8" not in session.read_own().text

    inside(body)


def test_an_element_can_be_opened_for_a_time_by_the_desired_rules(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        session.load(some(BACKEND.transaction(read(session), opened(allowing(grant(22)), 60))))
        assert remaining(session) in range(50, 61)
        session.load(some(BACKEND.transaction(read(session), opened(allowing(grant(22)), 600))))
        assert remaining(session) in range(590, 601)

    inside(body)


def opened(rules: Ruleset, seconds: int) -> Ruleset:
    element = Element(((8080, 8080), (TCP, TCP)), "opened", seconds)

    def changed(one: NamedSet) -> NamedSet:
        return replace(one, elements=(element,)) if one.name == "opened_ports" else one

    container = rules.containers[0]
    return Ruleset((replace(container, sets=tuple(map(changed, container.sets))),))


def some(artifact: Artifact | None) -> Artifact:
    assert artifact is not None
    return artifact


def remaining(session: NftablesSession) -> int:
    sets = own(read(session)).sets_by_name()
    seconds = sets["opened_ports"].elements[0].expires
    assert seconds is not None
    return seconds


def own(ruleset: Ruleset) -> Container:
    return ruleset.owned().containers[0]


def test_sources_that_a_limit_has_counted_stay_counted(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(replace(grant(22), limit=LIMIT)))
        nft("add element inet portgate limit_g22_3_hour_5_v4 { 192.0.2.7 limit rate 3/hour burst 5 packets }")
        apply(session, allowing(replace(grant(22), limit=LIMIT), grant(80)))
        assert "192.0.2.7" in session.read_own().text
        session.load(BACKEND.restoring(session.read_own()))
        assert "192.0.2.7" in session.read_own().text
        apply(session, allowing(replace(grant(22), limit=Limit(4, Unit.HOUR)), grant(80)))
        assert "192.0.2.7" not in session.read_own().text  # at another rate, counting begins anew

    inside(body)


def test_tables_of_others_are_byte_for_byte_the_same_afterwards(inside: Inside) -> None:
    def body() -> None:
        for name in ("eth0", "eth1", "wg0", "wg1"):  # which rules of others speak of
            subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"peer-{name}"], check=True)
        session = NftablesSession()
        for seed in range(10):
            nft("flush", "ruleset")
            nft("-f", "-", script=foreign.ruleset(Random(seed)))
            before = nft("list", "ruleset")
            apply(session, allowing(grant(22), grant(80, "10.0.0.0/8")))
            apply(session, allowing(grant(443)))
            ours = nft("list", "table", "inet", "portgate")
            assert nft("list", "ruleset").replace(ours, "") == before
            apply(session, Ruleset())
            assert nft("list", "ruleset") == before

    inside(body)


def test_a_table_of_our_name_that_we_did_not_make_is_refused(inside: Inside) -> None:
    def body() -> None:
        nft("add table inet portgate")
        nft("add chain inet portgate theirs")
        session = NftablesSession()
        before, generation = nft("list", "ruleset"), session.generation()
        with pytest.raises(PortgateError) as refused:
            apply(session, allowing(grant(22)))
        diagnostic = refused.value.diagnostics[0]
        assert (diagnostic.code, bool(diagnostic.remedy), refused.value.exit_code) == ("PG530", True, 3)
        assert (nft("list", "ruleset"), session.generation()) == (before, generation)

    inside(body)


def test_a_table_named_like_ours_of_another_family_is_none_of_our_business(inside: Inside) -> None:
    def body() -> None:
        nft("add table ip portgate")
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        assert "table ip portgate" in nft("list", "ruleset")

    inside(body)


@pytest.mark.parametrize(
    "edit",
    [
        "add rule inet portgate input tcp dport 666 accept",
        "insert rule inet portgate input meta mark set 7 accept",
        "flush chain inet portgate input",
        "delete element inet portgate allow_ports { 22 . tcp }",
        "add element inet portgate allow_ports { 1-65535 . udp }",
        "add chain inet portgate extra { type filter hook input priority -300; policy drop; }",
        "add set inet portgate extra { type ipv4_addr; }",
        "add chain inet portgate input { type filter hook input priority -5; policy accept; }",
        "delete table inet portgate",
    ],
)
def test_an_edit_by_hand_is_seen_and_undone(inside: Inside, edit: str) -> None:
    def body() -> None:
        session = NftablesSession()
        wanted = allowing(grant(22), grant(80, "10.0.0.0/8"))
        apply(session, wanted)
        right = nft("-s", "list", "ruleset")
        nft(edit)
        assert not same(read(session), wanted)
        assert apply(session, wanted)
        assert nft("-s", "list", "ruleset") == right

    inside(body)


def test_a_chain_on_another_hook_and_a_set_of_another_type_are_replaced_with_the_table(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        wanted = allowing(grant(22))
        for before, after in (
            ("priority -5", "priority 7"),
            (
                "set allow_ports {\n\t\ttype inet_service . inet_proto",
                "set allow_ports {\n\t\ttype inet_service . inet_service",
            ),
        ):
            text = BACKEND.emit(wanted).text.replace("th dport . meta l4proto @allow_ports counter accept", "counter")
            session.load(Artifact("nftables", text.replace(before, after)))
            apply(session, wanted)

    inside(body)


def test_rules_without_handles_are_replaced_chain_by_chain(inside: Inside) -> None:
    """What was read from a text has no handles."""

    def body() -> None:
        session = NftablesSession()
        apply(session, allowing(grant(22)))
        listing = BACKEND.parse((Reading("nft", nft("list", "ruleset"), "a file"),))
        wanted = allowing(grant(22), grant(80, "10.0.0.0/8"))
        session.load(some(BACKEND.transaction(listing, wanted)))
        assert same(read(session), wanted)

    inside(body)


HOSTILE = ['"; flush ruleset; #', "a\nb", "\\", "$x", "{ }", "*", "-", "ü\u202e", "x" * 500, "\x00\x1b[31m", "''`id`"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_try_to_be_syntax_are_only_names(inside: Inside, name: str) -> None:
    def body() -> None:
        session = NftablesSession()
        nft("add table inet others")
        many = AddressSet(tuple((index * 4, index * 4) for index in range(1, 200)))
        named = Grant("id", (Traffic(TCP, 22, 22),), (Peer((), many, name), Peer(("eth*",), None, name)), log=True)
        apply(session, allowing(named, replace(named, id="other", limit=LIMIT)))
        assert "table inet others" in nft("list", "ruleset")
        session.load(BACKEND.restoring(session.read_own()))

    inside(body)


def test_what_is_refused_names_the_line(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        script = "table inet portgate {\n\tchain c {\n\t\ttcp dport nonsense accept\n\t}\n}\n"
        with pytest.raises(PortgateError) as refused:
            session.check(Artifact("nftables", script))
        assert refused.value.diagnostics[0].code == "PG531"
        assert "line 3 of the script: tcp dport nonsense accept" in refused.value.diagnostics[0].detail

    inside(body)


def test_the_generation_changes_with_any_rule_of_anybody(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        first = session.generation()
        session.read()
        assert session.generation() == first
        nft("add table ip others")
        assert session.generation() != first

    inside(body)


def test_without_permission_a_remedy_is_given(inside: Inside) -> None:
    def body() -> str | None:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PortgateError) as refused:
            NftablesSession()
        assert refused.value.diagnostics[0].code == "PG461"
        return BACKEND.available()

    assert "root" in str(inside(body))


def test_ten_thousand_grants_load_at_once_and_one_change_is_one_line(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        grants = [grant(1024 + index, f"10.{index >> 8}.{index & 255}.0/24") for index in range(10_000)]
        apply(session, allowing(*grants))
        assert apply(session, allowing(*grants[:-1])).count("\n") == 1

    inside(body)


def test_an_outline_is_given_after_exactly_one_transaction_and_has_all_but_elements(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        before = session.generation()
        assert session.outline_after(before) is None
        rules = allowing(grant(22), grant(443, "10.0.0.0/8"), listed(0))
        apply(session, rules)
        outline = session.outline_after(before)
        assert outline is not None
        bare, whole = BACKEND.parse((outline,)).containers[0], BACKEND.parse((session.read_own(),)).containers[0]
        assert any(one.elements for one in whole.sets)
        assert bare == replace(whole, sets=tuple(replace(one, elements=()) for one in whole.sets))

    inside(body)


def test_no_outline_is_given_after_somebody_elses_transaction(inside: Inside) -> None:
    def body() -> None:
        session = NftablesSession()
        before = session.generation()
        apply(session, allowing(grant(22)))
        nft("add", "element", "inet", "portgate", "allow_ports", "{ 23 . tcp }")
        assert session.outline_after(before) is None

    inside(body)


@pytest.mark.parametrize("part", [0, 1], ids=["boot", "network namespace"])
def test_no_outline_is_given_for_the_count_of_another(inside: Inside, part: int) -> None:
    def body() -> None:
        session = NftablesSession()
        parts = str(session.generation()).split(":")
        apply(session, allowing(grant(22)))
        assert session.outline_after(":".join(parts)) is not None
        parts[part] += "0"
        assert session.outline_after(":".join(parts)) is None
        assert session.outline_after(None) is None

    inside(body)
