"""FreeBSD's sockstat: rows become listeners, and what is not understood becomes a note."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Process, Sockets
from portgate.core.net import TCP, UDP, Family
from portgate.sockets import parse

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
TEXT = """USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS
www      nginx      812   6  tcp46  *:80                  *:*
www      nginx      813   6  tcp46  *:80                  *:*
root     sendmail   671   3  tcp4   127.0.0.1:25          *:*
root     sshd       668   4  tcp6   *:22                  *:*
root     sshd       900   3  tcp4   192.0.2.1:22          198.51.100.7:50123
root     worker p 1 901   3  udp6   fe80::1%em0:546       *:*
?        ?          ?     ?  udp4   *:2049                *:*
root     devd       400   5  stream /var/run/devd.pipe
"""


def read(text: str) -> Sockets:
    return parse([Reading("sockstat", text, "sockstat.txt")])


def test_rows_become_listeners_with_their_owners() -> None:
    found = {one.where: one for one in read(TEXT).listeners}
    assert list(found) == ["[::]:22", "127.0.0.1:25", "*:80 (dual)", "[fe80::1%em0]:546", "0.0.0.0:2049"]
    web = found["*:80 (dual)"]
    assert (web.protocol, web.families) == (TCP, (Family.IPV4, Family.IPV6))
    assert web.processes == (Process(812, "nginx", "www"), Process(813, "nginx", "www"))
    dhcp = found["[fe80::1%em0]:546"]
    assert (dhcp.protocol, dhcp.device, dhcp.processes[0].program) == (UDP, "em0", "worker p 1")


def test_a_connection_is_no_listener() -> None:
    assert not any(one.address == 0xC0000201 for one in read(TEXT).listeners)


def test_what_is_bound_and_does_not_listen_is_no_listener_where_the_state_is_told() -> None:
    """Columns as `sockstat -46sSC` of FreeBSD 14 has them, those of the TCP stack and its congestion control behind."""
    text = (
        "root     ircd       700   5  tcp4   *:6667                *:*                                CLOSED       freebsd cubic\n"
        "root     sshd       668   4  tcp46  *:22                  *:*                                LISTEN       freebsd cubic\n"
        "root     dns        702   6  udp4   *:53                  *:*\n"
        "root     gate       701   7  sctp4  192.0.2.1:9899        *:*                                BOUND\n"
    )
    assert [one.where for one in read(text).listeners] == ["*:22 (dual)", "0.0.0.0:53"]


def test_a_socket_without_a_process_is_told_as_such() -> None:
    assert [one.code for one in read(TEXT).notes] == ["PG440"]


def test_output_without_any_udp_is_doubted() -> None:
    assert [one.code for one in read("root sshd 1 3 tcp4 *:22 *:*\n").notes] == ["PG442"]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "root sshd 1 3 tcp4 *:no-such-service *:*",
        "root sshd 1 3 tcp4 ::1:22 *:*",
        "root sshd 1 3 tcp4 *:99999 *:*",
    ],
)
def test_a_strange_line_is_noted_with_its_place(line: str) -> None:
    noted = [one for one in read(f"{TEXT}{line}\n").notes if one.code == "PG443"]
    assert [one.span.line for one in noted if one.span] == [TEXT.count("\n") + 1]


def test_many_strange_lines_are_counted() -> None:
    assert "180 more lines" in [one.detail for one in read("x\n" * 200).notes][-1]


def test_netbsd_writes_a_dot_and_names() -> None:
    text = "USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS\nroot sshd 456 3 tcp *.ssh *.*\nroot ntpd 7 20 udp6 ::1.123 *.*\n"
    found = read(text)
    assert {one.where for one in found.listeners} == {"0.0.0.0:22", "[::1]:123"}
    assert [one.code for one in found.notes] == ["PG444"]


@given(st.text(max_size=300) | st.text("root sshd 1234 tcp46 udp * : . \n", max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    read(text)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_a_real_output_is_understood() -> None:
    found = read((CORPUS / "sockets/inspec/sockstat").read_text())
    assert [one.where for one in found.listeners] == ["0.0.0.0:22", "[::]:22", "127.0.0.1:25", "[::]:2049"]
    assert "PG443" not in {one.code for one in found.notes}
