"""A host that lacks something, or holds what is somebody else's: what is said, and that nothing was touched."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
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
PORTGATE = [sys.executable, "-m", "portgate"]
READING = ("audit", "plan POLICY", "verify POLICY", "trace tcp 198.51.100.7 22", "apply POLICY --yes", "status")


@pytest.fixture(scope="module")
def host() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("portgate: 1\ninbound: {allow: [https]}\n")
    return path


@pytest.fixture
def clean(host: Sandbox) -> Iterator[None]:
    """No table before and after."""
    yield
    host.run(["nft", "flush", "ruleset"])


def programs() -> list[str]:
    """The files behind the programs of iptables, of both stores."""
    found = {shutil.which(f"iptables-{store}-save", path="/usr/sbin:/sbin") for store in ("nft", "legacy")}
    return sorted(os.path.realpath(path) for path in found if path)


def ruleset(host: Sandbox) -> str:
    return host.run(["nft", "list", "ruleset"]).stdout


def run(host: Sandbox, policy: Path, line: str, *wrapper: str, text: str | None = None) -> Done:
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(policy.parent / "state")}
    words = [str(policy) if one == "POLICY" else one for one in shlex.split(line)]
    done = host.run([*wrapper, *PORTGATE, *words], text, check=False, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


def mounted(script: str, *arguments: str) -> list[str]:
    """A wrapper that mounts something where nobody else sees it."""
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script} && shift {len(arguments)} && exec "$@"', "sh",
        *arguments,
    ]  # fmt: skip


# ------------------------------------------------------------------ what is missing


def library() -> str:
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"libnftables\.so\.1 .*=> (\S+)", listed)
    return os.path.realpath(found[1]) if found else ""


@pytest.mark.parametrize("line", READING)
def test_without_libnftables_and_iptables(host: Sandbox, policy: Path, line: str) -> None:
    hidden = [library(), *programs()]
    script = " && ".join(f'mount --bind /dev/null "${{{number}}}"' for number in range(1, len(hidden) + 1))
    done = run(host, policy, line, *mounted(script, *hidden))
    assert (done.code, done.out) == (3, ""), done.err
    assert "PG422" in done.err
    assert "install" in done.err


@pytest.mark.usefixtures("clean")
def test_without_libnftables_iptables_is_driven_and_native_rules_are_not_seen(host: Sandbox, policy: Path) -> None:
    hidden = mounted('mount --bind /dev/null "$1"', library())
    done = run(host, policy, "plan POLICY", *hidden)
    assert (done.code, "by iptables" in done.out) == (1, True), done.err
    assert "PG421" in done.err
    assert "rules of nftables" in done.err
    assert run(host, policy, "apply POLICY --yes", *hidden).code == 0
    assert "PORTGATE-INPUT" in ruleset(host)


@pytest.mark.parametrize("line", ["check POLICY", "compile POLICY --to nftables", "sockets", "backends"])
def test_what_needs_no_firewall_works_without_libnftables(host: Sandbox, policy: Path, line: str) -> None:
    assert run(host, policy, line, *mounted('mount --bind /dev/null "$1"', library())).code == 0


POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize("line", READING)
def test_without_permission(host: Sandbox, policy: Path, line: str) -> None:
    done = run(host, policy, line, *POWERLESS)
    assert (done.code, done.out) == (3, ""), done.err
    assert "PG422" in done.err
    assert " ".join(done.err.split()).count("run this command as root") == 1
    assert ruleset(host) == ""


@pytest.mark.parametrize("line", ["check POLICY", "compile POLICY --to nftables", "sockets", "backends"])
def test_what_needs_no_permission_works_without_it(host: Sandbox, policy: Path, line: str) -> None:
    assert run(host, policy, line, *POWERLESS).code == 0


@pytest.mark.parametrize(
    "mount", ['mount -t tmpfs -o ro none "$1"', 'mount -t tmpfs -o size=64k,mode=700 none "$1" && head -c 1M /dev/zero 2>&- >"$1/x" || true']
)  # fmt: skip
def test_without_room_for_the_state(host: Sandbox, policy: Path, mount: str) -> None:
    (policy.parent / "state").mkdir(mode=0o700)
    done = run(host, policy, "apply POLICY --yes", *mounted(mount, str(policy.parent / "state")))
    assert (done.code, done.out) == (3, ""), done.err
    assert "PG520" in done.err
    assert ruleset(host) == ""


# ------------------------------------------------------------------ what is not ours


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("line", ["plan POLICY", "apply POLICY --yes", "apply POLICY --dry-run"])
def test_a_table_of_our_name_that_somebody_else_made_is_left_alone(host: Sandbox, policy: Path, line: str) -> None:
    host.run(["nft", "-f", "-"], "table inet portgate { chain mine { tcp dport 22 accept; }; }\n")
    before = ruleset(host)
    done = run(host, policy, line)
    assert done.code == 3
    assert "PG530" in done.err
    assert ruleset(host) == before


# ------------------------------------------------------------------ what has no effect here


@pytest.mark.usefixtures("clean")
def test_an_interface_that_is_not_there_is_a_warning_of_the_apply(host: Sandbox, policy: Path) -> None:
    policy.write_text("portgate: 1\nzones: {lan: {interfaces: [eht0]}}\ninbound: {allow: [{port: ssh, from: lan}]}\n")
    done = run(host, policy, "apply POLICY --yes")
    assert done.code == 0
    assert "PG451" in done.err
    assert "did you mean eth0?" in done.err


@pytest.mark.usefixtures("clean")
def test_a_forward_while_the_kernel_does_not_forward_is_a_warning(host: Sandbox, policy: Path) -> None:
    policy.write_text('portgate: 1\nforward: [{port: 2222/tcp, to: "10.0.0.7:22"}]\n')
    off = ("sh", "-c", 'echo 0 >/proc/sys/net/ipv4/ip_forward && exec "$@"', "sh")
    assert "PG452" in run(host, policy, "plan POLICY", *off).err
    done = run(host, policy, "apply POLICY --yes", *off)
    assert done.code == 0
    assert "PG452" in done.err
    on = ("sh", "-c", 'echo 1 >/proc/sys/net/ipv4/ip_forward && exec "$@"', "sh")
    assert "PG452" not in run(host, policy, "plan POLICY", *on).err


# ------------------------------------------------------------------ somebody is asked


def on_terminal(host: Sandbox, policy: Path, line: str, typed: str) -> Done:
    command = shlex.join([*PORTGATE, *(str(policy) if one == "POLICY" else one for one in line.split())])
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(policy.parent / "state"), "TERM": "xterm"}
    done = host.run(["script", "-qec", command, "/dev/null"], typed, check=False, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.usefixtures("clean")
def test_on_a_terminal_the_plan_is_shown_and_nothing_is_loaded_without_a_yes(host: Sandbox, policy: Path) -> None:
    for typed in ("n\n", "\n"):
        done = on_terminal(host, policy, "apply POLICY", typed)
        assert done.code == 1
        assert "They stay until you change them." in done.out
        assert "Load these rules?" in done.out
        assert "nothing was changed" in done.out
        assert ruleset(host) == ""
    assert "The old rules are back after 7 seconds" in on_terminal(host, policy, "apply POLICY --confirm 7", "n\n").out
    done = on_terminal(host, policy, "apply POLICY", "y\n")
    assert done.code == 0
    assert "is in force" in done.out
    assert "table inet portgate" in ruleset(host)


def test_with_json_nobody_is_asked(host: Sandbox, policy: Path) -> None:
    done = on_terminal(host, policy, "apply POLICY --format json", "y\n")
    assert done.code == 2
    assert ruleset(host) == ""
