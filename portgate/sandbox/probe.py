"""Programs that listen and programs that connect, to see from outside what a firewall lets through."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, StrEnum
from struct import pack
from typing import NamedTuple

from portgate.core.net import UDPLITE
from portgate.sandbox.namespace import die_with_parent

MakeSocket = Callable[[int, int, int], socket.socket]
QUESTION = b"portgate?"
LONGEST = 65536
IP_PKTINFO = 8  # ip(7); the socket module has no name for it


class _Kind(NamedTuple):
    type: int
    protocol: int


class Transport(_Kind, Enum):
    TCP = _Kind(socket.SOCK_STREAM, socket.IPPROTO_TCP)
    UDP = _Kind(socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    UDPLITE = _Kind(socket.SOCK_DGRAM, UDPLITE)
    SCTP = _Kind(socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    PING = _Kind(socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


class Answer(StrEnum):
    """OPEN: somebody answered; CLOSED: a reset or an ICMP error came back; FILTERED: nothing did."""

    OPEN = "open"
    CLOSED = "closed"
    FILTERED = "filtered"


def bound(make: MakeSocket, transport: Transport, address: str, port: int) -> socket.socket:
    """A socket that waits there. Errors: OSError, for instance when the kernel lacks SCTP."""
    listening = make(_family(address), transport.type, transport.protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    if transport.type == socket.SOCK_STREAM:
        listening.listen()
    elif listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        listening.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    return listening


def echo_process(listening: socket.socket) -> int:
    """Hands the socket to a new process, which answers each message with itself. Its process id."""
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            _echo(listening)
        finally:
            os._exit(0)
    listening.close()
    return child


def connect(make: MakeSocket, transport: Transport, address: str, port: int, patience: float) -> Answer:
    family = _family(address)
    protocol = transport.protocol
    if transport is Transport.PING and family == socket.AF_INET6:
        protocol = socket.IPPROTO_ICMPV6
    with make(family, transport.type, protocol) as asking:
        asking.settimeout(patience)
        try:
            asking.connect((address, port))
            if transport.type == socket.SOCK_STREAM:
                return Answer.OPEN
            asking.send(_echo_request(family) if transport is Transport.PING else QUESTION)
            return Answer.OPEN if asking.recv(LONGEST) else Answer.CLOSED
        except TimeoutError:
            return Answer.FILTERED
        except OSError:  # refused, reset, unreachable, prohibited: what the error says is that someone said no
            return Answer.CLOSED


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _echo_request(family: int) -> bytes:
    """The kernel fills in the checksum and the identifier."""
    return pack("!BBHHH", 128 if family == socket.AF_INET6 else 8, 0, 0, 0, 1)


def _echo(listening: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                _answer(selector, listening, key.fileobj)  # type: ignore[arg-type]


def _answer(selector: selectors.BaseSelector, listening: socket.socket, ready: socket.socket) -> None:
    if listening.type == socket.SOCK_DGRAM:
        message, where, _, sender = listening.recvmsg(LONGEST, LONGEST)
        listening.sendmsg([message], where, 0, sender)  # from the address that was asked, also at a wildcard
    elif ready is listening:
        selector.register(listening.accept()[0], selectors.EVENT_READ)
    else:
        with suppress(ConnectionError):
            if message := ready.recv(LONGEST):
                ready.sendall(message)
                return
        selector.unregister(ready)
        ready.close()
