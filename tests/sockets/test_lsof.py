"""lsof: rows about sockets become listeners, other rows are passed over, and what is not understood becomes a note."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Process, Sockets
from portgate.core.net import Family
from portgate.sockets import parse

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
TEXT = """COMMAND     PID  USER   FD   TYPE             DEVICE SIZE/OFF NODE NAME
launchd       1  root    7u  IPv6 0x1d2c3b4a5f60718      0t0  TCP *:22 (LISTEN)
launchd       1  root    8u  IPv4 0x1d2c3b4a5f60719      0t0  TCP *:22 (LISTEN)
launchd       1  root    9u  IPv6 0x1d2c3b4a5f60719      0t0  TCP *:80 (LISTEN)
httpd        77   www    9u  IPv6 0x1d2c3b4a5f60719      0t0  TCP *:80 (LISTEN)
Google C    410   ann   21u  IPv4 0x1d2c3b4a5f60720      0t0  TCP 192.0.2.1:50000->198.51.100.7:443 (ESTABLISHED)
mDNSRespo   200  _mdn    6u  IPv4 0x1d2c3b4a5f60721      0t0  UDP *:5353
mDNSRespo   200  _mdn    7u  IPv4 0x1d2c3b4a5f60722      0t0  UDP *:*
ntpd        300   ntp   20u  IPv6 0x1d2c3b4a5f60723      0t0  UDP [fe80::1]:123
sshd        301  root  txt    REG               8,1   123456  999 /usr/sbin/sshd
"""


def read(text: str) -> Sockets:
    return parse([Reading("lsof", text, "lsof.txt")])


def test_rows_become_listeners_with_their_owners() -> None:
    found = {one.where: one for one in read(TEXT).listeners}
    assert set(found) == {"0.0.0.0:22", "[::]:22", "*:80 (dual)", "0.0.0.0:5353", "[fe80::1]:123"}
    web = found["*:80 (dual)"]
    assert web.families == (Family.IPV4, Family.IPV6)
    assert web.processes == (Process(1, "launchd", "root"), Process(77, "httpd", "www"))


def test_what_was_assumed_is_told() -> None:
    assert [one.code for one in read(TEXT).notes] == ["PG444"]


def test_queues_may_stand_beside_the_state() -> None:
    """`lsof -nP -i -Tqs`."""
    text = (
        "sshd    668 root    3u  IPv4 1831676      0t0  TCP *:22 (LISTEN QR=0 QS=128)\n"
        "sshd    900 root    4u  IPv4 1831677      0t0  TCP 192.0.2.1:22->198.51.100.7:5000 (ESTABLISHED QR=0 QS=0)\n"
        "dns     701 root    5u  IPv4 1831678      0t0  UDP *:53 (QR=0 QS=0)\n"
    )
    assert [one.where for one in read(text).listeners] == ["0.0.0.0:22", "0.0.0.0:53"]
    assert read(text).notes == ()


@pytest.mark.parametrize("queues", ["", " (QR=0 QS=128)"])
def test_without_states_what_has_no_peer_is_taken_for_a_listener_and_that_is_told(queues: str) -> None:
    """`lsof -nP -i -T`, and with `-Tq`."""
    text = (
        f"sshd    668 root    3u  IPv4 1831676      0t0  TCP *:22{queues}\n"
        f"sshd    900 root    4u  IPv4 1831677      0t0  TCP 192.0.2.1:22->198.51.100.7:5000{queues}\n"
        f"dns     701 root    5u  IPv4 1831678      0t0  UDP *:53{queues}\n"
    )
    found = read(text)
    assert [one.where for one in found.listeners] == ["0.0.0.0:22", "0.0.0.0:53"]
    assert [(one.code, "which TCP sockets listen" in one.detail) for one in found.notes] == [("PG444", True)]


def test_output_without_any_udp_is_doubted() -> None:
    assert "PG442" in [one.code for one in read("sshd 1 root 3u IPv4 1234 0t0 TCP *:22 (LISTEN)\n").notes]


@pytest.mark.parametrize("name", ["*:no-such-service (LISTEN)", "*:99999 (LISTEN)", "a b c"])
def test_a_strange_line_is_noted_with_its_place(name: str) -> None:
    noted = [one for one in read(f"{TEXT}sshd 1 root 3u IPv4 1234 0t0 TCP {name}\n").notes if one.code == "PG443"]
    assert [one.span.line for one in noted if one.span] == [TEXT.count("\n") + 1]


def test_names_in_place_of_ports_are_the_usual_ones() -> None:
    found = read("sshd 1 root 3u IPv4 1234 0t0 TCP localhost:ssh (LISTEN)\nnamed 2 bind 3u IPv4 1 0t0 UDP *:domain\n")
    assert {one.where for one in found.listeners} == {"127.0.0.1:22", "0.0.0.0:53"}
    assert ["ssh for 22, domain for 53" in one.detail for one in found.notes] == [True]


def test_text_about_other_files_is_told_to_have_nothing() -> None:
    (note,) = read("init 1 root cwd DIR 8,1 4096 2 /\n").notes
    assert "has not one line of lsof about a socket of IP" in note.detail


@given(st.text(max_size=300) | st.text("sshd 1 root 3u IPv4 IPv6 0t0 TCP UDP *:22 (LISTEN)\n", max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    read(text)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_no_real_output_makes_it_fail_and_other_files_are_no_sockets() -> None:
    paths = [one for one in sorted((CORPUS / "sockets").glob("*/*")) if "lsof" in one.name.lower()]
    assert len(paths) >= 3
    for path in paths:
        text = path.read_text()
        assert len(read(text).listeners) <= text.count("IPv"), path
