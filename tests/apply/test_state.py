"""The state directory: private, whole after a crash, never followed elsewhere, refused before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.apply.lock import exclusive
from portgate.apply.state import State, found, opened, state_path
from portgate.core.diagnostics import PortgateError


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened(tmp_path / "a" / "state") as state:
        yield state


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_directory_and_its_files_are_private(state: State) -> None:
    state.write("applied.json", b"x")
    os.close(state.open_lock())
    assert mode(Path(state.path)) == 0o700
    assert {mode(path) for path in Path(state.path).iterdir()} == {0o600}


def test_what_is_written_is_read_and_nothing_else_is_left(state: State) -> None:
    assert state.read("applied.json") is None
    state.write("applied.json", b"one")
    state.write("applied.json", b"two")
    assert state.read("applied.json") == b"two"
    assert [path.name for path in Path(state.path).iterdir()] == ["applied.json"]


def test_reading_commands_do_not_make_the_directory(tmp_path: Path) -> None:
    with found(tmp_path / "none") as state:
        assert state is None
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_directory_that_can_not_be_looked_for_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PortgateError, match="PG520"), found(tmp_path / "closed" / "state"):
            pass
    finally:
        os.seteuid(0)


def test_a_symbolic_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PortgateError, match="PG520"), opened(tmp_path / "link"):
        pass


def test_a_symbolic_link_in_place_of_a_file_is_neither_read_nor_written_through(state: State, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (Path(state.path) / "applied.json").symlink_to(target)
    with pytest.raises(PortgateError, match="PG520"):
        state.read("applied.json")
    state.write("applied.json", b"new")
    (Path(state.path) / "lock").symlink_to(target)
    with pytest.raises(PortgateError, match="PG520"):
        state.open_lock()
    assert target.read_text() == "precious"


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PortgateError, match="can be written by others"), opened(tmp_path / "open"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to another user needs root")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(PortgateError, match="belongs to the user 12345"), opened(tmp_path / "theirs"):
        pass


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PortgateError, match="PG520"), opened(tmp_path / "file"):
        pass


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTGATE_STATE_DIR", "/somewhere")
    assert state_path() == "/somewhere"
    monkeypatch.setenv("PORTGATE_STATE_DIR", "")
    assert state_path() == "/var/lib/portgate"


FULL_AND_READ_ONLY = """
import subprocess, sys
from pathlib import Path
from portgate.apply.state import opened
from portgate.core.diagnostics import PortgateError
root = Path(sys.argv[1])
def sh(*words): subprocess.run(words, check=True)
sh("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(root))
with opened(root) as state:
    state.write("applied.json", b"old")
    (root / "ballast").write_bytes(b"x" * 50000)
    try:
        state.require_room()
    except PortgateError as error:
        print(error)
    assert sorted(path.name for path in root.iterdir()) == ["applied.json", "ballast"]
(root / "ballast").unlink()
sh("mount", "-o", "remount,ro", str(root))
with opened(root) as state:
    try:
        state.require_room()
    except PortgateError as error:
        print(error)
    assert state.read("applied.json") == b"old"
"""


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_and_a_read_only_file_system_are_found_out_beforehand(tmp_path: Path) -> None:
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-c",
        FULL_AND_READ_ONLY,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full, read_only = done.stdout.splitlines()
    assert full.startswith("PG520")
    assert "No space left" in full
    assert "Read-only file system" in read_only


HOLDER = """
import sys, time
from pathlib import Path
from portgate.apply.lock import exclusive
from portgate.apply.state import opened
with opened(Path(sys.argv[1])) as state, exclusive(state, lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(state: State) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(state.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_apply_waits_and_says_so(state: State, holder: subprocess.Popen[str]) -> None:
    waits: list[float] = []

    def release() -> None:
        waits.append(time.monotonic())
        assert holder.stdin is not None
        holder.stdin.close()

    with exclusive(state, release):
        assert len(waits) == 1


def test_the_lock_ends_with_the_process_that_held_it(state: State, holder: subprocess.Popen[str]) -> None:
    with exclusive(state, holder.kill):
        assert holder.wait() != 0


def test_waiting_ends_with_a_diagnostic(state: State, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(PortgateError, match="PG521"), exclusive(state, lambda: None, patience=0.05):
        pass


ONE_OF_MANY = """
import sys, time
from pathlib import Path
from portgate.apply.lock import exclusive
from portgate.apply.state import opened
with opened(Path(sys.argv[1])) as state, exclusive(state, lambda: None):
    count = int(state.read("count") or b"0")
    time.sleep(0.002)
    state.write("count", str(count + 1).encode())
"""


def test_thirty_two_at_once_run_one_after_the_other(state: State) -> None:
    command = [sys.executable, "-c", ONE_OF_MANY, str(state.path)]
    processes = [subprocess.Popen(command) for _ in range(32)]
    assert [process.wait() for process in processes] == [0] * 32
    assert state.read("count") == b"32"
