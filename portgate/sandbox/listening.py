"""Programs that listen in the sandbox, and answer each message with itself."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from portgate.sandbox.namespace import die_with_parent
from portgate.sandbox.probe import LONGEST, Transport, family_of

IP_PKTINFO = 8  # ip(7); the socket module has no name for it

Waiting = tuple[Transport, str, int]
"""Where to listen: transport, address, port."""


def bound(made: socket.socket, address: str, port: int) -> socket.socket:
    """The socket, waiting there. Errors: OSError."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    if made.type == socket.SOCK_STREAM:
        made.listen()
    elif made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    return made


def kinds(waiting: Sequence[Waiting]) -> list[tuple[int, int, int]]:
    """The sockets that it takes: family, type and protocol of each."""
    return [(family_of(address), transport.type, transport.protocol) for transport, address, _ in waiting]


def echo_process(listening: Sequence[socket.socket]) -> int:
    """Hands the sockets to a new process, which answers each message with itself. Its process id."""
    child = os.fork()
    if child == 0:
        try:
            die_with_parent()
            _echo(listening)
        finally:
            os._exit(0)
    for one in listening:
        one.close()
    return child


def _echo(listening: Sequence[socket.socket]) -> None:
    with selectors.DefaultSelector() as selector:
        for one in listening:
            accepts = one.type == socket.SOCK_STREAM
            selector.register(one, selectors.EVENT_READ, _accept if accepts else _answer_datagram)
        while True:
            for key, _ in selector.select():
                answer: Callable[[selectors.BaseSelector, socket.socket], None] = key.data
                with suppress(OSError):  # the far end may be gone, or its answer be rejected
                    answer(selector, key.fileobj)  # type: ignore[arg-type]  # only sockets are registered


def _accept(selector: selectors.BaseSelector, listening: socket.socket) -> None:
    selector.register(listening.accept()[0], selectors.EVENT_READ, _answer_stream)


def _answer_datagram(_selector: selectors.BaseSelector, listening: socket.socket) -> None:
    """From the address that was asked, also at a wildcard."""
    message, where, _flags, sender = listening.recvmsg(LONGEST, LONGEST)
    listening.sendmsg([message], where, 0, sender)


def _answer_stream(selector: selectors.BaseSelector, stream: socket.socket) -> None:
    with suppress(ConnectionError):
        if message := stream.recv(LONGEST):
            stream.sendall(message)
            return
    selector.unregister(stream)
    stream.close()
