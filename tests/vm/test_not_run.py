"""The checks on virtual machines are never passed over in silence."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vagrant import boxes, checks, emulator, lane

ROOT = Path(__file__).parents[2]


def test_without_memory_for_two_machines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lane, "_available_memory", lambda: 1e9)
    assert lane.main(["--box", "/nowhere"]) == 77
    assert capsys.readouterr().out == "NOT RUN: two machines need 2.5 GB of memory, and 1.0 are free\n"


def test_where_no_machine_starts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lane, "_available_memory", lambda: 1e10)
    monkeypatch.setattr(emulator, "_tried", lambda box, name: None)
    assert lane.main(["--box", "/nowhere"]) == 77
    assert capsys.readouterr().out == "NOT RUN: neither KVM nor software emulation starts a kernel here\n"


def test_where_a_machine_would_be_too_slow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lane, "_available_memory", lambda: 1e10)
    monkeypatch.setattr(emulator, "_tried", lambda box, name: emulator.Accelerator(name, 16) if name != "kvm" else None)
    assert lane.main(["--box", "/nowhere"]) == 77
    assert capsys.readouterr().out.splitlines()[-1] == "NOT RUN: this machine is too slow"


def test_when_the_time_is_up(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert checks.run(tmp_path / "ssh_config", -1, ["-p", "no:xdist"]) == 77
    assert "NOT RUN to the end: the time is up before test_without_rules" in "".join(capfd.readouterr())


def test_without_vagrant(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert boxes.main(["debian12"]) == 77
    assert capsys.readouterr().out == "NOT RUN: there is no vagrant here\n"


def test_ci_tells_of_it_and_goes_on_but_not_after_a_failure(tmp_path: Path) -> None:
    assert ci(tmp_path, validate=77, machines=0) == (0, ["NOT RUN: vagrant/validate"])
    assert ci(tmp_path, validate=0, machines=77) == (0, ["NOT RUN: timeout"])
    assert ci(tmp_path, validate=77, machines=124) == (0, ["NOT RUN: vagrant/validate", "NOT RUN: timeout"])
    assert ci(tmp_path, validate=0, machines=0) == (0, [])
    assert ci(tmp_path, validate=3, machines=0) == (3, [])
    assert ci(tmp_path, validate=0, machines=1) == (1, [])


def ci(folder: Path, *, validate: int, machines: int) -> tuple[int, list[str]]:
    """How `.ci/run` ends, and what it says was not run, where the steps end like that."""
    for name, status in {"script/test": 0, "vagrant/validate": validate, "script/vm-test": machines}.items():
        step = folder / name
        step.parent.mkdir(exist_ok=True)
        step.write_text(f"#!/bin/sh\nexit {status}\n")
        step.chmod(0o755)
    copy = folder / ".ci/run"
    copy.parent.mkdir(exist_ok=True)
    copy.write_text((ROOT / ".ci/run").read_text())
    finished = subprocess.run(["bash", copy], capture_output=True, text=True, check=False)
    told = [" ".join(line.split()[:3]) for line in finished.stdout.splitlines() if line.startswith("NOT RUN")]
    return finished.returncode, told


def test_ci_chooses_the_packets_a_new_start_and_every_fault() -> None:
    (step,) = (line for line in (ROOT / ".ci/run").read_text().splitlines() if "script/vm-test" in line)
    *_, option, chosen = shlex.split(step)
    assert option == "-k"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "vagrant/checks",
        "--ssh-config=none",
        "--collect-only",
        "-k",
        chosen,
    ]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert sorted(line.partition("::")[2] for line in told.splitlines() if "::" in line) == [
        "test_packets_meet_what_the_policy_says[nftables-web-server]",
        "test_the_rules_are_back_after_a_new_start_and_were_never_gone[nftables-web-server]",
        "test_the_table_tells_of_a_fault[nftables-IPv6 left open]",
        "test_the_table_tells_of_a_fault[nftables-drop turned accept]",
        "test_the_table_tells_of_a_fault[nftables-one port more]",
        "test_the_table_tells_that_rules_are_not_back_after_a_new_start[nftables]",
    ]


def test_the_checks_need_to_be_told_where_the_machines_are() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", ROOT / "vagrant/checks"], capture_output=True, text=True, check=False
    )
    assert finished.returncode != 0
    assert "--ssh-config" in finished.stderr
