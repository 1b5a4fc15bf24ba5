"""Reading and writing files that somebody else names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portgate.core.capture import Capture, Reading, to_json
from portgate.core.diagnostics import PortgateError
from portgate.engine import captured_from, read_file, saved_capture, write_file


def test_a_file_is_read_up_to_one_byte_behind_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    assert read_file(str(tmp_path / "file"), limit=6) == b"abcdef"
    assert read_file(str(tmp_path / "file"), limit=3) == b"abcd"


def test_what_never_ends_or_never_begins_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            read_file(path)


def test_a_missing_file_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        read_file("/nowhere/at/all")


def test_a_written_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "rules.nft"
    target.write_text("old")
    write_file(str(target), "new", private=False)
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["rules.nft"]


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    write_file(str(tmp_path / "host.json"), "secret", private=True)
    assert (tmp_path / "host.json").stat().st_mode & 0o777 == 0o600


def test_an_ordinary_file_gets_the_mode_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(str(tmp_path / "rules.nft"), "", private=False)
    finally:
        os.umask(before)
    assert (tmp_path / "rules.nft").stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_file(str(tmp_path / "link"), "text", private=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "text"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_file("/dev/null", "text", private=True)
    assert Path("/dev/null").is_char_device()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_file(str(tmp_path / "file"), "\ud800", private=False)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_saved_capture_is_read(tmp_path: Path) -> None:
    capture = Capture((Reading("ss", "tcp LISTEN", "ss.txt"),))
    (tmp_path / "host.json").write_text(to_json(capture))
    assert saved_capture(str(tmp_path / "host.json")) == capture


def test_a_capture_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff")
    for path in ("/dev/zero", "/nowhere", str(tmp_path / "latin")):
        with pytest.raises(PortgateError, match="PG423") as refused:
            saved_capture(path)
        assert refused.value.exit_code == 3


def test_a_capture_is_built_from_saved_output(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("table inet filter {\n}\n")
    built = captured_from([("nft", str(tmp_path / "rules.txt")), ("interfaces", "eth0:192.0.2.1/24")])
    assert built.readings == (
        Reading("nft", "table inet filter {\n}\n", "rules.txt"),
        Reading("interfaces", "eth0:192.0.2.1/24", "the command line"),
    )


def test_every_part_that_cannot_be_read_is_told_at_once() -> None:
    with pytest.raises(PortgateError) as refused:
        captured_from([("nft", "/nowhere"), ("ss", "/dev/zero")])
    assert [one.code for one in refused.value.diagnostics] == ["PG423", "PG423"]
