"""What is listening: sockets that wait for packets from anybody, and who owns them."""

from __future__ import annotations

from dataclasses import dataclass

from portgate.core.net import Family


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
    `device` is what it is bound to. `port` None where there is none. `connections` counts the established ones.
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

    @property
    def families(self) -> tuple[Family, ...]:
        """The families in which packets can reach it."""
        if self.family is None:
            return ()
        return (Family.IPV4, Family.IPV6) if self.dual else (self.family,)


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. `addresses` are (family, address, prefix length)."""

    name: str
    addresses: tuple[tuple[Family, int, int], ...] = ()
    up: bool = True
