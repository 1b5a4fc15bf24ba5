"""One concrete packet: what the tests send to the kernel, to the engine and to the simulator."""

from __future__ import annotations

from dataclasses import dataclass

from portgate.core.net import Family, format_address, protocol_name
from portgate.core.ruleset import CtState

SYN = 2


@dataclass(frozen=True, slots=True)
class Packet:
    """As it arrives. Ports, ICMP and TCP fields are None (or count for nothing) where its protocol has none.

    `oif` None: wherever the host's routes lead.
    """

    family: int
    proto: int
    iif: str
    src: int
    dst: int
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    tcp_flags: int = SYN
    ct_state: CtState = CtState.NEW
    mark: int = 0
    oif: str | None = None

    def __str__(self) -> str:
        family = Family(self.family)
        source, destination = format_address(family, self.src), format_address(family, self.dst)
        kind = f"type {self.icmp_type}/{self.icmp_code}" if self.sport is None else f"port {self.sport} > {self.dport}"
        flags = f" flags {self.tcp_flags:#04x}" if protocol_name(self.proto) == "tcp" else ""
        return (
            f"{protocol_name(self.proto)} {source} > {destination} {kind}{flags} on {self.iif} ({self.ct_state.name})"
        )
