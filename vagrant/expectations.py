"""Reads expectations.yaml: every packet that is sent, and what must come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("expectations.yaml")
DIRECTIONS = ("inbound", "outbound")
VERDICTS = ("open", "refused", "filtered")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One packet. **Shape** `peer` is the address of somebody called `who`, outside; `port` is 0 for a ping."""

    direction: str
    protocol: str
    port: int
    who: str
    peer: str
    verdict: str

    @property
    def family(self) -> int:
        return ip_address(self.peer).version

    def is_met_by(self, answer: str) -> bool:
        return self.verdict == answer or (self.verdict, answer) == ("refused", "unreachable")

    def __str__(self) -> str:
        what = self.protocol if self.protocol == "ping" else f"{self.port}/{self.protocol}"
        way = "from" if self.direction == "inbound" else "to"
        return f"{what} {way} {self.who} ({self.peer}): {self.verdict}"


@dataclass(frozen=True, slots=True)
class Table:
    """All of them. **Shape** `sources` are the addresses of everybody outside; `policies` what holds with each policy."""

    sources: Mapping[str, Sequence[str]]
    policies: Mapping[str, Sequence[Expectation]]

    def ports(self, direction: str) -> tuple[str, ...]:
        """Every port that must have a listener, such as `53/udp`."""
        every = {
            f"{one.port}/{one.protocol}"
            for expected in self.policies.values()
            for one in expected
            if one.direction == direction and one.protocol != "ping"
        }
        return tuple(sorted(every))


def load(file: Path = FILE) -> Table:
    """Errors: ValueError, KeyError."""
    content = yaml.safe_load(file.read_text())
    sources = content["sources"]
    return Table(sources, {name: tuple(_expectations(rows, sources)) for name, rows in content["policies"].items()})


def _expectations(rows: Mapping[str, Any], sources: Mapping[str, Sequence[str]]) -> Iterator[Expectation]:
    for direction, ports in rows.items():
        for port, verdicts in ports.items():
            number, _, protocol = port.rpartition("/")
            for who, verdict in verdicts.items():
                if direction not in DIRECTIONS or verdict not in VERDICTS:
                    raise ValueError(f"{direction} {port} {who}: {verdict}")
                for peer in sources[who]:
                    yield Expectation(direction, protocol, int(number or 0), who, peer, verdict)
