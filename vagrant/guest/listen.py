"""Listens on ports, and answers each message with itself: `listen.py 22/tcp 53/udp ... -- ADDRESS...`.

It runs alone, also on a machine that has no portgate.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import cast


class Stream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        self.transport.sendto(data, sender)


def bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting = socket.socket(family, kind)
    waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        waiting.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    waiting.bind((address, port))
    return waiting


async def main(arguments: Sequence[str]) -> None:
    end = arguments.index("--")
    loop = asyncio.get_running_loop()
    for address in arguments[end + 1 :]:
        for port, _, protocol in (one.partition("/") for one in arguments[:end]):
            if protocol == "tcp":
                await loop.create_server(Stream, sock=bound(socket.SOCK_STREAM, address, int(port)), backlog=512)
            else:
                await loop.create_datagram_endpoint(Datagrams, sock=bound(socket.SOCK_DGRAM, address, int(port)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
