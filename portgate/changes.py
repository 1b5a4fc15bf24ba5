"""The use cases that change this host: apply, confirm, undo, roll back.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field
from datetime import date
from functools import cache, partial
from typing import TYPE_CHECKING

from portgate import backends, host
from portgate.backends import Backend, Session
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.engine import (
    Planned,
    PolicyFile,
    choose_backend,
    load,
    lockouts,
    place_of,
    plan,
    proof,
    read_file,
    require_way_back,
    rules_for,
    see,
    sessions_in,
    shortfalls_here,
)

if TYPE_CHECKING:
    from portgate.apply.history import Generation
    from portgate.apply.journal import Entry
    from portgate.apply.record import Kept, Record
    from portgate.apply.state import State
    from portgate.core import sessions
    from portgate.core.openings import Timed
    from portgate.core.ruleset import Ruleset

DEFAULT_WINDOW = 60.0
"""Seconds for a confirmation after an apply over SSH."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How an apply is to be done. `overrides` are the codes of objections that are not to stop it.

    **Units** `confirm` in seconds, after which the old rules are restored unless it is confirmed; 0 never, None as usual:
    60 over SSH, else never. `message` says why, for the history; `persist`: the machine is to start with these rules.
    """

    overrides: Collection[str] = ()
    confirm: float | None = None
    message: str = ""
    persist: bool = True


USUAL_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did. `changed` is false when the host meant the policy already.

    **Units** `confirm` in seconds, None when nobody need confirm.
    """

    policy: str
    backend: str
    changed: bool
    confirm: float | None = None
    warnings: tuple[Diagnostic, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is done beside making a policy true.

    **Shape** `timed`: what becomes of what is opened for a time; `meanwhile` is entered before the load, and left behind its proof.
    """

    timed: Timed | None = None
    meanwhile: AbstractContextManager[None] = field(default_factory=nullcontext)


JUST_THE_POLICY = Change()


Consent = Callable[[Planned, float | None], bool]
"""Asked between the plan and the load, whether to go on. **Units** seconds after which the old rules would be back, None for never."""


def apply(
    path: str,
    backend_name: str,
    today: date,
    consent: Consent | None,
    on_wait: Callable[[], None],
    terms: Terms = USUAL_TERMS,
) -> Applied | None:
    """Makes a policy true on this host, or leaves it as it was. None when consent was refused.

    Without `consent` nobody is asked, and no plan is made. `on_wait` is called when another apply is running.
    """
    from portgate.apply import finish, history, lock, record, state

    with state.opened(state.state_path()) as opened, lock.exclusive(opened, on_wait):
        told = finish.require_free(opened)
        latest = record.last(opened)
        backend = choose_backend(backend_name, latest.backend if latest else "")
        session = backend.session(history.loaded(opened))
        if latest and latest.backend == backend.name:
            day, generation = today.isoformat(), session.generation()
            if latest.still_holds(_absolute(path), day, generation, _content):
                return Applied(latest.policy, backend.name, changed=False, warnings=told)
        told = (*told, *_also_by(latest, backend))
        opened.require_room()
        done = transact(load(_absolute(path), today), backend, session, opened, today, consent, terms)
    return done and replace(done, warnings=(*told, *done.warnings))


def _also_by(latest: Record | None, backend: Backend) -> tuple[Diagnostic, ...]:
    """A warning where the last apply was through another backend, whose rules stay."""
    if latest is None or latest.backend == backend.name:
        return ()
    return (Diagnostic("PG534", f"the last apply was through {latest.backend}, this one is through {backend.name}"),)


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - not resolved: a link may lead elsewhere tomorrow


def _content(path: str) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None


def transact(
    file: PolicyFile,
    backend: Backend,
    session: Session,
    opened: State,
    today: date,
    consent: Consent | None,
    terms: Terms,
    change: Change = JUST_THE_POLICY,
) -> Applied | None:
    """What every change of the host's rules has in common. Who calls it holds the lock."""
    from portgate.apply import finish, history, journal, record, transaction
    from portgate.core.openings import Timed, kept

    policy_rules = rules_for(backend, file, today)
    before = transaction.observe(session, backend)
    desired = kept(policy_rules, before.ruleset, change.timed or Timed())
    around = _sessions_here()
    connection = next(iter(around), None)
    window = _window(terms, connection)
    if consent is not None:
        planned = plan(see(), file, backend, today, change.timed)
        require_way_back(planned.plan.objections, file, terms.overrides)
        if not planned.plan.empty and not consent(planned, window):
            return None
        if session.generation() != before.generation:
            raise PortgateError(Diagnostic("PG526", "the rules of this host have changed since the plan was made"))
    doubts: list[Diagnostic] = []
    whole = cache(partial(backend.emit, policy_rules))

    def prepare() -> Generation:
        if file.policy.management or connection:
            doubts.extend(require_way_back(lockouts(see().by(backend), file, desired, today), file, terms.overrides))
        return history.made(
            file.policy, file.contents, backend, whole(), str(connection or ""), terms.message, persist=terms.persist
        )

    remembered = partial(
        record.made, file.policy.name, file.contents, backend.name, today, _for_restart(desired), whole
    )
    steps = journal.Journal(
        opened,
        journal.new(file.policy.name, backend.name, str(connection or ""), tuple(map(str, around))),
        window,
        prepare,
        remembered,
        _arm,
    )
    first = not before.reading.text and desired == policy_rules
    artifact = whole() if first else backend.transaction(before.ruleset, desired)
    transition = transaction.Transition(before, desired, artifact)
    with change.meanwhile:
        after = transaction.run(session, backend, transition, proof(backend, desired), steps)
    changed = after is not before
    if changed and window is None:
        doubts.extend(_remembered(partial(finish.confirm, opened, steps.entry)))
    elif not changed:
        doubts.extend(_remembered(partial(record.save, opened, remembered(after.generation))))
    warnings = (*file.warnings, *doubts, *shortfalls_here(file))
    return Applied(file.policy.name, backend.name, changed, window if changed else None, warnings, file.sources)


def _for_restart(desired: Ruleset) -> tuple[Kept, ...]:
    from portgate.apply.record import Kept
    from portgate.core.openings import entries

    now = int(time.time())
    return tuple(Kept(where, key, name, now + seconds) for where, key, name, seconds in entries(desired))


def _sessions_here() -> list[sessions.Session]:
    """The SSH session of the caller, and all others of the same server; none where the caller's does not end at this host."""
    found = sessions_in(host.capture_sessions())
    if not found:
        return []
    from portgate.core.lockout import ending_at

    here = ending_at(place_of(host.capture_facts())[0], found)
    return here if here and here[0] == found[0] else []


def _arm(opened: State, entry: Entry) -> None:
    from portgate.apply import guard

    guard.arm(opened, entry)


def _window(terms: Terms, connection: object) -> float | None:
    if terms.confirm is None:
        return DEFAULT_WINDOW if connection else None
    return terms.confirm or None


def _remembered(write: Callable[[], tuple[Diagnostic, ...] | None]) -> tuple[Diagnostic, ...]:
    """What `write` warns of. That a record can't be written is a warning, too: the rules are loaded and proven."""
    try:
        return write() or ()
    except PortgateError as error:
        return (Diagnostic("PG524", "; ".join(one.detail for one in error.diagnostics)),)


def undo(on_wait: Callable[[], None]) -> str | None:
    """Takes back the apply that waits for its confirmation; the name of its policy, None when none waits."""
    from portgate.apply import finish, lock, state

    with state.opened(state.state_path()) as opened, lock.exclusive(opened, on_wait):
        entry, _ = finish.settle(opened)
        if entry is not None:
            finish.undo(opened, entry, "somebody rolled it back")
    return entry.policy if entry else None


def rollback(
    revision: int | None,
    today: date,
    consent: Consent | None,
    on_wait: Callable[[], None],
    terms: Terms = USUAL_TERMS,
) -> Applied | None:
    """Applies an earlier generation again, as `apply` does; without a `revision` the one before the latest.

    Grants that have expired since stay expired. Errors: PortgateError PG549 when there is no such generation.
    """
    from portgate.apply import finish, history, lock, state

    with state.opened(state.state_path()) as opened, lock.exclusive(opened, on_wait):
        told = finish.require_free(opened)
        opened.require_room()
        found = history.find(opened, revision)
        contents = {path: text.encode(errors="surrogateescape") for path, text in found.files}
        file = load(found.files[0][0], today, partial(_kept, contents))
        backend = backends.get(found.backend)
        terms = replace(terms, message=terms.message or f"rollback to revision {found.revision}")
        done = transact(file, backend, backend.session(history.loaded(opened)), opened, today, consent, terms)
    return done and replace(done, warnings=(*told, *done.warnings))


def _kept(contents: Mapping[str, bytes], path: str) -> bytes:
    if path not in contents:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return contents[path]


def confirm(on_wait: Callable[[], None], *, same_session: bool = False) -> tuple[str, tuple[Diagnostic, ...]]:
    """Keeps the rules of the apply that waits for it; the name of its policy, and warnings. Errors: PG549, PG545."""
    from portgate.apply import finish, lock, state

    session = str(next(iter(_sessions_here()), ""))
    with state.opened(state.state_path()) as opened, lock.exclusive(opened, on_wait):
        entry, warnings = finish.confirm_from(opened, session, same_session=same_session)
    return entry.policy, warnings
