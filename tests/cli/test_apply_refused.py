"""What stops an apply before anything is touched."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def host() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def untouched(host: Sandbox) -> Iterator[None]:
    yield
    assert host.run(["nft", "list", "ruleset"]).stdout == ""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("portgate: 1\ninbound: {allow: [https]}\n")
    return path


def apply(host: Sandbox, policy: Path, state: str | Path, *more: str) -> Done:
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(state)}
    words = [sys.executable, "-m", "portgate", "apply", str(policy), *more]
    done = host.run(words, check=False, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_state_directory_that_cannot_be_made(host: Sandbox, policy: Path) -> None:
    done = apply(host, policy, "/proc/nowhere", "--yes")
    assert done.code == 3
    assert "PG520" in done.err


def test_a_state_directory_that_leads_elsewhere(host: Sandbox, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert apply(host, policy, tmp_path / "link", "--yes").code == 3


def test_a_full_state_directory(host: Sandbox, policy: Path, tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=16k,mode=700 none $1 && shift && exec "$@"'
    (tmp_path / "full").mkdir()
    words = [sys.executable, "-m", "portgate", "apply", str(policy), "--yes"]
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounted, "sh", str(tmp_path / "full")]
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(tmp_path / "full")}
    done = host.run([*private, *words], check=False, env=environment)
    assert done.returncode == 3
    assert "PG520" in done.stderr
    assert "No space left" in done.stderr


def test_a_policy_with_mistakes(host: Sandbox, policy: Path, tmp_path: Path) -> None:
    policy.write_text("portgate: 1\ninbound: {allow: [htps, 80]}\n")
    done = apply(host, policy, tmp_path / "state", "--yes")
    assert done.code == 2
    assert "PG205" in done.err
    assert "PG202" in done.err


def test_nobody_to_ask(host: Sandbox, policy: Path, tmp_path: Path) -> None:
    done = apply(host, policy, tmp_path / "state")
    assert done.code == 2
    assert "--yes" in done.err


def test_a_dry_run(host: Sandbox, policy: Path, tmp_path: Path) -> None:
    assert apply(host, policy, tmp_path / "state", "--dry-run").code == 1
    assert not (tmp_path / "state").exists()
