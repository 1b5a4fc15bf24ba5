"""Text that others chose (names, comments, files, processes) is shown by every command and obeyed by none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from portgate.sandbox import Sandbox

from .conftest import Done

Portgate = Callable[..., Done]
EVIL = 'x\x1b[2J\x9b31m\r\x07\u202e"; drop #'
SYNTAX = '"; } drop # \\ $(reboot) `reboot` %s {0} <b>'


def harmless(done: Done) -> bool:
    return all(one.isprintable() or one == "\n" for one in done.out + done.err)


LISTING = {
    "nftables": [
        {"table": {"family": "ip", "name": EVIL, "handle": 1}},
        {"set": {"family": "ip", "table": EVIL, "name": EVIL, "type": "inet_service", "handle": 2, "elem": [22, 443]}},
        {
            "chain": {
                "family": "ip", "table": EVIL, "name": EVIL, "handle": 3, "type": "filter", "hook": "input", "prio": 0,
                "policy": "accept",
            }
        },
        {
            "rule": {
                "family": "ip", "table": EVIL, "chain": EVIL, "handle": 4, "comment": EVIL,
                "expr": [
                    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": f"@{EVIL}"}},
                    {"log": {"prefix": EVIL}},
                    {"drop": None},
                ],
            }
        },
        {
            "rule": {
                "family": "ip", "table": EVIL, "chain": EVIL, "handle": 5,
                "expr": [{"match": {"op": "==", "left": {"meta": {"key": EVIL}}, "right": EVIL}}, {"jump": {"target": EVIL}}],
            }
        },
    ]
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A capture in which everything has a hostile name."""
    sockets = f'tcp LISTEN 0 5 0.0.0.0:443 0.0.0.0:* users:(("{EVIL}",pid=1,fd=3))\n'
    readings = [
        {"kind": "nft-json", "source": EVIL, "text": json.dumps(LISTING)},
        {"kind": "ss", "source": EVIL, "text": sockets + EVIL + "\n"},
        {"kind": "interfaces", "source": EVIL, "text": "eth0:192.0.2.1/24"},
    ]
    notes = [{"code": "PG421", "detail": EVIL, "remedy": EVIL}]
    path = tmp_path / "host.json"
    path.write_text(json.dumps({"schema": 1, "readings": readings, "notes": notes}))
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """As hostile as the language lets text be."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"portgate: 1\nname: web\ndescription: '{SYNTAX}'\ninbound:\n  allow:\n"
        f"    - {{port: https, note: '{SYNTAX}', owner: '{SYNTAX}', log: true}}\n    - 5432/tcp\n"
    )
    return path


def test_a_policy_that_holds_what_a_terminal_obeys_is_refused(portgate: Portgate, policy: Path) -> None:
    policy.write_text('portgate: 1\ndescription: "\\e[2J"\ninbound: {allow: [{port: https, note: "\\u202e"}]}\n')
    for command in ("check", "plan", "audit", "verify"):
        done = portgate(command, policy)
        assert done.code == 2
        assert "PG112" in done.err
        assert harmless(done)


WITH_JSON = (
    "check POLICY", "plan POLICY --host HOST", "audit --host HOST", "audit POLICY --host HOST",
    "verify POLICY --host HOST", "sockets --host HOST", "trace tcp 198.51.100.7 443 --host HOST",
    "trace tcp 198.51.100.7 22 --iif eth0 --host HOST", "status --host HOST",
)  # fmt: skip
WITHOUT = ("compile POLICY --to nftables", "plan POLICY --host HOST --native")


@pytest.mark.parametrize("command", [*WITH_JSON, *WITHOUT, *(f"{one} --format json" for one in WITH_JSON)])
def test_no_command_prints_what_a_terminal_would_obey(
    portgate: Portgate, host: Path, policy: Path, command: str
) -> None:
    done = portgate(*({"POLICY": policy, "HOST": host}.get(one, one) for one in command.split()))
    assert done.code in (0, 1), done.err
    assert harmless(Done(0, done.out.replace("\t", " "), done.err)), ascii(done.out + done.err)


@pytest.mark.parametrize(
    "words",
    [
        [EVIL], ["check", EVIL], ["plan", EVIL], ["audit", "--host", EVIL], ["verify", EVIL, "--host", EVIL],
        ["trace", EVIL, EVIL, EVIL], ["trace", "tcp", EVIL, "22"], ["trace", "tcp", "::1", EVIL], ["trace", "tcp", "::1", "22", "--iif", EVIL],
        ["trace", "tcp", "::1", "22", "--to", EVIL], ["trace", "--packets", EVIL],
        ["capture", "--from", EVIL], ["capture", "--from", f"nft={EVIL}"], ["capture", "--from", f"interfaces={EVIL}"],
        ["services", EVIL], ["explain", EVIL], ["compile", EVIL, "--to", "nftables"], ["compile", EVIL, "--to", EVIL],
        ["plan", "x", "--backend", EVIL], ["sockets", "--host", EVIL], ["status", "--host", EVIL], ["apply", EVIL, "--dry-run"],
        ["apply", EVIL, "--override", EVIL],
    ],
    ids=ascii,
)  # fmt: skip
def test_hostile_arguments_are_refused_and_shown_in_the_clear(portgate: Portgate, words: list[str]) -> None:
    done = portgate(*words)
    assert done.code in (1, 2, 3), done.err
    assert "PG901" not in done.err
    assert harmless(done), ascii(done.out + done.err)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
def test_a_listener_and_a_table_with_hostile_names_on_a_live_host(tmp_path: Path, policy: Path) -> None:
    listener = (
        "import ctypes, socket, time\n"
        f"ctypes.CDLL(None).prctl(15, {EVIL.encode()[:14]!r}, 0, 0, 0)\n"
        "one = socket.create_server(('192.0.2.1', 443)); print('ready', flush=True); time.sleep(60)"
    )
    rules = 'table ip other { chain input { type filter hook input priority 5;\n tcp dport 5432 drop comment "x\x1b[2J"\n }\n}\n'
    with Sandbox() as sandbox:
        sandbox.run(["nft", "-f", "-"], rules)
        sandbox.start([sys.executable, "-c", listener])
        environment = {**os.environ, "PORTGATE_STATE_DIR": str(tmp_path / "state")}
        seen = ""
        for words in (["apply", str(policy), "--yes"], ["audit", str(policy)], ["plan", str(policy)], ["sockets"], ["status"],
                      ["verify", str(policy)], ["trace", "tcp", "198.51.100.7", "5432", "--iif", "eth0"]):  # fmt: skip
            done = sandbox.run([sys.executable, "-m", "portgate", *words], check=False, env=environment)
            assert done.returncode in (0, 1), done.stderr
            assert harmless(Done(0, done.stdout, done.stderr)), ascii(done.stdout + done.stderr)
            seen += done.stdout
        assert r"x\x1b[2J" in seen


def limited(tmp_path: Path, rules: int) -> Path:
    """A host on which each packet meets so many rate limits."""
    lines = "-A INPUT -m limit --limit 5/min -j DROP\n" * rules
    readings = [
        {"kind": "iptables-save", "source": "a", "text": f"*filter\n:INPUT ACCEPT [0:0]\n{lines}COMMIT\n"},
        {"kind": "interfaces", "source": "b", "text": "eth0:192.0.2.1/24"},
        {"kind": "ss", "source": "c", "text": "tcp LISTEN 0 5 0.0.0.0:443 0.0.0.0:*\n"},
    ]
    path = tmp_path / "limited.json"
    path.write_text(json.dumps({"schema": 1, "readings": readings, "notes": []}))
    return path


def test_a_thousand_doubts_behind_each_other_are_followed(portgate: Portgate, tmp_path: Path) -> None:
    done = portgate("audit", "--host", limited(tmp_path, 1200))
    assert done.code in (0, 1), done.err
    assert "rate limit" in done.out


def test_more_doubts_than_can_be_followed_are_told_as_such(portgate: Portgate, tmp_path: Path) -> None:
    done = portgate("audit", "--host", limited(tmp_path, 6000))
    assert done.code == 3
    assert "PG426" in done.err and "PG901" not in done.err
