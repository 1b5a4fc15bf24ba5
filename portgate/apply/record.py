"""What was applied last, and whether it still holds without looking at any rule.

Theory
    The kernel counts the changes of a network namespace's rules. If the count is the one after our last apply,
    nobody changed a rule since, and if the policy's files, the day and portgate are the same as well, there is
    nothing to do. The count starts anew with each boot and each namespace, so both are part of the record; a
    namespace is known by its cookie, which the kernel never gives twice (its inode number comes back).
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from portgate import __version__
from portgate.apply.state import State
from portgate.core.dataclasses import dataclass

if TYPE_CHECKING:
    from portgate.core.capture import Artifact

_FILE = "applied.json"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14


class Kept(NamedTuple):
    """What is opened for a time, to be opened again after a new start of the machine.

    **Shape** `key` is an element of the set, as nft writes it, without names. **Units** `until` in seconds since 1970.
    """

    set: str
    key: str
    name: str
    until: int


@dataclass(frozen=True, slots=True)
class Record:
    """One apply. **Shape** `files` are (path, SHA-256) with the main one first; `day` and `time` are ISO 8601.

    `host` names this boot and network namespace, None where the system can't tell; `generation` is the session's;
    `openings` are what was open for a time; `length` and `text` are that of the complete native text, and its SHA-256.
    """

    policy: str
    files: tuple[tuple[str, str], ...]
    day: str
    time: str
    backend: str
    generation: str | None
    host: str | None
    version: str = __version__
    openings: tuple[Kept, ...] = ()
    length: int = 0
    text: str = ""

    def still_holds(self, main: str, day: str, generation: str | None, read: Callable[[str], bytes | None]) -> bool:
        """Whether applying the policy in `main` again would change nothing. `read` gives a file's content.

        `generation` must have been asked from the backend of this record.
        """
        return (
            self.matches_host(generation)
            and (self.day, self.version) == (day, __version__)
            and self.files[0][0] == main
            and all(digest(read(path)) == known for path, known in self.files)
        )

    def matches_host(self, generation: str | None) -> bool:
        """Whether no rule of this host, anybody's, has changed since."""
        known = self.generation is not None and self.host is not None
        return known and (self.generation, self.host) == (generation, host_identity())


def made(
    policy: str,
    contents: Mapping[str, bytes],
    backend: str,
    today: date,
    openings: tuple[Kept, ...],
    artifact: Callable[[], Artifact],
    generation: str | None,
) -> Record:
    """The record of an apply that happens now. **Shape** `contents` are the policy's files, by path; `artifact` is complete."""
    files = tuple((path, digest(content)) for path, content in contents.items())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = artifact().text
    place = (generation, host_identity())
    length, known = len(text), digest(text.encode())
    return Record(policy, files, today.isoformat(), now, backend, *place, openings=openings, length=length, text=known)


def digest(content: bytes | None) -> str:
    """SHA-256 in hexadecimal, "" for a file that is not there."""
    if content is None:
        return ""
    from hashlib import sha256  # noqa: PLC0415 - loads OpenSSL, which `status` can do without

    return sha256(content).hexdigest()


def host_identity() -> str | None:
    """This boot and network namespace; None where the kernel can't tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open(_BOOT_ID) as file, socket.socket(socket.AF_UNIX) as any_socket:
            boot = file.read().strip()
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return None
    return f"{boot}/{int.from_bytes(cookie, sys.byteorder)}"


def save(state: State, record: Record) -> None:
    """Errors: PortgateError PG520."""
    state.write(_FILE, json.dumps({"schema": 1, **asdict(record)}, indent=1).encode())


def last(state: State) -> Record | None:
    """The last apply; None also when its record can't be read any more, which only costs the short cut."""
    content = state.read(_FILE)
    if content is None:
        return None
    try:
        fields = json.loads(content)
        if fields.pop("schema") != 1:
            return None
        record = record_of(fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if record.files else None


def record_of(fields: dict[str, Any]) -> Record:
    """From what `asdict` made of it. Errors: TypeError, ValueError, KeyError."""
    openings = tuple(Kept(*one) for one in fields.get("openings", ()))
    files = tuple((path, known) for path, known in fields["files"])
    return Record(**{**fields, "files": files, "openings": openings})
