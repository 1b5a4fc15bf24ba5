"""Saved output of lsof(8), as of `lsof -nP -i`; rows about other files are passed over.

Facts
    lsof 4.9: TYPE tells the family of the socket, NODE the protocol, NAME `*:22 (LISTEN)`. Whether an IPv6 wildcard takes
    IPv4, too, is not told. `lsof -iTCP -sTCP:LISTEN -iUDP` lists no UDP at all, because UDP has no such state.
    A process with threads has a row for each of them where a TID column is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.listener import Endpoint, Listener, Process, Sockets, assume_dual, unmap
from portgate.core.net import TCP, UDP, Family, parse_address

KINDS = ("lsof",)

_ROW = re.compile(
    r"(?P<command>\S.*?)\s+(?P<pid>\d{1,9})(?:\s+\d+)?\s+(?P<user>\S+)\s+\d+[a-zA-Z-]*\s+IPv(?P<family>[46])\s+"
    r"\S+\s+\S+\s+(?P<protocol>TCP|UDP)\s+(?P<name>\S+)(?:\s+\((?P<state>\w+)\))?"
)
_IS_IP = re.compile(r"\sIPv[46]\s")
_MOST_NOTES = 20
_REMEDY = "save the output of `lsof -nP -i`"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows; a socket that several processes hold is one. Never fails."""
    holders: dict[Endpoint, dict[int, Process]] = {}
    notes: list[Diagnostic] = []
    for number, line in enumerate(reading.text.replace("\r", "").split("\n"), 1):
        try:
            if _IS_IP.search(line) and (row := _listening(line.strip())):
                process = Process(int(row["pid"]), row["command"], row["user"])
                holders.setdefault(_endpoint(row), {})[process.pid] = process
        except ValueError as error:
            notes.append(Diagnostic("PG443", str(error), Span(reading.source, number, 1, number + 1, 1), _REMEDY))
    settled = zip(assume_dual(holders), holders.values(), strict=True)
    listeners = sorted((_listener(one, held) for one, held in settled), key=lambda one: one.sort_key)
    return Sockets(tuple(listeners), (*_few(notes), *_unseen(holders, reading.source)))


def _listening(line: str) -> re.Match[str] | None:
    """The row, when anybody may send to its socket. Errors: ValueError when it is no row."""
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError("this is no row of lsof that is understood")
    if row["protocol"] == "TCP":
        return row if row["state"] == "LISTEN" else None
    return row if "->" not in row["name"] and row["name"] != "*:*" else None


def _endpoint(row: re.Match[str]) -> Endpoint:
    host, _, port = row["name"].rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 0xFFFF):
        raise ValueError(f"{port[:40]!r} is no port")
    family = Family(int(row["family"]))
    protocol = TCP if row["protocol"] == "TCP" else UDP
    text, _, device = host.strip("[]").partition("%")
    if text == "*":
        return protocol, family, None, int(port), False if family is Family.IPV4 else None, device or None
    told, address = unmap(*parse_address(text))
    return protocol, told, address or None, int(port), False, device or None


def _listener(endpoint: Endpoint, held: dict[int, Process]) -> Listener:
    protocol, family, address, port, dual, device = endpoint
    kind = "stream" if protocol == TCP else "datagram"
    return Listener(kind, protocol, family, address, port, bool(dual), device, tuple(held.values()))


def _few(notes: list[Diagnostic]) -> Iterator[Diagnostic]:
    yield from notes[:_MOST_NOTES]
    if len(notes) > _MOST_NOTES:
        yield Diagnostic("PG443", f"{len(notes) - _MOST_NOTES} more lines", remedy=_REMEDY)


def _unseen(found: dict[Endpoint, dict[int, Process]], source: str) -> Iterator[Diagnostic]:
    """What the output does not tell."""
    if any(dual is None for _, _, _, _, dual, _ in found):
        yield Diagnostic(
            "PG444", f"{source} does not say which IPv6 sockets take IPv4, too; those whose port no IPv4 socket holds are taken to"
        )  # fmt: skip
    if found and not any(protocol == UDP for protocol, *_ in found):
        told = "`lsof -iTCP -sTCP:LISTEN -iUDP` leaves it out"
        yield Diagnostic("PG442", f"{source} lists no UDP at all; {told}", remedy=_REMEDY)
