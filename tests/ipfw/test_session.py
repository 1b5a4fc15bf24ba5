"""The session against an ipfw that answers as the manual page and real listings have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from portgate.backends.ipfw import BACKEND
from portgate.backends.ipfw.session import IpfwSession, available
from portgate.core.capture import Artifact
from portgate.core.diagnostics import PortgateError
from portgate.programs import Answer, ProgramError
from tests.written import rules, unequal

POLICY = (
    "inbound:\n  allow:\n    - {port: ssh, from: [10.0.0.1, 10.0.0.3], id: office-ssh}\nforward:\n"
    "  - {port: 80/tcp, to: 8080, id: web}\n"
)
OTHER = POLICY.replace("10.0.0.3", "10.0.0.4")
DEFAULT = "65535 set 31 deny ip from any to any\n"


class Ipfw:
    """Keeps rules in sets, and tables. Prints rules as it was given them, with the spelling of the real one."""

    def __init__(self, *foreign: str) -> None:
        self.rules: list[tuple[int, int, str]] = [(100, 0, one) for one in foreign]
        self.tables: dict[str, dict[str, str]] = {}
        self.disabled: set[int] = set()
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str], text: str) -> Answer:
        self.calls.append(tuple(command))
        match command:
            case ["sysctl", *_]:
                return Answer(0, "net.inet.ip.fw.enable: 1\nnet.inet.ip.fw.one_pass: 1\n", "")
            case ["ipfw", "-q", "-n", "/dev/stdin"]:
                return self._file(text, dry=True)
            case ["ipfw", "-q", "/dev/stdin"]:
                return self._file(text, dry=False)
            case ["ipfw", "-S", "list"]:
                return Answer(0, "".join(map(self._shown, sorted(self.rules, key=lambda one: one[0]))) + DEFAULT, "")
            case ["ipfw", "table", "all", "list"]:
                return Answer(0, "".join(self._table(name) for name in self.tables), "")
            case ["ipfw", "-q", *words]:
                return Answer(0, "", "") if self._command(words) else Answer(71, "", "ipfw: Device busy\n")
            case _:
                return Answer(64, "", f"ipfw: bad command {command}\n")

    def _shown(self, rule: tuple[int, int, str]) -> str:
        number, its, body = rule
        body = body.replace(" ip4 keep", " proto ip4 keep").replace("allow log ", "allow log logamount 100 ")
        return f"{'# DISABLED ' if its in self.disabled else ''}{number:05} set {its} {body}\n"

    def _table(self, name: str) -> str:
        entries = "".join(f"{key} {value}\n" for key, value in self.tables[name].items())
        return f"--- table({name}), set(0) ---\n{entries}"

    def _file(self, text: str, *, dry: bool) -> Answer:
        """One command after the other: what stands before a mistake has been done."""
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if words[:1] == ["this"]:
                return Answer(64, "", f"Line {number}: bad command `this'\n")
            if words and not dry:
                assert self._command(words), line
        return Answer(0, "", "")

    def _command(self, words: Sequence[str]) -> bool:
        match words:
            case ["set", "disable", one]:
                self.disabled.add(int(one))
            case ["set", "swap", one, other]:
                places = {int(one): int(other), int(other): int(one)}
                self.rules = [(number, places.get(its, its), body) for number, its, body in self.rules]
            case ["set", "move", "rule", moved, "to", other]:
                self.rules = [(n, int(other) if n == int(moved) else its, body) for n, its, body in self.rules]
            case ["delete", "set", *sets]:
                self.rules = [one for one in self.rules if str(one[1]) not in sets]
            case ["table", name, "create", "type", "addr", "missing"]:
                self.tables.setdefault(name, {})
            case ["table", name, "add", *words_]:
                self.tables[name].update(zip(words_[::2], [*words_[1::2], "0"], strict=False))
            case ["table", name, "destroy"] if any(f"table({name})" in body for _, _, body in self.rules):
                return False
            case ["table", name, "destroy"]:
                del self.tables[name]
            case ["add", number, "set", one, *body]:
                self.rules.append((int(number), int(one), " ".join(body)))
            case _:
                return False
        return True


def load(ipfw: Ipfw, policy: str) -> None:
    live = IpfwSession(ipfw)
    artifact = BACKEND.transaction(BACKEND.parse((live.read_own(),)), rules(policy))
    assert artifact is not None
    live.check(artifact)
    live.load(artifact)


def test_what_is_loaded_is_read_back_as_what_was_meant() -> None:
    ipfw, desired = Ipfw(), rules(POLICY)
    live = IpfwSession(ipfw)
    live.load(BACKEND.emit(desired, "file"))
    for observed in (BACKEND.parse((live.read_own(),)), BACKEND.parse(live.read())):
        assert BACKEND.transaction(observed, desired) is None
        assert unequal(desired, observed) == []


def test_one_policy_after_another_leaves_no_tables_behind_but_the_last_ones() -> None:
    ipfw = Ipfw()
    for policy in (POLICY, OTHER, POLICY, OTHER):
        load(ipfw, policy)
        observed = BACKEND.parse((IpfwSession(ipfw).read_own(),))
        assert BACKEND.transaction(observed, rules(policy)) is None
    assert len(ipfw.tables) == 2  # those of the rules in force, and of the spare ones
    assert {its for _, its, _ in ipfw.rules} == {28, 29, 31}
    assert [number for number, its, _ in ipfw.rules if its == 31] == [65521]


def test_the_old_rules_stay_disabled_because_their_states_end_with_them() -> None:
    ipfw = Ipfw()
    load(ipfw, POLICY)
    first = [body for _, its, body in ipfw.rules if its == 28]
    load(ipfw, OTHER)
    assert [body for _, its, body in ipfw.rules if its == 29] == first
    assert 29 in ipfw.disabled


def test_a_table_that_somebody_has_changed_is_not_used_again() -> None:
    ipfw = Ipfw()
    load(ipfw, POLICY)
    name = next(iter(ipfw.tables))
    ipfw.tables[name]["203.0.113.66"] = "0"
    load(ipfw, POLICY)
    observed = BACKEND.parse(IpfwSession(ipfw).read())
    assert unequal(rules(POLICY), observed) == []
    assert f"table({name})" not in " ".join(body for _, its, body in ipfw.rules if its == 28)


def test_check_refuses_what_load_refuses_and_changes_nothing() -> None:
    ipfw = Ipfw("allow ip from any to any via lo0")
    live = IpfwSession(ipfw)
    good = BACKEND.emit(rules(POLICY), "file")
    live.load(good)
    before = [one for one in ipfw.rules if one[1] != 29]
    live.check(good)
    broken = replace(good, text=good.text.replace("set swap", "this is no command\nset swap"))
    for act in (live.check, live.load):
        with pytest.raises(PortgateError) as refused:
            act(broken)
        first = refused.value.diagnostics[0]
        assert (first.code, "this is no command" in first.detail) == ("PG570", True)
    assert sorted(one for one in ipfw.rules if one[1] != 29) == sorted(before)
    assert not [one for one in ipfw.rules if one[1] == 29]


def test_restoring_what_was_read_is_the_identity() -> None:
    ipfw = Ipfw("allow ip from any to any via lo0")
    live = IpfwSession(ipfw)
    nothing = live.read_own()
    live.load(BACKEND.emit(rules(POLICY), "file"))
    something = live.read_own()
    live.load(BACKEND.restoring(nothing))
    assert live.read_own() == nothing
    assert nothing.text == ""
    assert [one for one in ipfw.rules if one[1] != 0] == []
    live.load(BACKEND.restoring(something))
    assert live.read_own() == something


def test_rules_of_others_stay_and_are_asked_before_or_behind_ours() -> None:
    ipfw = Ipfw("deny ip from 203.0.113.0/24 to any")
    before = ipfw.rules.copy()
    load(ipfw, POLICY)
    assert [one for one in ipfw.rules if one[1] == 0] == before
    observed = BACKEND.parse(IpfwSession(ipfw).read())
    assert BACKEND.transaction(observed, rules(POLICY)) is None
    assert [one.name for one in observed.foreign().containers] == ["ipfw"]


def test_sets_that_somebody_else_uses_are_not_touched() -> None:
    ipfw = Ipfw()
    ipfw.rules.append((500, 29, "allow ip from any to any"))
    with pytest.raises(PortgateError) as refused:
        IpfwSession(ipfw).load(BACKEND.emit(rules(POLICY), "file"))
    assert refused.value.diagnostics[0].code == "PG571"
    assert ipfw.rules == [(500, 29, "allow ip from any to any")]


def test_an_ipfw_that_fails_or_is_missing_is_an_error_of_reading() -> None:
    def missing(command: Sequence[str], text: str) -> Answer:
        raise ProgramError("No such file or directory")

    def refusing(command: Sequence[str], text: str) -> Answer:
        return Answer(71, "", "ipfw: retrieving config failed: Protocol not available\n")

    for runner in (missing, refusing):
        with pytest.raises(PortgateError) as refused:
            IpfwSession(runner).read()
        assert refused.value.diagnostics[0].code == "PG482"


def test_nothing_is_ever_flushed() -> None:
    ipfw = Ipfw()
    load(ipfw, POLICY)
    IpfwSession(ipfw).load(Artifact("ipfw", BACKEND.restoring(IpfwSession(ipfw).read_own()).text))
    assert not any("flush" in call for call in ipfw.calls)
    assert "flush" not in BACKEND.emit(rules(POLICY)).text


def test_a_host_without_ipfw_is_told_why() -> None:
    reason = available()
    if reason is None:
        pytest.skip("this host has ipfw")
    assert "ipfw" in reason
