"""Sends packets and tells what came back.

A line of standard input is a JSON list of [PROTOCOL, PORT, FROM or null, TO]; the answer is a list as long:
  open         somebody answered
  refused      a reset, or ICMP saying that nobody listens there
  unreachable  ICMP saying that there is no way or that it is prohibited, or nobody answered for that address
  filtered     nothing came back, or this machine's own firewall dropped what went out
`watch` asks again and again until standard input ends, and answers with all that came back to each.

It runs alone, also on a machine that has no portgate.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

PATIENCE = 2.2  # seconds; the kernel sends a SYN again after one
TRIES = 2  # of what the kernel does not send again
PAUSE = 0.5  # seconds between rounds, so that an emulated machine has time for other things
REFUSALS = (errno.ECONNREFUSED, errno.ECONNRESET)
ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}


class Question(NamedTuple):
    protocol: str
    port: int
    source: str | None
    destination: str

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.destination else socket.AF_INET


def answer(question: Question) -> str:
    try:
        return asked(question)
    except TimeoutError:
        return "filtered"
    except OSError as error:
        return "refused" if error.errno in REFUSALS else "unreachable"


def asked(question: Question) -> str:
    with opened(question.protocol, question.family) as asking:
        if question.source:
            asking.bind((question.source, 0))
        asking.settimeout(PATIENCE)
        asking.connect((question.destination, question.port))
        if question.protocol == "tcp":
            return "open"
        echo = struct.pack("!BBHHH", ECHO_REQUEST[question.family], 0, 0, 0, 1)
        return exchanged(asking, echo if question.protocol == "ping" else b"?")


def opened(protocol: str, family: socket.AddressFamily) -> socket.socket:
    if protocol == "tcp":
        return socket.socket(family, socket.SOCK_STREAM)
    if protocol == "udp":
        return socket.socket(family, socket.SOCK_DGRAM)
    icmp = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    return socket.socket(family, socket.SOCK_DGRAM, icmp)


def exchanged(asking: socket.socket, message: bytes) -> str:
    asking.settimeout(PATIENCE / TRIES)
    for _ in range(TRIES):
        with contextlib.suppress(PermissionError):  # of our own firewall; if it rejects, ICMP follows
            asking.send(message)
        with contextlib.suppress(TimeoutError):
            asking.recv(1024)
            return "open"
    return "filtered"


def watched(questions: list[Question], pool: ThreadPoolExecutor, ended: threading.Event) -> list[list[str]]:
    seen: list[set[str]] = [set() for _ in questions]
    last = False
    while not last:
        last = ended.wait(PAUSE)
        for one, found in zip(seen, pool.map(answer, questions), strict=True):
            one.add(found)
    return [sorted(one) for one in seen]


def main(*, watching: bool) -> None:
    questions = [Question(*one) for one in json.loads(sys.stdin.readline())]
    with ThreadPoolExecutor(max(1, len(questions))) as pool:
        if not watching:
            print(json.dumps(list(pool.map(answer, questions))))
            return
        ended = threading.Event()
        threading.Thread(target=set_at_end_of_input, args=(ended,), daemon=True).start()
        print(json.dumps(watched(questions, pool, ended)))


def set_at_end_of_input(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(watching="watch" in sys.argv[1:])
