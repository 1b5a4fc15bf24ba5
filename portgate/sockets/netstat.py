"""Saved output of netstat: of Linux (net-tools, `netstat -tulpn`), of the BSDs and of macOS (`netstat -an`).

Facts
    Linux writes `0.0.0.0:22` and `:::22`, with `tcp6` for every IPv6 socket, and does not tell whether it takes IPv4, too.
    The BSDs and macOS write `*.22`, a dot before the port, and `tcp46` for a socket that takes both; they tell no owners.
    A UDP socket has no state anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.listener import Endpoint, Listener, Process, Sockets, assume_dual, unmap
from portgate.core.net import TCP, UDP, Family, parse_address

KINDS = ("netstat-linux", "netstat-bsd", "netstat-macos")

_ROW = re.compile(
    r"(?:[0-9a-f]{8,16}\s+){0,2}(?P<protocol>tcp|udp)(?P<family>46|4|6)?\s+\d+\s+\d+\s+(?P<local>\S+)\s+"
    r"(?P<peer>\S+)(?P<rest>.*)"
)
_IS_IP = re.compile(r"(?:[0-9a-f]{8,16}\s+){0,2}(?:tcp|udp)(?:46|4|6)?\s")
_HOLDER = re.compile(r"\s(\d{1,9})/(\S.{0,64}?)\s*$")
_MOST_NOTES = 20
_REMEDIES = {"netstat-linux": "save the output of `netstat -tulpn`"}
_REMEDY = "save the output of `netstat -an`"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows; the same endpoint counts once. Never fails."""
    remedy = _REMEDIES.get(reading.kind, _REMEDY)
    holders: dict[Endpoint, dict[int, Process]] = {}
    notes: list[Diagnostic] = []
    for number, line in enumerate(reading.text.replace("\r", "").split("\n"), 1):
        try:
            if _IS_IP.match(line) and (row := _listening(line)):
                held = holders.setdefault(_endpoint(row, reading.kind), {})
                if holder := _HOLDER.search(row["rest"]):
                    held[int(holder[1])] = Process(int(holder[1]), holder[2])
        except ValueError as error:
            notes.append(Diagnostic("PG443", str(error), Span(reading.source, number, 1, number + 1, 1), remedy))
    settled = zip(assume_dual(holders), holders.values(), strict=True)
    listeners = sorted((_listener(one, held) for one, held in settled), key=lambda one: one.sort_key)
    return Sockets(tuple(listeners), (*_few(notes, remedy), *_unseen(holders, reading.source)))


def _listening(line: str) -> re.Match[str] | None:
    """The row, when anybody may send to its socket. Errors: ValueError when it is no row."""
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError("this is no row of netstat that is understood")
    if row["protocol"] == "tcp":
        return row if re.search(r"\sLISTEN\b", row["rest"]) else None
    return row if row["peer"].endswith("*") and not row["local"].endswith("*") else None


def _endpoint(row: re.Match[str], kind: str) -> Endpoint:
    linux = kind == "netstat-linux"
    host, _, port = row["local"].rpartition(":" if linux else ".")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 0xFFFF):
        raise ValueError(f"{port[:40]!r} is no port")
    family = Family.IPV6 if row["family"] in ("6", "46") else Family.IPV4
    text, _, device = host.strip("[]").partition("%")
    told, address = (family, 0) if text == "*" else unmap(*parse_address(text))
    dual = row["family"] == "46"
    unknown = linux and told is Family.IPV6 and not address
    protocol = TCP if row["protocol"] == "tcp" else UDP
    return protocol, told, address or None, int(port), None if unknown else dual and not address, device or None


def _listener(endpoint: Endpoint, held: dict[int, Process]) -> Listener:
    protocol, family, address, port, dual, device = endpoint
    kind = "stream" if protocol == TCP else "datagram"
    return Listener(kind, protocol, family, address, port, bool(dual), device, tuple(held.values()))


def _few(notes: list[Diagnostic], remedy: str) -> Iterator[Diagnostic]:
    yield from notes[:_MOST_NOTES]
    if len(notes) > _MOST_NOTES:
        yield Diagnostic("PG443", f"{len(notes) - _MOST_NOTES} more lines", remedy=remedy)


def _unseen(found: dict[Endpoint, dict[int, Process]], source: str) -> Iterator[Diagnostic]:
    """What the output does not tell."""
    if any(dual is None for _, _, _, _, dual, _ in found):
        told = "those whose port no IPv4 socket holds are taken to"
        yield Diagnostic("PG444", f"{source} does not say which IPv6 sockets take IPv4, too; {told}")
    if not all(found.values()):
        yield Diagnostic("PG440", f"{source} does not tell who holds some of the sockets")
