"""What the machine starts with: written on confirmation, loaded without Python, closed and yet reachable if it is damaged."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox, Transport
from tests.generate.world import LINKS

pytestmark = pytest.mark.kernel

POLICY = "portgate: 1\nname: web\ninbound: {allow: [ssh, http]}\nmanagement: {from: 192.0.2.0/24}\n"
UNIT = "etc/systemd/system/portgate.service"


class Machine:
    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self.sandbox, self.scratch, self.top = sandbox, scratch, scratch / "machine"
        self.chosen = str(self.top)
        (self.top / "etc/systemd/system").mkdir(parents=True)
        (scratch / "web.yaml").write_text(POLICY)

    def portgate(self, *arguments: str) -> CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment |= {"PORTGATE_STATE_DIR": str(self.scratch / "state"), "PORTGATE_BOOT_ROOT": self.chosen}
        return self.sandbox.run([sys.executable, "-m", "portgate", *arguments], check=False, env=environment)

    def apply(self, *more: str) -> CompletedProcess[str]:
        return self.portgate("apply", str(self.scratch / "web.yaml"), "--yes", *more)

    def rules(self) -> str:
        return self.sandbox.run(["nft", "-s", "list", "ruleset"]).stdout

    def start_anew(self) -> list[int]:
        """What the service does when the machine starts; the exit codes, up to the first failure that counts."""
        self.sandbox.run(["nft", "flush", "ruleset"])
        codes: list[int] = []
        failed = False
        for line in (self.top / UNIT).read_text().splitlines():
            name, _, command = line.partition("=")
            if name == "ExecStart" and not failed:
                codes.append(self.sandbox.run(shlex.split(command.lstrip("-")), check=False).returncode)
                failed = codes[-1] != 0 and not command.startswith("-")
        return codes

    def reaches(self, link: str, port: int) -> str:
        return str(self.sandbox.connect(Transport.TCP, "192.0.2.1", port, source=link, patience=0.3).value)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            for port in (22, 80):
                sandbox.listen(Transport.TCP, "192.0.2.1", port)
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def machine(sandbox: Sandbox, tmp_path: Path) -> Machine:
    sandbox.run(["nft", "flush", "ruleset"])
    return Machine(sandbox, tmp_path)


def test_the_machine_starts_with_the_rules_that_were_applied(machine: Machine) -> None:
    assert machine.apply().returncode == 0
    applied = machine.rules()
    assert machine.start_anew() == [0, 0, 0]
    assert machine.rules() == applied
    assert (
        json.loads(machine.portgate("status", "--format", "json").stdout)["boot"]
        == "web, revision 1, by portgate.service"
    )


def test_rules_that_cannot_be_loaded_leave_the_machine_closed_and_reachable(machine: Machine) -> None:
    machine.apply()
    (machine.scratch / "state/boot.nft").write_text("nonsense")
    assert [code != 0 for code in machine.start_anew()] == [False, True]
    assert machine.reaches("eth0", 22) == "open"
    assert machine.reaches("eth1", 22) == "filtered"
    assert machine.reaches("eth1", 80) == "filtered"


def test_the_service_comes_before_the_network_and_is_enabled(machine: Machine) -> None:
    machine.apply()
    unit = (machine.top / UNIT).read_text()
    assert "Before=network-pre.target" in unit
    assert "python" not in unit
    wanted = machine.top / "etc/systemd/system/sysinit.target.wants/portgate.service"
    assert wanted.resolve() == (machine.top / UNIT).resolve()
    assert (machine.scratch / "state/boot.nft").stat().st_mode & 0o777 == 0o600


def test_a_trial_is_not_what_the_machine_starts_with_until_it_is_confirmed(machine: Machine) -> None:
    machine.apply("--confirm", "60")
    assert not (machine.top / UNIT).exists()
    assert machine.portgate("confirm").returncode == 0
    assert machine.start_anew() == [0, 0, 0]


def test_without_persistence_the_start_stays_as_it_is(machine: Machine) -> None:
    machine.apply("--no-persist")
    assert list((machine.top / "etc/systemd/system").iterdir()) == []
    assert not (machine.scratch / "state/boot.nft").exists()
    assert "nothing of portgate's" in machine.portgate("status").stdout


def test_openrc_gets_a_script_where_it_runs(machine: Machine) -> None:
    for directory in ("sbin", "etc/init.d", "etc/runlevels/boot"):
        (machine.top / directory).mkdir(parents=True)
    (machine.top / "sbin/openrc-run").touch()
    machine.apply()
    script = machine.top / "etc/init.d/portgate"
    assert script.stat().st_mode & 0o777 == 0o755
    assert (machine.top / "etc/runlevels/boot/portgate").readlink() == Path("/etc/init.d/portgate")
    assert machine.sandbox.run(["sh", "-n", str(script)]).returncode == 0


def test_a_machine_without_either_is_told_and_the_rules_stay(machine: Machine) -> None:
    (machine.top / "etc/systemd/system").rmdir()
    done = machine.apply()
    assert (done.returncode, "PG550" in done.stderr, "chain input" in machine.rules()) == (0, True, True)


def test_a_network_namespace_of_its_own_is_not_the_machine(machine: Machine) -> None:
    machine.chosen = ""
    done = machine.apply()
    assert (done.returncode, done.stderr) == (0, "")
    assert not (machine.scratch / "state/boot.nft").exists()
