"""What README promises of `script/demo`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from portgate.sandbox.demo import main


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
def test_the_demo_applies_the_policy_and_every_packet_meets_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    shown = capfd.readouterr().out
    assert shown.count("$ portgate") == 4
    assert "the policy says" not in shown
    assert "nothing changed" in shown.rpartition("$ portgate apply")[2]
    assert transcript_of_readme() <= {plain(line) for line in shown.splitlines()}


def transcript_of_readme() -> set[str]:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (shown,) = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {plain(line) for line in shown.splitlines()} - {"..."}


def plain(line: str) -> str:
    """Without what differs from run to run: numbers of processes, and how wide they make a column."""
    return " ".join(re.sub(r"\(\d+\)", "(PID)", line).removeprefix("# ").removeprefix("$ ").split())
