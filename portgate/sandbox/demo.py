"""The main job, shown: `python -m portgate.sandbox.demo` applies policies/web-server.yaml to a host in a sandbox.

The host has services that listen, and is met by the internet, the office, and somebody on the list of abusers.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from portgate.report.text import table
from portgate.sandbox.probe import Answer, Pace, Question, Transport
from portgate.sandbox.sandbox import Link, Sandbox

POLICY = "policies/web-server.yaml"
INTERNET, OFFICE, ABUSER = "eth0", "eth1", "eth2"
NAMES = {INTERNET: "the internet", OFFICE: "the office", ABUSER: "an abuser"}
LINKS = (
    Link(INTERNET, ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.9/24", "2001:db8:1::9/64")),
    Link(OFFICE, ("198.51.100.1/24", "2001:db8:42::1/64"), ("198.51.100.7/24", "2001:db8:42::7/64")),
    Link(ABUSER, ("203.0.113.129/25", "2001:db8:bad::1/64"), ("203.0.113.200/25", "2001:db8:bad::9/64")),
)
TCP, UDP, PING = Transport.TCP, Transport.UDP, Transport.PING
LISTENING = ((TCP, 22), (TCP, 80), (TCP, 443), (UDP, 443), (TCP, 5432))
OPEN = {
    INTERNET: {(TCP, 80), (TCP, 443), (UDP, 443), (PING, 0)},
    OFFICE: {(TCP, 22), (TCP, 80), (TCP, 443), (UDP, 443), (PING, 0)},
    ABUSER: set[tuple[Transport, int]](),
}
"""What the policy says, in the words of this file."""


class Meeting(NamedTuple):
    """Somebody tried something."""

    source: str
    address: str
    transport: Transport
    port: int
    answer: Answer

    @property
    def expected(self) -> Answer:
        return Answer.OPEN if (self.transport, self.port) in OPEN[self.source] else Answer.FILTERED


def main() -> int:
    """0 when every command did its work, every packet met what the policy says, and the second apply changed nothing."""
    with TemporaryDirectory(prefix="portgate-demo-") as state, Sandbox(LINKS) as sandbox:
        for transport, port in LISTENING:
            sandbox.listen(transport, "::", port)
        portgate = partial(_portgate, sandbox, {**os.environ, "PORTGATE_STATE_DIR": str(Path(state, "state"))})
        for words in (["plan", POLICY], ["apply", POLICY, "--yes"], ["audit", POLICY]):
            portgate(words)
        right = _packets(sandbox)
        return 0 if right and "nothing changed" in portgate(["apply", POLICY, "--yes"]) else 1


def _portgate(sandbox: Sandbox, environment: dict[str, str], words: list[str]) -> str:
    """Runs a command on the host and shows what it says. Findings and differences (exit code 1) are no failure."""
    print(f"\n$ portgate {shlex.join(words)}", flush=True)
    finished = sandbox.run([sys.executable, "-m", "portgate", *words], env=environment, check=False)
    print(finished.stdout, finished.stderr, sep="", end="", flush=True)
    if finished.returncode > 1:
        raise SystemExit(finished.returncode)
    return finished.stdout


def _packets(sandbox: Sandbox) -> bool:
    print("\nreal packets:", flush=True)
    meetings = list(_meetings(sandbox))
    print(*table(("FROM", "TO", "ANSWER", ""), [_row(one) for one in meetings]), sep="\n")
    return all(one.answer is one.expected for one in meetings)


def _meetings(sandbox: Sandbox) -> Iterator[Meeting]:
    questions = [
        Question(transport, address.partition("/")[0], port, link.name)
        for link, (transport, port) in product(LINKS, (*LISTENING, (PING, 0)))
        for address in link.host
    ]
    for one, answer in zip(questions, sandbox.ask(questions, Pace()), strict=True):
        yield Meeting(one.origin, one.address, one.transport, one.port, answer)


def _row(one: Meeting) -> tuple[str, str, str, str]:
    what = "ping" if one.transport is PING else f"{one.transport.name.lower()} {one.port}"
    wrong = "" if one.answer is one.expected else f"the policy says {one.expected}"
    return (NAMES[one.source], f"{what} of {one.address}", one.answer, wrong)


if __name__ == "__main__":
    sys.exit(main())
