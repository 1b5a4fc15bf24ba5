"""An apply that nobody confirms, on a machine with systemd."""

from __future__ import annotations

import subprocess
import time

import pytest

from vagrant.pair import POLICIES, Pair

GUARDS = ("systemctl", "list-units", "--plain", "--no-legend", "portgate-guard-*")


@pytest.fixture(autouse=True)
def in_force(pair: Pair, backend: str) -> None:
    if not pair.has_systemd:
        pytest.skip("this host is not started by systemd")
    pair.put_in_force("web-server", backend)


def test_rules_that_nobody_confirms_are_undone_by_a_unit_of_systemd(pair: Pair, backend: str) -> None:
    for window in (20, 60, 180):  # a slow machine needs longer to be looked at
        start = time.monotonic()
        assert "On trial" in pair.apply("ssh-only", backend, "--confirm", str(window))
        guards = pair.target.run(*GUARDS).stdout
        surprises = pair.surprises("ssh-only")
        looked_in_time = time.monotonic() - start < window
        await_end_of_guard(pair)
        if looked_in_time:
            break
    assert ("running" in guards, surprises) == (True, [])
    assert pair.surprises("web-server") == []
    assert "nobody confirmed it in time" in pair.portgate("status", check=False).stdout


def test_a_confirmation_ends_the_guard(pair: Pair, backend: str) -> None:
    pair.apply("ssh-only", backend, "--confirm", "300")
    pair.portgate("confirm", anew=True)
    await_end_of_guard(pair)
    assert pair.surprises("ssh-only") == []


def test_whoever_locks_himself_out_gets_in_again_after_the_deadline(pair: Pair, backend: str) -> None:
    locking_out = (f"{POLICIES}/policies/web-server.yaml", "--yes", "--backend", backend)
    refused = pair.portgate("apply", *locking_out, check=False)
    assert (refused.returncode, "PG541" in refused.stderr) == (3, True)
    pair.portgate("apply", *locking_out, "--override", "PG541", "--confirm", "20")
    with pytest.raises((subprocess.TimeoutExpired, ConnectionError)):
        pair.target.run("true", patience=8, anew=True)
    pair.target.await_start()
    await_end_of_guard(pair)
    assert pair.surprises("web-server") == []


def test_a_power_cut_during_a_trial_starts_with_the_confirmed_rules(pair: Pair, backend: str) -> None:
    pair.apply("ssh-only", backend, "--confirm", "300")
    pair.restart(cut=True)
    assert pair.surprises("web-server") == []
    assert "web-server" in pair.portgate("status", check=False).stdout


def await_end_of_guard(pair: Pair) -> None:
    deadline = time.monotonic() + 120
    while pair.target.run(*GUARDS).stdout:
        assert time.monotonic() < deadline, "the guard is still there"
        time.sleep(1)
