"""Sends packets and tells what came back.

A line of standard input is a JSON list of [PROTOCOL, PORT, FROM or null, TO]; the answer is a list as long:
  open         somebody answered
  refused      a reset, or ICMP saying that nobody listens there
  unreachable  ICMP saying that there is no way or that it is prohibited, or nobody answered for that address
  filtered     nothing came back, or this machine's own firewall dropped what went out
`watch` asks again and again until standard input ends, and answers with all that came back to each.

Runs alone on any machine with Python, so it uses nothing of portgate.
"""

import errno
import json
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

PATIENCE = 2.2  # seconds; the kernel sends a SYN again after one
TRIES = 2  # of what the kernel does not send again
VERDICTS = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "refused", errno.EPERM: "filtered"}
ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}


def answer(question):
    try:
        return asked(*question)
    except socket.timeout:
        return "filtered"
    except OSError as error:
        return VERDICTS.get(error.errno, "unreachable")


def asked(protocol, port, source, destination):
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with opened(protocol, family) as asking:
        if source:
            asking.bind((source, 0))
        if protocol == "tcp":
            asking.settimeout(PATIENCE)
            asking.connect((destination, port))
            return "open"
        asking.connect((destination, port))
        message = struct.pack("!BBHHH", ECHO_REQUEST[family], 0, 0, 0, 1) if protocol == "ping" else b"?"
        return exchanged(asking, message)


def opened(protocol, family):
    if protocol == "tcp":
        return socket.socket(family, socket.SOCK_STREAM)
    if protocol == "udp":
        return socket.socket(family, socket.SOCK_DGRAM)
    icmp = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    return socket.socket(family, socket.SOCK_DGRAM, icmp)


def exchanged(asking, message):
    asking.settimeout(PATIENCE / TRIES)
    for _ in range(TRIES):
        asking.send(message)
        try:
            asking.recv(1024)
        except socket.timeout:
            continue
        return "open"
    return "filtered"


def watched(questions, pool, ended):
    seen = [set() for _ in questions]
    while not ended.is_set():
        for one, found in zip(seen, pool.map(answer, questions)):
            one.add(found)
        ended.wait(0.1)
    return [sorted(one) for one in seen]


def main(watching):
    questions = json.loads(sys.stdin.readline())
    with ThreadPoolExecutor(max(1, len(questions))) as pool:
        if not watching:
            print(json.dumps(list(pool.map(answer, questions))))
            return
        ended = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        print(json.dumps(watched(questions, pool, ended)))


if __name__ == "__main__":
    main(watching="watch" in sys.argv[1:])
