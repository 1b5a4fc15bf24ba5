"""What one apply writes down before each of its steps, so that nothing is ever half done.

Theory
    The kernel takes a whole ruleset or none of it, so between two steps the host has the old rules or the new ones. The journal
    says how far an apply came, and the snapshot beside it how to go back. It is written before the step that it
    speaks of, and removed by the last one. Whoever finds it later, the guard or the next command, finishes what was
    proven and undoes everything else (finish.py). To undo twice is the same as once.

Facts
    Deadlines are seconds of CLOCK_BOOTTIME (clock_gettime(2)): it goes on while the machine sleeps, and setting the
    time of day does not move it. It starts anew with each boot, as do the kernel's rules.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from typing import Protocol

from portgate.apply import history
from portgate.apply.history import Generation
from portgate.apply.record import Record, host_identity, record_of
from portgate.apply.state import State
from portgate.backends import Backend
from portgate.core.capture import Artifact, Reading
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError

FILE, SNAPSHOT = "journal", "snapshot"


class Phase(StrEnum):
    """How far an apply came. CONFIRMED and UNDOING are written only where a confirmation was waited for."""

    PLANNED = "planned"
    ARMED = "armed"
    LOADED = "loaded"
    PROVEN = "proven"
    CONFIRMED = "confirmed"
    UNDOING = "undoing"


@dataclass(frozen=True, slots=True)
class Entry:
    """An apply that is not finished.

    **Shape** `host` as in `Record`; `session` is the SSH session that it was started from, "" for none; `record` is
    what will be remembered, from PROVEN on; `older` are all SSH sessions that were there when it began. **Units** `deadline` in seconds of `now`, None where nobody need confirm;
    so `began`, when the snapshot was read.
    """

    id: str
    policy: str
    backend: str
    host: str | None
    session: str
    deadline: float | None = None
    phase: Phase = Phase.PLANNED
    record: Record | None = None
    began: float | None = None
    older: tuple[str, ...] = ()

    @property
    def age(self) -> float:
        """Seconds since the snapshot was read."""
        return 0 if self.began is None else max(0, now() - self.began)

    @property
    def left(self) -> float | None:
        """Seconds until it is undone, None where a confirmation is not waited for."""
        waits = self.deadline is not None and self.phase is not Phase.CONFIRMED
        return self.deadline - now() if waits and self.deadline is not None else None


def now() -> float:
    """**Units** seconds of a clock that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Steps(Protocol):
    """What is told of a transaction's steps. Each may raise, which ends the transaction with the old rules."""

    def begin(self, snapshot: Reading) -> None:
        """Something will be loaded; the snapshot is what of ours was there."""

    def loaded(self) -> None:
        """The new rules are in force."""

    def proven(self, generation: str | None) -> None:
        """The new rules are what was wanted, and stay."""

    def undone(self) -> None:
        """The old rules are in force. Never raises."""


Prepare = Callable[[], Generation]
"""Asked when something will be loaded: what will be remembered. Raises what forbids it."""

RecordFor = Callable[[str | None], Record]
"""The record of rules whose generation is this."""

Arm = Callable[[State, Entry], None]
"""Starts the guard."""


class Journal:
    """The steps of one apply, on disk.

    **Units** `window` in seconds for a confirmation, None where nobody need confirm. **Errors** PortgateError PG520.
    """

    def __init__(
        self, state: State, entry: Entry, window: float | None, prepare: Prepare, record_for: RecordFor, arm: Arm
    ) -> None:
        self._state = state
        self._entry = entry
        self._window = window
        self._prepare = prepare
        self._record_for = record_for
        self._arm = arm

    @property
    def entry(self) -> Entry:
        return self._entry

    def begin(self, snapshot: Reading) -> None:
        """Errors: also what `prepare` and `arm` raise."""
        history.prepare(self._state, self._prepare())
        self._state.write(SNAPSHOT, snapshot.text.encode(errors="surrogateescape"))
        if self._window is not None:
            self._entry = replace(self._entry, deadline=now() + self._window)
        self._write(Phase.PLANNED)
        if self._window is not None:
            self._arm(self._state, self._entry)
            self._write(Phase.ARMED)

    def loaded(self) -> None:
        self._write(Phase.LOADED)

    def proven(self, generation: str | None) -> None:
        self._entry = replace(self._entry, record=self._record_for(generation))
        self._write(Phase.PROVEN)

    def undone(self) -> None:
        with suppress(PortgateError):  # who reads the journal next undoes it once more, to the same rules
            remove(self._state)

    def _write(self, phase: Phase) -> None:
        self._entry = replace(self._entry, phase=phase)
        save(self._state, self._entry)


def new(policy: str, backend: str, session: str, older: tuple[str, ...] = ()) -> Entry:
    """Of an apply on this host that is about to begin."""
    return Entry(os.urandom(8).hex(), policy, backend, host_identity(), session, began=now(), older=older)


def save(state: State, entry: Entry) -> None:
    """Errors: PortgateError PG520."""
    state.write(FILE, json.dumps({"schema": 1, **asdict(entry)}).encode())


def current(state: State) -> Entry | None:
    """The apply that is not finished, if there is one. Errors: PortgateError PG520 when it can't be read."""
    content = state.read(FILE)
    return None if content is None else _entry(content)


def snapshot(state: State) -> Reading | None:
    """What of ours was there before; None when nothing was begun."""
    content = state.read(SNAPSHOT, limit=None)
    return None if content is None else Reading(SNAPSHOT, content.decode(errors="surrogateescape"), "the journal")


def undoing(backend: Backend, snapshot: Reading, entry: Entry) -> Artifact:
    """What brings the old rules back, in which what is opened for a time has gone on to expire."""
    return backend.restoring(snapshot, entry.age)


def remove(state: State) -> None:
    """The journal first: without it the rest is nothing."""
    for name in (FILE, SNAPSHOT, history.PENDING):
        state.remove(name)


def _entry(content: bytes) -> Entry:
    """It was never written by halves, so what is no journal was written by somebody else."""
    try:
        fields = json.loads(content)
        record = fields.pop("record")
        if fields.pop("schema") != 1:
            raise ValueError("another schema")
        read = {
            "phase": Phase(fields["phase"]),
            "record": record and record_of(record),
            "older": tuple(fields["older"]),
        }
        return Entry(**{**fields, **read})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        remedy = f"look at the rules with `portgate audit`, then remove {FILE} from the state directory"
        raise PortgateError(
            Diagnostic("PG520", f"{FILE} is not what portgate wrote: {error}", remedy=remedy)
        ) from error
