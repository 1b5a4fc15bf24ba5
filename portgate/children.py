"""Calls in a forked child: what comes of them, a value or an exception, arrives in the parent as bytes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any


def answer_of(function: Callable[[], object]) -> bytes:
    """For the child: what the function returns or raises. Both must be picklable."""
    try:
        return pickle.dumps((True, function()))
    except Exception as error:  # noqa: BLE001 - none is swallowed: the parent raises it
        return pickle.dumps((False, error))


def value_of(answer: bytes) -> Any:
    """For the parent: what the function returned. Errors: what it raised."""
    succeeded, value = pickle.loads(answer)  # noqa: S301 - bytes that our own child has made
    if not succeeded:
        raise value
    return value
