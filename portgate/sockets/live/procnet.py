"""The files of /proc/net, for kernels and sandboxes without netlink sock_diag; the same rows as `diag`.

Facts
    proc_net_tcp (Linux 6.18, Documentation/networking): addresses are hexadecimal words in the byte order of the
    host. The files tell neither IPV6_V6ONLY, nor the device that a socket is bound to, nor its cgroup.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, wraps
from struct import Struct
from typing import ParamSpec, TypeVar

from portgate.sockets.linux import Connections, Row
from portgate.sockets.live.diag import STREAMS, Devices

P = ParamSpec("P")
T = TypeVar("T")

_NET = "/proc/net"
_ESTABLISHED, _CLOSE, _LISTEN = "01", "07", "0A"
_WORDS = {8: Struct("=I"), 32: Struct("=4I")}
_NETWORK = {8: Struct(">I"), 32: Struct(">4I")}


def _understood(ask: Callable[P, T]) -> Callable[P, T]:
    """Other kernels and sandboxes write other files: those can't be read either."""

    @wraps(ask)
    def asked(*args: P.args, **named: P.kwargs) -> T:
        try:
            return ask(*args, **named)
        except (ValueError, LookupError) as error:
            raise OSError(errno.EBADMSG, f"not as this kernel is known to write it ({error})", _NET) from error

    return asked


@_understood
def protocols() -> frozenset[str]:
    """The transport protocols that the kernel has now, modules that are not loaded aside. Errors: OSError."""
    lines = _lines("protocols")
    return frozenset(line.split()[0].lower().replace("-", "") for line in lines)


@_understood
def listening(name: str) -> list[Row]:
    """The sockets of an IP protocol that wait for anybody. Errors: OSError when there is no such file."""
    wanted = _LISTEN if name in STREAMS else _CLOSE
    return [
        (_address(address), int(port, 16), None, None if len(address) > 8 else False, int(inode), int(user), 0)
        for (address, port), (_, peer_port), state, user, inode in _sockets(name)
        if state == wanted and int(port, 16) and int(peer_port, 16) == 0
    ]


@_understood
def established(name: str, ports: set[int]) -> Connections:
    """How many connections end at these local ports, by address. Errors: OSError when there is no such file."""
    wanted = {f"{port:04X}" for port in ports}
    counts = Counter(local for local, _, state, _, _ in _sockets(name) if state == _ESTABLISHED and local[1] in wanted)
    return [(_address(address), int(port, 16), None, count) for (address, port), count in counts.items()]


@_understood
def packet_sockets(devices: Devices) -> list[Row]:
    """The packet sockets that read something. Errors: OSError when there is no such file."""
    rows: list[Row] = []
    for line in _lines("packet"):
        _, _, _, ethertype, index, _, _, user, inode = line.split()
        if int(ethertype, 16):
            rows.append((None, int(ethertype, 16), devices[int(index)], False, int(inode), int(user), 0))
    return rows


End = tuple[str, str]


def _sockets(name: str) -> Iterator[tuple[End, End, str, str, str]]:
    """Local end, remote end, state, user id and inode of each socket of both families."""
    without_ipv6 = not os.path.exists(f"{_NET}/{name}6")
    for file in (name,) if without_ipv6 else (name, f"{name}6"):
        for line in _lines(file):
            _, local, remote, state, _, _, _, user, _, inode, *_ = line.split()
            address, _, port = local.partition(":")
            peer, _, peer_port = remote.partition(":")
            yield (address, port), (peer, peer_port), state, user, inode


def _lines(file: str) -> Iterator[str]:
    with open(f"{_NET}/{file}") as lines:
        next(lines, None)
        yield from lines


@cache
def _address(text: str) -> str:
    packed = bytes.fromhex(text)
    if sys.byteorder == "little":
        packed = _NETWORK[len(text)].pack(*_WORDS[len(text)].unpack(packed))
    return socket.inet_ntop(socket.AF_INET if len(text) == 8 else socket.AF_INET6, packed)
