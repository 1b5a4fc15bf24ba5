"""The sandbox itself: it answers truly, keeps to itself, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import TCP, UDP, Family, parse_address
from portgate.sandbox import Answer, Fate, Link, Oracle, Probe, Sandbox, Transport, namespace
from portgate.sandbox import sandbox as sandbox_module

pytestmark = pytest.mark.kernel

DROP_ALL = (
    "table inet wall { chain input { type filter hook input priority 0; policy drop; ct state established accept; } }"
)
REJECT = "table inet wall { chain input { type filter hook input priority 0; icmp type echo-request reject; tcp dport 81 reject; udp dport 53 drop; } }"


def lines(text: str) -> str:
    """nft wants a line for each block."""
    return text.replace("; }", ";\n}\n").replace("{ ", "{\n")


def test_open_closed_and_filtered_ports_are_told_apart(sandbox: Sandbox) -> None:
    sandbox.run(["nft", "-f", "-"], "flush ruleset\n" + lines(REJECT))
    sandbox.listen(Transport.TCP, "::", 80)
    sandbox.listen(Transport.TCP, "192.0.2.1", 81)
    sandbox.listen(Transport.UDP, "192.0.2.1", 53)
    sandbox.listen(Transport.UDP, "::", 54)
    answers = {
        (transport, address, port): sandbox.connect(transport, address, port, source="eth0", patience=0.2)
        for transport, address, port in (
            (Transport.TCP, "192.0.2.1", 80),
            (Transport.TCP, "2001:db8:1::1", 80),
            (Transport.TCP, "192.0.2.1", 81),
            (Transport.TCP, "192.0.2.1", 82),
            (Transport.UDP, "192.0.2.1", 53),
            (Transport.UDP, "192.0.2.1", 54),
            (Transport.UDP, "2001:db8:1::1", 54),
            (Transport.UDP, "192.0.2.1", 55),
            (Transport.PING, "192.0.2.1", 0),
            (Transport.PING, "2001:db8:1::1", 0),
        )
    }
    assert list(answers.values()) == [
        Answer.OPEN, Answer.OPEN, Answer.CLOSED, Answer.CLOSED, Answer.FILTERED, Answer.OPEN, Answer.OPEN, Answer.CLOSED,
        Answer.CLOSED, Answer.OPEN,
    ]  # fmt: skip


def test_a_peer_is_reached_through_the_host(sandbox: Sandbox) -> None:
    sandbox.run(["nft", "flush", "ruleset"])
    sandbox.listen(Transport.TCP, "10.0.0.2", 7000, inside="eth1")
    assert sandbox.connect(Transport.TCP, "10.0.0.2", 7000, source="eth0") is Answer.OPEN


def test_what_the_host_does_stays_inside(sandbox: Sandbox) -> None:
    outside = {path.name for path in Path("/sys/class/net").iterdir()}
    sandbox.run(["ip", "link", "add", "name", "pgtest0", "type", "veth", "peer", "name", "pgtest1"])
    assert {path.name for path in Path("/sys/class/net").iterdir()} == outside
    sandbox.run(["ip", "link", "delete", "pgtest0"])


def test_a_function_called_inside_returns_and_raises(sandbox: Sandbox) -> None:
    names = sandbox.call(lambda: [name for _, name in socket.if_nameindex()])
    assert set(names) == {"lo", "eth0", "eth1", "wg0", "wg1"}
    with pytest.raises(ZeroDivisionError):
        sandbox.call(lambda: 1 // 0)
    with pytest.raises(PortgateError, match="PG592: a word") as caught:
        sandbox.call(_refuse)
    assert caught.value.diagnostics == (Diagnostic("PG592", "a word"),)


def _refuse() -> None:
    raise PortgateError(Diagnostic("PG592", "a word"))


def test_a_child_that_dies_is_reported(sandbox: Sandbox) -> None:
    with pytest.raises(PortgateError, match="PG591"):
        sandbox.call(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_program_that_fails_is_quoted(sandbox: Sandbox) -> None:
    with pytest.raises(PortgateError, match=r"PG592.*syntax error"):
        sandbox.run(["nft", "-f", "-"], "tabel inet x")
    with pytest.raises(PortgateError, match=r"PG592.*No such file"):
        sandbox.run(["portgate-has-no-such-program"])


def test_a_name_that_no_interface_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="interface"):
        Sandbox([Link("eth0 type dummy")])


def test_a_setting_that_the_kernel_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sandbox_module._SYSCTLS, "ipv6/no-such-setting", "1")
    with pytest.raises(PortgateError, match=r"PG592: /proc/sys/net/ipv6/no-such-setting can't be set"), Sandbox():
        pass


def test_the_oracle_judges_both_families_exactly(oracle: Oracle) -> None:
    oracle.load(
        lines(
            "table inet wall { chain input { type filter hook input priority 0; policy drop; tcp dport 100-199 accept; udp dport 53 reject; tcp dport 23 reject with tcp reset; } }"
        )
    )
    probes = [
        Probe("eth0", family, TCP, source, destination, dport=port)
        for family, source, destination in (_ends(Family.IPV4), _ends(Family.IPV6))
        for port in range(90, 210)
    ]
    fates = oracle.judge(probes)
    assert [fate is Fate.INPUT for fate in fates] == [100 <= probe.dport <= 199 for probe in probes]
    family, source, destination = _ends(Family.IPV6)
    questions = [
        Probe("wg0", family, UDP, source, destination, dport=53),
        Probe("wg0", family, TCP, source, destination, dport=23),
    ]
    assert oracle.judge(questions) == [Fate.REJECTED, Fate.REJECTED]


def _ends(family: Family) -> tuple[Family, int, int]:
    source, destination = {
        Family.IPV4: ("198.51.100.9", "192.0.2.1"),
        Family.IPV6: ("2001:db8:42::9", "2001:db8:1::1"),
    }[family]
    return family, parse_address(source)[1], parse_address(destination)[1]


def test_a_probe_that_never_arrives_is_an_error_and_no_verdict(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portgate.sandbox.oracle.PATIENCE", 0.1)
    oracle.load(
        "table netdev early {\nchain lost {\ntype filter hook ingress device eth0 priority 0; policy drop;\n}\n}"
    )
    family, source, destination = _ends(Family.IPV4)
    with pytest.raises(PortgateError, match="PG593"):
        oracle.judge([Probe("eth0", family, TCP, source, destination, dport=80)])


@pytest.mark.parametrize("family", Family)
def test_every_rejection_is_seen_however_many_there_are(family: Family, oracle: Oracle) -> None:
    oracle.load("table inet wall {\nchain input {\ntype filter hook input priority 0;\nreject\n}\n}")
    _, source, destination = _ends(family)
    probes = [Probe("eth0", family, UDP, source, destination, dport=number) for number in range(1, 3000)]
    assert set(oracle.judge(probes)) == {Fate.REJECTED}


def test_without_rules_every_packet_is_accepted(oracle: Oracle) -> None:
    oracle.load("")
    family, source, destination = _ends(Family.IPV4)
    probes = [Probe("eth0", family, TCP, source + number % 50, destination, dport=number) for number in range(1, 5000)]
    assert set(oracle.judge(probes)) == {Fate.INPUT}


ENDINGS = {
    "an exception": ("raise ValueError", None),
    "an interrupt": ("time.sleep(60)", signal.SIGINT),
    "a kill": ("time.sleep(60)", signal.SIGKILL),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_behind_after(ending: str) -> None:
    body, number = ENDINGS[ending]
    script = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which is ignored in a job of the background
        "from pathlib import Path\n"
        "from portgate.sandbox import Sandbox, Transport\n"
        "with Sandbox() as sandbox:\n"
        "    sandbox.listen(Transport.TCP, '192.0.2.1', 80)\n"
        "    program = sandbox.start(['sleep', '61'])\n"
        "    while Path(f'/proc/{program.pid}/comm').read_text() != 'sleep\\n':\n"  # on its way it becomes three programs
        "        time.sleep(0.01)\n"
        "    print(Path(f'/proc/self/task/{os.getpid()}/children').read_text(), flush=True)\n"
        f"    {body}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    children = process.stdout.readline().split()
    assert len(children) == 2
    if number is not None:
        process.send_signal(number)
    process.wait(60)
    process.stdout.close()
    assert _eventually(lambda: not any(Path("/proc", child).exists() for child in children))


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_an_ordinary_user_gets_a_sandbox_where_user_namespaces_are_allowed() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become an ordinary user")
    try:
        output, _ = namespace.in_child(lambda: (_list_as_nobody(), ()))
    except PortgateError as refusal:
        pytest.skip(f"this kernel grants namespaces to root only: {refusal}")
    assert "table inet mine" in output


def _list_as_nobody() -> str:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: a process that gave up root may look at itself again
    with Sandbox() as sandbox:
        sandbox.run(["nft", "-f", "-"], "table inet mine")
        return sandbox.run(["nft", "list", "ruleset"]).stdout
