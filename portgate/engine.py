"""The use cases, as plain functions: what the command line calls, and what a library user calls.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from portgate import backends, host
from portgate.backends import Backend
from portgate.core.capture import Artifact, Capture, from_json
from portgate.core.diagnostics import Diagnostic, PortgateError

if TYPE_CHECKING:
    from portgate.apply.record import Record
    from portgate.core.listener import Sockets
    from portgate.core.policy import Policy
    from portgate.language import Loaded

MAX_FILE_BYTES = 256 << 20


# ------------------------------------------------------------------ files


def read_file(path: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file, cut behind the limit, so that its reader sees that it is too long.

    Errors: OSError; also for what is no regular file and might never end, or never begin.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(limit + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def write_file(path: str, content: str, *, private: bool) -> None:
    """Writes a file whole or not at all; `private` makes it readable by its owner only. Errors: OSError.

    What is there and no regular file (a device, a pipe) is written to, never replaced.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_text(content, encoding="utf-8")
        return
    target = target.resolve()
    beside = target.with_name(f".{target.name[:40]}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


# ------------------------------------------------------------------ policies


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy without errors. `files` are all that it was read from, as (path, SHA-256), the main one first."""

    policy: Policy
    warnings: tuple[Diagnostic, ...]
    sources: Mapping[str, str]
    files: tuple[tuple[str, str], ...]


def check(path: str, today: date) -> Loaded:
    """The policy in a file with everything that is wrong or doubtful about it. Never raises."""
    from portgate import language
    from portgate.language.lint import lint

    loaded = language.load(path, read_file, today)
    if loaded.policy is None:
        return loaded
    return replace(loaded, diagnostics=(*loaded.diagnostics, *lint(loaded.policy, today)))


def load(path: str, today: date) -> PolicyFile:
    """The policy in a file. Errors: every mistake in it."""
    from portgate import language
    from portgate.apply.record import digest

    files: dict[str, str] = {}

    def read(name: str) -> bytes:
        content = read_file(name)
        files[name] = digest(content)
        return content

    loaded = language.load(path, read, today)
    if loaded.policy is None:
        raise PortgateError(*loaded.diagnostics, sources=loaded.sources)
    return PolicyFile(loaded.policy, loaded.diagnostics, loaded.sources, tuple(files.items()))


def compile_policy(path: str, backend: str, dialect: str | None, today: date) -> Artifact:
    """The native rules of a policy."""
    from portgate.core.compile import compile as compiled

    return backends.get(backend).emit(compiled(load(path, today).policy, today), dialect)


# ------------------------------------------------------------------ the host


def saved_capture(path: str) -> Capture:
    """The host as `portgate capture` saved it."""
    try:
        content = read_file(path)
        if len(content) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return from_json(content.decode(), path)
    except OSError as error:
        raise PortgateError(Diagnostic("PG423", f"{path}: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise PortgateError(Diagnostic("PG423", f"{path}: not UTF-8 text at byte {error.start}")) from error


def captured_from(parts: list[tuple[str, str]]) -> Capture:
    """The host as other programs' saved output tells of it. **Shape** as for `host.from_files`."""
    return host.from_files(parts, read_file)


def sockets(path: str | None = None, *, with_packages: bool = False) -> Sockets:
    """What listens on this host, or in a saved capture."""
    from portgate.sockets import parse

    capture = saved_capture(path) if path else host.capture_sockets(with_packages=with_packages)
    found = parse(capture.readings)
    return replace(found, notes=(*capture.notes, *found.notes))


def choose_backend(name: str = "auto") -> Backend:
    """The backend of that name, or the first that this host has."""
    wanted = [backends.get(one) for one in ([name] if name != "auto" else sorted(backends.names()))]
    reasons = [(one.name, one.available()) for one in wanted]
    for one, (_, reason) in zip(wanted, reasons, strict=True):
        if reason is None:
            return one
    raise PortgateError(*(Diagnostic("PG422", f"{name}: {reason}") for name, reason in reasons))


# ------------------------------------------------------------------ what was applied


@dataclass(frozen=True, slots=True)
class Status:
    """What portgate did last on this host, and what is left of it.

    **Shape** `record` is None when nothing was applied; `loaded`: rules of ours are there; `untouched`: no rule of
    this backend, anybody's, has changed since.
    """

    backend: str
    record: Record | None
    loaded: bool
    untouched: bool


def status(backend_name: str = "auto") -> Status:
    """Quick when nothing has changed since the last apply: no rule is read then."""
    from portgate.apply import record, state

    backend = choose_backend(backend_name)
    with state.opened(state.state_path(), create=False) as opened:
        latest = record.last(opened) if opened else None
    session = backend.session()
    if latest is not None and latest.backend == backend.name and latest.matches_host(session.generation()):
        return Status(backend.name, latest, loaded=True, untouched=True)
    owned = backend.parse(session.read()).owned().containers
    return Status(backend.name, latest, loaded=bool(owned), untouched=False)
