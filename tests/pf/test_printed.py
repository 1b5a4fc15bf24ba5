"""What pfctl prints of portgate's own rules is read as the policy that they came from.

The listings were printed by pfctl of OpenBSD 7.6 and of FreeBSD 12.1 (`-o none -nvf -`, for FreeBSD with `-P`, for macOS
without, whose pfctl knows ports by their names only).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from portgate.backends.pf import BACKEND, MARK
from portgate.backends.pf.session import PfSession
from portgate.core.compile import compile as compile_policy
from portgate.core.ruleset import Ruleset
from portgate.programs import Answer
from tests.pf.texts import DIALECTS, read
from tests.written import TODAY, loaded, unequal

PRINTED = Path(__file__).parent / "printed"
POLICIES = ("policy", "limited")
PORTS = {
    "microsoft-ds": 445, "http": 80, "ssh": 22, "https": 443, "sieve": 4190, "bacula-fd": 9102, "postgresql": 5432,
    "ntp": 123, "domain": 53, "syslog-tls": 6514, "imaps": 993, "bootps": 67, "bootpc": 68, "dhcpv6-client": 546,
    "dhcpv6-server": 547, "discard": 9, "bacula-dir": 9101,
}  # fmt: skip


def listing(policy: str, dialect: str) -> str:
    return (PRINTED / f"{policy}.{dialect}.txt").read_text()


def wanted(policy: str) -> Ruleset:
    return compile_policy(loaded((PRINTED / f"{policy}.yaml").read_text()), TODAY)


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """The services of a host, whatever this one has."""

    def port(name: str) -> int:
        if name not in PORTS:
            raise OSError("service/proto not found")
        return PORTS[name]

    monkeypatch.setattr(socket, "getservbyname", port)


@pytest.mark.parametrize("dialect", ["openbsd", "freebsd"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_listing_means_the_policy(policy: str, dialect: str) -> None:
    found = read(f"{MARK}\n{listing(policy, dialect)}")
    assert BACKEND.transaction(found, wanted(policy)) is None
    assert unequal(wanted(policy), found) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_session_reads_back_what_was_loaded(policy: str, dialect: str) -> None:
    parts = {word: [] for word in ("table", "rdr", "rules")}  # type: dict[str, list[str]]
    for line in listing(policy, dialect).splitlines(keepends=True):
        kind = "table" if line.startswith("table") else "rdr" if line.startswith(("rdr", "no rdr")) else "rules"
        parts[kind].append(line)
    tables = {line.split("<")[1].split(">")[0]: line.partition("{")[2].strip("} \n") for line in parts["table"]}

    def pfctl(command: Sequence[str], _: str) -> Answer:
        match command[2:] if command[1] == "-P" else command[1:]:
            case ["-a", "portgate", "-sT"]:
                return Answer(0, "".join(f"{name}\n" for name in tables), "")
            case ["-a", "portgate", "-t", name, "-T", "show"]:
                return Answer(0, "".join(f"   {one}\n" for one in tables[name].split()), "")
            case ["-a", "portgate", "-sn"]:
                return Answer(0, "".join(parts["rdr"]), "")
            case ["-a", "portgate", "-sr"]:
                return Answer(0, "".join(parts["rules"]), "No ALTQ support in kernel\n")
            case other:
                return Answer(1, "", f"not asked for in this test: {other}")

    found = BACKEND.parse((PfSession(pfctl, dialect).read_own(),))
    assert BACKEND.transaction(found, wanted(policy)) is None
    assert unequal(wanted(policy), found) == []


def test_a_port_name_that_the_host_does_not_know_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PORTS, "sieve")

    def pfctl(command: Sequence[str], _: str) -> Answer:
        return Answer(0, "pass in quick proto tcp to any port = sieve\n" if command[-1] == "-sr" else "", "")

    found = PfSession(pfctl, "macos").read_own()
    assert "port = sieve" in found.text
    assert "which port `sieve` is" in str(BACKEND.parse((found,)))
