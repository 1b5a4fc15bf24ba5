"""Every confirmed generation: what was applied, by whom, when and why, and all that is needed to apply it again.

Rules of this file
    A generation is written as a whole before anything is loaded, and takes its place among the others by being
    renamed when it is confirmed. Its number is its file's name, and never given twice.
"""

from __future__ import annotations

import json
import os
import pwd
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from portgate.apply import record
from portgate.apply.state import State
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError

if TYPE_CHECKING:
    from portgate.backends import Backend
    from portgate.core.capture import Artifact, Loaded
    from portgate.core.policy import Policy

FOLDER, PENDING = "history", "pending"
KEPT = 50
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Generation:
    """**Shape** `files` are (path, text) with the main one first; `artifact` is the complete native text, `closed`
    that of the rules to start with where it can't be loaded, "" where it is not to be started with; `time` is ISO 8601;
    `session` as in $SSH_CONNECTION, "" for none; `revision` is 0 until it is confirmed.
    """

    policy: str
    files: tuple[tuple[str, str], ...]
    backend: str
    artifact: str
    time: str
    user: str
    session: str
    message: str
    closed: str = ""
    revision: int = 0


def who() -> str:
    """The user behind this process, also behind `sudo`."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def made(
    policy: Policy,
    contents: Mapping[str, bytes],
    backend: Backend,
    artifact: Artifact,
    session: str,
    message: str,
    *,
    persist: bool,
) -> Generation:
    """The generation of an apply that happens now. **Shape** `contents` are the policy's files, by path; `artifact` is complete."""
    from portgate.core.compile import compile as compiled  # noqa: PLC0415 - `status` needs the rest of this file, and starts quicker without
    from portgate.core.fallback import fallback  # noqa: PLC0415 - `status` needs the rest of this file, and starts quicker without

    files = tuple((path, content.decode(errors="surrogateescape")) for path, content in contents.items())
    closed = backend.emit(backend.lower(compiled(fallback(policy), date.min))).text if persist else ""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Generation(policy.name, files, backend.name, artifact.text, time, who(), session, message, closed)


def prepare(state: State, generation: Generation) -> None:
    """Errors: PortgateError PG520."""
    fields = {"schema": 1, **asdict(generation)}
    state.write(PENDING, zlib.compress(json.dumps(fields).encode(), 1))


def confirm(state: State) -> None:
    """Makes the prepared generation the latest; nothing when that is done already. Errors: PortgateError PG520."""
    with state.folder(FOLDER) as folder:
        kept = _revisions(folder)
        state.rename(PENDING, folder, f"{(kept[-1] if kept else 0) + 1:06d}")
        for revision in kept[: -KEPT + 1]:
            folder.remove(f"{revision:06d}")


def generations(state: State) -> Iterator[Generation]:
    """All that are kept, the latest first; those that can't be read any more are left out. Errors: PortgateError PG520."""
    with state.folder(FOLDER) as folder:
        for revision in reversed(_revisions(folder)):
            found = _read(folder, revision)
            if found is not None:
                yield found


def loaded(state: State) -> Loaded | None:
    """What the last apply loaded, if this is the same boot and network namespace."""
    from portgate.core.capture import Loaded  # noqa: PLC0415 - `status` needs the rest of this file, and starts quicker without

    latest = record.last(state)
    if latest is None or latest.generation is None or latest.host is None or latest.host != record.host_identity():
        return None
    return Loaded(latest.generation, latest.length, partial(_text, state, latest.text))


def _text(state: State, known: str) -> str | None:
    """The text of the latest generation, if it is the one with this digest."""
    latest = next(generations(state), None)
    return latest.artifact if latest and record.digest(latest.artifact.encode()) == known else None


def find(state: State, revision: int | None) -> Generation:
    """That revision, or the one before the latest. Errors: PortgateError PG549."""
    with state.folder(FOLDER) as folder:
        kept = _revisions(folder)
        wanted = revision if revision is not None else kept[-2] if len(kept) > 1 else 0
        found = _read(folder, wanted) if wanted in kept else None
    if found is None:
        detail = "there is no earlier generation" if revision is None else f"there is no revision {revision}"
        raise PortgateError(Diagnostic("PG549", detail, remedy="see what there is with: portgate history"))
    return found


def before(state: State, revision: int) -> Generation | None:
    """The generation that was in force before a revision; None where it was the first, or is not kept."""
    with state.folder(FOLDER) as folder:
        earlier = [one for one in _revisions(folder) if one < revision]
        return _read(folder, earlier[-1]) if earlier else None


def _revisions(folder: State) -> list[int]:
    return sorted(int(name) for name in folder.names() if name.isdecimal())


def _read(folder: State, revision: int) -> Generation | None:
    content = folder.read(f"{revision:06d}", limit=None)
    try:
        fields = json.loads(zlib.decompressobj().decompress(content or b"", _MOST_BYTES))
        if fields.pop("schema") != 1:
            return None
        files = tuple((path, text) for path, text in fields["files"])
        return Generation(**{**fields, "files": files, "revision": revision})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error):
        return None
