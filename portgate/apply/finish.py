"""The end of an apply: confirmed, or undone; and what becomes of one that ended before its end.

Rules of this file
    Every function is called by whoever holds the lock. Each can be cut off anywhere and called again.
"""

from __future__ import annotations

import json
from contextlib import suppress

from portgate import backends
from portgate.apply import boot, history, journal, lock, record
from portgate.apply.journal import Entry, Phase
from portgate.apply.record import Record
from portgate.apply.state import State
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic, PortgateError

UNDONE = "undone"
_REMEDY = "from a new connection: portgate confirm; to go back at once: portgate rollback"


def settle(state: State) -> tuple[Entry | None, tuple[Diagnostic, ...]]:
    """Finishes or undoes an apply that was cut off. **Shape** one that waits for its confirmation, and what was done.

    Errors: PortgateError when the host can't be changed.
    """
    entry = journal.current(state)
    if entry is None:
        return None, ()
    if entry.host != record.host_identity():
        return None, _elsewhere(state, entry)
    if entry.phase is Phase.CONFIRMED or (entry.phase is Phase.PROVEN and entry.deadline is None):
        warnings = confirm(state, entry)
        told = Diagnostic("PG548", f"the apply of {entry.policy} was cut off after its rules were proven")
        return None, (told, *warnings)
    if entry.phase is Phase.PROVEN and entry.left is not None and entry.left > 0:
        return entry, ()
    undo(state, entry, f"it was cut off when it was {entry.phase.value}")
    return None, (Diagnostic("PG547", f"the apply of {entry.policy} was cut off when it was {entry.phase.value}"),)


def settle_if_idle(state: State) -> tuple[Entry | None, tuple[Diagnostic, ...]]:
    """The same for who holds no lock: only looks while an apply is running."""
    if journal.current(state) is None:
        return None, ()
    try:
        with lock.exclusive(state, _look_only, patience=0):
            return settle(state)
    except PortgateError as error:
        if all(one.code != "PG521" for one in error.diagnostics):
            raise
    return journal.current(state), ()


def _look_only() -> None:
    """Nobody waits here."""


def _elsewhere(state: State, entry: Entry) -> tuple[Diagnostic, ...]:
    """An apply of another boot is over: its rules went with that. One of another network namespace is not ours."""
    here = record.host_identity()
    if entry.host and here and entry.host.partition("/")[0] == here.partition("/")[0]:
        detail = (
            f"the apply of {entry.policy} in another network namespace, with the same state directory, is not finished"
        )
        raise PortgateError(Diagnostic("PG544", detail, remedy="give each its own PORTGATE_STATE_DIR"))
    remember_undone(state, entry, "the machine was started anew before it was confirmed")
    journal.remove(state)
    return (Diagnostic("PG547", f"the apply of {entry.policy} was cut off by a new start of the machine"),)


def require_free(state: State) -> tuple[Diagnostic, ...]:
    """That no apply waits for its confirmation. What was finished or undone, as warnings. Errors: PG544."""
    waiting, told = settle(state)
    if waiting is not None and waiting.left is not None:
        detail = f"the apply of {waiting.policy} is undone in {max(0, waiting.left):.0f} seconds unless it is confirmed"
        raise PortgateError(Diagnostic("PG544", detail, remedy=_REMEDY))
    return told


def confirm(state: State, entry: Entry) -> tuple[Diagnostic, ...]:
    """From the first line on the guard stands down. What the machine will not start with, as warnings.

    Errors: PortgateError PG520; then the next call finishes it.
    """
    if entry.deadline is not None and entry.phase is not Phase.CONFIRMED:
        entry = replace(entry, phase=Phase.CONFIRMED)
        journal.save(state, entry)
    history.confirm(state)
    warnings = _start_with_latest(state, entry.record)
    if entry.record is not None:
        record.save(state, entry.record)
    state.remove(UNDONE)
    journal.remove(state)
    return warnings


def _start_with_latest(state: State, latest_record: Record | None) -> tuple[Diagnostic, ...]:
    top = boot.root()
    latest = next(history.generations(state), None) if top else None
    if latest is None or not latest.closed or top is None:
        return ()
    return boot.install(state, latest, latest_record.openings if latest_record else (), top)


def confirm_from(state: State, session: str, *, same_session: bool) -> tuple[Entry, tuple[Diagnostic, ...]]:
    """Confirms what waits for it, with the warnings of `confirm`. `session` is the SSH session of whoever confirms, "" for none.

    Errors: PortgateError PG549 when nothing waits, PG545 when it comes from a session that was there before.
    """
    waiting, told = settle(state)
    if waiting is None:
        raise PortgateError(*told, Diagnostic("PG549", "no apply waits for a confirmation"))
    if session and session in (waiting.session, *waiting.older) and not same_session:
        raise PortgateError(Diagnostic("PG545", f"this session is older than the new rules: {session}"))
    return waiting, confirm(state, waiting)


def undo(state: State, entry: Entry, why: str) -> None:
    """The snapshot is loaded, and the journal closed. Errors: PortgateError; the journal stays then.

    From the first line on it can't be confirmed any more, for which a full disk is no reason to keep the new rules.
    """
    snapshot = journal.snapshot(state)
    with suppress(PortgateError):
        journal.save(state, replace(entry, phase=Phase.UNDOING))
    if snapshot is not None:
        backend = backends.get(entry.backend)
        backend.session().load(journal.undoing(backend, snapshot, entry))
    journal.remove(state)
    remember_undone(state, entry, why)


def remember_undone(state: State, entry: Entry, why: str) -> None:
    """So that who comes back can read what happened, if that can be written."""
    with suppress(PortgateError):
        state.write(UNDONE, json.dumps({"policy": entry.policy, "why": why}).encode())


def undone(state: State) -> tuple[str, str] | None:
    """The policy that was undone last, and why; None when one was confirmed since."""
    content = state.read(UNDONE)
    try:
        fields = json.loads(content or b"null")
        return str(fields["policy"]), str(fields["why"])
    except (ValueError, TypeError, KeyError):
        return None
