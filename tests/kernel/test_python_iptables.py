"""The legacy store through python-iptables: what it makes of a text is what the restore program makes of it."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from portgate import engine
from portgate.backends.iptables import legacy
from portgate.backends.iptables.bundle import Part, parts
from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not legacy.is_here(), reason="python-iptables is not installed"),
]

POLICIES = sorted((Path(__file__).parents[2] / "policies").glob("*.yaml"))
RUN = "import sys; from portgate.backends.iptables import legacy; legacy.run(sys.argv[1], sys.stdin.read())"
EMPTY = "*nat\nCOMMIT\n*filter\nCOMMIT\n"
FOREIGN = "*filter\n:f2b - [0:0]\n-A INPUT -p tcp -m tcp --dport 25 -j f2b\nCOMMIT\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as sandbox:
            sandbox.run(["iptables-legacy", "--version"])
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox with iptables-legacy here: {error}")


def by_library(sandbox: Sandbox, program: str, text: str) -> subprocess.CompletedProcess[str]:
    return sandbox.run([sys.executable, "-c", RUN, program], text, check=False)


def listed(sandbox: Sandbox, program: str) -> list[str]:
    """Without counters and comments; a quoted word is the word."""
    said = sandbox.run([f"{program}-legacy-save"]).stdout
    return [re.sub(r"\[\d+:\d+\]", "", one).replace('"', "") for one in said.splitlines() if one[:1] in "*:-"]


def clear(sandbox: Sandbox) -> None:
    for program in ("iptables", "ip6tables"):
        sandbox.run([f"{program}-legacy-restore"], EMPTY)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_the_rules_of_a_policy_are_those_of_the_restore_program(sandbox: Sandbox, policy: Path) -> None:
    text = engine.compile_policy(str(policy), "iptables", None, date(2026, 6, 1)).text
    for part in parts(text):
        if part.program == "ipset":
            sandbox.run(["ipset", "-exist", "restore"], part.text)
    for part in [one for one in parts(text) if one.program.endswith("tables")]:
        clear(sandbox)
        done = by_library(sandbox, *part)
        made = listed(sandbox, part.program)
        clear(sandbox)
        sandbox.run([f"{part.program}-legacy-restore", "--noflush"], part.text)
        assert_alike(done, made, listed(sandbox, part.program), part)


def assert_alike(done: subprocess.CompletedProcess[str], made: list[str], wanted: list[str], part: Part) -> None:
    """What it can't do it refuses, and nothing is changed."""
    if done.returncode == 0:
        assert made == wanted
    else:
        assert "RefusedError" in done.stderr
        assert "hashlimit" in part.text
        assert not any("PORTGATE" in one for one in made)


def test_rules_are_put_in_front_taken_away_and_negated(sandbox: Sandbox) -> None:
    clear(sandbox)
    sandbox.run(["iptables-legacy-restore", "--noflush"], FOREIGN)
    text = (
        "*filter\n:PORTGATE-A - [0:0]\n:PORTGATE-B - [0:0]\n"
        "-A PORTGATE-A ! -s 10.0.0.0/8 -i eth+ ! -p udp -m conntrack ! --ctstate INVALID -g PORTGATE-B\n"
        '-I INPUT -m comment --comment "made by portgate" -j PORTGATE-A\nCOMMIT\n'
    )
    assert by_library(sandbox, "iptables", text).returncode == 0
    assert [one for one in listed(sandbox, "iptables") if one.startswith("-")] == [
        "-A INPUT -m comment --comment made by portgate -j PORTGATE-A",
        "-A INPUT -p tcp -m tcp --dport 25 -j f2b",
        "-A PORTGATE-A ! -s 10.0.0.0/8 -i eth+ ! -p udp -m conntrack ! --ctstate INVALID -g PORTGATE-B",
    ]
    text = (
        "*filter\n:PORTGATE-A - [0:0]\n:PORTGATE-B - [0:0]\n"
        '-D INPUT -m comment --comment "made by portgate" -j PORTGATE-A\n-X PORTGATE-A\n-X PORTGATE-B\nCOMMIT\n'
    )
    assert by_library(sandbox, "iptables", text).returncode == 0
    assert [one for one in listed(sandbox, "iptables") if one.startswith("-") or "PORTGATE" in one] == [
        "-A INPUT -p tcp -m tcp --dport 25 -j f2b"
    ]


@pytest.mark.parametrize(
    "rule",
    ["-m recent --set --name x -j DROP", "-m nonsense --what 1 -j DROP", "-j NOWHERE", "-p", "-s 300.1.1.1 -j DROP"],
)
def test_what_is_not_understood_is_refused_and_changes_nothing(sandbox: Sandbox, rule: str) -> None:
    clear(sandbox)
    before = listed(sandbox, "iptables")
    done = by_library(sandbox, "iptables", f"*filter\n:PORTGATE-A - [0:0]\n-A PORTGATE-A {rule}\nCOMMIT\n")
    assert "RefusedError" in done.stderr
    assert listed(sandbox, "iptables") == before


def test_a_program_that_changes_tables_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(legacy, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(legacy, "LOCK_SECONDS", 0.1)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(legacy.RefusedError, match="another program has held"):
            legacy.run("iptables", "")
