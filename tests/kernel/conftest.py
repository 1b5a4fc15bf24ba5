"""A sandbox for a module's tests, or a printed reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Oracle, Sandbox
from tests.generate.world import LINKS


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            sandbox.run(["nft", "--version"])
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture(scope="module")
def oracle(sandbox: Sandbox) -> Oracle:
    return Oracle(sandbox)
