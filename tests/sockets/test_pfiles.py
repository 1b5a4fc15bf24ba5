"""pfiles of Solaris and illumos: what is said of a descriptor, in any order, becomes a listener or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.listener import Process, Sockets
from portgate.core.net import SCTP, TCP, UDP
from portgate.sockets import parse

CORPUS = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
TEXT = """\
1337:\t/usr/lib/ssh/sshd
  Current rlimit: 256 file descriptors
   0: S_IFCHR mode:0666 dev:270,0 ino:6815752 uid:0 gid:3 rdev:13,2
      O_RDWR|O_LARGEFILE
      /devices/pseudo/mm@0:null
   3: S_IFSOCK mode:0666 dev:276,0 ino:36222 uid:0 gid:0 size:0
      O_RDWR
\tSOCK_STREAM
\tSO_ACCEPTCONN,SO_REUSEADDR,SO_SNDBUF(49152),SO_RCVBUF(49152)
\tsockname: AF_INET6 ::  port: 22
\tcongestion control: newreno
   4: S_IFSOCK mode:0666 dev:276,0 ino:36223 uid:0 gid:0 size:0
\tSOCK_STREAM
\tsockname: AF_INET 192.0.2.5  port: 22
\tpeername: AF_INET 198.51.100.7  port: 50123
   5: S_IFSOCK mode:0666 dev:276,0 ino:1 uid:0 gid:0 size:0
\tSOCK_STREAM
\tsockname: AF_UNIX /var/run/x
812:\t/usr/sbin/in.named -u named
   6: S_IFSOCK mode:0777 dev:276,0 ino:2 uid:0 gid:0 size:0
      O_RDWR|O_CLOEXEC
\tsockname: AF_INET 127.0.0.1  port: 953
\tSOCK_STREAM
\tstate: TCP_LISTEN
   7: S_IFSOCK mode:0777 dev:276,0 ino:3 uid:0 gid:0 size:0
\tsockname: AF_INET 192.0.2.5  port: 40000
\tSOCK_STREAM
\tstate: TCP_ESTABLISHED
   8: S_IFSOCK mode:0666 dev:276,0 ino:4 uid:0 gid:0 size:0
\tSOCK_DGRAM
\tsockname: AF_INET 0.0.0.0  port: 53
   9: S_IFSOCK mode:0666 dev:276,0 ino:5 uid:0 gid:0 size:0
\tSOCK_DGRAM
\tsockname: AF_INET 0.0.0.0  port: 0
  10: S_IFSOCK mode:0666 dev:276,0 ino:6 uid:0 gid:0 size:0
\tSOCK_SEQPACKET
\tsockname: AF_INET6 ::ffff:192.0.2.5  port: 36412
"""


def read(text: str) -> Sockets:
    return parse([Reading("pfiles", text, "pfiles.txt")])


def test_descriptors_become_listeners_with_their_owners() -> None:
    found = {(one.protocol, one.where): one for one in read(TEXT).listeners}
    assert set(found) == {
        (TCP, "*:22 (dual)"),
        (TCP, "127.0.0.1:953"),
        (UDP, "0.0.0.0:53"),
        (SCTP, "192.0.2.5:36412"),
    }
    assert found[TCP, "*:22 (dual)"].processes == (Process(1337, "sshd"),)
    assert found[UDP, "0.0.0.0:53"].processes == (Process(812, "in.named"),)
    assert [one.code for one in read(TEXT).notes] == ["PG444"]


def test_without_its_type_a_socket_is_taken_for_both() -> None:
    found = read(
        " 401     /usr/sbin/inetd\n         sockname: AF_INET 0.0.0.0  port: 42\n         sockname: AF_INET 0.0.0.0  port: 7100\n"
    )
    assert [(one.protocol, one.port) for one in found.listeners] == [(TCP, 42), (TCP, 7100), (UDP, 42), (UDP, 7100)]
    assert any("taken for both" in one.detail for one in found.notes)


@pytest.mark.parametrize("text", ["", "1: /sbin/init\n  Current rlimit: 256 file descriptors\n"])
def test_text_without_sockets_says_so(text: str) -> None:
    (note,) = read(text).notes
    assert "has not one line of pfiles" in note.detail


def test_a_strange_address_is_noted_with_its_place() -> None:
    noted = [one for one in read(f"{TEXT}\tsockname: AF_INET lost\n").notes if one.code == "PG443"]
    assert [one.span.line for one in noted if one.span] == [TEXT.count("\n") + 1]


@given(st.text(max_size=300) | st.text("12: S_IFSOCK\n\tsockname: AF_INET6 ::  port: 22\tSOCK_STREAM", max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    read(text)


@given(st.integers(0, len(TEXT)))
def test_no_cut_makes_it_fail(length: int) -> None:
    assert len(read(TEXT[:length]).listeners) <= 6


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not here")
def test_a_real_output_is_understood() -> None:
    found = read((CORPUS / "sockets/solaris-pfiles/solaris-pfiles-ports.txt").read_text())
    assert {one.port for one in found.listeners} == {21, 23, 42, 79, 512, 513, 514, 515, 517, 540, 7100, 32778}
    assert {one.processes for one in found.listeners} == {(Process(401, "inetd"),)}
    assert "PG443" not in {one.code for one in found.notes}
