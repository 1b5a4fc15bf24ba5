"""netstat of Linux, the BSDs and macOS: rows become listeners, and what is not told becomes a note."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Listener, Process, Sockets
from portgate.sockets import parse

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
LINUX = """Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address   Foreign Address   State    User  Inode  PID/Program name
tcp        0      0 0.0.0.0:22      0.0.0.0:*         LISTEN   0     216    1/sshd
tcp6       0      0 :::22           :::*              LISTEN   0     217    1/sshd
tcp6       0      0 :::80           :::*              LISTEN   0     218    579/nginx: worker p
tcp        0      0 192.0.2.1:22    198.51.100.7:5000 ESTABLISHED 0  219    900/sshd
udp        0      0 0.0.0.0:111     0.0.0.0:*                  0     868    545/rpcbind
udp6       0      0 fe80::1:123     :::*                       0     545    333/ntpd
unix  2      [ ]         DGRAM                    11776    1/systemd
"""
BSD = """Active Internet connections (including servers)
Proto Recv-Q Send-Q Local Address          Foreign Address        (state)
tcp4       0      0 192.0.2.1.22           198.51.100.7.56321     ESTABLISHED
tcp4       0      0 127.0.0.1.25           *.*                    LISTEN
tcp46      0      0 *.80                   *.*                    LISTEN
tcp6       0      0 fe80::1%em0.22         *.*                    LISTEN
udp4       0      0 *.514                  *.*
udp4       0      0 *.*                    *.*
"""


def read(text: str, kind: str = "netstat-linux") -> Sockets:
    return parse([Reading(kind, text, "netstat.txt")])


def test_rows_of_linux_become_listeners_with_their_owners() -> None:
    found = {one.where: one for one in read(LINUX).listeners}
    assert set(found) == {"0.0.0.0:22", "[::]:22", "*:80 (dual)", "0.0.0.0:111", "[fe80::1]:123"}
    assert found["*:80 (dual)"].processes == (Process(579, "nginx: worker p", "0"),)
    assert [one.code for one in read(LINUX).notes] == ["PG444"]


@pytest.mark.parametrize("kind", ["netstat-bsd", "netstat-macos"])
def test_rows_of_the_bsds_become_listeners_without_owners(kind: str) -> None:
    found = read(BSD, kind)
    assert {one.where for one in found.listeners} == {"127.0.0.1:25", "*:80 (dual)", "[fe80::1%em0]:22", "0.0.0.0:514"}
    assert [one.code for one in found.notes] == ["PG440"]


@pytest.mark.parametrize("local", ["0.0.0.0:no-such-service", "0.0.0.0:99999", "0.0.0.0:0", "22"])
def test_a_strange_line_is_noted_with_its_place(local: str) -> None:
    noted = [one for one in read(f"{LINUX}tcp 0 0 {local} 0.0.0.0:* LISTEN 1/x\n").notes if one.code == "PG443"]
    assert [one.span.line for one in noted if one.span] == [LINUX.count("\n") + 1]


def one(line: str, kind: str = "netstat-linux") -> tuple[Listener, list[str]]:
    """The one listener in a line, and the codes of what was assumed."""
    found = read(f"{line}\n", kind)
    (listener,) = found.listeners
    return listener, [note.code for note in found.notes]


@pytest.mark.parametrize(
    ("line", "kind", "where", "codes"),
    [
        ("tcp 0 0 0.0.0.0:ssh 0.0.0.0:* LISTEN 1/sshd", "netstat-linux", "0.0.0.0:22", ["PG444"]),
        ("tcp6 0 0 localhost:smtp [::]:* LISTEN 1/x", "netstat-linux", "[::1]:25", ["PG444"]),
        ("udp6 0 0 fe80::42:acff:fe11::123 :::* 0 54550 3335/ntpd", "netstat-linux", "[::]:123", ["PG444"]),
        ("tcp 0 0 ::1:5432 :::* LISTEN 26 14071 1474/pg off (0.00/0/0)", "netstat-linux", "[::1]:5432", []),
        ("udplite 0 0 0.0.0.0:9 0.0.0.0:* 1/x", "netstat-linux", "0.0.0.0:9", []),
        ("tcp   0.0.0.0:13      LISTEN      0     4301        1029/daytime", "netstat-linux", "0.0.0.0:13", []),
        ("f0000000000000001 tcp4 0 0 *.22 *.* LISTEN", "netstat-bsd", "0.0.0.0:22", ["PG440"]),
        ("fffff80003df4b70 tcp4       0      0      0 *.ssh  *.*  ", "netstat-bsd", "0.0.0.0:22", ["PG444", "PG440"]),
        ("udp4                       *.syslog               *.*", "netstat-bsd", "0.0.0.0:514", ["PG444", "PG440"]),
        ("tcp4  0/0/128        *.22", "netstat-bsd", "0.0.0.0:22", ["PG440"]),
        ("tcp          0      0  *.80                   *.*                    LISTEN", "netstat-bsd", "0.0.0.0:80", ["PG440"]),
        ("tcp6         0      0  fe80::1%lo0.25         *.*                    LISTEN", "netstat-bsd", "[fe80::1%lo0]:25", ["PG440"]),
        ("tcp46 0 0 *.22 *.* LISTEN 131072 131072 812 0 00000 00000006", "netstat-macos", "*:22 (dual)", ["PG440"]),
    ],
)  # fmt: skip
def test_a_row_of(line: str, kind: str, where: str, codes: list[str]) -> None:
    listener, found = one(line, kind)
    assert (listener.where, found) == (where, codes)


def test_macos_14_tells_the_owner() -> None:
    line = "tcp4  0  0  127.0.0.1.6463  *.*  LISTEN  0  0  131072  131072   Google Chrome H:30518 00100 00000006 0000"
    listener, _ = one(line, "netstat-macos")
    assert listener.processes == (Process(30518, "Google Chrome H"),)


def test_a_timer_is_no_part_of_the_program() -> None:
    listener, _ = one("tcp 0 0 0.0.0.0:53 0.0.0.0:* LISTEN 996 19422 1279/dns d off (0.00/0/0)")
    assert listener.processes == (Process(1279, "dns d", "996"),)


@pytest.mark.parametrize("line", ["tcp 0 0 *.22 *.* CLOSED", "udp 0 0 127.0.0.1.9 127.0.0.1.9", "udp 0 0 *.* *.*"])
def test_what_nobody_may_send_to_is_no_listener(line: str) -> None:
    assert read(line, "netstat-bsd").listeners == ()


@pytest.mark.parametrize("first", ["Active Internet connections (w/o servers)", "Active Internet connections"])
def test_output_without_servers_says_so(first: str) -> None:
    (note,) = read(f"{first}\nProto Recv-Q Send-Q Local Address Foreign Address State\n").notes
    assert note.code == "PG442"
    assert "without -a or -l" in note.detail


@pytest.mark.parametrize(
    "text", ["", "Kernel IP routing table\n", "  TCP    0.0.0.0:135   0.0.0.0:0   LISTENING   4\n"]
)
def test_other_text_is_told_to_have_nothing(text: str) -> None:
    (note,) = read(text).notes
    assert "has not one line of netstat" in note.detail


def test_empty_lines_by_the_hundred_thousand_are_passed_over() -> None:
    """Patterns that look for lines must not look over their ends."""
    (note,) = read("\n" * 300_000).notes
    assert "has not one line of netstat" in note.detail


@given(
    st.text(max_size=200) | st.text("tcp46 udp 0 .:* LISTEN\n", max_size=200),
    st.sampled_from(["netstat-linux", "netstat-bsd", "netstat-macos"]),
)
def test_no_text_makes_it_fail(text: str, kind: str) -> None:
    read(text, kind)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
@pytest.mark.parametrize(
    ("file", "kind", "listeners"),
    [
        ("inspec/netstat-tulpen", "netstat-linux", {"0.0.0.0:22", "0.0.0.0:80", "0.0.0.0:111"}),
        ("jc/freebsd12_netstat-an.out", "netstat-bsd", {"127.0.0.1:25", "0.0.0.0:22", "[::]:22", "0.0.0.0:514"}),
        ("jc/osx-10.14.6_netstat-An.out", "netstat-macos", {"0.0.0.0:58043"}),
    ],
)
def test_real_outputs_are_understood(file: str, kind: str, listeners: set[str]) -> None:
    found = read((CORPUS / "sockets" / file).read_text(), kind)
    assert listeners <= {one.where for one in found.listeners}
