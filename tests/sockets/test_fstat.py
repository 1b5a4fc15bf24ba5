"""fstat of OpenBSD and NetBSD: rows become listeners, connections do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Process, Sockets
from portgate.core.net import TCP, UDP
from portgate.sockets import parse

TEXT = """\
USER     CMD          PID   FD MOUNT        INUM  MODE         R/W    SZ|DV
root     sshd       75629   wd /              2  drwxr-xr-x     r      512
root     sshd       75629    3* internet stream tcp 0xffff800000a81480 *:22
root     sshd       75629    4* internet6 stream tcp 0xffff800000a81c60 *:22
root     sshd       75630    3* internet stream tcp 0xffff800000a81480 *:22
_unwind  unwind     19822    6* internet dgram udp 127.0.0.1:53
_unwind  unwind     19822    9* internet6 stream tcp 0x0 [::1]:53
_ntp     ntpd          81    7* internet dgram udp 192.0.2.5:3456 <-> 198.51.100.1:123
root     smbd         30    4* internet6 stream tcp deadbeef [fe80::445:1%em0]:445
joe      ssh         4321    3* internet stream tcp 0x0 192.0.2.5:5000 --> 198.51.100.1:22
root     sshd        4322    5* internet stream tcp 0x0 192.0.2.5:22 <-- 198.51.100.9:40001
root     dhcpd         12    8* internet dgram udp *:0
_unwind  unwind     19822   11* unix stream 0x0 /dev/unwind.sock
_unwind  unwind     19822   12* route raw 0 0x0
"""


def read(text: str) -> Sockets:
    return parse([Reading("fstat", text, "fstat.txt")])


def test_rows_become_listeners_with_their_owners() -> None:
    found = {(one.protocol, one.where): one for one in read(TEXT).listeners}
    assert set(found) == {
        (TCP, "0.0.0.0:22"),
        (TCP, "[::]:22"),
        (UDP, "127.0.0.1:53"),
        (TCP, "[::1]:53"),
        (TCP, "[fe80::445:1%em0]:445"),
    }
    assert found[TCP, "0.0.0.0:22"].processes == (Process(75629, "sshd", "root"), Process(75630, "sshd", "root"))
    assert read(TEXT).notes == ()


def test_an_ipv6_socket_takes_ipv6_alone() -> None:
    assert not any(one.dual for one in read(TEXT).listeners)


def test_netbsd_names_services() -> None:
    found = read("root sshd 1 3* internet stream tcp *:ssh\n")
    assert [one.where for one in found.listeners] == ["0.0.0.0:22"]
    assert [one.code for one in found.notes] == ["PG444"]


def test_freebsd_s_own_says_nothing_about_addresses() -> None:
    (note,) = read("alice firefox 77991 32* internet stream tcp fffff800b7f147a0\n").notes
    assert note.detail == "this fstat does not say where a socket listens"


@pytest.mark.parametrize("text", ["", "USER CMD PID FD\nroot init 1 wd / 2 drwxr-xr-x r 512\n"])
def test_text_without_sockets_says_so(text: str) -> None:
    (note,) = read(text).notes
    assert "has not one line of fstat" in note.detail


@pytest.mark.parametrize("end", ["*:99999", "*:", "*:no-such-service"])
def test_a_strange_line_is_noted_with_its_place(end: str) -> None:
    noted = [one for one in read(f"{TEXT}root x 1 3* internet stream tcp 0x0 {end}\n").notes if one.code == "PG443"]
    assert [one.span.line for one in noted if one.span] == [TEXT.count("\n") + 1]


@given(st.text(max_size=300) | st.text("root 13* internet6 stream dgram tcp udp 0x0 *:[]. <-->\n", max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    read(text)


@given(st.integers(0, len(TEXT)))
def test_no_cut_makes_it_fail(length: int) -> None:
    assert len(read(TEXT[:length]).listeners) <= 6
