"""`plan`, `audit`, `verify` and `trace` of a saved host: options, exit codes, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from portgate.cli import run

from .conftest import Done, process
from .example import captured

Portgate = Callable[..., Done]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captured(tmp_path_factory.mktemp("example"))


@pytest.fixture
def ask(portgate: Portgate, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Done]:
    """Runs a command line about the example's host."""
    monkeypatch.chdir(place)
    return lambda line: portgate(*line.split(), "--host", "host.json")


Ask = Callable[[str], Done]


@pytest.fixture(scope="module")
def applied(place: Path) -> Path:
    """A capture of the example's host without the other table, after the policy was applied."""
    native = place / "native.nft"
    assert run(["compile", str(place / "web.yaml"), "--to", "nftables", "-o", str(native)]) == 0
    parts = [f"--from=nft={native}", f"--from=ss={place / 'sockets.txt'}"]
    path = place / "applied.json"
    where = "--from=interfaces=eth0:192.0.2.1/24,eth0:2001:db8::1/64"
    assert run(["capture", *parts, where, "-o", str(path)]) == 0
    return path


# ------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("plan web.yaml", 1),
        ("plan web.yaml --detailed-exitcode", 2),
        ("plan web.yaml --format json", 1),
        ("plan web.yaml --backend nftables --native", 1),
        ("audit", 1),  # a database that everybody reaches
        ("audit web.yaml", 1),
        ("verify web.yaml", 1),
        ("trace tcp 203.0.113.9 25", 0),
        ("sockets", 0),
        ("status", 0),
        ("plan", 2),
        ("plan nowhere.yaml", 2),
        ("plan ruleset.nft", 2),
        ("plan web.yaml --backend ufw", 2),
        ("verify", 2),
        ("trace", 2),
        ("trace tcp", 2),
        ("trace tcp nonsense 22", 2),
        ("trace tcp 203.0.113.9 66000", 2),
        ("trace nonsense 203.0.113.9 22", 2),
        ("trace tcp 203.0.113.9 22 --to 2001:db8::1", 2),
        ("trace tcp 203.0.113.9 22 --iif a/b", 2),
        ("trace --packets nowhere.jsonl", 2),
        ("audit web.yaml --format sarif", 1),
        ("verify web.yaml --format junit", 1),
        ("trace tcp 203.0.113.9 22 --format sarif", 2),
    ],
)
def test_the_exit_code_says_what_happened(ask: Ask, line: str, code: int) -> None:
    assert ask(line).code == code


@pytest.mark.parametrize("line", ["plan web.yaml", "plan web.yaml --detailed-exitcode", "verify web.yaml"])
def test_a_host_that_is_as_the_policy_says_exits_with_0(
    portgate: Portgate, place: Path, applied: Path, line: str
) -> None:
    command, policy, *more = line.split()
    done = portgate(command, place / policy, *more, "--host", applied)
    assert (done.code, done.err) == (0, "")
    assert "Nothing changes" in done.out or "proven" in done.out


@pytest.mark.parametrize(
    "command", ["plan web.yaml", "audit", "verify web.yaml", "trace tcp ::1 22", "sockets", "status"]
)
def test_a_host_file_that_cannot_be_used_exits_with_3(
    portgate: Portgate, place: Path, tmp_path: Path, command: str
) -> None:
    words = [str(place / one) if one.endswith("yaml") else one for one in command.split()]
    hostile = {
        "empty": b"", "list": b"[]", "deep": b"[" * 100_000, "binary": b"\xff\xfe\x00", "other": b'{"schema": 2}',
        "reading": b'{"schema": 1, "notes": [], "readings": [{"kind": "nft-json", "source": "x", "text": "{"}]}',
        "sockets": b'{"schema": 1, "notes": [], "readings": [{"kind": "linux-sockets", "source": "x", "text": "{"}]}',
    }  # fmt: skip
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
    for path in (*(tmp_path / name for name in hostile), tmp_path, Path("/dev/zero"), tmp_path / "nowhere"):
        done = portgate(*words, "--host", path)
        if path.name == "reading" and command == "sockets":
            continue  # it says nothing about sockets, which is no error
        assert (done.code, done.out) == (3, ""), path
        assert "error[PG4" in done.err, path


# ------------------------------------------------------------------ trace


def verdict(done: Done) -> str:
    return done.out.splitlines()[-1].partition(": ")[2]


def test_ports_can_be_services_and_icmp_types_names(ask: Ask) -> None:
    assert verdict(ask("trace tcp 203.0.113.9 smtp")).startswith("drop, by inet filter input rule 1")
    assert "type 8" in ask("trace icmp 203.0.113.9 echo-request").out
    assert "type 128" in ask("trace icmpv6 2001:db8::9 echo-request").out
    assert "type 3" in ask("trace icmp 203.0.113.9 3").out
    assert ask("trace icmp 203.0.113.9 nonsense").code == 2


def test_a_packet_without_interface_and_destination_is_for_any_of_the_host(ask: Ask) -> None:
    assert verdict(ask("trace tcp 2001:db8:7::1 25")).startswith("drop")
    assert verdict(ask("trace tcp 2001:db8:7::1 25 --iif eth9")).startswith("drop")
    assert verdict(ask("trace tcp 203.0.113.9 443 --to 192.0.2.1")).startswith("accept")


def test_where_the_interface_or_the_address_matters_the_answer_depends_on_it(
    portgate: Portgate, tmp_path: Path
) -> None:
    (tmp_path / "rules").write_text(
        "table ip f { chain i { type filter hook input priority 0; policy drop;\n"
        "iifname eth0 tcp dport 22 accept\nip daddr 192.0.2.1 tcp dport 80 accept\n} }"
    )
    where = "interfaces=eth0:192.0.2.1/24,eth1:198.51.100.1/24"
    portgate("capture", f"--from=nft={tmp_path}/rules", "--from", where, "-o", tmp_path / "h")
    asked = {line: portgate("trace", "tcp", "203.0.113.9", *line.split(), "--host", tmp_path / "h") for line in (
        "22", "22 --iif eth0", "22 --iif eth1", "80", "80 --iif eth1", "80 --to 192.0.2.1",
    )}  # fmt: skip
    assert {line: verdict(done).partition(",")[0] for line, done in asked.items()} == {
        "22": "depends on the interface that it comes in on",
        "22 --iif eth0": "accept",
        "22 --iif eth1": "drop",
        "80": "depends on the address that it is sent to",
        "80 --iif eth1": "drop",
        "80 --to 192.0.2.1": "accept",
    }


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "[]", "5", '{"proto": "tcp"}', '{"proto": "tcp", "src": "203.0.113.9"}', "[" * 50_000,
        '{"proto": "tcp", "src": "203.0.113.9", "dport": "22"}', '{"proto": "tcp", "src": "203.0.113.9", "dport": -1}',
        '{"proto": "tcp", "src": "203.0.113.9", "dport": 22, "more": 1}', '{"proto": 999, "src": "203.0.113.9"}',
        '{"family": 6, "proto": "tcp", "src": "203.0.113.9", "dport": 22}', '{"proto": "icmp", "src": "::1", "icmp_type": "x"}',
        '{"proto": "tcp", "src": "203.0.113.9", "dport": 22, "iif": "x\\u001b[2J/"}', "\xff",
        '{"proto": "tcp", "src": ["203.0.113.9"], "dport": 22}', '{"proto": ["tcp"], "src": "203.0.113.9", "dport": 22}',
        '{"proto": "tcp", "src": "203.0.113.9", "dport": 22, "state": {}}', '{"proto": "tcp", "src": "203.0.113.9", "dport": 1e400}',
        '{"proto": "tcp", "src": "203.0.113.9", "dport": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_a_bad_packet_is_named_by_its_line(ask: Ask, place: Path, line: str) -> None:
    good = b'{"proto": "tcp", "src": "203.0.113.9", "dport": 22}\n\n'
    (place / "bad.jsonl").write_bytes(good + line.encode("latin-1") + b"\n")
    done = ask("trace --packets bad.jsonl --format json")
    assert (done.code, done.out) == (2, "")
    assert "line 3" in done.err
    assert all(character.isprintable() or character == "\n" for character in done.err)


def test_answers_in_batch_are_those_that_single_questions_get(ask: Ask, place: Path) -> None:
    lines = (place / "packets.jsonl").read_text().splitlines()
    many = [json.loads(line) for line in ask("trace --packets packets.jsonl --format json").out.splitlines()]
    for line, answer in zip(lines, many, strict=True):
        packet = json.loads(line)
        port = packet.get("dport", packet.get("icmp_type"))
        one = json.loads(ask(f"trace {packet['proto']} {packet['src']} {port} --iif eth0 --format json").out)
        one.pop("steps")
        assert one == answer


# ------------------------------------------------------------------ what is missing


def test_a_capture_without_sockets_is_fine_and_an_audit_says_so(
    portgate: Portgate, place: Path, tmp_path: Path
) -> None:
    host = tmp_path / "rules-only.json"
    portgate("capture", "--from", f"nft={place}/ruleset.nft", "-o", host)
    assert portgate("trace", "tcp", "203.0.113.9", "25", "--host", host).err == ""
    assert portgate("verify", place / "web.yaml", "--host", host).err == ""
    done = portgate("audit", place / "web.yaml", "--host", host)
    assert "PG425" in done.err
    assert "PG603" not in done.out, "what nobody looked for is not missing"


def test_a_capture_without_rules_says_what_is_missing(portgate: Portgate, place: Path, tmp_path: Path) -> None:
    host = tmp_path / "sockets-only.json"
    portgate("capture", "--from", f"ss={place}/sockets.txt", "-o", host)
    for words in (["audit"], ["plan", place / "web.yaml"], ["trace", "tcp", "::1", "22"], ["status"]):
        done = portgate(*words, "--host", host)
        assert done.code == 3
        assert "PG424" in done.err
    assert portgate("sockets", "--host", host).code == 0


def test_an_interface_that_the_host_lacks_is_a_warning_with_its_line(ask: Ask, place: Path) -> None:
    text = (place / "web.yaml").read_text().replace("{sources:", "{interfaces: [eht0], sources:")
    (place / "typo.yaml").write_text(text)
    for command in ("plan", "audit"):
        done = ask(f"{command} typo.yaml")
        assert done.code == 1
        assert "PG451" in done.err
        assert "did you mean eth0?" in done.err
    (warning,) = json.loads(ask("plan typo.yaml --format json").out)["warnings"]
    assert warning["code"] == "PG451"


def test_an_address_that_a_program_listens_on_is_the_hosts_own(portgate: Portgate, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(
        "table ip f { chain i { type filter hook input priority 0; policy drop; }\n"
        "chain f { type filter hook forward priority 0; policy accept; } }"
    )
    (tmp_path / "ss").write_text('tcp LISTEN 0 5 10.9.9.9:80 0.0.0.0:* users:(("web",pid=1,fd=3))\n')
    parts = [f"--from=nft={tmp_path}/rules", f"--from=ss={tmp_path}/ss", "--from=interfaces=eth0:192.0.2.1/24"]
    portgate("capture", *parts, "-o", tmp_path / "h")
    (listener,) = json.loads(portgate("audit", "--host", tmp_path / "h", "--format", "json").out)["listeners"]
    assert listener["verdict"] == "drop"


def test_of_many_lines_that_are_not_understood_a_few_are_shown(portgate: Portgate, place: Path, tmp_path: Path) -> None:
    (tmp_path / "ss").write_text("tcp LISTEN 0 5 0.0.0.0:no-such-name 0.0.0.0:*\n" * 40)
    portgate("capture", f"--from=ss={tmp_path}/ss", f"--from=nft={place}/ruleset.nft", "-o", tmp_path / "h")
    done = portgate("sockets", "--host", tmp_path / "h")
    assert done.err.count("warning[PG443]") == 5
    assert "times more" in done.err


def test_a_risky_service_is_told_by_plan_and_found_by_audit(portgate: Portgate, place: Path, tmp_path: Path) -> None:
    (tmp_path / "ss").write_text('tcp LISTEN 0 5 0.0.0.0:6379 0.0.0.0:* users:(("redis",pid=9,fd=3))\n')
    (tmp_path / "risky.yaml").write_text("portgate: 1\ninbound: {allow: [redis]}\n")
    portgate("capture", f"--from=ss={tmp_path}/ss", f"--from=nft={place}/ruleset.nft", "-o", tmp_path / "h")
    planned = portgate("plan", tmp_path / "risky.yaml", "--host", tmp_path / "h")
    assert "PG234" in planned.err
    for done in (planned, portgate("audit", "--host", tmp_path / "h")):
        assert "PG611 redis on tcp 0.0.0.0:6379 can be reached from everywhere; redis: no authentication" in done.out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("trace tcp 203.0.113.9", "name the one that the packet is sent to"),
        ("trace icmp 2001:db8::9 echo-request", "for IPv6 write icmpv6"),
        ("trace tcp 203.0.113.9 22 --packets packets.jsonl", "not both"),
    ],
)
def test_a_packet_that_is_not_told_whole_is_a_wrong_command_line(ask: Ask, line: str, told: str) -> None:
    done = ask(line)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_packets_may_begin_with_a_byte_order_mark_and_end_lines_in_any_way(ask: Ask, place: Path) -> None:
    line = b'{"proto": "tcp", "src": "203.0.113.9", "dport": 25, "iif": "eth0"}'
    (place / "windows.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")
    assert "drop" in ask("trace --packets windows.jsonl").out


def test_a_host_comes_from_standard_input(place: Path) -> None:
    done = process("audit", "--host", "-", input=(place / "host.json").read_text())
    assert done.stdout == process("audit", "--host", str(place / "host.json")).stdout
    assert "nginx(812)" in done.stdout
    assert process("audit", "--host", "-", input="{").returncode == 3
