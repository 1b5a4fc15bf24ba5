"""What has begun is done to its end, whoever kills the process that began it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portgate.backends.nftables.kernel.outliving import outliving
from portgate.core.diagnostics import Diagnostic, PortgateError

SLOW = """
import fcntl, sys, time
from pathlib import Path
from portgate.backends.nftables.kernel.outliving import outliving

def work():
    Path(sys.argv[1], "begun").touch()
    time.sleep(0.5)
    Path(sys.argv[1], "done").touch()
    return 3

lock = open(Path(sys.argv[1], "lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(outliving(work))
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_what_it_answers_is_told_and_so_is_why_it_failed() -> None:
    assert outliving(lambda: 3) == 3

    def failing() -> int:
        raise PortgateError(Diagnostic("PG531", "no memory"))

    with pytest.raises(PortgateError, match="PG531: no memory"):
        outliving(failing)


def test_a_bug_in_it_is_told_as_what_it_is() -> None:
    def wrong() -> int:
        return int("three")

    with pytest.raises(ValueError, match="three"):
        outliving(wrong)


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_polite_end_of_all_processes_does_not_end_it(blow: signal.Signals) -> None:
    def asked_to_end() -> int:
        os.kill(os.getpid(), blow)
        return 3

    assert outliving(asked_to_end) == 3


def test_that_it_was_killed_is_an_error() -> None:
    def killed() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 3

    with pytest.raises(PortgateError, match="was killed"):
        outliving(killed)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_goes_on_and_holds_the_lock_when_who_began_it_is_killed(tmp_path: Path, blow: signal.Signals) -> None:
    hearing = ["env", "--default-signal"]
    process = subprocess.Popen([*hearing, sys.executable, "-c", SLOW, str(tmp_path)], start_new_session=True)
    wait_for(tmp_path / "begun")
    os.killpg(process.pid, blow)
    with (tmp_path / "lock").open() as lock:
        if blow == signal.SIGKILL:
            process.wait(20)
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert (tmp_path / "done").exists()
    assert process.wait(20) != 0
