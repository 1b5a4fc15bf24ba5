"""Listing sockets with their owners, against `ss -tulpnH`, in turn, on the same namespace: A B A B.

Run as root: `python benchmarks/bench_sockets.py [--listeners N] [--connections N] [--rounds N]`. It makes a network
namespace of its own. Whole processes are timed, from exec to exit, with their output thrown away.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache

import goals
from bench_commands import PORTGATE

FIRST_PORT = 10_000
PER_PROCESS = 2_000
CLONE_NEWNET = 0x40000000

CAPTURED = "from portgate.sockets import parse; from portgate.sockets.live import capture; parse([capture()])"


def main() -> None:
    options = _options()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise SystemExit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 65000"], check=True)
    servers = [_server(first, options) for first in range(0, options.listeners, PER_PROCESS)]
    try:
        _compare(options)
    finally:
        for server in servers:
            os.kill(server, 9)
            os.waitpid(server, 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def _server(first: int, options: argparse.Namespace) -> int:
    """A process with a part of the listeners and the connections to them; its id, once all are there."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        count = min(PER_PROCESS, options.listeners - first)
        kept = _listen(first, count)
        kept += _connect(kept, options.connections * count // options.listeners)
        os.write(done, b"x")
        time.sleep(3600)
        os._exit(len(kept) < 0)
    os.close(done)
    if os.read(ready, 1) != b"x":
        raise SystemExit("a server could not open its sockets")
    os.close(ready)
    return child


def _listen(first: int, count: int) -> list[socket.socket]:
    sockets = []
    for port in range(FIRST_PORT + first, FIRST_PORT + first + count):
        one = socket.socket(socket.AF_INET6 if port % 2 else socket.AF_INET)
        one.bind(("::1" if port % 2 else "127.0.0.1", port))
        one.listen(16)
        sockets.append(one)
    return sockets


def _connect(listeners: list[socket.socket], count: int) -> list[socket.socket]:
    sockets = []
    for number in range(count):
        listener = listeners[number % len(listeners)]
        client = socket.create_connection(listener.getsockname()[:2])
        accepted, _ = listener.accept()
        sockets += [client, accepted]
    return sockets


def _compare(options: argparse.Namespace) -> None:
    contestants: dict[str, Callable[[], object]] = {
        "ss -tulpnH": lambda: _run("ss", "-tulpnH"),
        "portgate sockets": lambda: _run(*PORTGATE, "sockets"),
        "as a library": lambda: _run(sys.executable, "-c", CAPTURED),
    }
    for run in contestants.values():
        run()  # compiles the modules, which an installed portgate has behind it
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    yardstick = min(times["ss -tulpnH"])
    print(f"{options.listeners} listeners, {options.connections} connections, the quickest of {options.rounds} rounds")
    for name, values in times.items():
        print(
            f"  {name:<22} {min(values):8.1f} ms   ratio {min(values) / yardstick:5.2f}   (goal 0.55, never above 1.0)"
        )
    name = f"sockets, {options.listeners:,} listeners, {options.connections:,} connections"
    goals.compare(name, min(times["portgate sockets"]), yardstick)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())


@cache
def _environment() -> dict[str, str]:
    """That of a user: compiled modules are kept, and output is buffered, whatever is set here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    folder = tempfile.mkdtemp(prefix="portgate-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


if __name__ == "__main__":
    main()
