"""What the machine loads when it starts: the confirmed rules, before its network comes up and without Python.

Theory
    The service loads two texts, one after the other. The first closes everything but the management; the second replaces it by
    the policy's rules. If the second can't be loaded, the first stays: closed, yet reachable. Which programs load a text is for
    its backend to say; each gets a file. What is opened for a time is added behind them, for as long as it has left by the
    clock of the machine.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from portgate import backends
from portgate.apply import history, services
from portgate.apply.history import Generation
from portgate.apply.record import Kept
from portgate.apply.state import State
from portgate.core.capture import Step
from portgate.core.diagnostics import Diagnostic, PortgateError

RULES, CLOSED, OPENED = "boot", "closed", "opened.sh"
_OPENING = """\
# Made by portgate: what was opened for a time is opened again, for as long as it has left.
now=$(date +%s)
open() {{  # SET KEY NAME UNTIL
    [ "$now" -ge {since} ] && [ "$now" -lt "$4" ] || return 0  # a clock that is behind proves nothing
    {nft} "add element inet portgate $1 {{ $2 timeout $(($4 - now))s comment \\"$3\\" }}"
}}
"""


def root() -> str | None:
    """Below which the machine's /etc lies: $PORTGATE_BOOT_ROOT, else /; None in a network namespace that is not the machine's."""
    if chosen := os.environ.get("PORTGATE_BOOT_ROOT"):
        return chosen
    return "/" if in_machine() else None


def in_machine() -> bool:
    """Whether this network namespace is that of the first process; always where there are none."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        return os.stat("/proc/1/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return False


def install(state: State, generation: Generation, openings: Sequence[Kept], top: str) -> tuple[Diagnostic, ...]:
    """Makes a generation what the machine starts with. What could not be written, as warnings."""
    steps = _steps(generation)
    try:
        state.write(OPENED, _script(openings).encode())
        for name, step in steps:
            state.write(name, step.text.encode(errors="surrogateescape"))
        for name in {*_written(state)} - {name for name, _ in steps}:
            state.remove(name)
        directory = os.path.realpath(state.path)
        closing, opening = (
            [_command(directory, name, step) for name, step in steps if name.startswith(f"{first}.")]
            for first in (CLOSED, RULES)
        )
        rules = f"{directory}/{steps[-1][0]}"
        started = services.install(top, closing, opening, f"{directory}/{OPENED}", rules)
    except OSError as error:
        return (Diagnostic("PG550", f"{error.filename or top}: {error.strerror}"),)
    except PortgateError as error:
        return (Diagnostic("PG550", "; ".join(one.detail for one in error.diagnostics)),)
    if not started:
        detail = f"no system of starting services that portgate knows was found below {top}"
        return (Diagnostic("PG550", detail, remedy=services.remedy(top, rules)),)
    return ()


def _script(openings: Sequence[Kept]) -> str:
    """The words of an opening are numbers, addresses and a name of plain letters, so they can be quoted."""
    if not openings:
        return ""
    calls = (f"open {one.set} '{one.key}' '{one.name}' {one.until}\n" for one in openings)
    return _OPENING.format(since=int(time.time()), nft=_nft()) + "".join(calls)


def _nft() -> str:
    return _program("nft")


def _program(name: str) -> str:
    import shutil

    return shutil.which(name) or f"/usr/sbin/{name}"


def _steps(generation: Generation) -> list[tuple[str, Step]]:
    """What is run when the machine starts, with the names of its files."""
    closing, opening = backends.get(generation.backend).starting(generation.closed, generation.artifact)
    return [(f"{name}.{step.suffix}", step) for name, steps in ((CLOSED, closing), (RULES, opening)) for step in steps]


def _command(directory: str, name: str, step: Step) -> str:
    return " ".join((_program(step.argv[0]), *step.argv[1:], f"{directory}/{name}"))


# ------------------------------------------------------------------ status


def told(state: State) -> str:
    """What the machine starts with, in words."""
    top = root()
    if top is None:
        return "nothing: this network namespace is not the machine's"
    written = _written(state)
    by = services.enabled(top, f"{os.path.realpath(state.path)}/{written[0]}") if written else None
    return "nothing of portgate's" if by is None else f"{_whose(state)}, by {by}"


def _written(state: State) -> list[str]:
    """The files of all steps."""
    return sorted(name for name in state.names() if name.startswith((f"{RULES}.", f"{CLOSED}.")))


def _whose(state: State) -> str:
    content = {name: state.read(name, limit=None) for name in _written(state)}
    for one in history.generations(state):
        if one.closed and content == {name: step.text.encode(errors="surrogateescape") for name, step in _steps(one)}:
            return f"{one.policy}, revision {one.revision}"
    return f"{state.path}/{min(content)}, which is of no generation that is kept"
