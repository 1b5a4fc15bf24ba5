"""The files for CI systems that users copy: well formed, and their commands run on the policies of this project."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from portgate.cli import run

ROOT = Path(__file__).parents[2]
WORKFLOW = ".github/workflows/policies.yml"
GITLAB = "docs/examples/gitlab-ci.yml"
HOOKS = ".pre-commit-hooks.yaml"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def commands() -> Iterator[str]:
    """Every command line of portgate that the files hold."""
    for step in read(WORKFLOW)["jobs"]["policies"]["steps"]:
        yield step.get("run", "")
    yield from read(GITLAB)["policies"]["script"]
    yield from (f"{hook['entry']} policies/web-server.yaml policies/common/base.yaml" for hook in read(HOOKS))


LINES = sorted({line for line in commands() if line.startswith("portgate ")})


def test_all_systems_check_and_test() -> None:
    assert len(LINES) == 6
    assert {line.split()[1] for line in LINES} == {"check", "test"}


@pytest.mark.parametrize("line", LINES)
def test_the_command_succeeds_on_our_own_policies(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(line.replace("$POLICIES", read(WORKFLOW)["env"]["POLICIES"]).partition(" > ")[0])
    assert run(words[1:]) == 0


def test_the_workflow_has_what_github_needs() -> None:
    workflow = read(WORKFLOW)
    triggers = workflow[True]  # YAML 1.1 reads `on` so, and GitHub as a string
    assert set(triggers) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    for step in workflow["jobs"]["policies"]["steps"]:
        assert ("uses" in step) != ("run" in step)


def test_a_hook_has_what_pre_commit_needs_and_takes_our_policies() -> None:
    for hook in read(HOOKS):
        assert {"id", "name", "entry", "language", "types", "files"} <= set(hook)
        assert hook["language"] == "python"
        assert re.search(hook["files"], "policies/common/base.yaml")
        assert not re.search(hook["files"], "docs/examples/gitlab-ci.yml")


def test_gitlab_reads_the_report_that_the_command_writes() -> None:
    job = read(GITLAB)["policies"]
    assert job["script"][-1].endswith(f"> {job['artifacts']['reports']['junit']}")
