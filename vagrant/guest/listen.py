"""Listens on ports, and answers each message with itself: `listen.py 22/tcp 53/udp ... -- ADDRESS...`.

Runs alone on any machine with Python, so it uses nothing of portgate.
"""

import asyncio
import contextlib
import socket
import sys


class Echo(asyncio.Protocol, asyncio.DatagramProtocol):
    """Of a connection, or of datagrams."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def datagram_received(self, data, sender):
        self.transport.sendto(data, sender)


def bound(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting = socket.socket(family, kind)
    waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        waiting.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    waiting.bind((address, port))
    return waiting


async def main(arguments):
    end = arguments.index("--")
    loop = asyncio.get_running_loop()
    for address in arguments[end + 1 :]:
        for port, _, protocol in (one.partition("/") for one in arguments[:end]):
            if protocol == "tcp":
                await loop.create_server(Echo, sock=bound(socket.SOCK_STREAM, address, int(port)), backlog=512)
            else:
                await loop.create_datagram_endpoint(Echo, sock=bound(socket.SOCK_DGRAM, address, int(port)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
