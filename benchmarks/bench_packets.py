"""What a new UDP flow costs, with the rules of portgate and of others: in turn, on one core, in a network namespace of its own.

Run as root: `python benchmarks/bench_packets.py [--sizes N,N] [--rounds N]`. Every packet is a flow of its own. It is injected into a pair of
virtual links, and accepted for a socket by the last of N entries; the kernel carries it all the way before the injector goes on. Shown is the
quickest of the rounds, for whatever else runs on the machine only adds. The cost that a firewall adds is the difference to the row without one.
Packets that did not arrive stop the benchmark.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import islice
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import goals
from bench_commands import CLONE_NEWNET, PORTGATE, Entry, entries, iptables, nft_chain, nft_set, portgate_policy

from portgate.core.net import UDP, Family
from portgate.sandbox.frames import Probe, packet

HERE, MAC = "192.0.2.1", "02:00:00:00:00:01"
PATIENCE = 10  # seconds
QUICK, SLOW = 20_000, 2_000  # flows of a round; a chain is walked rule by rule
TRACKED = "table inet bench {\nchain input {\ntype filter hook input priority 0\nct state established accept\n}\n}\n"


class Firewall(NamedTuple):
    """`command` loads the file at the place of `{}`, which holds what `write` gives."""

    name: str
    command: tuple[str, ...]
    write: Callable[[list[Entry]], str]
    flows: int = QUICK


FIREWALLS = (
    Firewall("no firewall", ("true",), lambda _: ""),
    Firewall("connection tracking only", ("nft", "-f", "{}"), lambda _: TRACKED),
    Firewall("portgate", (*PORTGATE, "apply", "{}", "--yes"), portgate_policy),
    Firewall("nft, one set", ("nft", "-f", "{}"), nft_set),
    Firewall("nft, a chain of rules", ("nft", "-f", "{}"), nft_chain, SLOW),
    Firewall("iptables-nft, a chain", ("iptables-nft-restore", "{}"), iptables, SLOW),
    Firewall("iptables-legacy, a chain", ("iptables-legacy-restore", "{}"), iptables, SLOW),
)


def main() -> None:
    options = _options()
    if not shutil.which("conntrack"):
        raise SystemExit("conntrack is not installed; it forgets the flows of each round")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise SystemExit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    _links()
    added = _costs(options.sizes, options.rounds)
    small, large = min(added), max(added)
    goals.compare(
        f"a new flow, what is added, N={large:,}", added[large]["portgate"], added[large]["nft, a chain of rules"]
    )
    goals.compare(
        f"a new flow, what is added, N={large:,} to N={small}", added[large]["portgate"], added[small]["portgate"]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(one) for one in text.split(",")], default=[10, 10_000])
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def _links() -> None:
    """Two linked interfaces, of which the second has an address."""
    for command in (
        "ip link add out type veth peer name in",
        f"ip link set in address {MAC}",
        "ip link set out up",
        "ip link set in up",
        f"ip address add {HERE}/24 dev in",
        "ip route add default dev in",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.in.rp_filter=0",
    ):
        subprocess.run(command.split(), check=True)


def _costs(sizes: list[int], rounds: int) -> dict[int, dict[str, float]]:
    """**Units** microseconds that each firewall adds to a new flow, by the number of entries."""
    policies = {size: entries(size, changed=False) for size in sizes}
    firewalls = [one for one in FIREWALLS if shutil.which(one.command[0])]
    best: dict[int, dict[str, float]] = {size: {} for size in sizes}
    for _ in range(rounds):
        for one in firewalls:
            for size, wanted in policies.items():
                with TemporaryDirectory() as folder:
                    _load(one, wanted, Path(folder))
                    best[size][one.name] = min(best[size].get(one.name, inf), _flow(wanted[-1], one.flows))
    for size, times in best.items():
        print(f"\na new UDP flow, accepted by the last of {size:,} entries, the quickest of {rounds}")
        for name, spent in times.items():
            print(f"  {name:<26} {spent:8.2f} us   added {spent - times['no firewall']:8.2f} us")
    return {size: {name: spent - times["no firewall"] for name, spent in times.items()} for size, times in best.items()}


def _load(firewall: Firewall, wanted: list[Entry], folder: Path) -> None:
    os.environ["PORTGATE_STATE_DIR"] = str(folder / "state")
    for command in ("nft flush ruleset", "iptables-legacy -P INPUT ACCEPT", "iptables-legacy -F"):
        subprocess.run(command.split(), check=False, stderr=subprocess.DEVNULL)
    file = folder / "load.yaml"
    file.write_text(firewall.write(wanted).replace("tcp", "udp"))
    subprocess.run([word.replace("{}", str(file)) for word in firewall.command], check=True, stdout=subprocess.DEVNULL)


def _flow(entry: Entry, count: int) -> float:
    """**Units** microseconds for each of that many new flows."""
    subprocess.run(["conntrack", "-F"], check=False, stderr=subprocess.DEVNULL)
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
    ):
        wire.bind(("out", 0x0800))
        sink.bind((HERE, entry.port))
        frames = list(islice(_frames(entry), count))
        before = _delivered()
        start = time.perf_counter()
        for frame in frames:
            wire.send(frame)
        while _delivered() - before < count:  # the kernel puts off some of its work
            if time.perf_counter() - start > PATIENCE:
                raise SystemExit(f"{_delivered() - before} of {count} packets arrived")
        spent = time.perf_counter() - start
    return 1e6 * spent / count


def _frames(entry: Entry) -> Iterator[bytes]:
    """Each from another address and port of the entry's prefix, to this host."""
    header = bytes.fromhex(MAC.replace(":", "")) * 2 + b"\x08\x00"
    network, here = int(IPv4Address(entry.source.partition("/")[0])), int(IPv4Address(HERE))
    for number in range(1 << 24):
        source, sport = network + 1 + number % 250, 1024 + number // 250
        yield header + packet(Probe("in", Family.IPV4, UDP, source, here, sport, entry.port), number & 0xFFFF)


def _delivered() -> int:
    """Packets that came past all firewalls."""
    names, values = (
        line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    )
    return int(dict(zip(names, values, strict=True))["InDelivers"])


if __name__ == "__main__":
    main()
