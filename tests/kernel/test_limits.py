"""Rate limits against real connections: what a source has used up is closed to it, and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from portgate import language
from portgate.backends import get
from portgate.core import compile as compiler
from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Answer, Link, Sandbox, Transport

pytestmark = pytest.mark.kernel

LINKS = (Link("eth0", ("192.0.2.1/24", "2001:db8:1::1/64"), ("192.0.2.9/24", "192.0.2.10/24", "2001:db8:1::9/64")),)
POLICY = b"""
portgate: 1
name: limited
inbound:
  default: drop
  allow:
    - {port: 22/tcp, limit: 3/hour burst 3}
    - http
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


def test_a_source_that_used_its_limit_up_is_shut_out_and_no_other(sandbox: Sandbox) -> None:
    loaded = language.load("policy.yaml", lambda _: POLICY, date(2026, 1, 1))
    assert loaded.policy is not None
    rules = get("nftables").emit(compiler.compile(loaded.policy, date(2026, 1, 1)))
    sandbox.run(["nft", "-f", "-"], rules.text)
    for port in (22, 80):
        sandbox.listen(Transport.TCP, "::", port)

    def ask(address: str, port: int) -> Answer:
        return sandbox.connect(Transport.TCP, address, port, source="eth0", patience=0.3)

    assert [ask("192.0.2.1", 22) for _ in range(5)] == [Answer.OPEN] * 3 + [Answer.FILTERED] * 2
    assert [ask("192.0.2.1", 80) for _ in range(5)] == [Answer.OPEN] * 5
    assert [ask("2001:db8:1::1", 22) for _ in range(4)] == [Answer.OPEN] * 3 + [Answer.FILTERED]
