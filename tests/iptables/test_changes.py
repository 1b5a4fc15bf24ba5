"""What a change of the policy changes: tables whole, sets by turns, nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from portgate.backends import get
from portgate.backends.iptables.limits import limit_listed, limit_memory, limit_of
from portgate.core.capture import Reading
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.drift import of_ours
from portgate.core.features import lacking
from portgate.core.joining import joined
from portgate.core.net import TCP, AddressSet
from portgate.core.plan import rule_changes
from portgate.core.policy import Default, Grant, Limit, Peer, Policy, Rulebook, Traffic, Unit
from portgate.core.ruleset import Ruleset
from tests.compile.worlds import TODAY

BACKEND = get("iptables")
JUMP = '-m comment --comment "made by portgate" -j PORTGATE-INPUT'


def rules(*grants: Grant, default: Default = Default.DROP) -> Ruleset:
    return BACKEND.lower(
        compile_policy(Policy("test", Rulebook(default, allow=grants), Rulebook(Default.ACCEPT)), TODAY)
    )


def listed(*networks: int, port: int = 22) -> Grant:
    """A grant to so many networks that they are a set."""
    addresses = AddressSet(tuple((512 * one, 512 * one + 255) for one in networks))
    return Grant("listed", (Traffic(TCP, port, port),), (Peer((), addresses, "list"),))


def port(number: int, **more: object) -> Grant:
    return Grant(f"g{number}", (Traffic(TCP, number, number),), **more)  # type: ignore[arg-type]


def read(text: str) -> Ruleset:
    return BACKEND.parse((Reading("iptables", text, "a listing"),))


def change(before: Ruleset, after: Ruleset) -> list[str]:
    """The lines of the change, without comments."""
    found = BACKEND.transaction(before, after)
    return [line for line in found.text.splitlines() if not line.startswith("# ")] if found else []


def on_a_host(desired: Ruleset) -> Ruleset:
    return read(BACKEND.emit(desired).text)


def test_the_first_change_makes_chains_and_then_leads_to_them() -> None:
    lines = change(Ruleset(), rules(port(80)))
    assert lines[:3] == ["#: ip6tables", "*filter", ":PORTGATE-INPUT - [0:0]"]
    assert lines[-2:] == [f"-I INPUT {JUMP}", "COMMIT"]


def test_a_changed_grant_rewrites_its_chain_and_no_jump() -> None:
    lines = change(on_a_host(rules(port(80))), rules(port(81)))
    assert [line for line in lines if "INPUT -m comment" in line and line.startswith(("-I", "-D"))] == []
    assert [line for line in lines if line.startswith(":")] == [":PORTGATE-INPUT - [0:0]"] * 2


def test_a_family_without_rules_of_ours_comes_first() -> None:
    text = BACKEND.emit(rules(port(80))).text
    only_v6 = read(text.partition("#: iptables\n")[0] + "#: ip6tables\n" + text.partition("#: ip6tables\n")[2])
    assert change(only_v6, rules(port(81)))[0] == "#: iptables"


def test_what_is_removed_is_unhooked_emptied_and_deleted() -> None:
    lines = change(on_a_host(rules(port(80))), Ruleset())
    assert lines == [
        "#: ip6tables", "*filter", ":PORTGATE-INPUT - [0:0]", f"-D INPUT {JUMP}", "-X PORTGATE-INPUT", "COMMIT",
        "#: iptables", "*filter", ":PORTGATE-INPUT - [0:0]", f"-D INPUT {JUMP}", "-X PORTGATE-INPUT", "COMMIT",
    ]  # fmt: skip


# ------------------------------------------------------------------ sets


def commands(lines: Iterable[str]) -> list[str]:
    """Those of ipset, but for members."""
    return [line.removeprefix("#ipset ") for line in lines if line.startswith("#ipset ") and " add " not in line]


def test_a_set_that_changes_alone_is_swapped_in() -> None:
    lines = change(on_a_host(rules(listed(*range(100)))), rules(listed(*range(1, 101))))
    found = commands(lines)
    assert [line.split()[0] for line in found] == ["create", "flush", "swap", "destroy"]
    spare, live = found[2].split()[1:]
    assert (spare[-2:], live[-2:]) == (".b", ".a")
    assert not [line for line in lines if not line.startswith("#ipset")]


def test_a_set_that_changes_with_a_rule_gets_its_other_name_and_goes_last() -> None:
    before = on_a_host(rules(listed(*range(100))))
    lines = change(before, rules(listed(*range(1, 101)), port(80)))
    assert lines[-1].startswith("#ipset destroy") and lines[-1].endswith(".a")
    assert not [line for line in lines if line.startswith("-A") and ".a " in line]
    assert [line for line in lines if line.startswith("-A") and ".b src" in line]


def test_a_set_that_stays_is_not_touched_by_other_changes() -> None:
    lines = change(on_a_host(rules(listed(*range(100)))), rules(listed(*range(100)), port(80)))
    assert commands(lines) == []


def test_two_sets_that_change_are_never_swapped_one_after_the_other() -> None:
    def two(start: int) -> Ruleset:
        other = Grant(
            "other", (Traffic(TCP, 25, 25),), (Peer((), listed(*range(500 + start, 600)).sources[0].addresses, "o"),)
        )
        return rules(listed(*range(start, 100)), other)

    assert "swap" not in " ".join(commands(change(on_a_host(two(0)), two(1))))


def test_a_set_that_an_apply_left_behind_is_destroyed() -> None:
    text = "#ipset create pg_left_00000000.b hash:net family inet comment\n" + BACKEND.emit(rules(port(80))).text
    assert change(read(text), rules(port(80))) == ["#ipset destroy pg_left_00000000.b"]


def test_a_set_in_use_is_never_emptied_even_where_its_rules_are_not_in_their_place() -> None:
    text = BACKEND.emit(rules(listed(*range(100)))).text.replace("-I INPUT", "-A INPUT -j ACCEPT\n-A INPUT")
    assert not read(text).owned().containers
    assert [line for line in commands(change(read(text), rules(listed(*range(100))))) if line.startswith("flush")] == []
    lines = change(read(text), rules(listed(*range(1, 101))))
    assert [line[-2:] for line in commands(lines) if line.startswith("flush")] == [".b"]


def test_rules_of_ours_in_the_legacy_store_are_those_that_are_changed() -> None:
    wanted, other = rules(port(80)), rules(port(81))
    legacy = tuple(
        Reading(f"{program}-legacy-save", BACKEND.emit(wanted, program).text, "legacy")
        for program in ("iptables", "ip6tables")
    )
    nft = tuple(
        Reading(f"{program}-save", BACKEND.emit(other, program).text, "nft") for program in ("iptables", "ip6tables")
    )
    assert BACKEND.transaction(BACKEND.parse((*legacy, *nft)), wanted) is None
    assert BACKEND.transaction(BACKEND.parse((*nft, *legacy)), other) is not None


# ------------------------------------------------------------------ edits by others


def edited(*edits: tuple[str, str]) -> Ruleset:
    text = BACKEND.emit(rules(port(80))).text
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    return read(text)


def test_a_rule_that_only_drops_may_stand_before_ours() -> None:
    ban = ":f2b - [0:0]\n-A f2b -s 192.0.2.1 -j DROP\n-A f2b -j RETURN\n"
    found = edited(("*filter\n", f"*filter\n{ban}"), (f"-I INPUT {JUMP}\n", f"-A INPUT -j f2b\n-A INPUT {JUMP}\n"))
    assert change(found, rules(port(80))) == []


def test_a_rule_that_could_accept_before_ours_is_overtaken() -> None:
    found = edited((f"-I INPUT {JUMP}\n", f"-A INPUT -p tcp -j ACCEPT\n-A INPUT {JUMP}\n"))
    assert not found.owned().containers
    lines = change(found, rules(port(80)))
    assert [line for line in lines if line[:2] in ("-I", "-D")] == [f"-D INPUT {JUMP}", f"-I INPUT {JUMP}"] * 2


def test_a_missing_jump_is_made_again() -> None:
    found = edited((f"-I INPUT {JUMP}\n", ""))
    assert [line for line in change(found, rules(port(80))) if line[:2] in ("-I", "-D")] == [f"-I INPUT {JUMP}"] * 2


def test_an_edited_rule_is_written_anew() -> None:
    found = edited(("--dport 80", "--dport 8000"))
    assert change(found, rules(port(80)))


def test_a_chain_of_ours_that_accepts_for_everybody_is_not_taken_for_ours() -> None:
    found = edited(("--dport 80 -m comment --comment g80 -j RETURN", "--dport 80 -m comment --comment g80 -j ACCEPT"))
    assert not found.owned().containers
    assert change(found, rules(port(80)))


def test_a_limit_that_was_edited_is_written_anew() -> None:
    wanted = rules(port(22, limit=Limit(10, Unit.MINUTE)))
    text = BACKEND.emit(wanted).text
    assert change(read(text), wanted) == []
    assert change(read(text.replace("10/min", "11/min")), wanted)


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit(60, Unit.MINUTE), "1/sec"), (Limit(120, Unit.HOUR), "2/min"), (Limit(7, Unit.MINUTE), "7/min"),
        (Limit(61, Unit.MINUTE), "61/min"), (Limit(86400, Unit.DAY), "1/sec"), (Limit(25, Unit.DAY), "25/day"),
        (Limit(1, Unit.DAY), "1/day"), (Limit(90, Unit.MINUTE), "90/min"), (Limit(1000, Unit.SECOND), "1000/sec"),
    ],
)  # fmt: skip
def test_a_rate_is_written_as_iptables_lists_it(limit: Limit, said: str) -> None:
    assert limit_listed(limit) == said


def test_a_source_is_remembered_until_its_allowance_is_full_again() -> None:
    assert limit_memory(Limit(3, Unit.HOUR, 5)) == 6000 * 1000
    assert limit_memory(Limit(1000, Unit.SECOND, 1)) == 60 * 1000


@pytest.mark.parametrize(
    "name", ["", "limit_", "limit_x_0_minute_5_v4", "limit_x_1_year_5_v4", "limit_x_1_minute_5_v5", "x"]
)
def test_a_name_that_tells_no_limit_is_none_of_ours(name: str) -> None:
    assert limit_of(name) is None


# ------------------------------------------------------------------ what can't be said


@pytest.mark.parametrize(
    ("grant", "why"),
    [
        (Grant("plus", sources=(Peer(("wan+",)),)), "end in a plus"),
        (Grant("mark", sources=(Peer(("!",)),)), "exclamation mark"),
        (Grant("zero", (Traffic(0),)), "number 0"),
        (port(22, limit=Limit(1, Unit.DAY)), "more than a day"),
        (port(22, limit=Limit(5000, Unit.SECOND)), "1,000 a second"),
    ],
)
def test_what_iptables_would_widen_is_refused_at_its_grant(grant: Grant, why: str) -> None:
    policy = Policy("test", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT))
    found = lacking(policy, TODAY, BACKEND.features, "iptables")
    assert [one.code for one in found] == ["PG301"]
    assert why in found[0].detail and grant.id in found[0].detail


def test_a_dialect_is_the_program_that_takes_it() -> None:
    desired = rules(port(80), listed(*range(100)))
    four, six = BACKEND.emit(desired, "iptables").text, BACKEND.emit(desired, "ip6tables").text
    assert "#: ip6tables" not in four and "#: iptables\n" not in six
    assert "#ipset create" in four and "#ipset" not in six
    with pytest.raises(PortgateError, match="no dialect"):
        BACKEND.emit(desired, "ebtables")


STORES = {"nft": "# Generated by iptables-save v1.8.9 (nf_tables)\n", "legacy": "# Generated by iptables-save v1.8.9\n"}


def on_a_host_with(store: str, *edits: tuple[str, str]) -> Ruleset:
    """Our rules for port 22, IPv4 and IPv6, as iptables-save lists them, after some edits."""
    text = BACKEND.emit(rules(port(22))).text
    readings = []
    for part in text.split("#: ")[1:]:
        program, _, listing = part.partition("\n")
        listing = listing.replace("-I INPUT", ":INPUT ACCEPT [0:0]\n-A INPUT")
        for old, new in edits:
            assert old in listing, old
            listing = listing.replace(old, new, 1)
        readings.append(Reading(f"{program}-save", STORES[store] + listing, "a listing"))
    return joined([BACKEND.parse(tuple(readings))])


@pytest.mark.parametrize("store", STORES)
def test_a_plan_stays_in_the_store_that_holds_our_rules(store: str) -> None:
    live = on_a_host_with(store)
    assert rule_changes(live, rules(port(22)), BACKEND.words) == ()
    added = rule_changes(live, rules(port(22), port(80)), BACKEND.words)
    assert [(one.action, one.where, "--dport 80 " in one.text) for one in added] == [
        ("add", "chain PORTGATE-INPUT in ip filter", True),
        ("add", "chain PORTGATE-INPUT in ip6 filter", True),
    ]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            (f"-A INPUT {JUMP}", f"-A INPUT -p tcp --dport 4444 -j ACCEPT\n-A INPUT {JUMP}"),
            "chain INPUT in {}: somebody added -A INPUT -p tcp --dport 4444 -j ACCEPT, before the jump to our rules",
        ),
        (
            ("-A PORTGATE-INPUT -i lo", "-A PORTGATE-INPUT -p tcp --dport 4444 -j ACCEPT\n-A PORTGATE-INPUT -i lo"),
            "chain PORTGATE-INPUT in {}: somebody changed its rules",
        ),
        (
            ("-A PORTGATE-INPUT -i lo -m comment --comment loopback -j RETURN\n", ""),
            "chain PORTGATE-INPUT in {}: somebody removed -i lo -m comment --comment loopback -j RETURN",
        ),
    ],
)
def test_what_somebody_did_is_told_of_each_family_and_of_nothing_else(
    store: str, edit: tuple[str, str], told: str
) -> None:
    live, wanted = on_a_host_with(store, edit), rules(port(22))
    found = of_ours(live, wanted, BACKEND.words, BACKEND.transaction(live, wanted))
    assert [str(one) for one in found] == [told.format("ip filter"), told.format("ip6 filter")]


def test_a_jump_that_somebody_removed_is_told_as_that() -> None:
    live, wanted = on_a_host_with("nft", (f"-A INPUT {JUMP}\n", "")), rules(port(22))
    found = of_ours(live, wanted, BACKEND.words, BACKEND.transaction(live, wanted))
    assert {one.text for one in found if one.where == "chain INPUT in ip filter"} == {"jump to PORTGATE-INPUT"}
