"""`sockets`, `capture` and `status`: of a saved host, and of a real one in a sandbox."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portgate.sandbox import Sandbox, Transport

from .conftest import Done

Portgate = Callable[..., Done]
SS = 'tcp LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("ngi\x1bnx",pid=812,fd=6))\n'


@pytest.fixture
def saved(tmp_path: Path, portgate: Portgate) -> Path:
    (tmp_path / "ss.txt").write_text(SS)
    (tmp_path / "rules.txt").write_text("table inet filter {\n}\n")
    path = tmp_path / "host.json"
    parts = [f"--from=ss={tmp_path}/ss.txt", f"--from=nft={tmp_path}/rules.txt", "--from=interfaces=eth0:192.0.2.1/24"]
    assert portgate("capture", *parts, "-o", path).code == 0
    return path


def test_a_capture_is_private_and_holds_the_parts_in_order(saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    content = json.loads(saved.read_text())
    assert content["schema"] == 1
    assert [one["kind"] for one in content["readings"]] == ["ss", "nft", "interfaces"]
    assert content["readings"][0] == {"kind": "ss", "source": "ss.txt", "text": SS}


def test_a_file_that_is_not_what_it_is_said_to_be_makes_no_capture(portgate: Portgate, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary,\n")
    parts = [f"--from={kind}={tmp_path}/notes.txt" for kind in ("nft", "iptables-save", "nft-json")]
    done = portgate("capture", *parts, "-o", tmp_path / "host.json")
    assert done.code == 3
    assert "PG412" in done.err and "PG413" in done.err
    assert not (tmp_path / "host.json").exists()


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("nft", 'table inet t {\nchain c {\naccept\n}\n}\ninclude "/etc/shadow"\n', 'include "/etc/shadow"'),
        ("iptables-save", "*filter\n:INPUT DROP [0:0]\n-R INPUT 1 -j ACCEPT\nCOMMIT\n", "-R INPUT 1 -j ACCEPT"),
    ],
)
def test_what_may_be_any_rule_is_told_and_not_followed(
    portgate: Portgate, tmp_path: Path, kind: str, text: str, line: str
) -> None:
    (tmp_path / "rules").write_text(text)
    done = portgate("capture", f"--from={kind}={tmp_path}/rules", "-o", tmp_path / "host.json")
    assert done.code == 0
    assert "warning[PG415]" in done.err
    assert line in done.err
    assert json.loads((tmp_path / "host.json").read_text())["readings"][0]["text"] == text
    answer = portgate("trace", "tcp", "203.0.113.9", "22", "--iif=eth0", "--host", tmp_path / "host.json")
    assert f"depends on {line}" in answer.out


@pytest.mark.parametrize("part", ["nonsense=file", "nft", "=file"])
def test_a_part_of_no_known_kind_is_a_wrong_command_line(portgate: Portgate, part: str) -> None:
    done = portgate("capture", "--from", part)
    assert done.code == 2
    assert "nft-json" in done.err


def test_bytes_that_are_no_text_do_not_hide_a_host(portgate: Portgate, tmp_path: Path) -> None:
    """Anybody can give their process such a name."""
    header = b"Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
    row = b'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("ss\xff\x1bhd",pid=640,fd=3))\n'
    (tmp_path / "ss").write_bytes(header + row)
    (tmp_path / "nft").write_bytes(
        b"table inet t {\n chain c {\n  type filter hook input priority 0; policy drop;\n"
        b'  tcp dport 22 accept comment "caf\xe9"\n }\n}\n'
    )
    parts = [f"--from={kind}={tmp_path / kind}" for kind in ("ss", "nft")]
    assert portgate("capture", *parts, "-o", tmp_path / "host.json").code == 0
    done = portgate("audit", "--host", tmp_path / "host.json")
    assert r"ss\xff\x1bhd(640)" in done.out
    assert "yes, from anywhere" in done.out


def test_a_host_of_which_no_sockets_are_known_is_not_said_to_be_silent(portgate: Portgate, tmp_path: Path) -> None:
    (tmp_path / "nft").write_text("table inet t {\n}\n")
    assert portgate("capture", f"--from=nft={tmp_path}/nft", "-o", tmp_path / "host.json").code == 0
    done = portgate("sockets", "--host", tmp_path / "host.json")
    assert (done.code, done.out) == (0, "no listeners\n")
    assert "PG425" in done.err


def test_a_part_that_cannot_be_read_exits_with_3(portgate: Portgate) -> None:
    done = portgate("capture", "--from", "nft=/nowhere")
    assert (done.code, done.out) == (3, "")
    assert "/nowhere: No such file or directory" in done.err


def test_listeners_of_a_saved_host_are_shown_and_their_names_not_obeyed(portgate: Portgate, saved: Path) -> None:
    done = portgate("sockets", "--host", saved)
    assert done.code == 0
    assert "0.0.0.0:80" in done.out
    assert "\x1b" not in done.out
    assert "(812)" in done.out


def test_listeners_for_programs(portgate: Portgate, saved: Path) -> None:
    content = json.loads(portgate("sockets", "--host", saved, "--format", "json").out)
    assert content["schema"] == 1
    (listener,) = content["listeners"]
    assert (listener["protocol"], listener["port"], listener["families"]) == ("tcp", 80, [4])
    assert listener["processes"][0]["pid"] == 812


def test_a_host_file_that_is_no_capture_exits_with_3(portgate: Portgate, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text("{}")
    done = portgate("sockets", "--host", tmp_path / "host.json")
    assert done.code == 3
    assert "PG420" in done.err


# ------------------------------------------------------------------ a real host

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")


@pytest.fixture(scope="module")
def host() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.listen(Transport.TCP, "192.0.2.1", 8443)
        yield sandbox


def inside(host: Sandbox, tmp_path: Path, *arguments: str) -> Done:
    environment = {**os.environ, "PORTGATE_STATE_DIR": str(tmp_path / "state")}
    done = host.run([sys.executable, "-m", "portgate", *arguments], check=False, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.kernel
@needs_root
def test_a_live_host_is_captured_whole(host: Sandbox, tmp_path: Path, portgate: Portgate) -> None:
    done = inside(host, tmp_path, "capture", "-o", str(tmp_path / "host.json"))
    assert (done.code, done.out) == (0, "")
    content = json.loads((tmp_path / "host.json").read_text())
    kinds = [one["kind"] for one in content["readings"]]
    assert kinds == ["nft-json", "linux-sockets", "interfaces", "sysctl"]
    assert "192.0.2.1:8443" in portgate("sockets", "--host", tmp_path / "host.json").out


@pytest.mark.kernel
@needs_root
def test_the_same_listeners_are_seen_live_and_saved(host: Sandbox, tmp_path: Path, portgate: Portgate) -> None:
    inside(host, tmp_path, "capture", "-o", str(tmp_path / "host.json"))
    live = inside(host, tmp_path, "sockets", "--format", "json")
    assert live.out == portgate("sockets", "--host", tmp_path / "host.json", "--format", "json").out


@pytest.mark.kernel
@needs_root
def test_status_tells_a_bare_host_from_one_with_our_rules(host: Sandbox, tmp_path: Path) -> None:
    bare = inside(host, tmp_path, "status")
    assert (bare.code, "nothing was applied" in bare.out) == (0, True)
    (tmp_path / "policy.yaml").write_text("portgate: 1\ninbound: {allow: [https]}\n")
    inside(
        host, tmp_path, "compile", str(tmp_path / "policy.yaml"), "--to", "nftables", "-o", str(tmp_path / "rules.nft")
    )
    host.run(["nft", "-f", str(tmp_path / "rules.nft")])
    loaded = inside(host, tmp_path, "status", "--format", "json")
    assert json.loads(loaded.out)["loaded"] is True
    host.run(["nft", "delete", "table", "inet", "portgate"])
