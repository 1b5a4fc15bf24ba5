"""An apply that would lock its administrator out, on a kernel: it refuses, and nothing is touched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.sandbox import Sandbox, Transport

from .conftest import Done

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root"),
]

SESSION = "192.0.2.2 40000 192.0.2.1 22"
LOCKING = "portgate: 1\ninbound: {allow: [https]}\n"
OPEN = "portgate: 1\ninbound: {allow: [ssh]}\n"


@pytest.fixture
def host() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def portgate(
    host: Sandbox, tmp_path: Path, *arguments: str, session: str | None = SESSION, prefix: tuple[str, ...] = ()
) -> Done:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
    environment |= {"PORTGATE_STATE_DIR": str(tmp_path / "state")} | ({"SSH_CONNECTION": session} if session else {})
    done = host.run([*prefix, sys.executable, "-m", "portgate", *arguments], check=False, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "policy.yaml").write_text(text)
    return str(tmp_path / "policy.yaml")


def rules(host: Sandbox) -> str:
    return host.run(["nft", "list", "ruleset"]).stdout


def test_an_apply_that_would_lock_out_refuses_and_touches_nothing(host: Sandbox, tmp_path: Path) -> None:
    done = portgate(host, tmp_path, "apply", written(tmp_path, LOCKING), "--yes")
    assert (done.code, rules(host)) == (3, "")
    assert "PG541" in done.err
    assert "--override PG541" in done.err


def test_an_override_goes_on_all_the_same(host: Sandbox, tmp_path: Path) -> None:
    policy = written(tmp_path, LOCKING)
    assert portgate(host, tmp_path, "apply", policy, "--yes", "--override", "PG540").code == 3
    assert portgate(host, tmp_path, "apply", policy, "--yes", "--override", "pg541").code == 0
    assert "chain input" in rules(host)


def test_only_an_objection_can_be_overridden(host: Sandbox, tmp_path: Path) -> None:
    assert portgate(host, tmp_path, "apply", written(tmp_path, OPEN), "--yes", "--override", "PG520").code == 2


def test_without_a_session_and_management_nothing_is_asked(host: Sandbox, tmp_path: Path) -> None:
    assert portgate(host, tmp_path, "apply", written(tmp_path, LOCKING), "--yes", session=None).code == 0


def test_a_session_that_sudo_forgot_is_found_with_the_processes_above(host: Sandbox, tmp_path: Path) -> None:
    policy = written(tmp_path, LOCKING)
    forget = ("sh", "-c", 'env -u SSH_CONNECTION "$@"; exit $?', "sh")
    done = portgate(host, tmp_path, "apply", policy, "--yes", prefix=forget)
    assert (done.code, "PG541" in done.err) == (3, True)


def test_management_is_kept_in_with_nobody_connected(host: Sandbox, tmp_path: Path) -> None:
    policy = written(tmp_path, LOCKING + "management: {from: 192.0.2.0/24}\n")
    done = portgate(host, tmp_path, "apply", policy, "--yes", session=None)
    assert (done.code, "PG542" in done.err, rules(host)) == (3, True, "")


def test_the_plan_shows_the_objection_as_text_and_for_programs(host: Sandbox, tmp_path: Path) -> None:
    policy = written(tmp_path, LOCKING)
    text = portgate(host, tmp_path, "plan", policy)
    assert text.code == 1
    assert "Objections\n  PG541" in text.out
    objections = json.loads(portgate(host, tmp_path, "plan", policy, "--format", "json").out)["objections"]
    assert [one["code"] for one in objections] == ["PG541"]
    assert objections[0]["witness"]["src"] == "192.0.2.2"
    assert objections[0]["rule"]["chain"] == "input"


def test_a_plan_that_changes_nothing_has_no_objections(host: Sandbox, tmp_path: Path) -> None:
    policy = written(tmp_path, LOCKING)
    portgate(host, tmp_path, "apply", policy, "--yes", session=None)
    assert portgate(host, tmp_path, "plan", policy).code == 0


def test_the_sessions_of_others_are_those_that_the_kernel_has(host: Sandbox, tmp_path: Path) -> None:
    host.listen(Transport.TCP, "192.0.2.1", 22)
    with host.make_socket(2, 1, inside="eth0") as near:
        near.connect(("192.0.2.1", 22))
        peer, port = near.getsockname()
        capture = portgate(host, tmp_path, "capture")
        readings = json.loads(capture.out)["readings"]
        (text,) = (one["text"] for one in readings if one["kind"] == "ssh-connections")
        assert text.splitlines() == [SESSION, f"{peer} {port} 192.0.2.1 22"]
