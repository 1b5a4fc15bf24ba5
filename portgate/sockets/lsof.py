"""Saved output of lsof(8), as of `lsof -nP -i`; rows about other files are passed over.

Facts
    lsof 4.9: TYPE tells the family of the socket, NODE the protocol, NAME `*:22 (LISTEN)`. Whether an IPv6 wildcard takes
    IPv4, too, is not told. `lsof -iTCP -sTCP:LISTEN -iUDP` lists no UDP at all, because UDP has no such state.
    A process with threads has a row for each of them where a TID column is shown. `-Tqs` adds the queues, `(LISTEN QR=0 QS=0)`; `-T` and
    `-Tq` leave the state out (lsof 4.95).
"""

from __future__ import annotations

import re

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic
from portgate.core.listener import Process, Sockets
from portgate.core.net import TCP, UDP, Family
from portgate.sockets.saved import Rows

KINDS = ("lsof",)

_ROW = re.compile(
    r"(?P<command>\S.*?)\s+(?P<pid>\d{1,9})(?:\s+\d+)?(?:\s+\S+)??\s+(?P<user>\S+)\s+\d+[a-zA-Z-]*\s+IPv(?P<family>[46])\s+"
    r"\S+\s+\S+\s+(?P<protocol>TCP|UDP)\s+(?P<name>\S+)(?:\s+\((?:(?P<state>\w+)(?=[\s)]))?[^)]*\))?"
)
_IS_IP = re.compile(r"\sIPv[46]\s")
_REMEDY = "save the output of `lsof -nP -i`"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails."""
    rows = Rows(reading, _REMEDY)

    stateless = False

    def read(line: str) -> None:
        nonlocal stateless
        if _IS_IP.search(line) and (row := _listening(line.strip())):
            _add(rows, row)
            stateless = stateless or (row["protocol"] == "TCP" and row["state"] is None)

    rows.each_line(read)
    if stateless:
        told = f"{reading.source} does not say which TCP sockets listen; those without a peer are taken for listeners"
        rows.notes.append(Diagnostic("PG444", told, remedy=_REMEDY))
    if rows and not rows.shows(UDP):
        told = "`lsof -iTCP -sTCP:LISTEN -iUDP` leaves it out"
        rows.notes.append(Diagnostic("PG442", f"{reading.source} lists no UDP at all; {told}", remedy=_REMEDY))
    if not _IS_IP.search(reading.text):
        rows.missed("lsof about a socket of IP")
    return rows.sockets()


def _listening(line: str) -> re.Match[str] | None:
    """The row, when anybody may send to its socket. Errors: ValueError when it is no row."""
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError("this is no row of lsof that is understood")
    if row["protocol"] == "TCP" and row["state"] is not None:
        return row if row["state"] == "LISTEN" else None
    return row if "->" not in row["name"] and not row["name"].endswith(":*") else None


def _add(rows: Rows, row: re.Match[str]) -> None:
    host, _, port_text = row["name"].rpartition(":")
    protocol = TCP if row["protocol"] == "TCP" else UDP
    port = rows.port(port_text, protocol)
    family, address, device = rows.address(host, Family(int(row["family"])))
    dual = None if family is Family.IPV6 and address is None else False
    rows.add((protocol, family, address, port, dual, device), Process(int(row["pid"]), row["command"], row["user"]))
