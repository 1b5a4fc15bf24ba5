"""What is captured on a live kernel, in a network namespace with one socket of every kind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from portgate.core.capture import Reading
from portgate.core.facts import parse_facts, parse_interfaces
from portgate.core.listener import Listener, Sockets
from portgate.core.net import Family
from portgate.linux_facts import read_settings
from portgate.sockets import parse
from portgate.sockets.live import capture
from portgate.sockets.live.owners import cgroup_paths, describe, search
from portgate.sockets.live.packages import packages

ROOT = Path(__file__).parent.parent.parent

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and raw sockets need root"),
]


@dataclass(frozen=True)
class Scene:
    """What one run of scene.py had to tell."""

    pid: int
    looker: int
    absent: dict[str, str]
    sockets: Sockets
    content: dict[str, Any]
    interfaces: tuple[Reading, ...]
    interface_notes: list[str]

    def at(self, where: str, protocol: int = 6) -> Listener:
        (found,) = [one for one in self.sockets.listeners if one.where == where and one.protocol == protocol]
        return found


@cache
def scene(way: str) -> Scene:
    program = [sys.executable, str(Path(__file__).parent / "scene.py"), way]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-n", *program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    opened, seen = map(json.loads, done.stdout.splitlines())
    sockets = parse([Reading("linux-sockets", seen["text"], "scene")])
    interfaces = tuple(Reading("interfaces", text, "scene") for text in seen["interfaces"])
    return Scene(
        **opened,
        sockets=sockets,
        content=json.loads(seen["text"]),
        interfaces=interfaces,
        interface_notes=seen["interface_notes"],
    )


EXPECTED = [
    ("stream", 6, "0.0.0.0:80"),
    ("stream", 6, "[::]:80"),
    ("stream", 6, "127.0.0.1:81"),
    ("stream", 6, "*:82 (dual)"),
    ("stream", 6, "[::]:83"),
    ("stream", 6, "127.0.0.1:84"),  # bound to ::ffff:127.0.0.1
    ("stream", 6, "0.0.0.0%lo:85"),
    ("stream", 6, "127.0.0.1:2222"),
    ("datagram", 17, "0.0.0.0:53"),
    ("datagram", 17, "*:54 (dual)"),
    ("datagram", 17, "[::1]:55"),
    ("datagram", 136, "127.0.0.1:56"),
    ("raw", 1, "0.0.0.0"),
    ("raw", 58, "::"),
    ("packet", 3, "lo"),
    ("packet", 0x806, "*"),
]


def test_every_listener_is_seen_and_nothing_else() -> None:
    found = [(one.kind, one.protocol, one.where) for one in scene("root").sockets.listeners if one.port not in (90, 92)]
    assert sorted(found) == sorted(EXPECTED)


def test_listeners_come_sorted() -> None:
    listeners = scene("root").sockets.listeners
    assert list(listeners) == sorted(listeners, key=lambda one: one.sort_key)


def test_a_dual_stack_socket_is_reached_in_both_families_and_a_v6only_one_is_not() -> None:
    assert scene("root").at("*:82 (dual)").families == (Family.IPV4, Family.IPV6)
    assert scene("root").at("[::]:83").families == (Family.IPV6,)


def test_a_socket_bound_to_a_mapped_address_is_reached_in_ipv4_only() -> None:
    assert scene("root").at("127.0.0.1:84").families == (Family.IPV4,)


def test_the_device_that_a_socket_is_bound_to_is_told() -> None:
    assert scene("root").at("0.0.0.0%lo:85").device == "lo"


def test_established_connections_are_counted_for_their_listener() -> None:
    assert scene("root").at("127.0.0.1:81").connections == 2
    assert scene("root").at("*:82 (dual)").connections == 4  # three over IPv4, one over IPv6
    assert scene("root").at("0.0.0.0:80").connections == 0


def test_owners_are_told_with_program_and_user() -> None:
    (owner,) = scene("root").at("0.0.0.0:80").processes
    assert owner.pid == scene("root").pid
    assert owner.program.startswith("python")
    assert owner.user == "root"


def test_an_sctp_listener_is_seen() -> None:
    if "sctp" in scene("root").absent:
        pytest.skip(f"this kernel has no SCTP: {scene('root').absent['sctp']}")
    assert scene("root").at("127.0.0.1:92", protocol=132).kind == "stream"


def test_an_mptcp_listener_is_seen_once_as_tcp_with_its_owner() -> None:
    if "mptcp" in scene("root").absent:
        pytest.skip(f"this kernel has no MPTCP: {scene('root').absent['mptcp']}")
    assert scene("root").at("127.0.0.1:92").processes[0].pid == scene("root").pid


def test_root_is_told_of_nothing_hidden() -> None:
    assert "PG440" not in [note.code for note in scene("root").sockets.notes]


def test_another_user_sees_all_but_the_foreign_owners_and_is_told_once() -> None:
    told, all_of_it = scene("nobody").sockets, scene("root").sockets
    assert [bare(one) for one in told.listeners] == [bare(one) for one in all_of_it.listeners]
    assert [note.code for note in told.notes if note.code == "PG440"] == ["PG440"]
    assert {one.user for one in told.listeners} == {"root", "nobody"}
    assert scene("nobody").at("0.0.0.0:80").processes == ()
    assert [one.pid for one in scene("nobody").at("127.0.0.1:2222").processes] == [scene("nobody").looker]


def bare(one: Listener) -> Listener:
    """Without what differs from run to run, and from user to user."""
    return replace(one, processes=(), inode=0, user=None, unit=None, container=None)


def test_without_netlink_the_files_of_proc_tell_of_the_same_listeners() -> None:
    unknown = {"0.0.0.0%lo:85": "0.0.0.0:85", "[::]:83": "*:83 (dual)"}
    expected = sorted((kind, protocol, unknown.get(where, where)) for kind, protocol, where in EXPECTED)
    listeners = scene("no-netlink").sockets.listeners
    assert sorted((one.kind, one.protocol, one.where) for one in listeners if one.port not in (90, 92)) == expected
    assert [one.connections for one in listeners if one.port in (81, 82)] == [2, 4]
    assert all(one.processes and one.user == "root" for one in listeners)


def test_without_netlink_a_note_says_so_and_names_the_protocols() -> None:
    (note,) = scene("no-netlink").sockets.notes
    assert note.code == "PG441"
    assert "tcp, udp, udplite, raw, packet sockets (Operation not permitted)" in note.detail


def test_interfaces_are_read_with_their_addresses_also_hostile_names() -> None:
    found = {one.name: one for one in parse_interfaces(scene("root").interfaces[0])}
    assert set(found) == {"lo", "wan,0"}
    assert found["lo"].up and not found["wan,0"].up
    assert found["lo"].addresses[0] == (Family.IPV4, 0x7F000001, 8)
    assert found["wan,0"].addresses == ((Family.IPV4, 0xC0000201, 24),)  # its own end of the link, not the peer's


def test_an_interface_whose_name_no_rule_can_hold_is_left_out_with_a_note() -> None:
    assert scene("root").interface_notes == ["PG448"]


def test_without_netlink_there_are_no_interfaces_and_a_note() -> None:
    assert scene("no-netlink").interfaces == ()
    assert scene("no-netlink").interface_notes == ["PG448"]


def test_the_settings_of_this_kernel_are_read_and_understood() -> None:
    facts = parse_facts(read_settings())
    written = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert facts.ephemeral_ports == (int(written[0]), int(written[1]))


def test_processes_that_end_during_the_search_are_no_error() -> None:
    with dying_processes():
        for _ in range(20):
            capture()


@contextmanager
def dying_processes() -> Iterator[None]:
    """A shell that starts processes as quickly as it can, each of which ends at once."""
    shell = subprocess.Popen(["sh", "-c", "while :; do true | true; done"])
    yield
    shell.kill()
    shell.wait()


def test_a_process_that_names_itself_like_a_line_of_its_status_stays_what_it_is() -> None:
    """The kernel escapes line ends in names, but not the other characters that some take for them."""
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'x\\x0cUid:\\t7\\t7\\t7', 0, 0, 0); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        told = describe([process.pid])
        process.kill()
    assert told[process.pid].program == "x\x0cUid:\t7\t7\t7"
    assert told[process.pid].user == 0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/usr/bin/sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_socket_behind_many_descriptors_is_found() -> None:
    with socket.socket() as low, socket.socket() as high:
        number = os.dup2(high.fileno(), 900)
        high_inode, low_inode = os.fstat(number).st_ino, os.fstat(low.fileno()).st_ino
        high.close()
        try:
            held = search([high_inode, low_inode]).held
        finally:
            os.close(number)
    assert held == {high_inode: [os.getpid()], low_inode: [os.getpid()]}


def test_all_processes_that_share_a_socket_are_told() -> None:
    with socket.socket() as shared:
        child = subprocess.Popen(["/usr/bin/sleep", "60"], pass_fds=[shared.fileno()])
        try:
            held = search([os.fstat(shared.fileno()).st_ino]).held
        finally:
            child.kill()
            child.wait()
    assert sorted(*held.values()) == sorted([os.getpid(), child.pid])


def test_the_package_of_a_program_is_asked_from_the_host(sleeper: subprocess.Popen[bytes]) -> None:
    if not Path("/var/lib/dpkg/status").exists():
        pytest.skip("this host's programs are not installed by dpkg")
    assert packages([sleeper.pid, 2**22]) == {sleeper.pid: "coreutils"}


def test_a_control_group_is_found_by_its_number() -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not roots:
        pytest.skip("this host has no control groups of version 2")
    folder = roots[0] / f"portgate-test-{os.getpid()}" / "nginx.service"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"control groups can't be made here: {error.strerror}")
    try:
        assert cgroup_paths([folder.stat().st_ino]) == {folder.stat().st_ino: f"/{folder.relative_to(roots[0])}"}
    finally:
        folder.rmdir()
        folder.parent.rmdir()
