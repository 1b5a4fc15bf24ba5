"""The apply command on a host that others filter, too, and that many administrators change at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Sandbox
from tests.generate import nft
from tests.generate.world import LINKS

pytestmark = pytest.mark.kernel

AT_ONCE = 32
POLICIES = {
    name: f"{{portgate: 1, name: {name}, inbound: {{default: drop, allow: [{ports}]}}}}"
    for name, ports in {
        "web": "http, https",
        "mail": "smtp, imaps, ping",
        "wide": "1000-2000/tcp",
        "many": "ssh, domain",
    }.items()
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


def command(scratch: Path, name: str) -> tuple[list[str], dict[str, str]]:
    """To apply the policy of this name, and the environment for it."""
    policy = scratch / f"{name}.yaml"
    policy.write_text(POLICIES[name])
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(scratch / "state")}
    return [sys.executable, "-m", "portgate", "apply", str(policy), "--yes"], environment


def apply(sandbox: Sandbox, scratch: Path, name: str) -> None:
    argv, environment = command(scratch, name)
    sandbox.run(argv, env=environment)


def table(sandbox: Sandbox) -> str:
    """Ours, without counters."""
    return sandbox.run(["nft", "-s", "list", "table", "inet", "portgate"]).stdout


def foreign(sandbox: Sandbox) -> list[str]:
    """Every other table, with counters and handles."""
    names = sandbox.run(["nft", "list", "tables"]).stdout.splitlines()
    return [sandbox.run(["nft", "-a", "list", *one.split()]).stdout for one in names if one != "table inet portgate"]


def test_the_tables_of_others_are_the_same_to_the_byte_after_applies(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.run(["nft", "-f", "-"], nft.ruleset(Random(5)))
    before = foreign(sandbox)
    assert len(before) == 3
    for name in POLICIES:
        apply(sandbox, tmp_path, name)
        assert foreign(sandbox) == before


def test_many_applies_at_once_leave_one_of_the_policies_and_that_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    alone = {}
    for name in POLICIES:
        apply(sandbox, tmp_path, name)
        alone[table(sandbox)] = name
    assert len(alone) == len(POLICIES)
    sandbox.run(["nft", "-f", "-"], nft.ruleset(Random(4)))
    before = foreign(sandbox)
    assert before
    commands = [command(tmp_path, name) for name in POLICIES for _ in range(AT_ONCE // len(POLICIES))]
    running = [sandbox.start(argv, env=environment) for argv, environment in commands]
    statuses = [process.wait(60) for process in running]
    assert table(sandbox) in alone
    assert foreign(sandbox) == before
    assert statuses.count(0) >= 1, statuses
    assert set(statuses) <= {0, 3}, statuses
