"""The checks on machines of Vagrant: `python -m vagrant.boxes [BOX...]`, which `vagrant/run` calls.

Ends with 0 when all is as expected, 1 when something is not, and 77 when something could not be found out here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vagrant import checks, emulator

HERE = Path(__file__).parent
RESULTS = HERE.parent / "build/vm"


def main(arguments: Sequence[str]) -> int:
    local = os.environ.get("PORTGATE_BOXES", "public") == "local"
    machines = {name: one for name, one in table().items() if "suite" in one or not local}
    targets = [name for name in machines if name != "prober"]
    parser = argparse.ArgumentParser(prog="vagrant/run")
    parser.add_argument("box", nargs="*", choices=[[], *targets], help="one of boxes.yaml")
    parser.add_argument("--seconds", type=float, default=3600, help="the time limit for each")
    parser.add_argument("--make-only", action="store_true", help="make the local boxes, and no more")
    options, for_pytest = parser.parse_known_args(arguments)
    if shutil.which("vagrant") is None:
        print("NOT RUN: there is no vagrant here")
        return checks.NOT_RUN
    chosen = options.box or targets
    RESULTS.mkdir(parents=True, exist_ok=True)
    if local:
        suites = {machines[name]["suite"] for name in (*chosen, "prober")}
        _make_boxes(suites)
        os.environ.setdefault("PORTGATE_DRIVER", _driver(RESULTS / min(suites)))
    if options.make_only:
        return 0
    try:
        ended = {name: _checked(name, machines[name], options.seconds, for_pytest) for name in chosen}
    finally:
        _vagrant("destroy", "--force", "prober")
    print(*(f"{name}: {MEANING[status]}" for name, status in ended.items()), sep="\n")
    return next((status for status in (1, checks.NOT_RUN) if status in ended.values()), 0)


MEANING = {0: "as expected", 1: "NOT as expected", checks.NOT_RUN: "NOT RUN, or not to the end"}


def table() -> dict[str, dict[str, Any]]:
    """The machines of boxes.yaml."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "boxes.yaml").read_text())
    return found


def _checked(name: str, machine: Mapping[str, Any], seconds: float, for_pytest: Sequence[str]) -> int:
    try:
        if _vagrant("up", "prober", name) != 0:
            print(f"NOT RUN: {name} did not come up")
            return checks.NOT_RUN
        config = RESULTS / f"{name}.ssh"
        told = subprocess.run(
            ["vagrant", "ssh-config", "prober", name], cwd=HERE, capture_output=True, text=True, check=True
        )
        config.write_text(told.stdout)
        options = [f"--target={name}", f"--target-address=192.168.1.{machine['host']}", "--restart-for=all"]
        options += [f"--become={machine.get('become', 'sudo -n')}", f"--junitxml={RESULTS / name}.xml"]
        return checks.run(config, seconds, [*options, *for_pytest])
    finally:
        _vagrant("destroy", "--force", name)


def _make_boxes(suites: set[str]) -> None:
    """Those that are missing. Needs root."""
    for suite in sorted(suites):
        if not (RESULTS / f"{suite}.json").exists():
            subprocess.run([HERE / "box/build", RESULTS / suite, suite], check=True)
            subprocess.run([HERE / "box/pack", RESULTS / suite, RESULTS / suite], check=True)


def _driver(box: Path) -> str:
    """KVM where it truly starts a kernel."""
    found = emulator.accelerator(box)
    return "kvm" if found and found.name == "kvm" else "qemu"


def _vagrant(*words: str) -> int:
    return subprocess.run(["vagrant", *words], cwd=HERE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
