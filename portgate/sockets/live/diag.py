"""What netlink sock_diag tells of sockets, as the rows of a `linux-sockets` reading.

Facts
    sock_diag(7); linux/inet_diag.h and linux/packet_diag.h of Linux 6.18. The kernel filters by state, so a host
    with many connections answers for its listeners as quickly as an idle one. The attributes IPV6_V6ONLY and
    cgroup id are always sent (since 4.3 and 5.9). An SCTP endpoint is sent whatever its state, and an
    association has states of its own.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct

from portgate.core.net import DCCP, SCTP, TCP, UDP, UDPLITE
from portgate.sockets.linux import Connections, Row
from portgate.sockets.live.netlink import SOCK_DIAG, attributes, dump

PROTOCOLS = {"tcp": TCP, "udp": UDP, "udplite": UDPLITE, "sctp": SCTP, "dccp": DCCP, "raw": socket.IPPROTO_RAW}
STREAMS = frozenset({"tcp", "sctp", "dccp"})

_BY_FAMILY = 20
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_ESTABLISHED, _CLOSE, _LISTEN = 1, 7, 10
_SCTP_ESTABLISHED = 3
_INET_REQUEST = Struct("=BBBBI48x")
_NEAR = Struct("=BBxx2s2x16s16xI")
_INET = Struct("=BBxx2s2s16s16sI8x12xII")
_CONDITION = Struct("=HH" + 4 * "BBH")
_BYTECODE = 1
_PORT_GE, _PORT_LE = 2, 3
_V6ONLY, _LOCALS, _CGROUP = 11, 12, 21
_PACKET_REQUEST = Struct("=BBHIIII")
_PACKET = Struct("=BBHIII")
_PACKET_SHOW_INFO = 1
_PACKET_INFO, _PACKET_UID = 0, 5
_U32 = Struct("=I")
_U64 = Struct("=Q")
_LOCAL = Struct("=H2x4s16s104x")


class Devices(dict[int, str | None]):
    """Names of interfaces by index. One that is gone keeps its number: its socket is still bound to it."""

    def __missing__(self, index: int) -> str | None:
        try:
            name = socket.if_indextoname(index) if index else None
        except OSError:
            name = f"#{index}"
        self[index] = name
        return name


def listening(name: str, devices: Devices) -> list[Row]:
    """The sockets of an IP protocol that wait for anybody. Errors: OSError when the kernel does not tell."""
    state = _LISTEN if name in STREAMS else _CLOSE
    return [row for body in _inet(PROTOCOLS[name], 1 << state) for row in _rows(body, state, devices)]


def packet_sockets(devices: Devices) -> list[Row]:
    """The packet sockets that read something. Errors: OSError when the kernel does not tell."""
    request = _PACKET_REQUEST.pack(socket.AF_PACKET, 0, 0, 0, _PACKET_SHOW_INFO, 0, 0)
    rows: list[Row] = []
    for body in dump(SOCK_DIAG, _BY_FAMILY, request):
        _, _, ethertype, inode, _, _ = _PACKET.unpack_from(body)
        found = dict(attributes(body[_PACKET.size :]))
        index = _U32.unpack_from(found[_PACKET_INFO])[0] if _PACKET_INFO in found else 0
        user = _U32.unpack(found[_PACKET_UID])[0] if _PACKET_UID in found else None
        if ethertype:
            rows.append((None, ethertype, devices[index], False, inode, user, 0))
    return rows


def established(name: str, ports: set[int], devices: Devices) -> Connections:
    """How many connections end at these local ports, by address. Errors: OSError when the kernel does not tell."""
    wanted = _SCTP_ESTABLISHED if name == "sctp" else _ESTABLISHED
    bodies = _inet(PROTOCOLS[name], 1 << _ESTABLISHED, _between(min(ports), max(ports)))
    counts = Counter(map(_NEAR.unpack_from, bodies))
    return [
        (_address(family, address), int.from_bytes(port, "big"), devices[index], count)
        for (family, state, port, address, index), count in counts.items()
        if state == wanted and int.from_bytes(port, "big") in ports
    ]


def connections(name: str, port: int) -> list[tuple[str, int, str, int]]:
    """The established connections to a local port: far address and port, near address and port. Errors: OSError."""
    found = []
    for body in _inet(PROTOCOLS[name], 1 << _ESTABLISHED, _between(port, port)):
        family, _, near_port, far_port, near, far, _, _, _ = _INET.unpack_from(body)
        ends = (
            _address(family, far),
            int.from_bytes(far_port, "big"),
            _address(family, near),
            int.from_bytes(near_port, "big"),
        )
        found.append(ends)
    return found


def _inet(protocol: int, states: int, condition: bytes = b"") -> Iterator[bytes]:
    for family in _FAMILIES:
        yield from dump(SOCK_DIAG, _BY_FAMILY, _INET_REQUEST.pack(family, protocol, 0, 0, states) + condition)


def _between(first: int, last: int) -> bytes:
    """A program for the kernel: local port >= first, else skip past the end; local port <= last, else the same.

    Most of the far ends of a host's own connections have ports of the ephemeral range, and are not even sent.
    """
    return _CONDITION.pack(_CONDITION.size, _BYTECODE, _PORT_GE, 8, 20, 0, 0, first, _PORT_LE, 8, 12, 0, 0, last)


def _rows(body: bytes, wanted: int, devices: Devices) -> Iterator[Row]:
    family, state, port, peer_port, address, _, index, user, inode = _INET.unpack_from(body)
    if state != wanted or peer_port != b"\0\0" or port == b"\0\0":
        return
    v6only, cgroup, others = _details(family, body[_INET.size :])
    for one in others or (_address(family, address),):
        yield one, int.from_bytes(port, "big"), devices[index], v6only, inode, user, cgroup


@lru_cache(maxsize=4096)
def _details(family: int, data: bytes) -> tuple[bool | None, int, tuple[str, ...]]:
    """IPV6_V6ONLY, the cgroup, and the addresses of an SCTP socket that has several. Few sockets differ in them."""
    v6only = None if family == socket.AF_INET6 else False
    cgroup, others = 0, b""
    for kind, value in attributes(data):
        if kind == _V6ONLY:
            v6only = v6only is None and bool(value[0])
        elif kind == _CGROUP:
            cgroup = _U64.unpack(value)[0]
        elif kind == _LOCALS:
            others = value
    local = _LOCAL.iter_unpack(others)
    return v6only, cgroup, tuple(_address(one, v6 if one == socket.AF_INET6 else v4) for one, v4, v6 in local)


@lru_cache(maxsize=4096)
def _address(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[:4] if family == socket.AF_INET else packed[:16])
