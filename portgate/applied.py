"""The use cases that look back: what was applied, whether it still holds, who changed it, and how generations differ.

Errors of every function: PortgateError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portgate import backends, host
from portgate.backends import Backend, Session
from portgate.core.capture import Reading
from portgate.core.dataclasses import dataclass
from portgate.engine import Seen, backend_here, backend_of, place_of, saved_capture, understand

if TYPE_CHECKING:
    from portgate.apply.history import Generation
    from portgate.apply.journal import Entry
    from portgate.apply.record import Record
    from portgate.core.diagnostics import Diagnostic
    from portgate.core.drift import Drift
    from portgate.core.openings import Opening
    from portgate.core.ruleset import Ruleset
    from portgate.core.verify import Difference


@dataclass(frozen=True, slots=True)
class Status:
    """What portgate did last on this host, and what is left of it.

    **Shape** `record` is None when nothing was applied; `loaded`: rules of ours are there; `untouched`: no rule of
    this backend, anybody's, has changed since; `drift` is None where nothing was looked for. `waiting` is an apply that is not
    confirmed, `undone` the policy of one that was undone since, with the reason; `boot` says what the machine
    starts with, "" where that is not known; `openings` are what is open for a time; `notes` tell of one that was cut off.
    """

    backend: str
    record: Record | None
    loaded: bool
    untouched: bool
    waiting: Entry | None = None
    undone: tuple[str, str] | None = None
    boot: str = ""
    openings: tuple[Opening, ...] = ()
    notes: tuple[Diagnostic, ...] = ()
    drift: Drift | None = None


def status(backend_name: str = "auto") -> Status:
    """What was cut off is finished or undone.

    Quick when nothing has changed since the last apply and nothing is opened for a time: no rule is read then.
    """
    from portgate.apply import boot, finish, record, state
    from portgate.apply import history as kept

    backend = backend_here(backend_name)
    with state.found(state.state_path()) as opened:
        waiting, notes = finish.settle_if_idle(opened) if opened else (None, ())
        latest = _by(backend, record.last(opened)) if opened else None
        undone = finish.undone(opened) if opened else None
        starts = boot.told(opened) if opened else ""
        known = kept.loaded(opened) if opened else None
        session = backend.session(known)
        untouched = _untouched(latest, backend, session)
        if latest is not None and untouched and not latest.openings:
            return Status(backend.name, latest, True, True, waiting, undone, starts, (), notes)
        if not session.read_own().text:
            return Status(backend.name, latest, False, untouched, waiting, undone, starts, (), notes)
        from portgate.core.openings import openings

        seen = understand(host.capture_rules(known)).by(backend)
        loaded, opened_now = bool(seen.rules.owned().containers), openings(seen.rules)
        generation = _latest_by(backend) if loaded and not untouched and not waiting else None
        found = _drift(seen, backend, generation, whole=True) if generation else None
        return Status(backend.name, latest, loaded, untouched, waiting, undone, starts, opened_now, notes, found)


def _untouched(latest: Record | None, backend: Backend, session: Session) -> bool:
    """Whether no rule of this host has changed since the last apply."""
    latest = _by(backend, latest)
    return latest is not None and latest.matches_host(session.generation())


def _by(backend: Backend, latest: Record | None) -> Record | None:
    """None for an apply by another backend, whose rules this one does not see."""
    return latest if latest and latest.backend == backend.name else None


def status_of_capture(path: str, backend_name: str = "auto") -> Status:
    """Whether rules of ours are loaded on a captured host; a capture holds no record of applies."""
    from portgate.core.openings import openings

    capture = saved_capture(path)
    backend = backends.get(backend_of(capture) if backend_name == "auto" else backend_name)
    rules = backend.parse(capture.of_kind(*backend.reading_kinds))
    loaded = bool(rules.owned().containers)
    return Status(backend.name, None, loaded=loaded, untouched=False, openings=openings(rules))


# ------------------------------------------------------------------ drift


def drift(seen: Seen, backend: Backend) -> Drift | None:
    """What somebody changed in our rules on this host; None where there is nothing to compare with, or an apply is on trial.

    Nothing is compared where no rule has changed since the last apply.
    """
    from portgate.apply import journal, record, state
    from portgate.core.drift import Drift

    seen = seen.by(backend)
    with state.found(state.state_path()) as opened:
        on_trial = opened is not None and journal.current(opened) is not None
        latest = record.last(opened) if opened else None
    generation = _latest_by(backend) if seen.rules.owned().containers and not on_trial else None
    if generation is None:
        return None
    if _untouched(latest, backend, backend.session()):
        return Drift(generation.revision, generation.policy)
    return _drift(seen, backend, generation, whole=False)


def _drift(seen: Seen, backend: Backend, generation: Generation, *, whole: bool) -> Drift:
    """With `whole` also what others do."""
    from portgate.core.drift import Drift, of_ours, of_theirs
    from portgate.core.openings import timeless

    confirmed = _rules_of(generation)
    repair = backend.transaction(timeless(seen.rules), confirmed)
    ours = of_ours(seen.rules, confirmed, backend.words, repair)
    theirs = of_theirs(seen.rules, confirmed, seen.host) if whole else ()
    return Drift(generation.revision, generation.policy, ours, _writers(generation) if ours else (), theirs)


def _writers(generation: Generation) -> tuple[str, ...]:
    from portgate.apply import writers

    return writers.since(generation.time)


def _latest_by(backend: Backend) -> Generation | None:
    """The generation that was confirmed last; None where that was one of another backend, whose rules can't be compared."""
    from portgate.apply import history as kept
    from portgate.apply import state

    with state.found(state.state_path()) as opened:
        latest = next(kept.generations(opened), None) if opened else None
    return latest if latest and latest.backend == backend.name else None


def _rules_of(generation: Generation) -> Ruleset:
    backend = backends.get(generation.backend)
    return backend.parse((Reading(backend.reading_kinds[-1], generation.artifact, "the history"),)).owned()


# ------------------------------------------------------------------ generations


def history() -> tuple[Generation, ...]:
    """Every confirmed generation that is kept, the latest first."""
    from portgate.apply import history as kept
    from portgate.apply import state

    with state.found(state.state_path()) as opened:
        return tuple(kept.generations(opened)) if opened else ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Two generations, and the new connections that fare differently under them; `before` None is a host without rules of ours."""

    before: Generation | None
    after: Generation
    traffic: tuple[Difference, ...]


def compared(first: int | None, last: int) -> Compared:
    """How two generations differ, without the rules of others; without a `first` from the one before. Errors: PG549."""
    from portgate.apply import history as kept
    from portgate.apply import state
    from portgate.core.plan import planned, traffic
    from portgate.core.ruleset import Ruleset

    with state.opened(state.state_path()) as opened:
        after = kept.find(opened, last)
        before = kept.before(opened, last) if first is None else kept.find(opened, first)
    rules = Ruleset() if before is None else _rules_of(before)
    place, _ = place_of(host.capture_facts())
    words = backends.get(after.backend).words
    return Compared(before, after, traffic(rules, planned(rules, _rules_of(after)), place, words))
