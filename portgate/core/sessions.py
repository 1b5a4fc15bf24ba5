"""Connections by which somebody administers a host."""

from __future__ import annotations

from portgate.core.capture import Reading
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.listener import unmap
from portgate.core.net import Family, format_address, parse_address

KIND = "ssh-connections"
"""Readings that tell of sessions. **Shape** of a line as in $SSH_CONNECTION; the caller's own session is the first."""


@dataclass(frozen=True, slots=True)
class Session:
    """One established connection. `zone` is the interface of a link-local peer, else ""."""

    family: Family
    peer: int
    peer_port: int
    address: int
    port: int
    zone: str = ""

    def __str__(self) -> str:
        """As in $SSH_CONNECTION."""
        peer = format_address(self.family, self.peer) + (f"%{self.zone}" if self.zone else "")
        return f"{peer} {self.peer_port} {format_address(self.family, self.address)} {self.port}"


def parse_sessions(reading: Reading) -> tuple[Session, ...]:
    """Errors: PortgateError PG445 for a line that is not as in $SSH_CONNECTION."""
    try:
        return tuple(dict.fromkeys(session_of(line) for line in reading.text.splitlines() if line.strip()))
    except ValueError as error:
        raise PortgateError(Diagnostic("PG445", f"{reading.source}: {error}")) from None


def session_of(line: str) -> Session:
    """**Shape** `198.51.100.7 40000 192.0.2.1 22`. Errors: ValueError."""
    words = line.split()
    if len(words) != 4 or not all(one.isdecimal() and int(one) <= 0xFFFF for one in words[1::2]):
        raise ValueError(f"not a connection as in $SSH_CONNECTION: {line[:100]!r}")
    (peer, _, zone), (address, _, _) = words[0].partition("%"), words[2].partition("%")
    (family, far), (near_family, near) = unmap(*parse_address(peer)), unmap(*parse_address(address))
    if family is not near_family:
        raise ValueError(f"addresses of two families: {line[:100]!r}")
    return Session(family, far, int(words[1]), near, int(words[3]), zone)
