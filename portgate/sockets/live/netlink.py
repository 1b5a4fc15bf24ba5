"""Netlink dumps over a plain socket: the part that sock_diag and rtnetlink share.

Facts
    A message is a header (length, type, flags, sequence, port id), a body and attributes; each of these and each
    message starts at a multiple of four bytes. A dump ends with NLMSG_DONE or NLMSG_ERROR, whose body
    is zero or a negative errno (netlink(7)).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from struct import Struct

ROUTE, SOCK_DIAG = 0, 4
HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_ERRNO = Struct("=i")
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_CHUNK = 1 << 16


def dump(protocol: int, kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of all messages that answer one dump request. Errors: OSError as the kernel gave it."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no netlink")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.sendto(HEADER.pack(HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body, (0, 0))
        while True:
            chunk = link.recv(_CHUNK)
            start = 0
            while start < len(chunk):
                length, answer, _, _, _ = HEADER.unpack_from(chunk, start)
                if answer in (_ERROR, _DONE):
                    (code,) = _ERRNO.unpack_from(chunk, start + HEADER.size)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return
                yield chunk[start + HEADER.size : start + length]
                start += length + 3 & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (type, value) pairs at the end of a message."""
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
