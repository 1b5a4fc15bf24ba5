"""Saved output of ss, in the forms that its versions and options give it."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Listener, Process, Sockets
from portgate.core.net import Family
from portgate.sockets import ss

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")) / "sockets"
REAL = {
    "insights/parsers_SS_TULPN_2.txt": 22,
    "insights/parsers_Ss_TULPN.txt": 12,  # one of its 13 rows is connected
    "insights/parsers_Ss_TUPNA.txt": 13,  # two of its 15 rows are connections
    "inspec/ss-tulpen": 9,
    "tool-generated/docker20-published.ss-tulpn": 5,
    "jc/centos-7.7_ss-sudo-a.out": 9,
}


def parse(text: str) -> Sockets:
    return ss.parse(Reading("ss", dedent(text), "saved.txt"))


def places(text: str) -> list[str]:
    return [one.where for one in parse(text).listeners]


def codes(found: Sockets) -> list[str]:
    return [note.code for note in found.notes]


def test_a_row_becomes_a_listener_with_its_owners() -> None:
    found = parse("""
        Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess
        tcp   LISTEN 0      511          0.0.0.0:80        0.0.0.0:*    users:(("nginx",pid=20,fd=6),("nginx",pid=10,fd=6))
        """)
    owners = (Process(20, "nginx"), Process(10, "nginx"))
    assert found == Sockets((Listener("stream", 6, Family.IPV4, None, 80, processes=owners),))


def test_new_versions_tell_dual_from_v6only() -> None:
    text = """
        tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*
        tcp LISTEN 0 128 *:80 *:*
        tcp LISTEN 0 128 [::]:81 [::]:*
        tcp LISTEN 0 128 [::ffff:192.0.2.1]:82 *:*
        udp UNCONN 0 0 *%eth0:67 *:*
        """
    assert places(text) == ["0.0.0.0:22", "*:80 (dual)", "[::]:81", "192.0.2.1:82", "*%eth0:67 (dual)"]
    assert parse(text).notes == ()


def test_old_versions_write_a_star_for_ipv4_and_leave_v6only_open() -> None:
    text = """
        tcp LISTEN 0 128 *:22 *:*
        tcp LISTEN 0 128 :::22 :::*
        tcp LISTEN 0 128 :::80 :::*
        tcp LISTEN 0 128 127.0.0.1:25 *:*
        """
    assert places(text) == ["0.0.0.0:22", "[::]:22", "127.0.0.1:25", "*:80 (dual)"]
    assert codes(parse(text)) == ["PG444"]


def test_the_v6only_of_extended_output_is_believed() -> None:
    text = """
        tcp LISTEN 0 128 :::22 :::* ino:1 sk:1 v6only:1 <->
        tcp LISTEN 0 128 :::80 :::* ino:2 sk:2 v6only:0 <->
        """
    assert places(text) == ["[::]:22", "*:80 (dual)"]
    assert parse(text).notes == ()


def test_extended_output_tells_user_inode_unit_and_container() -> None:
    text = "tcp LISTEN 0 128 0.0.0.0:80 0.0.0.0:* uid:33 ino:4242 sk:1 cgroup:/system.slice/nginx.service <->"
    (found,) = parse(text).listeners
    assert (found.user, found.inode, found.unit, found.container) == ("33", 4242, "nginx.service", None)


def test_without_a_netid_column_the_state_tells_the_protocol() -> None:
    text = """
        State  Recv-Q Send-Q Local Address:Port Peer Address:Port
        LISTEN 0      128          0.0.0.0:22        0.0.0.0:*
        UNCONN 0      0            0.0.0.0:53        0.0.0.0:*
        """
    assert [(one.protocol, one.port) for one in parse(text).listeners] == [(6, 22), (17, 53)]
    assert codes(parse(text)) == ["PG444"]


def test_without_netid_and_state_what_waits_is_listening() -> None:
    assert places("Recv-Q Send-Q Local Address:Port Peer Address:Port\n0 128 0.0.0.0:22 0.0.0.0:*") == ["0.0.0.0:22"]


def test_udp_sockets_that_an_old_version_calls_tcp_are_udp() -> None:
    (found,) = parse('tcp UNCONN 0 0 *:68 *:* users:(("dhclient",1171,6))').listeners
    assert (found.kind, found.protocol, found.processes) == ("datagram", 17, (Process(1171, "dhclient"),))


def test_connections_are_counted_and_not_listed() -> None:
    text = """
        tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*
        tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:50000
        tcp ESTAB 0 0 [::ffff:192.0.2.1]:22 [::ffff:198.51.100.7]:50001
        tcp TIME-WAIT 0 0 192.0.2.1:22 198.51.100.7:50002
        tcp ESTAB 0 0 192.0.2.1:50000 198.51.100.9:22
        udp ESTAB 0 0 192.0.2.1:50001 198.51.100.9:53
        """
    assert [(one.where, one.connections) for one in parse(text).listeners] == [("0.0.0.0:22", 2)]


def test_raw_and_packet_sockets_are_listed_and_local_ones_are_not() -> None:
    text = """
        nl    UNCONN 0 0 rtnl:kernel *
        u_str LISTEN 0 128 /run/dbus/system_bus_socket 17775 * 0
        p_raw UNCONN 0 0 *:eth0 *
        p_dgr UNCONN 0 0 [2054]:* *
        raw   UNCONN 0 0 0.0.0.0:1 0.0.0.0:*
        icmp6 UNCONN 0 0 *:ipv6-icmp *:*
        mptcp LISTEN 0 128 127.0.0.1:99 0.0.0.0:*
        """
    found = parse(text)
    assert [(one.kind, one.protocol, one.where) for one in found.listeners] == [
        ("raw", 1, "0.0.0.0"),
        ("raw", 58, "::"),
        ("packet", 3, "eth0"),
        ("packet", 0x806, "*"),
    ]
    assert found.notes == ()


def test_a_device_may_stand_inside_or_outside_of_the_brackets() -> None:
    text = """
        tcp LISTEN 0 128 [fe80::1]%eth0:22 [::]:*
        tcp LISTEN 0 128 [fe80::1%eth0]:23 [::]:*
        tcp LISTEN 0 128 fe80::1%eth0:24 :::*
        udp UNCONN 0 0 0.0.0.0%virbr0:67 0.0.0.0:*
        """
    assert places(text) == ["[fe80::1%eth0]:22", "[fe80::1%eth0]:23", "[fe80::1%eth0]:24", "0.0.0.0%virbr0:67"]


FULL = 'tcp   LISTEN 0      511          0.0.0.0:80        0.0.0.0:*    users:(("nginx",pid=20,fd=6),("nginx",pid=10,fd=6))'


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 110])
def test_rows_wrapped_by_a_terminal_are_joined(width: int) -> None:
    rows = [FULL, FULL.replace(":80 ", ":81 "), FULL.replace(":80 ", ":82 ")]
    wrapped = "\n".join(line[start : start + width] for line in rows for start in range(0, len(line), width))
    assert parse(wrapped) == parse("\n".join(rows))
    assert [len(one.processes) for one in parse(wrapped).listeners] == [2, 2, 2]


def test_a_row_that_goes_on_indented_or_with_its_users_is_joined() -> None:
    text = 'tcp LISTEN 0 128\n      0.0.0.0:22  0.0.0.0:*\nusers:(("sshd",pid=1,fd=3))\n\t cubic cwnd:10\nudp UNCONN 0 0 0.0.0.0:53 0.0.0.0:*'
    found = parse(text)
    assert [(one.port, [owner.pid for owner in one.processes]) for one in found.listeners] == [(22, [1]), (53, [])]
    assert found.notes == ()


def test_carriage_returns_of_a_recorded_terminal_do_not_matter() -> None:
    assert places("Netid State Recv-Q\r\n" + FULL + "\r\n") == ["0.0.0.0:80"]


def test_a_program_whose_name_is_syntax_owns_nothing_else() -> None:
    text = """tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("x)),((\\"y",pid=5,fd=3))"""
    (found,) = parse(text).listeners
    assert [owner.pid for owner in found.processes] == [5]


def test_what_is_not_understood_becomes_a_note_with_its_line() -> None:
    found = parse(
        FULL
        + "\nquic LISTEN 0 128 0.0.0.0:443 0.0.0.0:*\ntcp LISTEN 0 128 0.0.0.0:no-such 0.0.0.0:*\ntcp LISTEN 0 128 0.0.0.0:99999 0.0.0.0:*"
    )
    assert [one.port for one in found.listeners] == [80]
    assert [(note.code, note.span.line if note.span else 0) for note in found.notes] == [
        ("PG443", 2),
        ("PG443", 3),
        ("PG443", 4),
    ]
    assert "'no-such' is a name" in found.notes[1].detail


def test_names_in_place_of_ports_are_the_usual_ones() -> None:
    found = parse("tcp LISTEN 0 128 0.0.0.0:https 0.0.0.0:*\nudp UNCONN 0 0 0.0.0.0:bootpc 0.0.0.0:*")
    assert [one.port for one in found.listeners] == [443, 68]
    (note,) = found.notes
    assert note.code == "PG444"
    assert "https for 443, bootpc for 68" in note.detail


def test_thousands_of_strange_lines_are_not_thousands_of_notes() -> None:
    found = parse("\n".join(f"strange {number}" for number in range(5000)))
    assert len(found.notes) == 21
    assert found.notes[-1].detail.startswith("4980 more lines")


WORDS = st.sampled_from(
    [
        "tcp",
        "udp",
        "raw",
        "p_raw",
        "LISTEN",
        "UNCONN",
        "ESTAB",
        "0",
        "128",
        "*:80",
        "[::]:80",
        ":::22",
        "0.0.0.0:*",
        "*:*",
        "%",
        ":",
        'users:(("a",pid=1,fd=2))',
        "users:((",
        "v6only:1",
        "ino:x",
        "cgroup:/a.service",
        "[2054]:eth0",
        "1.2.3.4:5",
        "\n",
        "\t",
    ]
)


@given(st.lists(WORDS | st.text(max_size=8), max_size=40).map(" ".join) | st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    for one in ss.parse(Reading("ss", text, "any")).listeners:
        assert one.where


@pytest.mark.corpus
@pytest.mark.parametrize("name", REAL)
def test_real_output_is_understood(name: str) -> None:
    if not (CORPUS / name).exists():
        pytest.skip(f"no corpus at {CORPUS}")
    found = ss.parse(Reading("ss", (CORPUS / name).read_text(), name))
    assert len(found.listeners) == REAL[name]
    assert [note for note in found.notes if note.code == "PG443"] == []


@pytest.mark.corpus
def test_other_tools_output_does_not_make_it_fail() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    if not files:
        pytest.skip(f"no corpus at {CORPUS}")
    for path in files:
        ss.parse(Reading("ss", path.read_text(errors="replace"), path.name))
