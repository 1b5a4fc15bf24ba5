"""What readers of other programs' saved output have in common: rows become listeners, the rest becomes notes.

Theory
    A listener too many is seen and judged, one too few is an open port that nobody looks at. So what a row leaves
    open (a name in place of a port, an address that was cut off) is assumed widely, and a note says what was assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.listener import Endpoint, Listener, Process, Sockets, assume_dual, unmap
from portgate.core.net import DCCP, PORT_MAX, SCTP, TCP, UDP, Family, parse_address

MOST_NOTES = 20
_MOST_TOLD = 5
_LONGEST = 1000  # characters; patterns may take time that grows faster than a line
_STREAMS = (TCP, SCTP, DCCP)


class Rows:
    """The listeners of a reading, while they are gathered; a socket that several processes hold is one."""

    def __init__(self, reading: Reading, remedy: str) -> None:
        self.source = reading.source
        self._text = reading.text
        self._remedy = remedy
        self._holders: dict[Endpoint, dict[int, Process]] = {}
        self._strange: list[Diagnostic] = []
        self._named: dict[str, int] = {}
        self._cut: dict[str, None] = {}
        self.notes: list[Diagnostic] = []
        """What the reader itself has to tell."""

    def each_line(self, read: Callable[[str], None]) -> None:
        """Calls `read` with every line, and with an empty one at the end; its ValueError says what is not understood."""
        for number, line in enumerate([*self._text.replace("\r", "").split("\n"), ""], 1):
            try:
                if len(line) > _LONGEST:
                    raise ValueError("this line is longer than any row")
                read(line)
            except ValueError as error:
                place = Span(self.source, number, 1, number + 1, 1)
                self._strange.append(Diagnostic("PG443", str(error), place, self._remedy))

    def add(self, endpoint: Endpoint, holder: Process | None) -> None:
        held = self._holders.setdefault(endpoint, {})
        if holder is not None:
            held[holder.pid] = holder

    def port(self, text: str, protocol: int) -> int:
        """A number, or the usual one of a name. Errors: ValueError."""
        if text.isascii() and text.isdigit():
            number = int(text[:6])
        else:
            number = named_port(text, protocol) or 0
            if number:
                self._named[text] = number
        if not 0 < number <= PORT_MAX:
            raise ValueError(f"{text[:40]!r} is no port")
        return number

    def address(self, text: str, family: Family) -> tuple[Family, int | None, str | None]:
        """Of `[fe80::1%eth0]`, `*`, `localhost`: family, address (None: any) and device."""
        host, _, device = text.strip("[]").partition("%")
        if host == "*":
            return family, None, device or None
        if host == "localhost":
            return family, 127 << 24 | 1 if family is Family.IPV4 else 1, device or None
        try:
            told, address = unmap(*parse_address(host))
        except ValueError:
            self._cut[text[:60]] = None
            return family, None, device or None
        return told, address or None, device or None

    def sockets(self) -> Sockets:
        settled = zip(assume_dual(self._holders), self._holders.values(), strict=True)
        listeners = sorted((_listener(one, held.values()) for one, held in settled), key=lambda one: one.sort_key)
        notes = (*few(self._strange, self.source, self._remedy), *self._assumed(), *self._unseen(), *self.notes)
        return Sockets(tuple(listeners), notes)

    def _assumed(self) -> Iterator[Diagnostic]:
        if any(dual is None for _, _, _, _, dual, _ in self._holders):
            told = "those whose port no IPv4 socket holds are taken to"
            yield Diagnostic("PG444", f"{self.source} does not say which IPv6 sockets take IPv4, too; {told}")
        yield from names_assumed(self._named, self.source, self._remedy)
        if self._cut:
            told = f"{_some(self._cut)} is no address; the socket is taken to listen on all of them"
            yield Diagnostic("PG444", f"{self.source}: {told}", remedy=self._remedy)

    def _unseen(self) -> Iterator[Diagnostic]:
        if not all(self._holders.values()):
            yield Diagnostic("PG440", f"{self.source} does not tell who holds some of the sockets")

    def missed(self, what: str) -> None:
        """That the reading has no row of what it should be; nothing new where lines were strange already."""
        if not self._strange:
            self.notes.append(nothing_found(self.source, what, self._remedy))

    def shows(self, protocol: int) -> bool:
        """Whether a listener of this protocol was found."""
        return any(one[0] == protocol for one in self._holders)

    def __bool__(self) -> bool:
        return bool(self._holders)


def _listener(endpoint: Endpoint, holders: Iterable[Process]) -> Listener:
    protocol, family, address, port, dual, device = endpoint
    kind = "stream" if protocol in _STREAMS else "datagram"
    return Listener(kind, protocol, family, address, port, bool(dual), device, tuple(holders))


def named_port(name: str, protocol: int) -> int | None:
    """The port that a service of this name has everywhere, else None."""
    if name.isdigit():
        return None
    from portgate.language.services import lookup  # noqa: PLC0415 - a large table, which is read only if a listing has a name in place of a port

    ranges = [one for one in lookup(name.lower()) or () if one.first == one.last]
    exact = (one.first for one in ranges if one.protocol == protocol)
    return next(exact, None) or next((one.first for one in ranges if one.protocol in (TCP, UDP)), None)


def names_assumed(named: dict[str, int], source: str, remedy: str) -> Iterator[Diagnostic]:
    if named:
        told = _some({f"{name} for {port}": None for name, port in named.items()})
        yield Diagnostic(
            "PG444", f"{source} has names in place of ports, which were taken for the usual ones: {told}", remedy=remedy
        )


def few(notes: list[Diagnostic], source: str, remedy: str) -> Iterator[Diagnostic]:
    """The first notes, and how many more there are."""
    yield from notes[:MOST_NOTES]
    if len(notes) > MOST_NOTES:
        yield Diagnostic("PG443", f"{len(notes) - MOST_NOTES} more lines of {source}", remedy=remedy)


def nothing_found(source: str, what: str, remedy: str) -> Diagnostic:
    """For text that has not one row of the kind that was meant."""
    return Diagnostic("PG443", f"{source} has not one line of {what}", remedy=remedy)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_TOLD} more" if len(listed) > _MOST_TOLD else ""
    return ", ".join(listed[:_MOST_TOLD]) + more
