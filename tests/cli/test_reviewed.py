"""A plan is saved, somebody looks at it, and it is carried out as it was or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.sandbox import Sandbox

from .conftest import Done

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root"),
]
FOREIGN = "table ip theirs { chain input { type filter hook input priority 0; tcp dport 23 drop; }; }"


class Host:
    """**Shape** `saved` is the plan for `policy` on the host as it was at first."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.policy, self.saved = folder / "policy.yaml", folder / "plan.json"
        self._environment = {**os.environ, "PORTGATE_STATE_DIR": str(folder / "state")}
        self.policy.write_text("portgate: 1\ninbound: {allow: [https]}\n")
        self.saved.write_text(self.portgate("plan", str(self.policy), "--format", "json").out)

    def portgate(self, *words: str) -> Done:
        done = self.sandbox.run([sys.executable, "-m", "portgate", *words], check=False, env=self._environment)
        return Done(done.returncode, done.stdout, done.stderr)

    def apply(self) -> Done:
        return self.portgate("apply", str(self.policy), "--yes", "--planned", str(self.saved))

    @property
    def has_rules(self) -> bool:
        return "inet portgate" in self.sandbox.run(["nft", "list", "tables"]).stdout


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Sandbox() as sandbox:
        yield Host(sandbox, tmp_path)


def test_what_was_reviewed_is_loaded_and_again_changes_nothing(host: Host) -> None:
    done = host.apply()
    assert (done.code, host.has_rules) == (0, True), done
    again = host.apply()
    assert (again.code, "nothing changed" in again.out) == (0, True), again


def test_nothing_is_loaded_after_the_policy_has_changed(host: Host) -> None:
    host.policy.write_text(host.policy.read_text().replace("https", "http"))
    done = host.apply()
    assert (done.code, host.has_rules) == (3, False)
    assert "error[PG526]" in done.err
    assert "what would be loaded changed since" in " ".join(done.err.split())


def test_nothing_is_loaded_after_somebody_changed_the_rules_of_the_host(host: Host) -> None:
    host.sandbox.run(["nft", FOREIGN])
    done = host.apply()
    assert (done.code, host.has_rules) == (3, False)
    assert "the rules of this host changed since" in " ".join(done.err.split())


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"fingerprint": "x"}), "\udcff"])
def test_what_is_no_plan_is_refused_before_anything_is_looked_at(host: Host, content: str) -> None:
    host.saved.write_bytes(content.encode(errors="surrogateescape"))
    done = host.apply()
    assert (done.code, host.has_rules) == (2, False)
    assert "--planned" in done.err
    host.saved.unlink()
    assert host.apply().code == 2
