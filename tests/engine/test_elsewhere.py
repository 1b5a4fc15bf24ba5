"""A capture on systems other than Linux: what they tell otherwise, and what they do not have."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from portgate import engine, host, programs
from portgate.core.capture import Capture
from portgate.core.listener import Interface
from portgate.core.net import Family

LISTED = "vio0: flags=808b43<UP,BROADCAST,RUNNING> mtu 1500\n\tgroups: egress\n\tinet 192.0.2.1 netmask 0xffffff00\n"
FOUND = (Interface("vio0", ((Family.IPV4, 0xC0000201, 24),), groups=("egress",)),)


@pytest.fixture(autouse=True)
def openbsd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(sysname="OpenBSD"))
    monkeypatch.delattr(socket, "AF_NETLINK")


def test_interfaces_are_those_that_ifconfig_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: Sequence[str]) -> str:
        assert command[1:] == ("-a",)
        return LISTED

    monkeypatch.setattr(programs, "run", run)
    assert engine.place_of(host.capture_facts())[0].interfaces == FOUND


def test_without_ifconfig_a_note_says_how_to_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: Sequence[str]) -> str:
        raise programs.ProgramError("ifconfig: not permitted")

    monkeypatch.setattr(programs, "run", run)
    found = host.capture_facts()
    assert found.readings == ()
    assert [(one.code, "not permitted" in one.detail) for one in found.notes] == [("PG448", True)]
    assert engine.place_of(Capture(()))[0].interfaces is None


def test_sessions_are_those_that_sshd_tells_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22")
    (reading,) = host.capture_sessions().readings
    assert reading.text == "198.51.100.7 50000 192.0.2.1 22\n"


def test_a_listing_may_be_saved_and_read_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "ifconfig.txt").write_text(LISTED)
    built = engine.captured_from([("ifconfig", str(tmp_path / "ifconfig.txt"))])
    assert engine.place_of(built)[0].interfaces == FOUND
