"""Applies on trial on a kernel: confirmed, undone by the guard, killed at any moment. An administrator stays connected."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Container, Iterator
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox, Transport
from tests.generate.world import LINKS

pytestmark = pytest.mark.kernel

OLD = "portgate: 1\nname: old\ninbound: {allow: [ssh, http]}\n"
NEW = "portgate: 1\nname: new\ninbound: {allow: [ssh, https, 8000-8100/tcp], block: [{from: 203.0.113.0/24}]}\n"
SESSION, OTHER = "192.0.2.2 40000 192.0.2.1 22", "192.0.2.2 40001 192.0.2.1 22"
PATIENCE = 20.0


class Machine:
    """A host with a state directory, on which the old policy is in force and somebody is connected."""

    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self.sandbox, self.scratch = sandbox, scratch
        for name, text in (("old", OLD), ("new", NEW)):
            (scratch / f"{name}.yaml").write_text(text)
        self.connection = sandbox.make_socket(socket.AF_INET, socket.SOCK_STREAM, inside="eth0")
        self.connection.settimeout(5)
        self.connection.connect(("192.0.2.1", 22))
        self.portgate("apply", self.policy("old"), "--yes", "--confirm", "0", "--message", "first")
        self.old = self.rules()

    def policy(self, name: str) -> str:
        return str(self.scratch / f"{name}.yaml")

    def _command(self, arguments: tuple[str, ...], session: str) -> tuple[list[str], dict[str, str]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment["PORTGATE_STATE_DIR"] = str(self.scratch / "state")
        if session:
            environment["SSH_CONNECTION"] = session
        return [sys.executable, "-m", "portgate", *arguments], environment

    def portgate(self, *arguments: str, session: str = "") -> CompletedProcess[str]:
        argv, environment = self._command(arguments, session)
        return self.sandbox.run(argv, check=False, env=environment)

    def start(self, *arguments: str, session: str = "") -> Popen[bytes]:
        argv, environment = self._command(arguments, session)
        hearing = ["env", "--default-signal"]  # whoever runs the tests with nohup ignores SIGHUP, and so would it
        return self.sandbox.start([*hearing, *argv], env=environment)

    def rules(self) -> str:
        return self.sandbox.run(["nft", "-s", "list", "ruleset"]).stdout

    def rules_at_rest(self, known: Container[str]) -> str:
        """What more than one transaction is needed for goes on for some 20 ms when who began it is killed."""
        deadline = time.monotonic() + 2
        while (found := self.rules()) not in known and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def status(self) -> dict[str, object]:
        fields: dict[str, object] = json.loads(self.portgate("status", "--format", "json").stdout)
        return fields

    def is_connected(self) -> bool:
        self.connection.sendall(b"still here")
        return self.connection.recv(100) == b"still here"

    def undone(self) -> object:
        """What was undone, which the guard writes down after the old rules are back."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.status()["undone"]) is None:
            assert time.monotonic() < deadline, "nothing was undone"
            time.sleep(0.05)
        return found

    def wait_for_old_rules(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.rules() != self.old:
            assert time.monotonic() < deadline, "the guard did not restore the old rules"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            sandbox.listen(Transport.TCP, "192.0.2.1", 22)
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def machine(sandbox: Sandbox, tmp_path: Path) -> Iterator[Machine]:
    sandbox.run(["nft", "flush", "ruleset"])
    machine = Machine(sandbox, tmp_path)
    yield machine
    machine.portgate("rollback", "--yes")
    machine.connection.close()


def test_nobody_confirms_and_the_old_rules_are_back_to_the_byte(machine: Machine) -> None:
    done = machine.portgate("apply", machine.policy("new"), "--yes", "--confirm", "4")
    assert (done.returncode, machine.rules() != machine.old) == (0, True)
    assert "portgate confirm" in done.stdout
    machine.wait_for_old_rules()
    assert machine.is_connected()
    assert machine.undone() == {"policy": "new", "why": "nobody confirmed it in time"}
    assert machine.portgate("confirm").returncode == 3


def test_over_ssh_a_trial_is_the_default_and_only_a_new_connection_confirms(machine: Machine) -> None:
    done = machine.portgate("apply", machine.policy("new"), "--yes", "--format", "json", session=SESSION)
    assert json.loads(done.stdout)["confirm"] == 60
    new = machine.rules()
    refused = machine.portgate("confirm", session=SESSION)
    assert (refused.returncode, "PG545" in refused.stderr) == (3, True)
    assert machine.portgate("apply", machine.policy("old"), "--yes").returncode == 3
    assert machine.portgate("confirm", session=OTHER).returncode == 0
    history = json.loads(machine.portgate("history", "--format", "json").stdout)["generations"]
    assert [(one["revision"], one["policy"], one["session"]) for one in history] == [
        (2, "new", SESSION),
        (1, "old", None),
    ]
    time.sleep(0.5)
    assert machine.rules() == new


def test_a_trial_is_rolled_back_at_once(machine: Machine) -> None:
    machine.portgate("apply", machine.policy("new"), "--yes", "--confirm", "60")
    assert machine.portgate("rollback").returncode == 0
    assert machine.rules() == machine.old


def test_going_back_a_generation_is_an_apply_of_it(machine: Machine) -> None:
    machine.portgate("apply", machine.policy("new"), "--yes", "--confirm", "0")
    (machine.scratch / "old.yaml").unlink()
    assert machine.portgate("rollback", "--yes").returncode == 0
    assert machine.rules() == machine.old
    history = json.loads(machine.portgate("history", "--format", "json").stdout)["generations"]
    assert [one["message"] for one in history] == ["rollback to revision 1", "", "first"]
    assert machine.portgate("rollback", "77", "--yes").returncode == 3


def test_a_guard_that_cannot_be_started_stops_the_apply(machine: Machine) -> None:
    (machine.scratch / "state" / "guard").mkdir()
    done = machine.portgate("apply", machine.policy("new"), "--yes", "--confirm", "60")
    assert (done.returncode, machine.rules()) == (3, machine.old)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_killed_at_any_moment_the_host_has_the_old_rules_or_the_new_ones(
    machine: Machine, blow: signal.Signals
) -> None:
    machine.portgate("apply", machine.policy("new"), "--yes", "--confirm", "0")
    new = machine.rules()
    machine.portgate("apply", machine.policy("old"), "--yes", "--confirm", "0")
    whole = {machine.old: "old", new: "new"}
    seen = set()
    for moment in (*range(0, 400, 50), *range(75, 200, 10)):  # in the second half of that time rules are loaded
        process = machine.start("apply", machine.policy("new"), "--yes", "--confirm", "0")
        time.sleep(moment / 1000)
        process.send_signal(blow)
        process.wait(PATIENCE)
        assert machine.rules_at_rest(whole) in whole
        machine.status()
        assert machine.rules() in whole
        assert not (machine.scratch / "state" / "journal").exists()
        assert machine.is_connected()
        seen.add(whole[machine.rules()])
        assert machine.portgate("apply", machine.policy("old"), "--yes", "--confirm", "0").returncode == 0
        assert machine.rules() == machine.old
    assert "old" in seen


@pytest.mark.parametrize("moment", [0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
def test_the_guard_outlives_the_apply_that_is_killed_on_trial(machine: Machine, moment: float) -> None:
    process = machine.start("apply", machine.policy("new"), "--yes", "--confirm", "1.5")
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    machine.wait_for_old_rules()
    time.sleep(0.3)
    assert machine.rules() == machine.old
    assert machine.is_connected()
