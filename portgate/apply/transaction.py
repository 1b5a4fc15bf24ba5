"""From the old rules to the new ones, or back.

Theory
    After any failure the host has the old rules or the new ones, whole. The load is one transaction of the kernel;
    what follows it (reading back, proving) either agrees or the snapshot is loaded again. The order is: snapshot,
    load, read back, prove. The snapshot is the reading that was understood, so nothing can come between the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from portgate.apply.journal import Steps
from portgate.backends import Backend, Session
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class Observation:
    """Our rules on a host. `generation` was asked before they were read, so a change in between makes it stale."""

    generation: str | None
    reading: Reading
    ruleset: Ruleset


Proof = Callable[[Ruleset], tuple[Diagnostic, ...]]


def observe(session: Session, backend: Backend) -> Observation:
    """Errors: PortgateError when the host can't be read."""
    generation = session.generation()
    reading = session.read_own()
    return Observation(generation, reading, backend.parse((reading,)))


def run(
    session: Session,
    backend: Backend,
    before: Observation,
    desired: Ruleset,
    prove: Proof,
    steps: Steps,
) -> Observation:
    """Makes `desired` true and returns the host as it is then; `before` itself when there was nothing to do.

    `prove` gets the rules that were read back and says what is wrong with them. `steps` are told how far it came, and
    may refuse to go on.
    Errors: PortgateError; the old rules are in force then, except after PG523.
    """
    artifact = backend.transaction(before.ruleset, desired)
    if artifact is None:
        return before
    return _load(session, backend, artifact, before, prove, steps)


def _load(
    session: Session, backend: Backend, artifact: Artifact, before: Observation, prove: Proof, steps: Steps
) -> Observation:
    """Whatever ends this early, an interrupt as well, finds the old rules restored."""
    generation = session.generation()
    snapshot = backend.restoring(before.reading)
    loading = proven = False
    try:
        steps.begin(before.reading)
        loading = True
        session.load(artifact)
        steps.loaded()
        after = observe(session, backend)
        if wrong := prove(after.ruleset):
            raise PortgateError(Diagnostic("PG522", "what was read back differs from the policy"), *wrong)
        steps.proven(after.generation)
        proven = True
        return after
    finally:
        if not proven:
            if loading and _may_have_changed(session, generation):
                _restore(session, snapshot, sys.exc_info()[1])
            steps.undone()


def _may_have_changed(session: Session, generation: str | None) -> bool:
    try:
        return generation is None or session.generation() != generation
    except PortgateError:
        return True


def _restore(session: Session, snapshot: Artifact, cause: BaseException | None) -> None:
    try:
        session.load(snapshot)
    except PortgateError as error:
        remedy = "look with: portgate status; then apply again"
        unrestored = Diagnostic("PG523", "the snapshot was refused", remedy=remedy)
        earlier = cause.diagnostics if isinstance(cause, PortgateError) else ()
        raise PortgateError(*earlier, unrestored, *error.diagnostics) from cause
