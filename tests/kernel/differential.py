"""Random rules and packets, decided by the kernel and by others: whoever disagrees with the kernel is wrong.

PORTGATE_PAIRS says how many pairs of a ruleset and a packet are tried, of which each test has its share; without it each tries fewer.
PORTGATE_SEED (0) says which. `script/referee` is the full run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from portgate.core.diagnostics import PortgateError
from portgate.core.net import ICMP, ICMPV6, UDPLITE, Family, parse_address
from portgate.core.ruleset import CtState, Ruleset
from portgate.sandbox import Fate, Oracle, Probe
from portgate.sandbox.oracle import is_unanswerable
from tests.generate.packets import Packets, probe
from tests.packet import Packet

Decide = Callable[[Ruleset, Sequence[Packet]], Sequence[str]]  # "accept", "drop", "reject" or "depends" for each
Read = Callable[[str], Ruleset | None]
Tell = Callable[[str, object], None]
"""What pytest's `record_property` is."""

WHOLE = os.environ.get("PORTGATE_PAIRS")
SEED = int(os.environ.get("PORTGATE_SEED", "0"))
MEANING = {Fate.INPUT: "accept", Fate.FORWARD: "accept", Fate.REJECTED: "reject", Fate.DROPPED: "drop"}
PACKETS_FOR_EACH = 150 if WHOLE is None else 400


def pairs(share: float, bounded: int) -> int:
    """How many a test tries: its share of a full run, or a bounded number."""
    return bounded if WHOLE is None else round(share * int(WHOLE))


@dataclass
class Tally:
    """How many pairs of a ruleset and a packet were compared, and in how many a decider could not decide."""

    compared: int = 0
    rulesets: int = 0
    kernel: dict[str, int] = field(default_factory=dict)
    depends: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.compared += other.compared
        self.rulesets += other.rulesets
        for mine, theirs in ((self.kernel, other.kernel), (self.depends, other.depends)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number

    def __str__(self) -> str:
        return f"{self.compared} pairs, {self.rulesets} rulesets; kernel {self.kernel}; depends {self.depends}"


@dataclass(frozen=True, slots=True)
class Kernel:
    """The referee. `read` says which `Ruleset` a text, once loaded, stands for; None: it can't be told.

    `put` loads a text that is not nft's alone.
    """

    oracle: Oracle
    read: Read
    states: Mapping[int, CtState]
    put: Callable[[str], None] | None = None

    def compare(self, texts: Iterable[str], deciders: Mapping[str, Decide], pairs: int, seed: int) -> Tally:
        """Errors: AssertionError at the first disagreement, with the smallest ruleset found that shows it."""
        tally = Tally(depends=dict.fromkeys(deciders, 0))
        for number, text in enumerate(texts):
            if tally.compared >= pairs:
                break
            ruleset = self.load(text)
            assert ruleset is not None
            packets = Packets(Random(seed + number), ruleset, self.states).take(PACKETS_FOR_EACH)
            verdicts = self.verdicts(packets)
            for name, decide in deciders.items():
                decided = decide(ruleset, packets)
                tally.depends[name] += decided.count("depends")
                self._agree(text, packets, verdicts, name, decide, decided)
            tally.rulesets += 1
            tally.compared += len(packets)
            for verdict in verdicts:
                tally.kernel[verdict] = tally.kernel.get(verdict, 0) + 1
        return tally

    def load(self, text: str) -> Ruleset | None:
        (self.put or self.oracle.load)(text)
        return self.read(text)

    def verdicts(self, packets: Sequence[Packet]) -> list[str]:
        return [MEANING[fate] for fate in self.oracle.judge([probe(one) for one in packets])]

    def _agree(
        self,
        text: str,
        packets: Sequence[Packet],
        verdicts: Sequence[str],
        name: str,
        decide: Decide,
        decided: Sequence[str],
    ) -> None:
        for packet, kernel, other in zip(packets, verdicts, decided, strict=True):
            if not agree(packet, kernel, other):
                smaller = self._minimised(text, packet, decide)
                raise AssertionError(f"{packet}: the kernel says {kernel}, the {name} {other}\n{smaller}")

    def _minimised(self, text: str, packet: Packet, decide: Decide) -> str:
        """The text without the lines that are not needed for the disagreement."""
        lines = text.splitlines()
        for line in list(lines):
            shorter = [one for one in lines if one is not line]
            if self._disagree("\n".join(shorter), packet, decide):
                lines = shorter
        return "\n".join(lines)

    def _disagree(self, text: str, packet: Packet, decide: Decide) -> bool:
        try:
            ruleset = self.load(text)
        except PortgateError:
            return False
        return ruleset is not None and not agree(packet, *self.verdicts([packet]), *decide(ruleset, [packet]))


def agree(packet: Packet, kernel: str, other: str) -> bool:
    """Whether they may both be right. (DCCP over IPv4 is never answered, over IPv6 not where iptables translates it, too.)"""
    if other == "depends" or kernel == other:
        return True
    return (is_unanswerable(packet.proto, packet.tcp_flags) or _is_error(packet)) and (kernel, other) == (
        "drop",
        "reject",
    )


def _is_error(packet: Packet) -> bool:
    """ICMP that tells of an error, or of a type that the kernel does not know, is never answered by ICMP."""
    kind = packet.icmp_type or 0
    if packet.proto == ICMP:
        return kind in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12) or kind > 18
    return packet.proto == ICMPV6 and kind < 128


def conntrack_states(oracle: Oracle) -> dict[int, CtState]:
    """What this kernel calls the first packet of a UDP-Lite conversation.

    Kernel 6.18 checks its checksum as if it were UDP, and calls it invalid; real UDP-Lite sockets fare no better.
    """
    source, destination = parse_address("198.51.100.9")[1], parse_address("192.0.2.1")[1]
    question = Probe("eth0", Family.IPV4, UDPLITE, source, destination, dport=80)
    for state in CtState:
        oracle.load(
            f"table inet state {{\nchain input {{\ntype filter hook input priority 0; policy drop;\n"
            f"ct state {state.name.lower()} accept\n}}\n}}"
        )
        if oracle.judge([question]) == [Fate.INPUT]:
            return {UDPLITE: state}
    raise AssertionError("a packet without any conntrack state")


def texts(make: Callable[[Random], str], seed: int) -> Iterator[str]:
    """As many as are wanted."""
    while True:
        yield make(Random(seed))
        seed += 1
