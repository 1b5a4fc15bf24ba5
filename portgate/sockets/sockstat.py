"""Saved output of sockstat(1) of FreeBSD, DragonFly and NetBSD, as of `sockstat -46l`.

Facts
    sockstat(1), FreeBSD 14: `tcp4`, `tcp6`, `tcp46`: the last is one IPv6 socket that takes IPv4, too. `*` is the wildcard.
    What nobody's process holds (a kernel's NFS server) has `?` for user, command, process and descriptor. Without
    `-l` connected sockets are listed, too; they name a foreign address. `-s` adds the state, of TCP and SCTP: a socket that is
    bound and does not listen is `CLOSED`, or `BOUND`; without `-s` it looks like one that does.
    sockstat(1), NetBSD 9: `tcp` and `tcp6`, a dot before the port, and names of services without `-n`.
"""

from __future__ import annotations

import re

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic
from portgate.core.listener import Process, Sockets
from portgate.core.net import SCTP, TCP, UDP, UDPLITE, Family
from portgate.sockets.saved import Rows

KINDS = ("sockstat",)

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "udplite": UDPLITE}
_ROW = re.compile(
    r"(?P<user>\S+)\s+(?P<command>\S.*?)\s+(?P<pid>\d{1,9}|\?)\s+(?P<fd>\d{1,9}|\?)\s+"
    r"(?P<proto>tcp|udp|sctp|udplite)(?P<family>46|4|6)?\s+(?P<local>\S+)\s+(?P<foreign>\S+)(?P<more>\s.*)?"
)
_NOT_IP = re.compile(r"\S+\s+\S.*?\s+(?:\d+|\?)\s+(?:\d+|\?)\s+(?:stream|dgram|seqpac\w*|div[46]|icm[46])\b.*")
_HEADER = re.compile(r"USER\s+COMMAND\s.*")
_ANYBODY = ("*:*", "*.*")
_IDLE = {"CLOSED", "BOUND"}
_REMEDY = "save the output of `sockstat -46ln`"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails."""
    rows = Rows(reading, _REMEDY)
    understood = False

    def read(line: str) -> None:
        nonlocal understood
        row = _ROW.fullmatch(line.strip())
        if row is None and not _is_passed_over(line.strip()):
            raise ValueError("this is no row of sockstat")
        understood = understood or bool(line.strip())
        if row is not None and row["foreign"] in _ANYBODY and not _IDLE & set((row["more"] or "").split()):
            _add(rows, row)

    rows.each_line(read)
    if rows and not rows.shows(UDP):
        told = f"{reading.source} lists no UDP at all; it may have been left out"
        rows.notes.append(Diagnostic("PG442", told, remedy=_REMEDY))
    if not understood:
        rows.missed("sockstat")
    return rows.sockets()


def _is_passed_over(line: str) -> bool:
    return not line or bool(_HEADER.fullmatch(line) or _NOT_IP.fullmatch(line))


def _add(rows: Rows, row: re.Match[str]) -> None:
    protocol = _PROTOCOLS[row["proto"]]
    host, _, port_text = row["local"].rpartition(row["foreign"][1])
    port = rows.port(port_text, protocol)
    said = Family.IPV6 if row["family"] in ("6", "46") else Family.IPV4
    family, address, device = rows.address(host, said)
    if family is not said:
        raise ValueError(f"{host[:60]!r} is not of the family that the row says")
    dual = row["family"] == "46" and address is None
    holder = None if row["pid"] == "?" else Process(int(row["pid"]), row["command"], row["user"])
    rows.add((protocol, family, address, port, dual, device), holder)
