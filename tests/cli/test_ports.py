"""`open` and `close` on a kernel: the policy file, the rules, real connections, and the start of the machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox, Transport

from .conftest import Done

pytestmark = pytest.mark.kernel

POLICY = """\
portgate: 1
name: web     # the name

zones:
  office: {sources: [192.0.2.0/24, "2001:db8:1::/64"]}
  lan: {interfaces: [eth1]}

inbound:
  allow:
    - https                     # everybody
    - 8000-8100/tcp
    # the end
"""


class Machine:
    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self.sandbox, self.scratch, self.policy = sandbox, scratch, scratch / "web.yaml"
        (scratch / "machine/etc/systemd/system").mkdir(parents=True)
        self.policy.write_text(POLICY)

    def portgate(self, *arguments: str, session: str = "", prefix: Sequence[str] = ()) -> Done:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment |= {"PORTGATE_STATE_DIR": f"{self.scratch}/state", "PORTGATE_BOOT_ROOT": f"{self.scratch}/machine"}
        environment |= {"SSH_CONNECTION": session} if session else {}
        done = self.sandbox.run([*prefix, sys.executable, "-m", "portgate", *arguments], check=False, env=environment)
        return Done(done.returncode, done.stdout, done.stderr)

    def ported(self, *arguments: str) -> str:
        """The last line."""
        done = self.portgate(*arguments, "--yes")
        assert done.code == 0, done.err
        return done.out.splitlines()[-1]

    def added(self) -> list[str]:
        """The lines that the policy has more than it had."""
        return [line.strip() for line in self.policy.read_text().splitlines() if line not in POLICY.splitlines()]

    def openings(self) -> list[str]:
        return [one["port"] for one in json.loads(self.portgate("status", "--format", "json").out)["openings"]]

    def reaches(self, port: int, link: str = "eth0") -> bool:
        return self.sandbox.connect(Transport.TCP, "192.0.2.1", port, source=link, patience=0.3).value == "open"

    def rules(self) -> str:
        return self.sandbox.run(["nft", "-s", "list", "ruleset"]).stdout


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as sandbox:
            for port in (443, 8080, 9090):
                sandbox.listen(Transport.TCP, "192.0.2.1", port)
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def machine(sandbox: Sandbox, tmp_path: Path) -> Machine:
    sandbox.run(["nft", "flush", "ruleset"])
    machine = Machine(sandbox, tmp_path)
    assert machine.portgate("apply", str(machine.policy), "--yes").code == 0
    return machine


def test_a_port_is_opened_for_a_zone_and_closed_again(machine: Machine) -> None:
    assert machine.ported("open", "9090/tcp", "--from", "office") == "9090/tcp from office is open"
    assert machine.added() == ["- {port: 9090/tcp, from: office}"]
    assert (machine.reaches(9090), machine.reaches(9090, "eth1")) == (True, False)
    assert machine.ported("open", "9090/tcp", "--from", "office") == "9090/tcp from office is open already"
    assert machine.ported("close", "9090/tcp") == "9090/tcp is closed"
    assert machine.policy.read_text() == POLICY
    assert not machine.reaches(9090)
    assert machine.ported("close", "9090/tcp") == "9090/tcp is closed already"


def test_a_port_of_a_wider_grant_is_closed_by_a_block_and_opened_by_taking_that_away(machine: Machine) -> None:
    machine.ported("close", "8080/tcp")
    assert machine.added() == ["block:", "- 8080/tcp"]
    assert not machine.reaches(8080)
    refused = machine.portgate("open", "8080/tcp", "--for", "1h", "--yes")
    assert (refused.code, "PG235" in refused.err) == (2, True)
    machine.ported("open", "8080/tcp")
    assert machine.added() == ["block:"]
    assert machine.reaches(8080)


def test_every_change_stands_in_the_history_with_what_was_asked(machine: Machine) -> None:
    machine.ported("open", "9090/tcp", "--from", "office")
    machine.ported("open", "9091/tcp", "--for", "1h", "--message", "for the demo")
    machine.ported("close", "9090/tcp")
    history = json.loads(machine.portgate("history", "--format", "json").out)["generations"]
    assert [one["message"] for one in history] == ["close 9090/tcp", "for the demo", "open 9090/tcp from office", ""]


# ------------------------------------------------------------------ for a time


def test_the_kernel_itself_closes_what_was_opened_for_a_time(machine: Machine) -> None:
    machine.ported("open", "9090/tcp", "--for", "3s")
    assert machine.policy.read_text() == POLICY
    assert machine.reaches(9090)
    deadline = time.monotonic() + 10
    while machine.reaches(9090):
        assert time.monotonic() < deadline, "it did not expire"
    assert machine.openings() == []


def test_status_lists_what_is_open_with_the_time_left_and_nothing_calls_it_a_difference(machine: Machine) -> None:
    machine.ported("open", "9000-9100/tcp", "--from", "office", "--from", "198.51.100.7", "--for", "1h30m")
    lines = [line for line in machine.portgate("status").out.splitlines() if line.startswith("opened")]
    assert [line.rpartition(",")[0] for line in lines] == [
        "opened    9000-9100/tcp from 192.0.2.0/24",
        "opened    9000-9100/tcp from 198.51.100.7",
        "opened    9000-9100/tcp from 2001:db8:1::/64",
    ]
    assert all(line.endswith(("1 hour 29 minutes left", "1 hour 30 minutes left")) for line in lines)
    assert machine.portgate("verify", str(machine.policy)).code == 0
    assert machine.portgate("plan", str(machine.policy)).code == 0
    assert "PG602" not in machine.portgate("audit", str(machine.policy)).out


def test_what_is_open_for_a_time_survives_other_applies_a_rollback_and_an_undone_trial(machine: Machine) -> None:
    machine.ported("open", "9090/tcp", "--for", "1h")
    plan = machine.portgate("open", "9443/tcp", "--dry-run").out
    assert "9443" in plan
    assert "9090" not in plan.partition("Listeners")[0]
    machine.ported("open", "9443/tcp")
    assert machine.reaches(9090)
    assert machine.portgate("rollback", "1", "--yes").code == 0
    assert machine.reaches(9090)
    machine.portgate("close", "9090/tcp", "--yes", "--confirm", "60")
    assert not machine.reaches(9090)
    assert machine.portgate("rollback").code == 0
    assert machine.reaches(9090)
    machine.ported("close", "9090/tcp")
    assert not machine.reaches(9090)


def test_a_new_start_of_the_machine_opens_it_for_what_is_left(machine: Machine) -> None:
    machine.ported("open", "9090/tcp", "--for", "1h")
    machine.ported("open", "9091/tcp", "--from", "2001:db8:1::/64", "--for", "1s")
    script = machine.scratch / "state/opened.sh"
    assert start_anew(machine, script) == ["9090/tcp"]
    left = json.loads(machine.portgate("status", "--format", "json").out)["openings"][0]["seconds"]
    assert 3500 < left <= 3600
    for clock in ("0", str(int(time.time()) + 7200)):
        text = script.read_text().replace("$(date +%s)", clock)
        (machine.scratch / "wrong.sh").write_text(text)
        assert start_anew(machine, machine.scratch / "wrong.sh") == [], "at a clock that is wrong or late"
    machine.ported("open", "9090/tcp", "--for", "1h")
    machine.ported("close", "9090/tcp")
    assert start_anew(machine, script) == []


def start_anew(machine: Machine, script: Path) -> list[str]:
    """What is open after the commands of the service."""
    time.sleep(1.1)
    machine.sandbox.run(["nft", "flush", "ruleset"])
    for name in ("closed.nft", "boot.nft"):
        machine.sandbox.run(["nft", "-f", f"{machine.scratch}/state/{name}"])
    machine.sandbox.run(["sh", str(script)])
    return machine.openings()


def test_a_port_that_is_open_for_good_is_not_opened_for_a_time(machine: Machine) -> None:
    assert machine.ported("open", "8080/tcp", "--for", "1h") == "8080/tcp is open already"
    assert machine.openings() == []


def test_what_was_opened_for_a_time_can_be_opened_for_good(machine: Machine) -> None:
    machine.ported("open", "9090/tcp", "--for", "1h")
    assert machine.ported("open", "9090/tcp") == "9090/tcp is open"
    assert machine.added() == ["- 9090/tcp"]


# ------------------------------------------------------------------ rules of others


def test_a_foreign_rule_that_leaves_a_closed_port_open_is_named(machine: Machine) -> None:
    machine.sandbox.run(
        ["nft", "add table ip docker; add chain ip docker pre { type nat hook prerouting priority -110; };"
         "add rule ip docker pre tcp dport 8080 dnat to 10.0.0.2:80"]
    )  # fmt: skip
    done = machine.portgate("close", "8080/tcp", "--yes")
    assert done.code == 0
    assert "PG604" in done.err
    assert "by ip docker pre rule 1: tcp dport 8080 dnat to 10.0.0.2:80" in " ".join(done.err.split())


def test_a_foreign_rule_that_keeps_an_opened_port_closed_is_named(machine: Machine) -> None:
    machine.sandbox.run(
        ["nft", "add table inet other; add chain inet other in { type filter hook input priority 0; };"
         "add rule inet other in tcp dport 9000-9100 drop"]
    )  # fmt: skip
    done = machine.portgate("open", "9090/tcp", "--dry-run")
    assert "PG605" in done.err
    assert "by inet other in rule 1" in " ".join(done.err.split())


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("open", "8080"), 2, "PG202"),
        (("open", "htps"), 2, "did you mean"),
        (("open", "70000/tcp"), 2, "PG203"),
        (("open", "9090/tcp", "--from", "ofice"), 2, "did you mean `office`"),
        (("open", "9090/tcp", "--from", "host.example"), 2, "PG208"),
        (("open", "9090/tcp", "--from", 'x"]}], inbound: {default: accept}, a: [{b: ["'), 2, "PG206"),
        (("open", "9090/tcp", "--for", "soon"), 2, "is not a time"),
        (("open", "9090/tcp", "--for", "0s"), 2, "between a second and 365 days"),
        (("open", "9090/tcp", "--for", "366d"), 2, "between a second and 365 days"),
        (("open", "9090/tcp", "--for", "1h", "--from", "lan"), 2, "PG237"),
        (("open", "ping", "--for", "1h"), 2, "PG237"),
        (("close", "9090/tcp", "-p", "/nowhere.yaml"), 2, "PG101"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(
    machine: Machine, arguments: tuple[str, ...], code: int, told: str
) -> None:
    before = machine.rules()
    done = machine.portgate(*arguments, "--yes")
    assert (done.code, told in " ".join(done.err.split())) == (code, True), done.err
    assert "expect:" not in done.err
    assert (machine.rules(), machine.policy.read_text()) == (before, POLICY)


def test_without_a_policy_one_must_be_named(sandbox: Sandbox, tmp_path: Path) -> None:
    done = Machine(sandbox, tmp_path).portgate("open", "9090/tcp", "--yes")
    assert (done.code, "PG552" in done.err) == (3, True)


def test_nobody_to_ask_is_a_wrong_command_line(machine: Machine) -> None:
    assert machine.portgate("open", "9090/tcp").code == 2
    assert machine.policy.read_text() == POLICY


def test_a_dry_run_is_the_plan_and_writes_nothing(machine: Machine) -> None:
    done = machine.portgate("open", "9090/tcp", "--dry-run", "--format", "json")
    plan = json.loads(done.out)
    assert (done.code, plan["changes"], machine.policy.read_text()) == (1, True, POLICY)
    assert [one["text"] for one in plan["rules"]] == ["9090 . tcp"]
    assert machine.portgate("open", "https", "--dry-run").code == 0


def test_a_policy_that_cannot_be_written_stops_before_the_load(machine: Machine) -> None:
    before = machine.rules()
    read_only = machine.scratch / "read-only"
    read_only.mkdir()
    machine.policy.rename(read_only / "web.yaml")
    machine.policy.symlink_to(read_only / "web.yaml")
    mount = f"mount --bind {read_only} {read_only} && mount -o remount,bind,ro {read_only}"
    done = machine.portgate(
        "open", "9090/tcp", "--yes", prefix=["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "-"]
    )
    assert (done.code, "PG551" in done.err) == (3, True)
    assert "Read-only file system" in done.err
    assert (machine.rules(), machine.policy.read_text()) == (before, POLICY)
    machine.ported("open", "9090/tcp")
    assert machine.policy.is_symlink()
    assert machine.added() == ["- 9090/tcp"]


def test_rules_that_are_refused_leave_the_policy_as_it_was(machine: Machine) -> None:
    locking = POLICY + "management: {from: office}\n"
    machine.policy.write_text(locking)
    done = machine.portgate("close", "https", "--yes")
    assert (done.code, "PG542" in done.err) == (3, True)
    assert machine.policy.read_text() == locking


def test_owner_and_permissions_of_the_file_stay(machine: Machine) -> None:
    machine.policy.chmod(0o640)
    os.chown(machine.policy, 1234, 4321)
    machine.ported("open", "9090/tcp")
    found = machine.policy.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 1234, 4321)


def test_over_ssh_it_is_on_trial_like_every_apply(machine: Machine) -> None:
    machine.policy.write_text(POLICY.replace("    - https", "    - ssh\n    - https"))
    done = machine.portgate("open", "9090/tcp", "--yes", session="192.0.2.2 40000 192.0.2.1 22")
    assert (done.code, "On trial" in done.out, machine.reaches(9090)) == (0, True, True)
    assert machine.portgate("rollback").code == 0
    assert not machine.reaches(9090)
    assert "9090/tcp" in machine.policy.read_text()


@pytest.mark.parametrize("moment", [0.4, 0.9])
def test_killed_at_any_moment_file_and_rules_are_whole(machine: Machine, moment: float) -> None:
    argv = [sys.executable, "-m", "portgate", "open", "9090/tcp", "--yes"]
    environment = {
        **os.environ,
        "PORTGATE_STATE_DIR": f"{machine.scratch}/state",
        "PORTGATE_BOOT_ROOT": f"{machine.scratch}/machine",
    }
    process = machine.sandbox.start(argv, env=environment)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    machine.portgate("status")
    assert machine.added() in ([], ["- 9090/tcp"])
    if machine.reaches(9090):
        assert machine.added()
    assert machine.portgate("apply", str(machine.policy), "--yes").code == 0
    assert machine.reaches(9090) == bool(machine.added())
