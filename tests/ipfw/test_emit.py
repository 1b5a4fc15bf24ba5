"""What a policy looks like in ipfw."""

from __future__ import annotations

import os
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.backends.ipfw import BACKEND, emit
from portgate.core.compile import compile as compile_policy
from portgate.core.diagnostics import PortgateError
from portgate.core.features import lacking
from portgate.core.net import TCP, AddressSet
from portgate.core.policy import Default, Grant, Peer, Policy, Rulebook, Traffic
from portgate.core.ruleset import Accept, All, Base, Chain, Container, Field, Hook, Rule, Ruleset, Test
from tests.ipfw.texts import DIALECTS, lines, read
from tests.written import TODAY, loaded, rules

SSH = "inbound:\n  allow:\n    - {port: ssh, from: 198.51.100.0/24, id: office-ssh}\n"
MANY = "inbound:\n  allow:\n    - {port: ssh, from: [10.0.0.1, 10.0.0.3, 10.0.0.5], id: three}\n"


def bodies(found: list[str]) -> list[str]:
    """Rules without their number and set."""
    return [one.split(" ", 4)[4] for one in found if one.startswith("add ")]


def test_new_rules_come_into_force_at_once_and_a_guard_stays_behind_them() -> None:
    found = lines(SSH)
    assert found[:3] == ["set disable 29", "set move rule 65521 to 29", "delete set 29"]
    assert found[3] == "add 65521 set 31 allow tcp from any to any established // portgate:guard"
    assert found[-1] == "set swap 28 29"
    assert all(" set 29 " in one for one in found[4:-1])


def test_grants_keep_states_and_lead_back_to_the_policy() -> None:
    found = bodies(lines(SSH))
    assert found[1] == "check-state :portgate // portgate:established"
    assert "allow tcp from 198.51.100.0/24 to any 22 in keep-state :portgate // portgate:office-ssh" in found
    assert found[-2:] == [
        "deny ip from any to any in // portgate:default",
        "allow ip from any to any out keep-state :portgate // portgate:default",
    ]


def test_what_always_passes_makes_no_states() -> None:
    """A state is of two addresses: one of an ICMP error would let all other ICMP between them through."""
    found = bodies(lines("outbound: {default: drop}\n"))
    assert "allow ip from any to any in recv lo0 // portgate:loopback" in found
    assert "allow ip from any to any out xmit lo0 // portgate:loopback" in found
    assert [one for one in found if "essential" in one and "keep-state" in one] == []
    assert "allow udp from any 67 to any 68 in // portgate:essential" in found


def test_many_addresses_are_a_table_whose_name_tells_its_content() -> None:
    create, add = (one for one in lines(MANY) if one.startswith("table "))
    name = create.split()[1]
    assert create == f"table {name} create type addr missing"
    assert add == f"table {name} add 10.0.0.1 0 10.0.0.3 0 10.0.0.5 0"
    assert any(f"from table({name}) to any 22" in one for one in lines(MANY))
    other = next(one for one in lines(MANY.replace("10.0.0.5", "10.0.0.6")) if one.startswith("table "))
    assert other.split()[1] != name


def test_all_addresses_of_one_family_are_not_all_addresses() -> None:
    """ipfw takes 0.0.0.0/0 for any address, of IPv6 as well."""
    found = bodies(
        lines("inbound:\n  allow:\n    - {port: ssh, from: 0.0.0.0/0, id: four}\n    - {from: '::/0', id: six}\n")
    )
    assert "allow tcp from any to any 22 in ip4 keep-state :portgate // portgate:four" in found
    assert any(one.startswith("allow ip6 from any to any in keep-state") for one in found)


def test_a_range_of_addresses_is_a_table_of_its_prefixes() -> None:
    found = lines("inbound:\n  allow:\n    - {port: ssh, from: 10.0.0.1-10.0.0.6, id: few}\n")
    assert any(one.endswith("add 10.0.0.1 0 10.0.0.2/31 0 10.0.0.4/31 0 10.0.0.6 0") for one in found)


def test_a_forward_to_this_host_changes_the_port_and_not_the_address() -> None:
    found = bodies(
        lines("inbound:\n  block: [{from: 203.0.113.9, id: bad}]\nforward: [{port: 80/tcp, to: 8080, id: web}]\n")
    )
    four = "fwd 127.0.0.1,8080 tcp from any to me 80 in ip4 keep-state :portgate // portgate:web"
    six = "fwd ::1,8080 tcp from any to me6 80 in keep-state :portgate // portgate:web"
    blocked = next(index for index, one in enumerate(found) if one.startswith("deny ip4 from 203.0.113.9"))
    assert blocked < found.index(four) < found.index(six)


def test_reject_answers_in_both_families() -> None:
    assert "unreach port ip from any to any in // portgate:default" in bodies(lines("inbound: {default: reject}\n"))


def test_interfaces_may_have_wildcards_and_no_digits() -> None:
    found = bodies(lines("zones: {vpn: {interfaces: ['wg*', lan]}}\ninbound: {allow: [{from: vpn, id: v}]}\n"))
    assert any(one.startswith("allow ip from any to any in recv wg* keep-state") for one in found)
    assert any(one.startswith("allow ip from any to any in recv lan keep-state") for one in found)


def test_a_long_list_of_ports_is_several_rules() -> None:
    ports = ", ".join(f"{port}/tcp" for port in range(1000, 1140, 2))
    found = [one for one in bodies(lines(f"inbound: {{allow: [{{port: [{ports}], id: p}}]}}\n")) if "portgate:p" in one]
    assert [one.count(",") + 1 for one in found] == [30, 30, 10]


@pytest.mark.parametrize(
    "policy, what",
    [
        ("inbound:\n  allow:\n    - {port: ssh, limit: 10/minute}\n", "rate limits for each source"),
        ("inbound:\n  allow:\n    - {port: 9/dccp}\n", "ports of DCCP"),
        ("containers: enforce\n", "passes through"),
        ("forward: [{port: 80/tcp, to: '10.0.0.7:80'}]\n", "to another host"),
        ("forward: [{port: 53/udp, to: 5353}]\n", "other than TCP"),
    ],
)
def test_what_ipfw_can_not_say_is_refused_at_the_grant(policy: str, what: str) -> None:
    found = lacking(loaded(f"portgate: 1\nname: t\n{policy}"), TODAY, BACKEND.features, "ipfw")
    assert found and all(one.code == "PG301" for one in found)
    assert any(what in one.detail for one in found)


@pytest.mark.parametrize("traffic", [Traffic(1, 32, 40), Traffic(58, 202, 255)])
def test_icmp_types_that_ipfw_has_no_bit_for_are_refused_at_the_grant(traffic: Traffic) -> None:
    grant = Grant("odd", (traffic,))
    policy = Policy("t", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT))
    found = lacking(policy, TODAY, BACKEND.features, "ipfw")
    assert ["the grant odd" in one.detail for one in found] == [True]
    with pytest.raises(PortgateError) as refused:
        BACKEND.emit(compile_policy(policy, TODAY))
    assert refused.value.diagnostics[0].code == "PG302"


def many(count: int) -> Ruleset:
    ports = (All((Test(Field.PROTOCOL, ((TCP, TCP),)), Test(Field.DPORT, ((port, port),)))) for port in range(count))
    grants = tuple(Rule(match, Accept(), comment=f"g{index}") for index, match in enumerate(ports))
    return Ruleset((Container("portgate", chains=(Chain("input", grants, Base(Hook.INPUT, 0)),), owned=True),))


def test_rules_stand_closer_where_there_are_many_and_behind_them_stands_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emit, "GUARD_NUMBER", 2000)  # for the time that 65,000 rules would take
    found = BACKEND.emit(many(500), "file").text.splitlines()
    guard, *numbers = (int(one.split()[1]) for one in found if one.startswith("add "))
    assert numbers == list(range(1000, 1000 + len(numbers)))
    assert guard == 2000 > numbers[-1]
    with pytest.raises(PortgateError, match="no more than 1000 numbers"):
        BACKEND.emit(many(1000))


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(PortgateError) as refused:
        BACKEND.emit(Ruleset(), "openbsd")
    assert refused.value.diagnostics[0].code == "PG303"


def test_nothing_desired_removes_what_is_ours() -> None:
    found = [one for one in BACKEND.emit(Ruleset(), "file").text.splitlines() if not one.startswith("#")]
    assert found == ["set disable 29", "set move rule 65521 to 29", "delete set 28 29"]


# ------------------------------------------------------------------ hostile words

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\"\\\n\r\t#${}()<>!=/, '`;&|*?[]~\x00"), st.sampled_from(string.ascii_letters), st.characters()
    ),
    min_size=1,
    max_size=70,
)
FAKE = '#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done >> "$RECORD"\nprintf "\\n\\0" >> "$RECORD"\n'


def emitted(comment: str, name: str, dialect: str) -> str:
    peer = Peer((), AddressSet.of("10.0.0.1", "10.0.0.3"), name)
    grant = Grant(comment, (Traffic(TCP, 22, 22),), (peer,), log=True)
    wanted = compile_policy(Policy("t", Rulebook(Default.DROP, allow=(grant,)), Rulebook(Default.ACCEPT)), TODAY)
    return BACKEND.emit(wanted, dialect).text


def shape(text: str) -> list[list[str]]:
    """Its commands, without names of tables and comments."""
    return [
        ["?" if one.startswith(("portgate-", "portgate:", "'table(", "table(")) else one for one in line.split(" ")]
        for line in text.split("\n")
    ]


@settings(max_examples=150)
@given(comment=HOSTILE, name=HOSTILE, dialect=st.sampled_from(DIALECTS))
def test_hostile_words_never_become_syntax(comment: str, name: str, dialect: str) -> None:
    """The text has the same words as with plain names, and comments of plain characters."""
    found = emitted(comment, name, dialect)
    assert shape(found) == shape(emitted("grant", "peers", dialect))
    labels = [line.partition("// portgate:")[2] for line in found.split("\n")]
    assert all(len(one) <= 63 and not set(one) - set(string.ascii_letters + string.digits + "._-") for one in labels)
    assert read(found).owned().containers


@settings(max_examples=15)
@given(comment=HOSTILE, name=HOSTILE)
def test_a_real_shell_calls_ipfw_with_just_these_words(
    comment: str, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the script passes is what the file says."""
    folder = tmp_path_factory.mktemp("fake")
    record = folder / "record"
    fake = folder / "ipfw"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    script = folder / "rules.sh"
    script.write_text(emitted(comment, name, "sh"))
    environment = {"PATH": f"{folder}:{os.defpath}", "RECORD": str(record)}
    subprocess.run(["/bin/sh", str(script)], check=True, env=environment, cwd=folder, capture_output=True)
    calls = [one.split("\0")[:-1] for one in record.read_text().split("\n\0") if one]
    file = [line.split() for line in emitted(comment, name, "file").splitlines() if not line.startswith("#")]
    assert calls == [["-q", *words] for words in file]


def test_a_command_that_fails_ends_the_script_with_the_old_rules_in_force(tmp_path: Path) -> None:
    (tmp_path / "ipfw").write_text('#!/bin/sh\necho "$*"\n[ "$3" != 1020 ]\n')
    (tmp_path / "ipfw").chmod(0o755)
    script = tmp_path / "rules.sh"
    script.write_text(BACKEND.emit(rules(SSH), "sh").text)
    environment = {"PATH": f"{tmp_path}:{os.defpath}"}
    done = subprocess.run(["/bin/sh", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "add 1020" in done.stdout.splitlines()[-1] and "swap" not in done.stdout


@pytest.mark.parametrize("interface", ['em0"', "em0;", "$x0", "any", "0em0", "em0#0", "em?", "[ab]0", "table(x)", "é0"])
def test_a_name_that_ipfw_would_read_as_something_else_is_refused(interface: str) -> None:
    number = int.from_bytes(interface.encode().ljust(15, b"\0"), "big")
    rule = Rule(Test(Field.IIF, ((number, number),)), Accept(), comment="x")
    chain = Chain("input", (rule,), Base(Hook.INPUT, 0))
    with pytest.raises(PortgateError) as refused:
        BACKEND.emit(Ruleset((Container("portgate", chains=(chain,), owned=True),)))
    assert refused.value.diagnostics[0].code == "PG302"
