"""From the old rules to the new ones, or back.

Theory
    After any failure the host has the old rules or the new ones, whole. The load is one transaction of the kernel, or a few;
    what follows it (reading back, proving) either agrees or the snapshot is loaded again. The order is: snapshot,
    load, read back, prove. The snapshot is the reading that was understood, so nothing can come between the two.

    Every rule is read back. What the sets hold is concluded, where the kernel counts its transactions and has counted
    one since the old rules were read: that was ours, which it took whole, and which leads from them to the new ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from portgate.apply.journal import Steps
from portgate.backends import Backend, Session
from portgate.core.capture import Artifact, Reading
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Container, Ruleset


@dataclass(frozen=True, slots=True)
class Observation:
    """Our rules on a host. `generation` was asked before they were read, so a change in between makes it stale."""

    generation: str | None
    reading: Reading
    ruleset: Ruleset


@dataclass(frozen=True, slots=True)
class Transition:
    """The way from the old rules to the new ones: `artifact` leads from what is ours in `before` to `desired`, None when there is none to go."""

    before: Observation
    desired: Ruleset
    artifact: Artifact | None


Proof = Callable[[Ruleset], tuple[Diagnostic, ...]]


def observe(session: Session, backend: Backend) -> Observation:
    """Errors: PortgateError when the host can't be read."""
    generation = session.generation()
    reading = session.read_own()
    return Observation(generation, reading, backend.parse((reading,)))


def run(session: Session, backend: Backend, transition: Transition, prove: Proof, steps: Steps) -> Observation:
    """Makes a transition and returns the host as it is then; as it was before when there is nothing to do.

    `prove` gets the rules that were read back and says what is wrong with them. `steps` are told how far it came, and
    may refuse to go on.
    Errors: PortgateError; the old rules are in force then, except after PG523.
    """
    if transition.artifact is None:
        return transition.before
    return _load(session, backend, transition, transition.artifact, prove, steps)


def _read_back(session: Session, backend: Backend, transition: Transition) -> Observation:
    generation = session.generation()
    outline = session.outline_after(transition.before.generation)
    if outline is None:
        return observe(session, backend)
    return Observation(generation, outline, _filled(backend.parse((outline,)), transition.desired))


def _filled(outline: Ruleset, desired: Ruleset) -> Ruleset:
    """Our sets with the elements that they are to have."""
    elements = {one.name: one.elements for container in desired.containers for one in container.sets}

    def fill(container: Container) -> Container:
        sets = (replace(one, elements=elements.get(one.name, ())) for one in container.sets)
        return replace(container, sets=tuple(sets)) if container.owned else container

    return Ruleset(tuple(map(fill, outline.containers)))


def _load(
    session: Session, backend: Backend, transition: Transition, artifact: Artifact, prove: Proof, steps: Steps
) -> Observation:
    """Whatever ends this early, an interrupt as well, finds the old rules restored."""
    generation = session.generation()
    snapshot = backend.restoring(transition.before.reading)
    loading = proven = False
    try:
        steps.begin(transition.before.reading)
        loading = True
        session.load(artifact)
        steps.loaded()
        after = _read_back(session, backend, transition)
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
