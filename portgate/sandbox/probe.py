"""Asking ports from outside: many conversations at once, each with an answer or with silence."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, StrEnum
from struct import pack
from typing import NamedTuple

from portgate.core.dataclasses import dataclass
from portgate.core.net import UDPLITE

QUESTION = b"portgate?"
LONGEST = 65536


class _Kind(NamedTuple):
    type: int
    protocol: int


class Transport(_Kind, Enum):
    TCP = _Kind(socket.SOCK_STREAM, socket.IPPROTO_TCP)
    UDP = _Kind(socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    UDPLITE = _Kind(socket.SOCK_DGRAM, UDPLITE)
    SCTP = _Kind(socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    PING = _Kind(socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


class Answer(StrEnum):
    """OPEN: somebody answered; CLOSED: a reset or an ICMP error came back; FILTERED: nothing did."""

    OPEN = "open"
    CLOSED = "closed"
    FILTERED = "filtered"


class Question(NamedTuple):
    """**Shape** `origin` is where it is asked from: a link of a sandbox, "" here. `source` "" is any address of it."""

    transport: Transport
    address: str
    port: int
    origin: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """**Units** `patience` in seconds for each answer; `rate` in new questions per second, None as fast as it goes."""

    patience: float = 0.5
    rate: float | None = None
    at_once: int = 200


MakeSocket = Callable[[str, int, int, int], socket.socket]
"""A socket of an origin, by family, type and protocol."""
Payload = Callable[[Question], bytes]
"""What is sent to a port that speaks only when it is spoken to."""


def make_here(_origin: str, family: int, kind: int, protocol: int) -> socket.socket:
    """A socket of this process's own network namespace."""
    return socket.socket(family, kind, protocol)


def plain_payload(_question: Question) -> bytes:
    """Enough for who echoes."""
    return QUESTION


def ask(
    questions: Iterable[Question],
    pace: Pace,
    make: MakeSocket = make_here,
    payload: Payload = plain_payload,
) -> Iterator[tuple[Question, Answer]]:
    """Each question with its answer, as they come. Errors: OSError where a question can't be asked at all."""
    with _Conversations(pace, make, payload) as running:
        yield from running.over(deque(questions))


class _Conversations:
    """Those that have begun and not ended."""

    def __init__(self, pace: Pace, make: MakeSocket, payload: Payload) -> None:
        self._pace = pace
        self._make = make
        self._payload = payload
        self._selector = selectors.DefaultSelector()
        self._deadlines: dict[socket.socket, float] = {}  # in the order in which they end
        self._next_start = 0.0

    def __enter__(self) -> _Conversations:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._deadlines:
            one.close()
        self._selector.close()

    def over(self, waiting: deque[Question]) -> Iterator[tuple[Question, Answer]]:
        while waiting or self._deadlines:
            while waiting and self._may_start():
                yield from self._begin(waiting.popleft())
            for key, _ in self._selector.select(self._rest(bool(waiting))):
                yield from self._heard(key.fileobj, key.data)  # type: ignore[arg-type]  # only sockets are registered
            yield from self._given_up()

    def _may_start(self) -> bool:
        return len(self._deadlines) < self._pace.at_once and time.monotonic() >= self._next_start

    def _rest(self, more: bool) -> float:
        """How long nothing can happen but an answer."""
        ends = [next(iter(self._deadlines.values()))] if self._deadlines else []
        if more and len(self._deadlines) < self._pace.at_once:
            ends.append(self._next_start)
        return max(0.0, min(ends) - time.monotonic()) if ends else 0.0

    def _begin(self, question: Question) -> Iterator[tuple[Question, Answer]]:
        now = time.monotonic()
        if self._pace.rate:
            self._next_start = max(now - 1, self._next_start) + 1 / self._pace.rate
        asking = self._make(question.origin, *_kind(question))
        try:
            waits = self._spoken(asking, question)
        except OSError as error:
            asking.close()
            yield question, _refused(error)
            return
        self._deadlines[asking] = now + self._pace.patience
        self._selector.register(asking, waits, question)

    def _spoken(self, asking: socket.socket, question: Question) -> int:
        """Says the first word. **Shape** the event that an answer is. Errors: OSError when it is refused at once."""
        asking.setblocking(False)
        if question.source:
            asking.bind((question.source, 0))
        code = asking.connect_ex((question.address, question.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "")
        if question.transport.type == socket.SOCK_STREAM:
            return selectors.EVENT_WRITE
        asking.send(_echo_request(asking.family) if question.transport is Transport.PING else self._payload(question))
        return selectors.EVENT_READ

    def _heard(self, asking: socket.socket, question: Question) -> Iterator[tuple[Question, Answer]]:
        code = asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._end(asking)
        yield question, _refused(OSError(code, "")) if code else Answer.OPEN

    def _given_up(self) -> Iterator[tuple[Question, Answer]]:
        now = time.monotonic()
        late = []
        for asking, deadline in self._deadlines.items():
            if deadline > now:
                break
            late.append(asking)
        for asking in late:
            question: Question = self._selector.get_key(asking).data
            self._end(asking)
            yield question, Answer.FILTERED

    def _end(self, asking: socket.socket) -> None:
        self._selector.unregister(asking)
        del self._deadlines[asking]
        asking.close()


_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What is no word of the far end, but trouble here."""


def _refused(error: OSError) -> Answer:
    """What an error says: refused, reset, unreachable, prohibited. Errors: those that are our own."""
    if error.errno in _OURS:
        raise error
    return Answer.FILTERED if error.errno == errno.ETIMEDOUT else Answer.CLOSED


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _kind(question: Question) -> tuple[int, int, int]:
    family, transport = family_of(question.address), question.transport
    icmpv6 = transport is Transport.PING and family == socket.AF_INET6
    return family, transport.type, socket.IPPROTO_ICMPV6 if icmpv6 else transport.protocol


def _echo_request(family: int) -> bytes:
    """The kernel fills in the checksum and the identifier."""
    return pack("!BBHHH", 128 if family == socket.AF_INET6 else 8, 0, 0, 0, 1)
