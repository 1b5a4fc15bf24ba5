"""The session against a pfctl that answers as the manual pages and real listings have it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from portgate.backends.pf import BACKEND, session
from portgate.backends.pf.session import PfSession
from portgate.core.capture import Artifact
from portgate.core.diagnostics import PortgateError
from portgate.programs import Answer, ProgramError
from tests.pf.texts import DIALECTS
from tests.written import rules, unequal

POLICY = "inbound:\n  allow:\n    - {port: ssh, from: [10.0.0.1, 10.0.0.3], id: office-ssh}\nforward:\n  - {port: 80/tcp, to: 8080, id: web}\n"


class Pfctl:
    """Keeps one anchor. Prints rules as it was given them, which real ones do but for spelling."""

    def __init__(
        self, main: str = 'anchor "portgate" all\n', translations: str = 'rdr-anchor "portgate" all\n'
    ) -> None:
        self.main, self.translations = main, translations
        self.status = "Status: Enabled for 12 days 03:14:15              Debug: err\n"
        self.interfaces = "all\negress\nem0\nlo (skip)\nlo0 (skip)\n"
        self.anchor = ""
        self.tables: dict[str, list[str]] = {}
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str], text: str) -> Answer:
        assert command[0] == "pfctl"
        self.calls.append(tuple(command[1:]))
        match command[1:] if command[1] != "-P" else command[2:]:
            case ["-a", "portgate", "-o", "none", "-n", "-f", "-"]:
                return self._checked(text)
            case ["-a", "portgate", "-o", "none", "-f", "-"]:
                answer = self._checked(text)
                if answer.status == 0:
                    self._load(text)
                return answer
            case ["-a", "portgate", "-sT"]:
                return Answer(0, "".join(f"{name}\n" for name in self.tables), "")
            case ["-a", "portgate", "-t", name, "-T", "show"]:
                return Answer(0, "".join(f"   {one}\n" for one in self.tables[name]), "")
            case ["-a", "portgate", "-sr"]:
                return Answer(0, self.rules(translating=False), "")
            case ["-a", "portgate", "-sn"]:
                return Answer(0, self.rules(translating=True), "")
            case ["-a", "*", "-sr"]:
                return Answer(0, nested(self.main, self.rules(translating=False)), "")
            case ["-a", "*", "-sn"]:
                return Answer(0, nested(self.translations, self.rules(translating=True)), "")
            case ["-si"]:
                return Answer(0, self.status, "")
            case ["-v", "-sI"]:
                return Answer(0, self.interfaces, "")
            case ["-sn"]:
                return Answer(0, self.translations, "")
            case ["-sT"]:
                return Answer(0, "bruteforce\n", "")
            case ["-t", "bruteforce", "-T", "show"]:
                return Answer(0, "", "")
            case ["-sr"]:
                return Answer(0, self.main, "")
            case _:
                return Answer(1, "", f"usage: {command}")

    def rules(self, *, translating: bool) -> str:
        lines = self.anchor.splitlines(keepends=True)
        return "".join(line for line in lines if line.startswith(("rdr", "no rdr")) is translating)

    def _checked(self, text: str) -> Answer:
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("this is no rule"):
                return Answer(1, "", f"stdin:{number}: syntax error\n")
        return Answer(0, "", "")

    def _load(self, text: str) -> None:
        plain = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))
        found = re.findall(r"table <(\S+)> \{(.*?)\}", plain, re.S)
        self.tables = {name: body.replace(",", " ").split() for name, body in found}
        self.anchor = re.sub(r"table <\S+> \{.*?\}\n", "", plain, flags=re.S)


def nested(main: str, rules: str) -> str:
    """As `-a '*'` prints it."""
    return main.replace(" all\n", f" all {{\n{rules}}}\n") if rules else main


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(session, "native_dialect", lambda: request.param)
    return str(request.param)


def test_what_is_loaded_is_read_back_as_what_was_meant(dialect: str) -> None:
    desired, live = rules(POLICY), PfSession(Pfctl(), dialect)
    live.load(BACKEND.emit(desired))
    for observed in (BACKEND.parse((live.read_own(),)), BACKEND.parse(live.read())):
        assert BACKEND.transaction(observed, desired) is None
        assert unequal(desired, observed) == []


def test_check_refuses_what_load_refuses_and_changes_nothing(dialect: str) -> None:
    pfctl = Pfctl()
    live = PfSession(pfctl, dialect)
    good = BACKEND.emit(rules(POLICY))
    live.load(good)
    before = (pfctl.anchor, pfctl.tables)
    live.check(good)
    for act in (live.check, live.load):
        with pytest.raises(PortgateError) as refused:
            act(Artifact("pf", good.text + "this is no rule\n"))
        first = refused.value.diagnostics[0]
        assert (first.code, "this is no rule" in first.detail) == ("PG560", True)
    assert (pfctl.anchor, pfctl.tables) == before


def test_restoring_what_was_read_is_the_identity(dialect: str) -> None:
    pfctl = Pfctl()
    live = PfSession(pfctl, dialect)
    nothing = live.read_own()
    live.load(BACKEND.emit(rules(POLICY)))
    something = live.read_own()
    live.load(BACKEND.restoring(nothing))
    assert live.read_own() == nothing
    assert nothing.text == ""
    live.load(BACKEND.restoring(something))
    assert live.read_own() == something


def test_without_a_place_in_the_main_rules_nothing_is_loaded(dialect: str) -> None:
    pfctl = Pfctl(main="pass all\n", translations="")
    with pytest.raises(PortgateError) as refused:
        PfSession(pfctl, dialect).load(BACKEND.emit(rules(POLICY)))
    assert refused.value.diagnostics[0].code == "PG561"
    assert pfctl.anchor == ""


def test_freebsd_needs_a_place_for_translations_too() -> None:
    with pytest.raises(PortgateError, match="rdr-anchor"):
        PfSession(Pfctl(translations=""), "freebsd").load(BACKEND.emit(rules(POLICY), "freebsd"))


def test_while_pf_is_off_no_rule_is_in_force_and_none_is_loaded(dialect: str) -> None:
    pfctl = Pfctl()
    live = PfSession(pfctl, dialect)
    live.load(BACKEND.emit(rules(POLICY)))
    pfctl.status = "Status: Disabled                                 Debug: err\n"
    assert BACKEND.parse(live.read()).containers == ()
    with pytest.raises(PortgateError) as refused:
        live.load(BACKEND.emit(rules(POLICY)))
    assert (refused.value.diagnostics[0].code, bool(refused.value.diagnostics[0].remedy)) == ("PG562", True)


def test_interfaces_that_are_not_filtered_are_read_though_no_rule_tells_them(dialect: str) -> None:
    pfctl = Pfctl(main='block drop in all\nanchor "portgate" all\n')
    pfctl.interfaces = "all\nem0 (skip)\nlo (skip)\nlo0 (skip)\ntun (skip)\ntun7 (skip)\n"
    live = PfSession(pfctl, dialect)
    live.load(BACKEND.emit(rules(POLICY)))
    (found,) = BACKEND.parse(live.read()).foreign().containers
    chain = found.chain("input")
    assert chain is not None
    assert [rule.origin.text for rule in chain.rules].count("set skip on { em0 , lo0 , tun7 }") == 3
    alone = Pfctl()  # with loopback skipped, as most have it, our anchor is still all that decides
    PfSession(alone, dialect).load(BACKEND.emit(rules(POLICY)))
    assert BACKEND.parse(PfSession(alone, dialect).read()).foreign().containers == ()


def test_only_freebsd_is_asked_for_ports_as_numbers_for_elsewhere_the_option_means_something_else() -> None:
    for dialect in DIALECTS:
        pfctl = Pfctl()
        live = PfSession(pfctl, dialect)
        live.read()
        live.read_own()
        listings = [call for call in pfctl.calls if call[-1] in ("-sr", "-sn")]
        assert listings and all((call[0] == "-P") == (dialect == "freebsd") for call in listings)


def test_nothing_but_our_anchor_is_ever_loaded(dialect: str) -> None:
    pfctl = Pfctl()
    live = PfSession(pfctl, dialect)
    live.read()
    live.load(BACKEND.emit(rules(POLICY)))
    assert [call for call in pfctl.calls if "-f" in call] == [("-a", "portgate", "-o", "none", "-f", "-")]


def test_a_pfctl_that_fails_or_is_missing_is_an_error_of_reading() -> None:
    def missing(command: Sequence[str], text: str) -> Answer:
        raise ProgramError("No such file or directory")

    def refusing(command: Sequence[str], text: str) -> Answer:
        return Answer(1, "", "pfctl: /dev/pf: Permission denied\n")

    for runner in (missing, refusing):
        with pytest.raises(PortgateError) as refused:
            PfSession(runner, "openbsd").read()
        assert refused.value.diagnostics[0].code == "PG472"


def test_a_host_without_pf_is_told_why() -> None:
    reason = BACKEND.available()
    if reason is None:
        pytest.skip("this host has pf")
    assert "pfctl" in reason or "/dev/pf" in reason


def test_forwards_to_one_place_are_read_back_though_their_translations_have_no_labels(dialect: str) -> None:
    wanted = rules(
        'forward:\n  - {port: 2222/tcp, to: "10.0.0.7:22", id: a}\n  - {port: 8081/tcp, to: "10.0.0.7:22", id: b}\n'
    )
    live = PfSession(Pfctl(), dialect)
    live.load(BACKEND.emit(wanted))
    assert BACKEND.transaction(BACKEND.parse((live.read_own(),)), wanted) is None
