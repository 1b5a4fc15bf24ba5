"""Traffic to apply rules under: one established connection that must not lose a packet, and a flood that must not pass.

Theory
    TCP hides a lost packet by sending it again. So not only is every byte of the stream checked: the counters of
    segments sent again, of both ends, must stand still, too.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from portgate.sandbox import HOST, Probe, Sandbox, Transport
from portgate.sandbox.frames import packet

WITNESS = """
table inet witness {
    counter sent { }
    counter passed { }
    chain arrived {
        type filter hook prerouting priority -500;
        tcp flags & (syn | ack) == syn tcp dport @DPORTS counter name sent
    }
    chain survived {
        type filter hook input priority 2000;
        tcp flags & (syn | ack) == syn tcp dport @DPORTS counter name passed drop
    }
}
"""


@dataclass
class Report:
    """What became of the traffic. `sent_again` counts TCP segments of both ends."""

    rounds: int = 0
    sent_again: int = 0
    flooded: int = 0
    passed: int = 0


Work = Callable[[Report, threading.Event], None]


class Traffic:
    """From the peer of `source`: a stream to a port that echoes, and the `forbidden` probes over and over."""

    def __init__(self, sandbox: Sandbox, source: str, address: str, port: int, forbidden: Sequence[Probe]) -> None:
        self._sandbox = sandbox
        self._source = source
        self._forbidden = forbidden
        sandbox.listen(Transport.TCP, address, port)
        ports = ", ".join(sorted({str(probe.dport) for probe in forbidden}))
        sandbox.run(["nft", "-f", "-"], WITNESS.replace("@DPORTS", f"{{ {ports} }}"))
        self._stream = sandbox.make_socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, inside=source
        )
        self._stream.settimeout(5)
        self._stream.connect((address, port))

    @contextmanager
    def running(self) -> Iterator[Report]:
        """While the body runs. The report is complete after it. Errors: whatever broke the stream."""
        report = Report()
        before = self._sent_again(), self.counters()
        stop = threading.Event()
        broken: list[Exception] = []
        workers = [
            threading.Thread(target=self._guarded, args=(work, report, stop, broken))
            for work in (self._talk, self._flood)
        ]
        for worker in workers:
            worker.start()
        try:
            yield report
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        if broken:
            raise broken[0]
        report.sent_again = self._sent_again() - before[0]
        after = self.counters()
        report.flooded, report.passed = (after[name] - before[1][name] for name in ("sent", "passed"))

    @staticmethod
    def _guarded(work: Work, report: Report, stop: threading.Event, broken: list[Exception]) -> None:
        try:
            work(report, stop)
        except (OSError, AssertionError) as error:
            broken.append(error)

    def _talk(self, report: Report, stop: threading.Event) -> None:
        """Each message is numbered, and must come back before the next."""
        for number in count():
            message = number.to_bytes(8, "big") * 64
            self._stream.sendall(message)
            assert self._received(len(message)) == message, "the stream is not what was sent"
            report.rounds += 1
            if stop.wait(0.001):
                return

    def _received(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._stream.recv(length - len(data))
            assert piece, "the connection was closed"
            data += piece
        return data

    def _flood(self, _: Report, stop: threading.Event) -> None:
        frames = [packet(probe, 1 + number) for number, probe in enumerate(self._forbidden)]
        while not stop.wait(0.0005):
            self._sandbox.inject(self._source, frames)

    def _sent_again(self) -> int:
        return sum(
            _retransmissions(self._sandbox.run(["cat", "/proc/net/snmp"], inside=one).stdout)
            for one in (HOST, self._source)
        )

    def counters(self) -> dict[str, int]:
        """`sent` and `passed` of the forbidden packets."""
        listing = json.loads(self._sandbox.run(["nft", "-j", "list", "counters", "table", "inet", "witness"]).stdout)
        counters = (entry["counter"] for entry in listing["nftables"] if "counter" in entry)
        return {one["name"]: one["packets"] for one in counters}


def _retransmissions(snmp: str) -> int:
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])
