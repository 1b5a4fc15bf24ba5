"""What README promises of `script/demo`."""

from __future__ import annotations

import os

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
