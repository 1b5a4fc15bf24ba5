"""Saved output of pfiles(1) of Solaris and illumos, of many processes: `pfiles /proc/*`.

Facts
    proc(1), Solaris 8 to 11, illumos: a process is `401: /usr/sbin/inetd -s`, a descriptor `3: S_IFSOCK mode:0666 ...`, and
    indented lines below tell its type (`SOCK_STREAM`), its options, `sockname: AF_INET6 ::  port: 22`, `peername:` where
    it is connected, and in newer ones `state: TCP_LISTEN`, in any order. An IPv6 wildcard takes IPv4, too, unless
    IPV6_V6ONLY was set, which is not told. What was filtered for `sockname` tells neither the type nor whether it is connected.
"""

from __future__ import annotations

import re

from portgate.core.capture import Reading
from portgate.core.diagnostics import Diagnostic
from portgate.core.listener import Process, Sockets
from portgate.core.net import SCTP, TCP, UDP, Family
from portgate.sockets.saved import Rows

KINDS = ("pfiles",)

_PROCESS = re.compile(r"\s*(?P<pid>\d{1,9}):?\s+(?P<command>(?!S_IF)\S.*)")
_DESCRIPTOR = re.compile(r"\s*\d+:\s+S_IF.*")
_NAME = re.compile(r"\s*sockname:\s+AF_INET(?P<six>6?)\s+(?P<address>\S+)\s+port:\s+(?P<port>\S+)\s*")
_TYPE = re.compile(r"\s*SOCK_(?P<type>STREAM|DGRAM|SEQPACKET|RAW)\s*")
_PEER = re.compile(r"\s*peername:\s+AF_INET.*")
_STATE = re.compile(r"\s*state:\s+(?P<state>\w+)\s*")
_PROTOCOLS = {"STREAM": (TCP,), "DGRAM": (UDP,), "SEQPACKET": (SCTP,), "RAW": (), None: (TCP, UDP)}
_REMEDY = "save the output of `pfiles /proc/*` as root"


def parse(reading: Reading) -> Sockets:
    """All listeners that the output shows. Never fails."""
    gathered = _Gathered(Rows(reading, _REMEDY))
    gathered.rows.each_line(gathered.read)
    rows = gathered.rows
    if gathered.untyped:
        told = f"{reading.source} does not say which sockets are TCP and which UDP; they are taken for both"
        rows.notes.append(Diagnostic("PG444", told, remedy=_REMEDY))
    if not gathered.named:
        rows.missed("pfiles about a socket of IP")
    return rows.sockets()


class _Gathered:
    """The lines of one descriptor, until the next one begins."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.untyped = self.named = False
        self._holder: Process | None = None
        self._forget()

    def _forget(self) -> None:
        self._name: re.Match[str] | None = None
        self._type: str | None = None
        self._connected = False

    def read(self, line: str) -> None:
        """Errors: ValueError about the descriptor that ends here."""
        if not line or _DESCRIPTOR.fullmatch(line):
            self.end()
        elif process := _PROCESS.fullmatch(line):
            self.end()
            self._holder = Process(int(process["pid"]), _program(process["command"]))
        elif name := _NAME.fullmatch(line):
            if self._name is not None:
                self.end()
            self._name, self.named = name, True
        elif kind := _TYPE.fullmatch(line):
            self._type = kind["type"]
        elif _PEER.fullmatch(line) or ((state := _STATE.fullmatch(line)) and state["state"] not in _WAITING):
            self._connected = True
        elif "AF_INET" in line:
            raise ValueError("this is no address of pfiles that is understood")

    def end(self) -> None:
        name, kind, connected = self._name, self._type, self._connected
        self._forget()
        if name is None or connected or name["port"] == "0":
            return
        self.untyped = self.untyped or kind is None
        for protocol in _PROTOCOLS[kind]:
            port = self.rows.port(name["port"], protocol)
            family, address, device = self.rows.address(name["address"], Family.IPV6 if name["six"] else Family.IPV4)
            dual = None if family is Family.IPV6 and address is None else False
            self.rows.add((protocol, family, address, port, dual, device), self._holder)


_WAITING = ("TCP_LISTEN", "TCP_BOUND", "UDP_IDLE", "LISTEN", "IDLE", "SCTP_LISTEN")


def _program(command: str) -> str:
    """The last part of the path of its first word."""
    return command.split(maxsplit=1)[0].rpartition("/")[2] or command.split(maxsplit=1)[0]
