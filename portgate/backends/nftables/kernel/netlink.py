"""nf_tables itself, asked by netlink: the count of rule changes, and messages that others have made.

**Source** linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from portgate.core.diagnostics import Diagnostic, PortgateError

NETLINK_NETFILTER = 12
GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
REPLY_ERROR = 2  # NLMSG_ERROR
GENERATION_ID = 1  # NFTA_GEN_ID
SOL_NETLINK, CAP_ACK, EXT_ACK = 270, 10, 11
EXPLANATION = 1  # NLMSGERR_ATTR_MSG
SO_SNDBUFFORCE = 32  # asm-generic/socket.h
_USUAL_BUFFER = 1 << 16


def generation_number() -> int:
    """Errors: PortgateError when the kernel has no nf_tables, or does not let us at it."""
    # nlmsghdr: length, type, flags (request), sequence, port; nfgenmsg: family, version, resource
    request = struct.pack("=IHHIIBBH", 20, GET_GENERATION, 1, 1, 0, 0, 0, 0)
    try:
        reply = answer(request)
    except OSError as error:
        raise PortgateError(refused(error.errno or errno.EIO)) from error
    if number := error_of(reply):
        raise PortgateError(refused(number))
    return _attribute(reply, 20, GENERATION_ID)


def answer(messages: bytes) -> bytes:
    """The first answer of nf_tables, which is about the first message that is at fault. Errors: OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as link:
        if len(messages) > _USUAL_BUFFER:
            _enlarge(link, len(messages))
        for option in (CAP_ACK, EXT_ACK):
            link.setsockopt(SOL_NETLINK, option, 1)
        link.sendto(messages, (0, 0))
        return link.recv(4096)


def _enlarge(link: socket.socket, size: int) -> None:
    """Makes room for so many bytes and what the kernel adds; beyond its usual limit that takes a privilege."""
    try:
        link.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size + _USUAL_BUFFER)
    except PermissionError:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size + _USUAL_BUFFER)


def error_of(reply: bytes) -> int:
    """0 where the answer is none, or an acknowledgement."""
    if struct.unpack_from("=H", reply, 4)[0] != REPLY_ERROR:
        return 0
    return -int(struct.unpack_from("=i", reply, 16)[0])


def explanation(reply: bytes) -> str:
    """What the kernel says beside the number of an error, behind the header of the message that was wrong."""
    return "".join(
        value.rstrip(b"\0").decode(errors="replace") for kind, value in attributes(reply, 36) if kind == EXPLANATION
    )


def _attribute(reply: bytes, start: int, wanted: int) -> int:
    found = dict(attributes(reply, start)).get(wanted, b"")
    return int.from_bytes(found, "big")


def attributes(reply: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start + 4 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, start)
        yield kind & 0x3FFF, reply[start + 4 : start + length]
        start += max(4, length + 3 & ~3)


def refused(number: int) -> Diagnostic:
    if number in (errno.EPERM, errno.EACCES):
        remedy = "run this command as root (it needs CAP_NET_ADMIN in this network namespace)"
        return Diagnostic("PG461", "the kernel does not let this user see or change firewall rules", remedy=remedy)
    detail = f"the kernel does not answer nf_tables requests: {os.strerror(number)}"
    return Diagnostic("PG462", detail, remedy="load the module with `modprobe nf_tables`, or use a kernel that has it")
