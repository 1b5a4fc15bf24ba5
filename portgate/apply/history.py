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
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from portgate.apply.state import State
from portgate.core.diagnostics import Diagnostic, PortgateError

FOLDER, PENDING = "history", "pending"
KEPT = 50
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Generation:
    """**Shape** `files` are (path, text) with the main one first; `artifact` is the complete native text; `time` is
    ISO 8601; `session` as in $SSH_CONNECTION, "" for none; `revision` is 0 until it is confirmed.
    """

    policy: str
    files: tuple[tuple[str, str], ...]
    backend: str
    artifact: str
    time: str
    user: str
    session: str
    message: str
    revision: int = 0


def who() -> str:
    """The user behind this process, also behind `sudo`."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


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
