"""Who administers this host right now: the caller's SSH session, and the other connections to the same server.

Facts
    sshd tells a session its ends in $SSH_CONNECTION (ssh(1)). `sudo` and `su -` take it away, so the environment of
    the processes above is asked, too, which root may read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from portgate.core.capture import Reading
from portgate.core.sessions import KIND, Session, session_of
from portgate.sockets.live import diag

_VARIABLE = "SSH_CONNECTION"
_MOST_ANCESTORS = 64


def capture() -> Reading | None:
    """All sessions, the caller's first; None when the caller has none."""
    own = caller()
    if own is None:
        return None
    others = sorted({*_connections(own.port)} - {str(own)})
    return Reading(KIND, "".join(f"{line}\n" for line in (str(own), *others)), "sshd and netlink sock_diag")


def caller() -> Session | None:
    """The SSH session in which this process runs."""
    for value in (os.environ.get(_VARIABLE), *_of_ancestors()):
        try:
            if value:
                return session_of(value)
        except ValueError:
            continue
    return None


def _connections(port: int) -> Iterator[str]:
    try:
        for peer, peer_port, address, own_port in diag.connections("tcp", port):
            yield str(session_of(f"{peer} {peer_port} {address} {own_port}"))
    except OSError:
        return


def _of_ancestors() -> Iterator[str]:
    pid = os.getppid()
    for _ in range(_MOST_ANCESTORS):
        if pid <= 1:
            return
        try:
            environment, status = _read(f"/proc/{pid}/environ"), _read(f"/proc/{pid}/stat")
        except OSError:
            return
        for one in environment.split(b"\0"):
            name, _, value = one.partition(b"=")
            if name == _VARIABLE.encode():
                yield value.decode(errors="replace")
        pid = int(status.rpartition(b")")[2].split()[1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
