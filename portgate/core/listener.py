"""What is listening: sockets that wait for packets from anybody, and who owns them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic
from portgate.core.net import Family, format_address


@dataclass(frozen=True, slots=True)
class Process:
    """An owner of a socket. What could not be found out is None."""

    pid: int
    program: str
    user: str | None = None
    unit: str | None = None
    container: str | None = None
    package: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket (TCP, SCTP, DCCP: in LISTEN; UDP: bound and unconnected; raw and packet sockets).

    **Shape** `protocol` is the IP protocol number (for a raw socket the one that it reads; for a packet socket
    the EtherType). `kind` is "stream" or "datagram", "raw", "packet". `family` is the socket's; None for packet
    sockets. `address` None is the wildcard; `dual` means that an IPv6 wildcard socket takes IPv4, too.
    `device` is what it is bound to. `port` None where there is none. `connections` counts the established ones
    (sockets that share address and port share them). `user` made the socket; `unit` and `container` are those of
    the socket itself, told where no process is seen that holds it.
    """

    kind: str
    protocol: int
    family: Family | None
    address: int | None
    port: int | None
    dual: bool = False
    device: str | None = None
    processes: tuple[Process, ...] = ()
    connections: int = 0
    inode: int = 0
    user: str | None = None
    unit: str | None = None
    container: str | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        """The families in which packets can reach it."""
        if self.family is None:
            return ()
        return (Family.IPV4, Family.IPV6) if self.dual else (self.family,)

    @property
    def where(self) -> str:
        """`0.0.0.0:80`, `[::]:80`, `*:80 (dual)`, `0.0.0.0%eth0:67`; of a packet socket `*` or its device."""
        if self.family is None:
            return self.device or "*"
        at = f"%{self.device}" if self.device else ""
        port = "" if self.port is None else f":{self.port}"
        if self.dual:
            return f"*{at}{port} (dual)"
        text = format_address(self.family, self.address or 0) + at
        return (f"[{text}]" if self.family is Family.IPV6 and port else text) + port

    @property
    def sort_key(self) -> tuple[int, int, int, int, int, str, int]:
        """By kind, protocol, port, family, address; the same sockets always come in the same order."""
        return (
            _KINDS.index(self.kind),
            self.protocol,
            -1 if self.port is None else self.port,
            self.family or 0,
            -1 if self.address is None else self.address,
            self.device or "",
            self.inode,
        )


_KINDS = ("stream", "datagram", "raw", "packet")


@dataclass(frozen=True, slots=True)
class Sockets:
    """All that listens on a host, sorted. `notes` say what could not be seen."""

    listeners: tuple[Listener, ...] = ()
    notes: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. `addresses` are (family, address, prefix length); `groups` are those that BSD puts it into."""

    name: str
    addresses: tuple[tuple[Family, int, int], ...] = ()
    up: bool = True
    groups: tuple[str, ...] = ()


# ------------------------------------------------------------------ what sources of sockets share

Endpoint = tuple[int, Family | None, int | None, int | None, bool | None, str | None]
"""Where a socket waits: protocol, family, address, port, dual (None: the source does not tell), device."""

Local = tuple[int, Family, int, int, str | None]
"""The near end of a connection: protocol, family, address, port, device."""


def unmap(family: Family, address: int) -> tuple[Family, int]:
    """`::ffff:192.0.2.1` on an IPv6 socket is IPv4 traffic to 192.0.2.1."""
    if family is Family.IPV6 and address >> 32 == 0xFFFF:
        return Family.IPV4, address & 0xFFFFFFFF
    return family, address


def assume_dual(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Settles what a source does not tell: an IPv6 wildcard takes IPv4 too, unless an IPv4 socket has that already."""
    endpoints = list(endpoints)
    if all(one[4] is not None for one in endpoints):
        return endpoints
    taken = {
        (protocol, port, device)
        for protocol, family, address, port, _, device in endpoints
        if family is Family.IPV4 and address is None
    }
    return [
        (one[0], one[1], one[2], one[3], (one[0], one[3], one[5]) not in taken, one[5]) if one[4] is None else one
        for one in endpoints
    ]


def count_connections(endpoints: Iterable[Endpoint], established: Mapping[Local, int]) -> dict[Endpoint, int]:
    """The established connections of each listening endpoint that has some."""
    known = frozenset(endpoints) if established else frozenset()
    counts: dict[Endpoint, int] = {}
    for local, count in established.items():
        acceptor = next((claim for claim in _claims(local) if claim in known), None)
        if acceptor is not None:
            counts[acceptor] = counts.get(acceptor, 0) + count
    return counts


def _claims(local: Local) -> Iterator[Endpoint]:
    """Who may have accepted a connection, in the kernel's order: its device, then its address, before a wildcard."""
    protocol, family, address, port, device = local
    for bound in (device, None) if device else (None,):
        yield protocol, family, address, port, False, bound
        yield protocol, family, None, port, False, bound
        yield protocol, Family.IPV6, None, port, True, bound
