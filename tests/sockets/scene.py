"""Run in a network namespace of its own: opens sockets of every kind, captures them, prints what there was to find.

`python scene.py WAY`, where WAY is how the capture is made: "root", "nobody" (another user), or "no-netlink" (as in a
sandbox whose seccomp filter refuses netlink sockets). The answer is one JSON object on the standard output.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import struct
import subprocess
import sys

from portgate.linux_facts import read_interfaces
from portgate.sockets.live import capture

NOBODY = 65534
V6ONLY, V6 = socket.IPV6_V6ONLY, socket.IPPROTO_IPV6
TCP, UDP, SCTP, UDPLITE, MPTCP = 6, 17, 132, 136, 262
ETH_P_ALL, ETH_P_ARP = 3, 0x806
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
LIBC = ctypes.CDLL(None, use_errno=True)


def main(way: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "link", "add", "wan,0", "type", "veth", "peer", "name", 'a"b'], check=True)
    subprocess.run(["ip", "address", "add", "192.0.2.1", "peer", "192.0.2.2/24", "dev", "wan,0"], check=True)
    go, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        os.read(go, 1)
        look(way)
        os._exit(0)
    kept, absent = open_sockets()
    print(json.dumps({"pid": os.getpid(), "looker": child, "absent": absent}), flush=True)
    os.write(ready, b"x")
    _, status = os.waitpid(child, 0)
    sys.exit(bool(status) or len(kept) == 0)


def look(way: str) -> None:
    """In a process that holds none of the sockets but one of its own, as the user in question."""
    if way == "nobody":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_DUMPABLE, 1)  # what exec does; without it not even its own /proc/PID/fd is its own
    if way == "no-netlink":
        refuse_netlink()
    own = tcp(socket.AF_INET, "127.0.0.1", 2222)
    reading = capture()
    interfaces, notes = read_interfaces()
    own.close()
    answer = {
        "text": reading.text,
        "interfaces": [one.text for one in interfaces],
        "interface_notes": [one.code for one in notes],
    }
    print(json.dumps(answer), flush=True)


def open_sockets() -> tuple[list[socket.socket], dict[str, str]]:
    """One of each, and why the kernel lacks the others."""
    kept = [
        tcp(socket.AF_INET, "0.0.0.0", 80),
        tcp(socket.AF_INET, "127.0.0.1", 81),
        tcp(socket.AF_INET6, "::", 82),
        tcp(socket.AF_INET6, "::", 83, v6only=True),
        tcp(socket.AF_INET6, "::ffff:127.0.0.1", 84),
        tcp(socket.AF_INET, "0.0.0.0", 85, device="lo"),
        tcp(socket.AF_INET6, "::", 80, v6only=True),
        datagram(socket.AF_INET, "0.0.0.0", 53),
        datagram(socket.AF_INET6, "::", 54),
        datagram(socket.AF_INET6, "::1", 55),
        datagram(socket.AF_INET, "127.0.0.1", 56, UDPLITE),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        packet(ETH_P_ALL, "lo"),
        packet(ETH_P_ARP, None),
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0),  # reads nothing
        socket.socket(socket.AF_INET, socket.SOCK_STREAM),  # neither bound nor listening
    ]
    connected = datagram(socket.AF_INET, "127.0.0.1", 57)
    connected.connect(("127.0.0.1", 9))
    kept += [
        connected,
        *connect(kept[1], "127.0.0.1", 2),
        *connect(kept[2], "127.0.0.1", 3),
        *connect(kept[2], "::1", 1),
    ]
    absent = {}
    for name, kind, protocol in (("sctp", socket.SOCK_STREAM, SCTP), ("mptcp", socket.SOCK_STREAM, MPTCP)):
        try:
            one = socket.socket(socket.AF_INET, kind, protocol)
        except OSError as error:
            absent[name] = str(error.strerror)
            continue
        one.bind(("127.0.0.1", 90 + protocol % 10))
        one.listen()
        kept.append(one)
    return kept, absent


def tcp(family: int, address: str, port: int, v6only: bool = False, device: str | None = None) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        one.setsockopt(V6, V6ONLY, v6only)
    if device:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    one.bind((address, port))
    one.listen()
    return one


def datagram(family: int, address: str, port: int, protocol: int = UDP) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM, protocol)
    one.bind((address, port))
    return one


def packet(ethertype: int, device: str | None) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    if device:
        one.bind((device, ethertype))
    return one


def connect(listener: socket.socket, address: str, times: int) -> list[socket.socket]:
    port = listener.getsockname()[1]
    clients = [socket.create_connection((address, port)) for _ in range(times)]
    return clients + [listener.accept()[0] for _ in clients]


def prctl(option: int, value: int, argument: object = 0) -> None:
    if LIBC.prctl(option, value, argument, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def refuse_netlink() -> None:
    """From here on the kernel answers EPERM to socket(AF_NETLINK, ...)."""
    number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
    load, equal, answer = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1
    program = [
        (load, 0, 0, 0),  # the system call's number
        (equal, 0, 3, number),
        (load, 0, 0, 16),  # its first argument
        (equal, 0, 1, socket.AF_NETLINK),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, 2, head)


if __name__ == "__main__":
    main(sys.argv[1])
