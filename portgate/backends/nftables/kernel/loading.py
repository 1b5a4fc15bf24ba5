"""What is told the kernel itself: changes of elements, and long lists for new sets, for libnftables is slow at both."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from portgate.backends.nftables import TABLE, batch
from portgate.backends.nftables.kernel.netlink import answer, attributes, error_of, explanation, refused
from portgate.backends.nftables.kernel.outliving import outliving
from portgate.backends.nftables.staging import Stage, declared_sets, staged
from portgate.backends.nftables.transaction import THEN
from portgate.backends.nftables.values import NotUnderstoodError
from portgate.core.diagnostics import Diagnostic, PortgateError

SET_FLAGS, SET_KEY_TYPE = 3, 4  # NFTA_SET_*
SET_INTERVAL = 4  # NFT_SET_INTERVAL

Run = Callable[[str], object]
"""What gives a script to libnftables."""


def load(script: str, run: Run) -> int:
    """Loads a script, in as many transactions as it says; their number. More than one are done to their end, whoever kills this process.

    Errors: PortgateError; then nothing has changed, but that elements may be gone which were to go, where more than one is needed.
    """
    parts = script.split(THEN)
    return _load(script, run) if len(parts) == 1 else outliving(lambda: _load_all(parts, run))


def _load_all(parts: Sequence[str], run: Run) -> int:
    first, *others = parts
    number, done = _load(first, run), False
    try:
        number += sum(_load(part, run) for part in others)
        done = True
    finally:
        if not done and (names := declared_sets(first)):
            run("".join(f"delete set {TABLE} {name}\n" for name in names))
    return number


def _load(script: str, run: Run) -> int:
    if messages := _messages(batch.changes(script)):
        _deliver(messages)
        return 1
    if (stage := staged(script)) and (way_back := _way_back(stage)):
        with suppress(*_NOT_OURS):  # then the way back has been gone
            _load_staged(stage, way_back, run)
            return len(stage.lists) + 2
    run(script)
    return 1


_NOT_OURS = (OSError, KeyError, NotUnderstoodError)
"""What says that elements are of a form that is libnftables' to load, or to explain why it can't be loaded."""


def _load_staged(stage: Stage, way_back: str, run: Run) -> None:
    """Whatever ends this early, an interrupt as well, takes back what has no effect yet."""
    run(stage.declared)
    done = False
    try:
        for one in stage.lists:
            _deliver(batch.messages((one,), {one.set: _key_types(one.set)}))
        run(stage.rest)
        done = True
    finally:
        if not done:
            run(way_back)


def _messages(changes: tuple[batch.Change, ...]) -> bytes | None:
    """None for what is libnftables' to do."""
    try:
        types = {name: _key_types(name) for name in {one.set for one in changes}}
        return batch.messages(changes, types) if changes else None
    except _NOT_OURS:
        return None


def _way_back(stage: Stage) -> str | None:
    """What takes back what would be staged; None where a part of it is there already, and may be in force."""
    if not _is_there(batch.about_table()):
        return f"delete table {TABLE}\n"
    if stage.anew or any(map(_is_there, map(batch.about_set, stage.sets))):
        return None
    return "".join(f"delete set {TABLE} {name}\n" for name in stage.sets)


def _is_there(question: bytes) -> bool:
    return error_of(answer(question)) != errno.ENOENT


def _key_types(name: str) -> batch.Types:
    """Of one of our sets. Errors: OSError when it is not there, KeyError when it is none of those that portgate makes."""
    reply = answer(batch.about_set(name))
    if number := error_of(reply):
        raise OSError(number, os.strerror(number))
    found = dict(attributes(reply, 20))
    if not int.from_bytes(found[SET_FLAGS], "big") & SET_INTERVAL:
        raise KeyError(name)
    return batch.key_types(int.from_bytes(found[SET_KEY_TYPE], "big"))


def _deliver(messages: bytes) -> None:
    """Errors: PortgateError, with all that the kernel says; then nothing has changed."""
    try:
        reply = answer(messages)
    except OSError as error:
        detail = f"a change of {len(messages):,} bytes did not reach the kernel: {error.strerror}"
        raise PortgateError(Diagnostic("PG531", detail, remedy=_TOO_LARGE)) from error
    number = error_of(reply)
    if number in (errno.EPERM, errno.EACCES):
        raise PortgateError(refused(number))
    if number:
        said = f" ({words})" if (words := explanation(reply)) else ""
        raise PortgateError(Diagnostic("PG531", f"a change of elements: {os.strerror(number)}{said}"))


_TOO_LARGE = "split the list, give the system more memory, or run this command with CAP_NET_ADMIN on the host itself"
