"""Every command that changes the host, through iptables: on a kernel, beside rules of others, in both stores."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox, Transport
from tests.generate.world import LINKS

pytestmark = pytest.mark.kernel

WEB = "portgate: 1\nname: web\ninbound: {allow: [ssh, http]}\nmanagement: {from: 192.0.2.0/24}\n"
MAIL = "portgate: 1\nname: mail\ninbound: {default: reject, allow: [ssh, smtp], block: [{from: 203.0.113.0/24}]}\n"
FOREIGN = "*filter\n:f2b - [0:0]\n-A f2b -s 203.0.113.9/32 -j DROP\n-A INPUT -i eth1 -p tcp -m tcp --dport 25 -j f2b\nCOMMIT\n"
PROGRAMS = ("iptables", "ip6tables")


class Machine:
    """A host whose `iptables` is of one store, with rules of somebody else, and a state directory."""

    def __init__(self, sandbox: Sandbox, scratch: Path, store: str) -> None:
        self.sandbox, self.scratch, self.store = sandbox, scratch, store
        self.top = scratch / "machine"
        (self.top / "etc/systemd/system").mkdir(parents=True)
        for name, text in (("web", WEB), ("mail", MAIL)):
            (scratch / f"{name}.yaml").write_text(text)
        self.clear()
        self.sandbox.run([f"iptables-{store}-restore", "--noflush"], FOREIGN)
        # Where portgate's rules are in the legacy store, it stays with that.
        if store == "legacy":
            self.sandbox.run(["iptables-legacy", "-N", "PORTGATE-INPUT"])

    def clear(self) -> None:
        self.sandbox.run(["nft", "flush", "ruleset"])
        for program in PROGRAMS:
            self.sandbox.run([f"{program}-legacy-restore"], "*nat\nCOMMIT\n*filter\nCOMMIT\n")

    def portgate(self, *arguments: str) -> CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment |= {"PORTGATE_STATE_DIR": str(self.scratch / "state"), "PORTGATE_BOOT_ROOT": str(self.top)}
        return self.sandbox.run([sys.executable, "-m", "portgate", *arguments], check=False, env=environment)

    def policy(self, name: str) -> str:
        return str(self.scratch / f"{name}.yaml")

    def apply(self, name: str, *more: str) -> str:
        done = self.portgate("apply", self.policy(name), "--backend", "iptables", "--yes", *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rules(self, *, ours: bool = True) -> list[str]:
        found = [
            line
            for program in PROGRAMS
            for line in self.sandbox.run([f"{program}-{self.store}-save"]).stdout.splitlines()
        ]
        return [line for line in found if line.startswith("-A") and ("PORTGATE" in line) == ours]

    def reaches(self, link: str, port: int) -> str:
        return str(self.sandbox.connect(Transport.TCP, "192.0.2.1", port, source=link, patience=0.3).value)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            for port in (22, 25, 80):
                sandbox.listen(Transport.TCP, "192.0.2.1", port)
            sandbox.run(["iptables-legacy", "--version"])
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture(params=["nft", "legacy"])
def machine(sandbox: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = Machine(sandbox, tmp_path, request.param)
    yield machine
    machine.clear()


def test_a_policy_is_planned_applied_proven_and_taken_back(machine: Machine) -> None:
    foreign = machine.rules(ours=False)
    plan = machine.portgate("plan", machine.policy("web"), "--backend", "iptables")
    assert (plan.returncode, "chain INPUT in ip filter: jump to PORTGATE-INPUT" in plan.stdout) == (1, True)
    assert "is in force (iptables)" in machine.apply("web")
    assert "nothing changed" in machine.apply("web")
    assert machine.portgate("verify", machine.policy("web")).returncode == 0
    assert [machine.reaches("eth0", port) for port in (22, 80, 25)] == ["open", "open", "filtered"]
    first = machine.rules()
    machine.apply("mail")
    assert [machine.reaches("eth0", port) for port in (22, 80, 25)] == ["open", "closed", "open"]
    assert machine.portgate("rollback", "--yes").returncode == 0
    assert machine.rules() == first
    assert machine.rules(ours=False) == foreign


def test_what_was_done_is_told_without_naming_the_backend_again(machine: Machine) -> None:
    machine.apply("web")
    told = json.loads(machine.portgate("status", "--format", "json").stdout)
    assert (told["backend"], told["loaded"], told["untouched"]) == ("iptables", True, True)
    assert "Nothing changes" in machine.portgate("plan", machine.policy("web")).stdout
    machine.sandbox.run([f"ip6tables-{machine.store}", "-F", "PORTGATE-INPUT"])
    assert json.loads(machine.portgate("status", "--format", "json").stdout)["untouched"] is False
    assert machine.portgate("plan", machine.policy("web")).returncode == 1
    assert "PG534" in machine.portgate("apply", machine.policy("web"), "--backend", "nftables", "--yes").stderr


def test_a_trial_that_nobody_confirms_is_undone(machine: Machine) -> None:
    machine.apply("web")
    before = machine.rules()
    machine.apply("mail", "--confirm", "1")
    assert machine.rules() != before
    deadline = time.monotonic() + 30
    while machine.rules() != before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    machine.apply("mail", "--confirm", "60")
    assert machine.portgate("confirm").returncode == 0
    assert machine.rules() != before


def test_the_machine_starts_with_the_rules_that_were_applied(machine: Machine) -> None:
    machine.apply("web")
    applied = machine.rules()
    assert start_anew(machine) == {0}
    assert machine.rules() == applied
    told = json.loads(machine.portgate("status", "--format", "json").stdout)
    assert told["boot"] == "web, revision 1, by portgate.service"


def test_damaged_rules_leave_the_machine_closed_and_reachable(machine: Machine) -> None:
    machine.apply("web")
    for path in (machine.scratch / "state").glob("boot.*"):
        path.write_text("nonsense\n")
    assert start_anew(machine) != {0}
    assert [machine.reaches("eth0", port) for port in (22, 80)] == ["open", "open"]  # from the management
    assert [machine.reaches("eth1", port) for port in (22, 80)] == ["filtered", "filtered"]


def test_a_damaged_file_of_one_family_leaves_the_other_closed(machine: Machine) -> None:
    machine.apply("web")
    for path in (machine.scratch / "state").glob("*.iptables"):
        path.write_text("nonsense\n")
    start_anew(machine)
    listed = machine.sandbox.run([f"ip6tables-{machine.store}-save"]).stdout
    assert "-j PORTGATE-INPUT" in listed


def start_anew(machine: Machine) -> set[int]:
    """What the service does when the machine starts, up to the first program that fails."""
    machine.clear()
    codes: list[int] = []
    failed = False
    for line in (machine.top / "etc/systemd/system/portgate.service").read_text().splitlines():
        name, _, command = line.partition("=")
        if name == "ExecStart" and "/bin/sh" not in command and not failed:
            codes.append(machine.sandbox.run(shlex.split(command.lstrip("-")), check=False).returncode)
            failed = codes[-1] != 0 and not command.startswith("-")
    assert codes
    return set(codes)


def test_what_is_compiled_is_what_the_programs_take(machine: Machine) -> None:
    listed = ", ".join(f"10.{one}.0.0/24" for one in range(100))
    (machine.scratch / "web.yaml").write_text(
        f"portgate: 1\nname: web\naddresses: {{many: [{listed}]}}\ninbound: {{allow: [http, {{port: ssh, from: many}}]}}\n"
    )
    for program in PROGRAMS:
        text = machine.portgate("compile", machine.policy("web"), "--to", program).stdout
        sets = "".join(line.removeprefix("#ipset ") for line in text.splitlines(True) if line.startswith("#ipset "))
        machine.sandbox.run(["ipset", "-exist", "restore"], sets)
        machine.sandbox.run([f"{program}-{machine.store}-restore", "--noflush"], text)
    assert machine.reaches("eth0", 80) == "open"
    assert machine.reaches("eth0", 22) == "filtered"


def test_a_table_that_iptables_cannot_show_is_left_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    machine = Machine(sandbox, tmp_path, "nft")
    machine.clear()
    sandbox.run(["iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "25", "-j", "DROP"])
    sandbox.run(["nft", "add rule ip filter INPUT ct count over 3 drop"])
    before = sandbox.run(["nft", "list", "ruleset"]).stdout
    done = machine.portgate("apply", machine.policy("web"), "--backend", "iptables", "--yes")
    assert (done.returncode, "PG464" in done.stderr) == (3, True), done.stderr
    assert sandbox.run(["nft", "list", "ruleset"]).stdout == before
    machine.clear()


def test_management_from_many_networks_can_start_the_machine(machine: Machine) -> None:
    """They are a set, which the rules of the policy do not need any more."""
    listed = ", ".join(f"10.{one}.0.0/24" for one in range(100))
    (machine.scratch / "web.yaml").write_text(WEB.replace("{from: 192.0.2.0/24}", f"{{from: [{listed}]}}"))
    machine.apply("web")
    applied = machine.rules()
    assert start_anew(machine) == {0}
    assert machine.rules() == applied
    assert "nothing changed" not in machine.apply("mail")
    assert machine.sandbox.run(["ipset", "list", "-name"]).stdout == ""


def test_a_native_rule_in_a_chain_of_ours_is_seen_as_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    """iptables lists it as one that drops everything."""
    machine = Machine(sandbox, tmp_path, "nft")
    machine.apply("web")
    sandbox.run(["nft", "add set ip filter banned { type ipv4_addr; elements = { 203.0.113.77 }; }"])
    sandbox.run(["nft", "insert rule ip filter PORTGATE-INPUT ip saddr @banned counter drop"])
    assert any(line.endswith("PORTGATE-INPUT -j DROP") for line in machine.rules())
    asked = machine.portgate("trace", "tcp", "198.51.100.7", "80", "--iif", "eth0", "--to", "192.0.2.1").stdout
    assert "the set banned" in asked
    assert machine.portgate("plan", machine.policy("web")).returncode == 1
    machine.apply("web")
    assert machine.portgate("verify", machine.policy("web")).returncode == 0
    machine.clear()
