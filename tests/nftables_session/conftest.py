"""A network namespace for each test, or a printed reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from portgate.backends.nftables import BACKEND
from portgate.core.diagnostics import PortgateError
from portgate.sandbox.namespace import close, create


@pytest.fixture
def inside() -> Iterator[Callable[..., object]]:
    """Runs a function in the namespace, and gives its result."""
    try:
        namespaces = create(1)
    except PortgateError as error:
        pytest.skip(f"no network namespace here: {error}")
    if reason := namespaces[0].call(BACKEND.available):
        pytest.skip(f"no nftables here: {reason}")
    yield namespaces[0].call
    close(namespaces)
