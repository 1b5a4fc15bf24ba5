"""Saved output of netstat: of Linux (net-tools, `netstat -tulpn`), of the BSDs, HP-UX and AIX, and of macOS (`netstat -an`).

Facts
    Linux writes `0.0.0.0:22` and `:::22`, with `tcp6` for every IPv6 socket, and does not tell whether it takes IPv4, too;
    long IPv6 addresses are cut off without -W. -e adds user and inode, -o a timer behind the program.
    The others write `*.22`, a dot before the port, and `tcp46` for a socket that takes both; -A adds addresses of control
    blocks before a row, -x and -T put other columns in the place of the state, -L lists the queues of listeners alone.
    macOS 14 tells the owner with -v, as `sshd:812`; elsewhere they tell none.
    A UDP socket has no state anywhere. AIX before 7 and HP-UX call what they mean by tcp4 just tcp.
"""

from __future__ import annotations

import re

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic
from portgate.core.listener import Process, Sockets
from portgate.core.net import SCTP, TCP, UDP, UDPLITE, Family
from portgate.sockets.saved import Rows

KINDS = ("netstat-linux", "netstat-bsd", "netstat-macos")

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "udplite": UDPLITE, "udpl": UDPLITE}
_STREAMS = (TCP, SCTP)
_START = r"\s*(?:[0-9a-f]{4,20}\s+){0,2}(?P<protocol>tcp|udp|sctp|udplite|udpl)(?P<family>46|4|6)?"
_IS_IP = re.compile(rf"{_START}\s")
_ROW = re.compile(
    rf"{_START}(?:\s+\d+(?=\s))*\s+(?P<local>\S+[:.]\S+)\s+(?P<peer>\S*[*]|\S+[:.]\S+)(?P<rest>(?:\s.*)?)"
)
_QUEUE = re.compile(rf"{_START}\s+\d+/\d+/\d+\s+(?P<local>\S+)\s*")
_SHORT = re.compile(rf"{_START}\s+(?P<local>\S+)\s+(?:LISTEN|NA)(?P<rest>(?:\s.*)?)")
_STATE = re.compile(r"\s+([A-Z][A-Z_0-9]{3,})\b")
_TIMER = re.compile(r"\s+(?:off|on|keepalive|timewait|probe|unkn-\d+)\s+\([\d./]+\)\s*$")
_HOLDER = re.compile(r"\s(\d{1,9})/(\S.{0,64}?)\s*$")
_USER = re.compile(r"^\s+(?:[A-Z_]+\s+)?(\S+)\s+\d+\s+(?:\d{1,9}/\S|-)")
_MACOS_HOLDER = re.compile(r"\s\s(\S(?: ?\S){0,63}):(\d{1,9})\s+[0-9a-f]{5}\s+[0-9a-f]{8}\b")
_HEADER = re.compile(r"^(?:Active Internet|[^\S\n]*Proto\s+Recv-Q|Current listen queue)", re.MULTILINE)
_CONNECTED_ONLY = re.compile(r"^Active Internet connections(?: \(w/o servers\))?[^\S\n]*$", re.MULTILINE)
_REMEDIES = {"netstat-linux": "save the output of `netstat -tulpnW`"}
_REMEDY = "save the output of `netstat -an`"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails."""
    linux = reading.kind == "netstat-linux"
    remedy = _REMEDIES.get(reading.kind, _REMEDY)
    rows = Rows(reading, remedy)

    def read(line: str) -> None:
        if _IS_IP.match(line) and (row := _listening(line.rstrip())):
            _add(rows, row, linux)

    rows.each_line(read)
    if not (_HEADER.search(reading.text) or any(map(_IS_IP.match, reading.text.split("\n")))):
        rows.missed("netstat about a socket of IP")
    if _CONNECTED_ONLY.search(reading.text):
        told = f"{reading.source} was made without -a or -l, and shows no listeners of TCP"
        rows.notes.append(Diagnostic("PG442", told, remedy=remedy))
    return rows.sockets()


def _listening(line: str) -> re.Match[str] | None:
    """The row, when anybody may send to its socket. Errors: ValueError when it is no row."""
    if row := _QUEUE.fullmatch(line) or _SHORT.fullmatch(line):
        return row
    row = _ROW.fullmatch(line)
    if row is None:
        raise ValueError("this is no row of netstat that is understood")
    if _PROTOCOLS[row["protocol"]] in _STREAMS and (state := _STATE.match(row["rest"])):
        return row if state[1] == "LISTEN" else None
    return row if row["peer"].endswith("*") and not row["local"].endswith("*") else None


def _add(rows: Rows, row: re.Match[str], linux: bool) -> None:
    protocol = _PROTOCOLS[row["protocol"]]
    host, _, port_text = row["local"].rpartition(":" if linux else ".")
    port = rows.port(port_text, protocol)
    said = Family.IPV6 if row["family"] in ("6", "46") or (linux and ":" in host) else Family.IPV4
    family, address, device = rows.address(host, said)
    dual = row["family"] == "46" and address is None
    unknown = linux and family is Family.IPV6 and host.strip("[]") == "::"
    rows.add(
        (protocol, family, address, port, None if unknown else dual, device), _holder(row.groupdict().get("rest") or "")
    )


def _holder(rest: str) -> Process | None:
    """Who holds it, from the columns behind the addresses."""
    if found := _HOLDER.search(_TIMER.sub("", rest)):
        user = _USER.match(rest)
        return Process(int(found[1]), found[2], user[1] if user else None)
    if found := _MACOS_HOLDER.search(rest):
        return Process(int(found[2]), found[1])
    return None
