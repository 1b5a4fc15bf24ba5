"""One apply at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portgate.apply.state import State
from portgate.core.diagnostics import Diagnostic, PortgateError

PATIENCE = 300.0
_PAUSE = 0.02


@contextmanager
def exclusive(state: State, on_wait: Callable[[], None], patience: float = PATIENCE) -> Iterator[None]:
    """Holds the host's lock, which ends with the process, too. `on_wait` is called once when somebody else has it.

    **Units** `patience` in seconds. **Errors** PortgateError PG521 when it runs out.
    """
    descriptor = state.open_lock()
    try:
        if not _taken(descriptor):
            on_wait()
            _wait(descriptor, state, patience)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, state: State, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not _taken(descriptor):
        if time.monotonic() > deadline:
            detail = f"waited {patience:.0f} seconds for the apply that runs already"
            raise PortgateError(Diagnostic("PG521", detail, remedy=f"find it with: fuser -v {state.path}/lock"))
        time.sleep(_PAUSE)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
