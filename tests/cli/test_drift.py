"""`status`, `plan` and `apply` after somebody has changed rules by hand; `history` as traffic."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox

from .conftest import Done

pytestmark = pytest.mark.kernel

POLICY = "{{portgate: 1, name: web, inbound: {{allow: [{}]}}}}"


class Machine:
    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self.sandbox, self.scratch, self.policy = sandbox, scratch, scratch / "web.yaml"

    def portgate(self, *arguments: str) -> Done:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment["PORTGATE_STATE_DIR"] = str(self.scratch / "state")
        done = self.sandbox.run([sys.executable, "-m", "portgate", *arguments], check=False, env=environment)
        return Done(done.returncode, done.stdout, done.stderr)

    def apply(self, ports: str) -> str:
        self.policy.write_text(POLICY.format(ports))
        done = self.portgate("apply", str(self.policy), "--yes")
        assert done.code == 0, done.err
        return done.out

    def nft(self, command: str) -> str:
        return self.sandbox.run(["nft", "-s", command]).stdout

    def changed(self) -> list[str]:
        """What `status` says of our rules."""
        lines = self.portgate("status").out.splitlines()
        return [line.removeprefix("changed   ") for line in lines if line.startswith("changed")]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as sandbox:
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def machine(sandbox: Sandbox, tmp_path: Path) -> Machine:
    sandbox.run(["nft", "flush ruleset"])
    machine = Machine(sandbox, tmp_path)
    machine.apply("ssh, https")
    return machine


def test_what_somebody_did_to_our_rules_is_named_and_an_apply_of_the_same_policy_repairs_it(machine: Machine) -> None:
    confirmed = machine.nft("list ruleset")
    machine.nft("insert rule inet portgate input tcp dport 4444 accept")
    machine.nft("delete element inet portgate allow_ports { 443 . tcp }")
    assert machine.changed() == [
        "chain input: somebody added tcp dport 4444 counter accept",
        "set allow_ports: somebody removed 443 . tcp",
    ]
    assert machine.portgate("status").code == 1
    plan = machine.portgate("plan", str(machine.policy))
    assert plan.out.startswith("Changed since revision 1\n  chain input: somebody added tcp dport 4444")
    assert "web is in force (nftables)" in machine.apply("ssh, https")
    assert machine.nft("list ruleset") == confirmed
    assert (machine.changed(), machine.portgate("status").code) == ([], 0)


def test_rules_of_others_are_no_change_of_ours_and_named_where_they_void_them(machine: Machine) -> None:
    machine.nft("add table inet other; add chain inet other in { type filter hook input priority 0; }")
    harmless = machine.portgate("status")
    assert (harmless.code, harmless.err) == (0, "")
    assert "in force as of revision 1; none of portgate's has changed since" in harmless.out
    machine.nft("add rule inet other in iifname eth0 tcp dport 443 drop")
    voided = machine.portgate("status")
    assert (voided.code, voided.err.count("PG605"), machine.changed()) == (1, 1, [])
    assert "by inet other in rule 1:" in " ".join(voided.err.split())


def test_a_trial_is_not_taken_for_drift(machine: Machine) -> None:
    machine.policy.write_text(POLICY.format("ssh, http"))
    assert machine.portgate("apply", str(machine.policy), "--yes", "--confirm", "60").code == 0
    assert machine.changed() == []
    assert json.loads(machine.portgate("status", "--format", "json").out)["drift"] is None
    assert machine.portgate("plan", str(machine.policy)).code == 0
    machine.portgate("rollback")


def test_our_table_that_is_gone_is_gone(machine: Machine) -> None:
    machine.nft("delete table inet portgate")
    done = machine.portgate("status")
    assert (done.code, "gone: none of portgate's rules is loaded" in done.out) == (1, True)


# ------------------------------------------------------------------ history


def test_generations_are_compared_as_traffic(machine: Machine) -> None:
    machine.apply("ssh, http")
    machine.apply("ssh, http, 8080/tcp")
    last = machine.portgate("history", "3")
    assert last.out.splitlines()[:3] == [
        "web, from revision 2 to revision 3: new connections",
        "  + to this host, IPv4: dropped -> accepted",
        "      tcp 8080",
    ]
    both = json.loads(machine.portgate("history", "1", "3", "--format", "json").out)
    assert (both["before"]["revision"], both["after"]["revision"]) == (1, 3)
    assert {(one["opens"], *one["packets"]) for one in both["traffic"]} == {(True, "tcp 80,8080"), (False, "tcp 443")}
    back = json.loads(machine.portgate("history", "3", "1", "--format", "json").out)
    assert {(one["opens"], *one["packets"]) for one in back["traffic"]} == {(False, "tcp 80,8080"), (True, "tcp 443")}
    assert "no packet fares differently" in machine.portgate("history", "2", "2").out


def test_the_first_generation_is_compared_with_a_host_without_rules(machine: Machine) -> None:
    done = machine.portgate("history", "1")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "web, from a host without rules of portgate to revision 1: new connections",
    )
    assert "accepted -> dropped, everything but" in done.out


def test_a_revision_that_is_not_kept_cannot_be_compared(machine: Machine) -> None:
    assert machine.portgate("history", "9").code == 3
    assert machine.portgate("history", "9", "1").code == 3
    assert machine.portgate("history", "0").code == 2
    assert machine.portgate("history", "1", "1", "1").code == 2
