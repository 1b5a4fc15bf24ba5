"""A policy that was tried in a sandbox, as a table: who met what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from portgate.core.net import PORT_PROTOCOLS, format_address, normalize, protocol_name
from portgate.core.packets import Packet
from portgate.report.text import Paint, plain, table

HEADER = ("FROM", "IN", "TO", "OPEN", "CLOSED", "FILTERED")
ANSWERS = ("open", "closed", "filtered")
MOST_RANGES = 12


class Meeting(NamedTuple):
    """Somebody, named as in the policy, tried to begin a conversation; `answer` is one of `ANSWERS`."""

    who: str
    packet: Packet
    answer: str


def lines(meetings: Iterable[Meeting], paint: Paint = plain, room: int | None = None) -> Iterator[str]:
    """A row for everybody and each address that they asked; for both families where they fare alike."""
    yield from table(HEADER, list(_rows(meetings)), paint, room)


def _rows(meetings: Iterable[Meeting]) -> Iterator[tuple[str, ...]]:
    fares: dict[_Pair, dict[str, list[Packet]]] = {}
    for who, packet, answer in meetings:
        to = "" if packet.dst is None else format_address(packet.family, packet.dst)
        pair = _Pair(who, packet.iif, to, format_address(packet.family, packet.src))
        fares.setdefault(pair, {}).setdefault(answer, []).append(packet)
    alike: dict[tuple[str, ...], list[str]] = {}
    for pair, answers in fares.items():
        traffic = [_traffic(answers.get(one, ())) for one in ANSWERS]
        alike.setdefault((pair.who, pair.link, pair.to, *traffic), []).append(pair.source)
    for (who, *cells), sources in alike.items():
        named = f"{who}: " if who not in sources else ""
        yield named + ", ".join(sources), *cells


class _Pair(NamedTuple):
    """Somebody and whom they asked."""

    who: str
    link: str
    to: str
    source: str


def _traffic(packets: Iterable[Packet]) -> str:
    """`tcp 22,80-81 udp 53 ping`"""
    ports: dict[str, list[int]] = {}
    for one in packets:
        has_ports = one.protocol in PORT_PROTOCOLS
        ports.setdefault(protocol_name(one.protocol) if has_ports else "ping", []).append(one.dport or 0)
    return " ".join(f"{name} {_numbers(found)}" if any(found) else name for name, found in ports.items())


def _numbers(ports: Iterable[int]) -> str:
    ranges = [
        f"{first}-{last}" if first < last else str(first) for first, last in normalize((one, one) for one in ports)
    ]
    return ",".join([*ranges[:MOST_RANGES], *(["..."] if len(ranges) > MOST_RANGES else [])])
