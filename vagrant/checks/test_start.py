"""What a machine with systemd starts with."""

from __future__ import annotations

import pytest

from vagrant.pair import Pair

UNIT = "/etc/systemd/system/portgate.service"


@pytest.fixture(autouse=True)
def in_force(pair: Pair, backend: str) -> None:
    if not pair.has_systemd:
        pytest.skip("this host is not started by systemd")
    pair.put_in_force("boot", backend)


def test_systemd_has_no_complaint_about_the_unit(pair: Pair) -> None:
    told = pair.target.run("systemd-analyze", "verify", UNIT)
    assert (told.stdout, told.stderr) == ("", "")


def test_damaged_rules_leave_the_machine_closed_and_managed(pair: Pair, backend: str) -> None:
    pair.target.run("sh", "-c", "for file in /var/lib/portgate/boot*; do echo 'broken {' >$file; done")
    pair.restart()
    assert pair.surprises("boot-damaged") == []
    assert pair.target.run("systemctl", "is-active", "portgate", check=False).stdout == "failed\n"
    pair.put_in_force("boot", backend)
    assert pair.surprises("boot") == []
