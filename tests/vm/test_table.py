"""What the checks on virtual machines expect, before there is a machine."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vagrant import boxes, expectations, lan
from vagrant.expectations import Expectation

ROOT = Path(__file__).parents[2]
GUEST = ROOT / "vagrant/guest"
TABLE = expectations.load()
IP = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: enp0s8    inet 192.168.1.11/24 brd 192.168.1.255 scope global enp0s8\\       valid_lft forever preferred_lft forever
3: eth0.7    inet 192.168.1.1/24 scope global eth0.7\\       valid_lft forever preferred_lft forever
"""
IFCONFIG = """\
lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> metric 0 mtu 16384
\tinet6 ::1 prefixlen 128
\tinet 127.0.0.1 netmask 0xff000000
vtnet1: flags=8863<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tether 52:54:00:12:34:56
\tinet 192.168.1.16 netmask 0xffffff00 broadcast 192.168.1.255
"""


def test_every_policy_is_in_the_table() -> None:
    assert set(TABLE.policies) == {path.stem for path in (ROOT / "policies").glob("*.yaml")} | {"boot", "boot-damaged"}


@pytest.mark.parametrize("policy", TABLE.policies)
def test_a_policy_is_tried_for_what_it_opens_and_for_what_it_closes_in_both_families(policy: str) -> None:
    tried = {(one.family, one.verdict) for one in TABLE.policies[policy] if one.direction == "inbound"}
    assert tried == {(4, "open"), (4, "filtered"), (6, "open"), (6, "filtered")}
    assert any((one.port, one.who, one.verdict) == (9090, "outsider", "filtered") for one in TABLE.policies[policy])


def test_a_verdict_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "table.yaml"
    wrong.write_text("sources: {a: [192.0.2.1]}\npolicies: {p: {inbound: {22/tcp: {a: opne}}}}\n")
    with pytest.raises(ValueError, match="inbound 22/tcp a: opne"):
        expectations.load(wrong)


def test_an_answer_meets_only_its_own_verdict() -> None:
    def met(verdict: str) -> list[str]:
        one = Expectation("inbound", "tcp", 22, "office", "198.51.100.10", verdict)
        return [answer for answer in ("open", "refused", "unreachable", "filtered") if one.is_met_by(answer)]

    assert [met(one) for one in expectations.VERDICTS] == [["open"], ["refused", "unreachable"], ["filtered"]]


@pytest.mark.parametrize(
    ("listing", "address", "interface"),
    [
        (IP, "192.168.1.11", "enp0s8"),
        (IP, "192.168.1.1", "eth0.7"),
        (IFCONFIG, "192.168.1.16", "vtnet1"),
        (IP, "192.0.2.1", None),
    ],
)
def test_the_interface_of_an_address_is_found(listing: str, address: str, interface: str | None) -> None:
    assert lan.interface_of(listing, address) == interface


def test_the_network_is_brought_up_with_each_system_s_own_commands() -> None:
    addresses, far = ("192.168.1.1", "2001:db8:77::1"), ("203.0.113.5", "3fff::5")
    assert list(lan.commands(True, "eth1", addresses, ("10.0.0.9",), far)) == [
        "ip link set eth1 up",
        "ip address replace 192.168.1.1/24 dev eth1",
        "ip address replace 2001:db8:77::1/64 dev eth1 nodad",
        "ip address replace 10.0.0.9/32 dev eth1",
        "ip -4 route replace 203.0.113.5 via 192.168.1.50",
        "ip -6 route replace 3fff::5 via 2001:db8:77::50",
    ]
    assert list(lan.commands(False, "em1", addresses, (), far)) == [
        "ifconfig em1 up",
        "ifconfig em1 inet 192.168.1.1 netmask 255.255.255.0 alias",
        "ifconfig em1 inet6 2001:db8:77::1 prefixlen 64 alias",
        "route -q add -inet -host 203.0.113.5 192.168.1.50 || true",
        "route -q add -inet6 -host 3fff::5 2001:db8:77::50 || true",
    ]


def test_the_machines_of_vagrant_have_an_address_each_and_the_prober_the_one_that_is_routed_to() -> None:
    hosts = {name: f"192.168.1.{one['host']}" for name, one in boxes.table().items()}
    assert len(set(hosts.values())) == len(hosts)
    assert hosts["prober"] == lan.PROBER[0]
    needs = set(re.findall(r'^  "(\w+)" +=>', (ROOT / "vagrant/Vagrantfile").read_text(), re.MULTILINE))
    assert {one["needs"] for one in boxes.table().values()} == needs


def test_the_prober_tells_who_answers_from_who_does_not() -> None:
    port = free_port()
    asked = [[protocol, port, source, "127.0.0.1"] for protocol in ("tcp", "udp") for source in (None, "127.0.0.9")]
    with subprocess.Popen(
        [sys.executable, GUEST / "listen.py", f"{port}/tcp", f"{port}/udp", "--", "127.0.0.1"]
    ) as listening:
        try:
            deadline = time.monotonic() + 20
            while (told := probed(asked)) != ["open"] * 4 and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            listening.kill()
    assert told == ["open"] * 4
    assert probed(asked) == ["refused"] * 4
    assert probed(asked, "watch") == [["refused"]] * 4
    assert probed([["tcp", port, "192.0.2.1", "127.0.0.1"]]) == ["unreachable"]


def probed(asked: Sequence[Sequence[object]], *options: str) -> list[object]:
    command = [sys.executable, str(GUEST / "probe.py"), *options]
    told = subprocess.run(command, input=json.dumps(asked) + "\n", capture_output=True, text=True, check=True).stdout
    answers: list[object] = json.loads(told)
    return answers


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port
