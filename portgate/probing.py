"""The use case `probe`: what answers on a host, asked from here, against what a policy says for this source.

Rules of this file
    Nobody but the host that was named is spoken to, and no faster than was said.

Theory
    Silence and answers mean different things for each transport. A TCP port that refuses was reached, if not by the word
    of a rule that rejects; a UDP port that says nothing may be open, for most programs answer only what they understand.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum

from portgate.core.compile import compile as compiled
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import PORT_MAX, TCP, UDP, Family, parse_address, protocol_name
from portgate.core.packets import SYN, Packet
from portgate.core.policy import Policy
from portgate.core.semantics import Fate
from portgate.core.trace import Decision, decide
from portgate.sandbox.packets import spread
from portgate.sandbox.probe import QUESTION, Answer, Pace, Question, Transport, ask

MOST_PORTS = 1000
"""Of those that the policy speaks of, of each protocol; of more, a sample is asked."""
MOST_OF_A_RANGE = 100

_TRANSPORTS = {TCP: Transport.TCP, UDP: Transport.UDP}
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_TRIED_FIRST = {
    TCP: (22, 23, 445, 3389, 5432, 3306, 6379, 27017, 9200, 2375, 1433, 5900, 80, 443, 8080, 8443, 21, 25, 111, 135, 139,
          1521, 2049, 2379, 5985, 6443, 10250, 11211),
    UDP: (53, 123, 161, 111, 69, 137, 389, 500, 1434, 1900, 3478, 3702, 5060, 5353, 11211, 51820),
}  # fmt: skip
_SOURCE_PORT = 40000
_DISCARD = 9
_SOMEWHERE = "eth0"


@dataclass(frozen=True, slots=True)
class Way:
    """A host by one of its addresses, and the address from which it sees us, as far as is known here."""

    family: Family
    address: str
    source: str


@dataclass(frozen=True, slots=True)
class Terms:
    """How to ask. `sample` ports of each protocol are asked of which the policy does not speak; `source` is how the host sees us,
    and `interface` where it sees us come in, "" where that is not known.

    **Units** `patience` in seconds, `rate` in questions per second.
    """

    patience: float = 1.0
    rate: float = 100.0
    sample: int = 60
    families: tuple[Family, ...] = tuple(Family)
    source: str = ""
    interface: str = ""


class Meaning(StrEnum):
    """What an answer says about the policy."""

    AGREES = "agrees"
    UNKNOWN = "unknown"
    REACHED = "reached"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Probed:
    """A port, what came back, and what the policy says about the first packet."""

    way: Way
    answer: Answer
    said: Decision

    @property
    def packet(self) -> Packet:
        return self.said.packet

    @property
    def fate(self) -> Fate:
        return self.said.answer.fate

    @property
    def meaning(self) -> Meaning:
        """A rejection is as good as silence where traffic is blocked; silence says nothing about UDP."""
        if self.fate is Fate.ACCEPT:
            if self.answer is not Answer.FILTERED:
                return Meaning.AGREES
            return Meaning.UNKNOWN if self.packet.protocol == UDP else Meaning.CLOSED
        if self.fate is Fate.DEPENDS or self.answer is Answer.FILTERED:
            return Meaning.AGREES
        return Meaning.REACHED if self.answer is Answer.OPEN or self.fate is Fate.DROP else Meaning.AGREES

    @property
    def diagnostic(self) -> Diagnostic | None:
        what = f"{protocol_name(self.packet.protocol)} {self.packet.dport} of {self.way.address} is {self.answer.value}"
        if self.meaning is Meaning.REACHED:
            return Diagnostic("PG630", f"{what}; by the policy it is {_WORDS[self.fate]} for {self.way.source}")
        if self.meaning is Meaning.CLOSED:
            return Diagnostic("PG631", f"{what}; by the policy it is open to {self.way.source}")
        return None


_WORDS = {Fate.DROP: "dropped", Fate.REJECT: "rejected"}

Heard = Callable[[int, int], None]
"""Told how many ports have answered, and of how many."""


def probe(host: str, policy: Policy, today: date, terms: Terms, heard: Heard) -> tuple[Probed, ...]:
    """Every port that was asked, in order. Errors: PG430 when nobody can be asked there from here."""
    asked = [(way, packet) for way in ways(host, terms) for packet in _packets(policy, way, terms)]
    decisions = _decided(policy, [packet for _, packet in asked], today)
    questions = [_question(way, packet) for way, packet in asked]
    hoped = [one for one, said in zip(questions, decisions, strict=True) if said.answer.fate is Fate.ACCEPT]
    answers = _answers(questions, hoped, terms, heard)
    return tuple(
        Probed(way, answers[question], said)
        for (way, _), question, said in zip(asked, questions, decisions, strict=True)
    )


def _decided(policy: Policy, packets: Sequence[Packet], today: date) -> list[Decision]:
    """What the policy says. Where it names no interface any will do, and an answer for one is found much quicker."""
    named = any(peer.interfaces for grant in policy.arriving() for peer in grant.sources)
    placed = packets if named else [replace(one, iif=one.iif or _SOMEWHERE) for one in packets]
    decisions = decide(compiled(policy, today), placed)
    return [replace(said, packet=one) for said, one in zip(decisions, packets, strict=True)]


# ------------------------------------------------------------------ the way there


def ways(host: str, terms: Terms) -> tuple[Way, ...]:
    """The first address of each family, as far as there is a route to it. Errors: PG430."""
    found: list[Way] = []
    reasons: list[str] = []
    for family in terms.families:
        try:
            found.append(_way(host, family, terms.source))
        except (OSError, UnicodeError) as error:
            reasons.append(f"IPv{family}: {getattr(error, 'strerror', None) or error}")
    if not found:
        raise PortgateError(Diagnostic("PG430", f"{host}: {'; '.join(reasons)}"))
    return tuple(found)


def _way(host: str, family: Family, told: str) -> Way:
    kind = _FAMILIES[family]
    there = socket.getaddrinfo(host.strip("[]"), _DISCARD, kind, socket.SOCK_DGRAM)[0][4]
    with socket.socket(kind, socket.SOCK_DGRAM) as asking:
        asking.connect(there)  # which sends nothing, and chooses a source
        source = str(asking.getsockname()[0])
    address, _ = socket.getnameinfo(there, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    seen = told if told and parse_address(told)[0] is family else source.partition("%")[0]
    return Way(family, address, seen)


# ------------------------------------------------------------------ the questions


def _packets(policy: Policy, way: Way, terms: Terms) -> Iterator[Packet]:
    near = parse_address(way.address.partition("%")[0])[1]
    far = parse_address(way.source)[1]
    interface = terms.interface or ("lo" if near == far else "")
    for protocol in (TCP, UDP):
        known = _known(policy, protocol)
        others = _others(protocol, known, terms.sample)
        for port in sorted([*spread(sorted(known), MOST_PORTS), *others]):
            flags = SYN if protocol == TCP else 0
            yield Packet(way.family, protocol, interface, far, near, _SOURCE_PORT, port, tcp_flags=flags)


def _known(policy: Policy, protocol: int) -> set[int]:
    """The ports that a policy speaks of, and their neighbours; of wide ranges some."""
    traffic = (one for grant in policy.arriving() for one in grant.traffic)
    ranges = [(one.first, one.last) for one in traffic if one.protocol == protocol]
    near = {port for first, last in ranges for port in (first - 1, last, last + 1)}
    within = {port for first, last in ranges for port in spread(range(first, last + 1), MOST_OF_A_RANGE)}
    return {port for port in near | within if 0 < port <= PORT_MAX}


def _others(protocol: int, known: set[int], count: int) -> list[int]:
    """A sample of all other ports: those that everybody tries first, then some from everywhere."""
    first = [one for one in _TRIED_FIRST[protocol] if one not in known][:count]
    anywhere = [one for one in range(1, PORT_MAX + 1) if one not in known and one not in first]
    return [*first, *spread(anywhere, count - len(first))]


def _question(way: Way, packet: Packet) -> Question:
    return Question(_TRANSPORTS[packet.protocol], way.address, packet.dport or 0)


def _answers(
    questions: Sequence[Question], hoped: Iterable[Question], terms: Terms, heard: Heard
) -> dict[Question, Answer]:
    """Who should have answered and did not is asked once more: packets get lost."""
    answers: dict[Question, Answer] = {}
    pace = Pace(terms.patience, terms.rate)
    try:
        for number, (question, answer) in enumerate(ask(questions, pace, payload=first_word), 1):
            answers[question] = answer
            heard(number, len(questions))
        again = [one for one in hoped if answers[one] is Answer.FILTERED]
        answers |= dict(ask(again, replace(pace, patience=2 * terms.patience), payload=first_word))
    except OSError as error:
        raise PortgateError(Diagnostic("PG430", f"this machine can't ask: {error.strerror}")) from None
    return answers


# ------------------------------------------------------------------ what a service answers to

_QUERY = bytes.fromhex("70670100000100000000000000000200 01")  # the name servers of the root (RFC 1035)
_TIME = b"\x23" + bytes(47)  # a client's question, version 4 (RFC 5905)
_BINDING = bytes.fromhex("000100002112a442") + b"portgate-udp"  # RFC 8489
_NO_VERSION = b"\xc0\x1a\x2a\x3a\x4a\x08portgate\x08portgate".ljust(
    1200, b"\0"
)  # QUIC of a version that nobody has (RFC 9000, 6)
_CALL = bytes.fromhex("70670001 00000000 00000002 000186a0 00000002 00000000") + bytes(16)  # a null call (RFC 5531)
_WORDS_OF = {53: _QUERY, 111: _CALL, 123: _TIME, 443: _NO_VERSION, 3478: _BINDING}


def first_word(question: Question) -> bytes:
    """Many programs answer on UDP only what they understand."""
    return _WORDS_OF.get(question.port, QUESTION)
