"""Saved output of fstat(1) of OpenBSD and NetBSD; rows about other files are passed over.

Facts
    fstat(1), OpenBSD 7: `root sshd 75629 3* internet stream tcp 0x0 *:22`; an arrow and a second address follow where the socket is
    connected. A TCP socket has no state here: one that is bound and does not listen looks alike. The address of the
    protocol control block comes before that of the socket, of TCP at least, and is 0x0 for all but root. NetBSD
    prints names of services without `-n`. An IPv6 socket of OpenBSD never takes IPv4 (inet6(4)).
    FreeBSD's fstat names no addresses: sockstat does there.
"""

from __future__ import annotations

import re

from portgate.core.capture import Reading
from portgate.core.listener import Process, Sockets
from portgate.core.net import TCP, UDP, Family
from portgate.sockets.saved import Rows

KINDS = ("fstat",)

_ROW = re.compile(
    r"(?P<user>\S+)\s+(?P<command>\S.*?)\s+(?P<pid>\d{1,9})\s+\d+\*?\s+internet(?P<six>6?)\s+(?:stream|dgram)\s+"
    r"(?P<protocol>tcp|udp)(?:\s+(?:0x)?[0-9a-f]+(?=\s|$))?(?:\s+(?P<local>\S+))?(?P<more>\s.*)?"
)
_IS_IP = re.compile(r"\sinternet6?\s+(?:stream|dgram)\s+(?:tcp|udp)\b")
_CONNECTED = re.compile(r"\s(?:<-+>?|-+>)\s")
_REMEDY = "save the output of `fstat -n` as root, on OpenBSD or NetBSD"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails."""
    rows = Rows(reading, _REMEDY)

    def read(line: str) -> None:
        if _IS_IP.search(line) and not _CONNECTED.search(line):
            _add(rows, line.strip())

    rows.each_line(read)
    if not _IS_IP.search(reading.text):
        rows.missed("fstat about a socket of IP")
    return rows.sockets()


def _add(rows: Rows, line: str) -> None:
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError("this is no row of fstat that is understood")
    if row["local"] is None:
        raise ValueError("this fstat does not say where a socket listens")
    host, _, port_text = row["local"].rpartition(":")
    if port_text in ("0", "*"):
        return  # it is not bound
    protocol = TCP if row["protocol"] == "tcp" else UDP
    port = rows.port(port_text, protocol)
    family, address, device = rows.address(host, Family.IPV6 if row["six"] else Family.IPV4)
    holder = Process(int(row["pid"]), row["command"], row["user"])
    rows.add((protocol, family, address, port, False, device), holder)
