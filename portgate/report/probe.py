"""What a probe found, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from portgate.core.net import protocol_name
from portgate.core.packets import Packet
from portgate.core.semantics import Fate
from portgate.report.text import Paint, Style, escape, plain, table

HEADER = ("PORT", "ANSWER", "POLICY", "")
_TOLD = {
    "agrees": "",
    "unknown": "open, or nobody got it",
    "reached": "should be blocked",
    "closed": "should be open",
}
_BLOCKED = (Fate.DROP, Fate.REJECT)


class Port(NamedTuple):
    """A port that was asked at `address`, by `source`. `meaning` is one of `agrees`, `unknown`, `reached` and `closed`."""

    address: str
    source: str
    packet: Packet
    answer: str
    fate: Fate
    meaning: str


def lines(ports: Sequence[Port], paint: Paint = plain, room: int | None = None) -> Iterator[str]:
    """A table for each address. What is blocked and does not answer is only counted."""
    for (address, source), asked in groupby(ports, key=lambda one: (one.address, one.source)):
        yield paint(Style.HEADING, f"{escape(address)}, asked from {escape(source)}")
        found = list(asked)
        told = [one for one in found if one.fate not in _BLOCKED or one.meaning != "agrees"]
        if told:
            yield from table(HEADER, [_row(one) for one in told], paint, room)
        if others := len(found) - len(told):
            yield f"{others} {'other ' if told else ''}ports: blocked, as the policy says"


def _row(one: Port) -> tuple[str, ...]:
    reachable = one.answer == "closed" and one.fate is Fate.ACCEPT
    return name(one.packet), one.answer, one.fate.value, "nobody listens" if reachable else _TOLD[one.meaning]


def name(packet: Packet) -> str:
    """`tcp 443`"""
    return f"{protocol_name(packet.protocol)} {packet.dport}"
