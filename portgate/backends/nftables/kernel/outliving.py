"""What must be done to its end once it has begun, even if somebody kills this process meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from portgate.children import answer_of, value_of
from portgate.core.diagnostics import Diagnostic, PortgateError


def outliving(work: Callable[[], int]) -> int:
    """What `work` answers, which is done by a process of its own: out of reach of a terminal, and of whoever ends this one.

    Whatever locks this process holds stay held until it is done. Errors: those of `work`, and PortgateError when that process was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _outlive(writing, work)
    try:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
    finally:
        os.waitpid(child, 0)  # also after an interrupt: what restores the old rules must not run beside it
    if not answer:
        raise PortgateError(Diagnostic("PG531", "the process that loads the rules was killed"))
    return int(value_of(answer))


def _outlive(writing: int, work: Callable[[], int]) -> NoReturn:
    """The life of the child: it must not return, for above it lies a copy of the parent's stack."""
    try:
        os.setsid()
        for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        answer = answer_of(work)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)
