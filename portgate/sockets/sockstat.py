"""Saved output of FreeBSD's sockstat(1), as of `sockstat -46l`.

Facts
    sockstat(1), FreeBSD 14: `tcp4`, `tcp6`, `tcp46`: the last is one IPv6 socket that takes IPv4, too. `*` is the wildcard.
    What nobody's process holds (a kernel's NFS server) has `?` for user, command, process and descriptor. Without
    `-l` connected sockets are listed, too; they name a foreign address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.listener import Listener, Process, Sockets
from portgate.core.net import SCTP, TCP, UDP, UDPLITE, Family, parse_address

KINDS = ("sockstat",)

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "udplite": UDPLITE}
_STREAMS = (TCP, SCTP)
_ROW = re.compile(
    r"(?P<user>\S+)\s+(?P<command>\S.*?)\s+(?P<pid>\d{1,9}|\?)\s+(?P<fd>\d{1,9}|\?)\s+"
    r"(?P<proto>tcp|udp|sctp|udplite)(?P<family>46|4|6)\s+(?P<local>\S+)\s+(?P<foreign>\S+)(?:\s.*)?"
)
_NOT_IP = re.compile(r"\S+\s+\S.*?\s+(?:\d+|\?)\s+(?:\d+|\?)\s+(?:stream|dgram|seqpac|div[46]|icm[46])\b.*")
_HEADER = re.compile(r"USER\s+COMMAND\s.*")
_MOST_NOTES = 20
_REMEDY = "save the output of `sockstat -46ln`"

Key = tuple[int, Family, int | None, int, bool, str | None]
"""Protocol, family, address, port, dual, device."""


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows; a socket that several processes hold is one. Never fails."""
    found: dict[Key, list[re.Match[str]]] = {}
    notes: list[Diagnostic] = []
    for number, line in enumerate(reading.text.replace("\r", "").split("\n"), 1):
        row = _ROW.fullmatch(line.strip())
        try:
            if row is not None and row["foreign"] == "*:*":
                found.setdefault(_key(row), []).append(row)
            elif row is None and not _is_passed_over(line.strip()):
                raise ValueError("this is no row of sockstat")
        except ValueError as error:
            notes.append(Diagnostic("PG443", str(error), Span(reading.source, number, 1, number + 1, 1), _REMEDY))
    listeners = sorted((_listener(key, rows) for key, rows in found.items()), key=lambda one: one.sort_key)
    return Sockets(tuple(listeners), (*_few(notes), *_unseen(found, reading.source)))


def _is_passed_over(line: str) -> bool:
    return not line or bool(_HEADER.fullmatch(line) or _NOT_IP.fullmatch(line))


def _key(row: re.Match[str]) -> Key:
    host, _, port_text = row["local"].rpartition(":")
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text[:6]) <= 0xFFFF):
        raise ValueError(f"{port_text[:40]!r} is no port")
    dual = row["family"] == "46"
    family = Family.IPV4 if row["family"] == "4" else Family.IPV6
    address, _, device = host.strip("[]").partition("%")
    number: int | None = None
    if address != "*":
        told, number = parse_address(address)
        if told is not family:
            raise ValueError(f"{address!r} is not of the family that the row says")
    return _PROTOCOLS[row["proto"]], family, number or None, int(port_text), dual and not number, device or None


def _listener(key: Key, rows: list[re.Match[str]]) -> Listener:
    protocol, family, address, port, dual, device = key
    processes = {
        int(row["pid"]): Process(int(row["pid"]), row["command"], row["user"]) for row in rows if row["pid"] != "?"
    }
    kind = "stream" if protocol in _STREAMS else "datagram"
    return Listener(kind, protocol, family, address, port, dual, device, tuple(processes.values()))


def _few(notes: list[Diagnostic]) -> Iterator[Diagnostic]:
    yield from notes[:_MOST_NOTES]
    if len(notes) > _MOST_NOTES:
        yield Diagnostic("PG443", f"{len(notes) - _MOST_NOTES} more lines", remedy=_REMEDY)


def _unseen(found: dict[Key, list[re.Match[str]]], source: str) -> Iterator[Diagnostic]:
    """What the output does not tell."""
    if any(all(row["pid"] == "?" for row in rows) for rows in found.values()):
        yield Diagnostic("PG440", f"{source}: some sockets are held by no process that was seen")
    if found and not any(key[0] == UDP for key in found):
        yield Diagnostic("PG442", f"{source} lists no UDP at all; it may have been left out", remedy=_REMEDY)
