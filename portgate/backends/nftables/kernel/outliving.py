"""What must be done to its end once it has begun, even if somebody kills this process meanwhile."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

from portgate.core.diagnostics import Diagnostic, PortgateError


def outliving(work: Callable[[], int]) -> int:
    """What `work` answers, which is done by a process of its own: out of reach of a terminal, and of whoever kills this one.

    Whatever locks this process holds stay held until it is done. Errors: PortgateError as of `work`, also when that process was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        _tell(writing, work)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
    finally:
        os.waitpid(child, 0)  # also after an interrupt: what restores the old rules must not run beside it
    if not told:
        raise PortgateError(Diagnostic("PG531", "the process that loads the rules was killed"))
    answer = pickle.loads(told)  # noqa: S301 - from our own child
    if isinstance(answer, PortgateError):
        raise answer
    return int(answer)


def _tell(writing: int, work: Callable[[], int]) -> None:
    """Never returns."""
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(_answer(work)))
    finally:
        os._exit(0)


def _answer(work: Callable[[], int]) -> int | PortgateError:
    try:
        return work()
    except PortgateError as error:
        return error
