"""Where the laws about a live host are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from portgate.backends import Backend
from portgate.core.diagnostics import PortgateError
from portgate.sandbox.namespace import close, create

Inside = Callable[..., None]


@pytest.fixture
def inside(backend: Backend) -> Iterator[Inside]:
    """Runs a function in a new network namespace."""
    try:
        namespaces = create(1)
    except PortgateError as error:
        pytest.skip(f"no network namespace here: {error}")
    call = namespaces[0].call
    if reason := call(backend.available):
        pytest.skip(f"this machine does not have {backend.name}: {reason}")
    yield call
    close(namespaces)
