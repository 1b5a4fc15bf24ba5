"""Saved output of ss(8), whatever its version and options: with a header or not, with a Netid column or not.

Facts
    Checked against output of iproute2 3.10 to 6.1. Old versions write `*` for the IPv4 wildcard and `:::22` or
    `[::]:22` for an IPv6 one that may take IPv4, too. Newer ones write `0.0.0.0` for the IPv4 wildcard, `[::]` for
    one of IPv6 alone, and `*` for one that takes both. With -e, `v6only:` says it. Some old versions write `tcp`
    for UDP sockets when both are asked for. On a narrow terminal a row goes on in the next line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from textwrap import dedent

from portgate.core.capture import Reading
from portgate.core.cgroup import place
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, Span
from portgate.core.listener import Endpoint, Listener, Local, Process, Sockets, assume_dual, count_connections, unmap
from portgate.core.net import DCCP, PORT_MAX, PROTOCOLS, SCTP, TCP, UDP, UDPLITE, Family, parse_address
from portgate.sockets.saved import few, named_port, names_assumed, nothing_found

KINDS = ("ss",)

_STREAMS = {"tcp": TCP, "sctp": SCTP, "dccp": DCCP}
_DATAGRAMS = {"udp": UDP, "udplite": UDPLITE}
_RAW = frozenset({"raw", "icmp6"})
_PACKET = frozenset({"p_raw", "p_dgr"})
_NOT_IP = frozenset(
    {"nl", "u_str", "u_dgr", "u_seq", "v_str", "v_dgr", "ti_rd", "ti_dg", "ti_st", "ti_sq", "xdp"}
    | {"mptcp"}  # listed a second time, as tcp
)
_NETIDS = frozenset({*_STREAMS, *_DATAGRAMS, *_RAW, *_PACKET, *_NOT_IP})
_STATES = frozenset(
    {"LISTEN", "UNCONN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"}
    | {"CLOSE-WAIT", "LAST-ACK", "CLOSING", "CLOSED"}
)
_IP_PROTOCOLS = {**PROTOCOLS, "ipv6-icmp": PROTOCOLS["icmpv6"]}
_ETHERTYPES = {"*": 3, "ip": 0x0800, "arp": 0x0806, "ipv6": 0x86DD}

_FIRST = "|".join(sorted(_NETIDS | _STATES))
_START = re.compile(rf"(?:{_FIRST})\s|\d+\s+\d+\s+\S")
_HEADER = re.compile(r"(?:Netid|State|Recv-Q)\s")
_ROW = re.compile(
    rf"(?:(?P<netid>{'|'.join(sorted(_NETIDS))})\s+)?(?:(?P<state>{'|'.join(sorted(_STATES))})\s+)?"
    r"\d+\s+\d+\s+(?P<local>\S+)\s+(?P<peer>\S+)(?P<rest>.*)"
)
_HOLDER = re.compile(r'\("(.{0,64}?)",(?:pid=)?(\d{1,9}),[^()]*\)')
_EXTRA = re.compile(r"\s(uid|ino|v6only|cgroup):(\S+)")
_REMEDY = "save the output of `ss -tulpn`, with -n"
_LONGEST_ROW = 1 << 16


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the output, its columns still text."""

    line: int
    netid: str | None
    state: str | None
    local: str
    peer: str
    rest: str

    @property
    def waits(self) -> bool:
        """Whether anybody may send to it: no state is printed where only one state was asked for."""
        return self.peer.endswith("*") and self.state in (None, "LISTEN", "UNCONN")

    @property
    def kind(self) -> str:
        """`tcp`, `udp`, `raw`, ... Where the column is missing, and in old versions, the state tells TCP from UDP."""
        if self.netid in (None, "tcp"):
            return "udp" if self.state == "UNCONN" else "tcp"
        return self.netid or "tcp"

    @property
    def extra(self) -> dict[str, str]:
        return dict(_EXTRA.findall(self.rest))


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails: what is not understood becomes a note."""
    rows, strange = _rows(reading.text)
    old = _is_old(rows)
    waiting: list[tuple[_Row, Endpoint]] = []
    established: Counter[Local] = Counter()
    for row in rows:
        try:
            if row.waits and row.kind not in _NOT_IP:
                waiting.append((row, _endpoint(row, old)))
            elif row.state == "ESTAB" and row.kind in _STREAMS:
                established[_local(row)] += 1
        except ValueError as error:
            strange.append((row.line, str(error)))
    told = [endpoint for _, endpoint in waiting]
    settled = assume_dual(told)
    counts = count_connections(settled, established)
    listeners = [_listener(row, one, counts.get(one, 0)) for (row, _), one in zip(waiting, settled, strict=True)]
    listeners.sort(key=lambda one: one.sort_key)
    notes = [*_not_understood(strange, reading.source), *_assumptions(rows, told, reading.source)]
    notes += names_assumed(_named(row for row, _ in waiting), reading.source, _REMEDY)
    if not rows and not strange and not _HEADER.match(reading.text.lstrip()):
        notes.append(nothing_found(reading.source, "ss", _REMEDY))
    return Sockets(tuple(listeners), tuple(notes))


# ------------------------------------------------------------------ lines to rows

Strange = list[tuple[int, str]]
"""Line numbers, and what is wrong there."""


def _rows(text: str) -> tuple[list[_Row], Strange]:
    rows: list[_Row] = []
    strange: Strange = []
    for number, line in _logical_lines(dedent(text.replace("\r", "").expandtabs())):
        found = _ROW.fullmatch(line)
        if found is None:
            strange.append((number, "this is no row of ss"))
        else:
            rows.append(_Row(number, *found.groups()))
    return rows, strange


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, each joined with those that continue it. Headers and empty lines are left out."""
    lines = text.split("\n")
    width = max(map(len, lines))
    row, start, previous = "", 0, ""
    for number, line in enumerate(lines, 1):
        if not line.strip() or _HEADER.match(line):
            continue
        if row and _continues(row, line):
            glue = "" if len(previous) == width and not line.startswith((" ", "users:")) else " "
            row += glue + line.lstrip()
        else:
            if row:
                yield start, row
            row, start = line, number
        previous = line
    if row:
        yield start, row


def _continues(row: str, line: str) -> bool:
    if _START.match(line) or not _START.match(row) or len(row) > _LONGEST_ROW:
        return False
    return line.startswith((" ", "users:")) or not _ROW.fullmatch(row) or row.count("(") > row.count(")")


# ------------------------------------------------------------------ rows to listeners


def _is_old(rows: Sequence[_Row]) -> bool:
    """Whether `*` stands for the IPv4 wildcard. Only IPv4 rows differ for sure, so look for one."""
    if any("0.0.0.0:" in row.local + row.peer or "0.0.0.0%" in row.local for row in rows):
        return False
    wildcards = {(row.kind, row.local) for row in rows if row.kind in _STREAMS | _DATAGRAMS}
    return any(
        local.startswith(":::")
        or (local.startswith("*:") and (kind, f"[::]{local[1:]}") in wildcards)
        or (local[0].isdigit() and "." in local and row.peer == "*:*")
        for row in rows
        for kind, local in [(row.kind, row.local)]
    )


def _endpoint(row: _Row, old: bool) -> Endpoint:
    """Errors: ValueError, saying what is not understood."""
    if row.kind in _PACKET:
        ethertype, _, name = row.local.rpartition(":")
        return _number(ethertype.strip("[]"), _ETHERTYPES), None, None, None, False, None if name == "*" else name
    host, device, port = _split(row.local)
    family, address, dual = _address(host, old, row.extra.get("v6only"))
    if row.kind in _RAW:
        return _number(port, _IP_PROTOCOLS), family, address, None, False, device
    protocol = (_STREAMS | _DATAGRAMS)[row.kind]
    return protocol, family, address, _port(port, protocol), dual, device


def _address(host: str, old: bool, v6only: str | None) -> tuple[Family, int | None, bool | None]:
    """Family, address (None: any) and whether it takes both families (None: the output does not tell)."""
    if host == "*":
        return (Family.IPV4, None, False) if old else (Family.IPV6, None, v6only != "1")
    family, address = unmap(*parse_address(host))
    if address or family is Family.IPV4:
        return family, address or None, False
    if v6only is not None:
        return family, None, v6only == "0"
    return family, None, None if old else False


def _local(row: _Row) -> Local:
    host, device, port = _split(row.local)
    protocol = _STREAMS[row.kind]
    return protocol, *unmap(*parse_address(host)), _port(port, protocol), device


def _split(local: str) -> tuple[str, str | None, str]:
    """Host, device and port of `[fe80::1]%eth0:22` and its relatives."""
    host, _, port = local.rpartition(":")
    address, _, device = host.replace("[", "").replace("]", "").partition("%")
    return address, device or None, port


def _port(text: str, protocol: int) -> int:
    number = named_port(text, protocol) or _number(text, {})
    if not 0 < number <= PORT_MAX:
        raise ValueError(f"{text} is no port")
    return number


def _number(text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise ValueError(f"{text!r} is a name, whose number depends on the host")


def _listener(row: _Row, endpoint: Endpoint, connections: int) -> Listener:
    protocol, family, address, port, dual, device = endpoint
    kind = "stream" if row.kind in _STREAMS else "datagram" if row.kind in _DATAGRAMS else None
    extra = row.extra
    inode = extra.get("ino", "")
    processes = {int(pid): Process(int(pid), program) for program, pid in _HOLDER.findall(row.rest)}
    return Listener(
        kind or ("raw" if row.kind in _RAW else "packet"),
        protocol,
        family,
        address,
        port,
        bool(dual),
        device,
        tuple(processes.values()),
        connections,
        int(inode) if inode.isascii() and inode.isdigit() and len(inode) < 20 else 0,
        extra.get("uid"),
        *place(extra.get("cgroup", "/")),
    )


# ------------------------------------------------------------------ what to tell about it


def _named(rows: Iterable[_Row]) -> dict[str, int]:
    """The names that were taken for ports."""
    ports = [(row, _split(row.local)[2]) for row in rows if row.kind in _STREAMS | _DATAGRAMS]
    return {name: _port(name, (_STREAMS | _DATAGRAMS)[row.kind]) for row, name in ports if not name.isdigit()}


def _not_understood(strange: Strange, source: str) -> Iterator[Diagnostic]:
    notes = [Diagnostic("PG443", why, Span(source, line, 1, line + 1, 1), _REMEDY) for line, why in sorted(strange)]
    return few(notes, source, _REMEDY)


def _assumptions(rows: Sequence[_Row], told: Sequence[Endpoint], source: str) -> Iterator[Diagnostic]:
    if any(dual is None for _, _, _, _, dual, _ in told):
        yield Diagnostic(
            "PG444",
            f"{source} does not say which IPv6 sockets take IPv4, too; those whose port no IPv4 socket holds are taken to",
            remedy="save the output of `ss -tulpne`, which says it",
        )
    if any(row.netid is None for row in rows):
        yield Diagnostic(
            "PG444",
            f"{source} has no Netid column; LISTEN is taken for TCP, UNCONN for UDP",
            remedy="save the output of `ss -tulpn`",
        )
