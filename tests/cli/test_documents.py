"""What the documents say is what the commands do: transcripts, and the shapes of JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from portgate.sandbox import Sandbox

from .conftest import process
from .example import DOCS, EXAMPLE, captured, replayed, run_live, run_saved, transcripts

AGAIN = "write them anew with: python -m tests.cli.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captured(tmp_path_factory.mktemp("example"))


@pytest.mark.parametrize("transcript", list(transcripts(live=False)), ids=lambda text: text.partition("\n")[0])
def test_a_transcript_about_the_example_is_what_is_printed(folder: Path, transcript: str) -> None:
    assert replayed(transcript, run_saved(folder)) == transcript, AGAIN


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
@pytest.mark.parametrize("transcript", list(transcripts(live=True)))
def test_a_transcript_about_a_live_host_is_what_is_printed(tmp_path: Path, transcript: str) -> None:
    with Sandbox() as sandbox:
        assert replayed(transcript, run_live(sandbox, tmp_path)) == transcript, AGAIN


# ------------------------------------------------------------------ shapes of JSON

_TABLE = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+)` \| ([^|]+?) \| ([^|]*?) ?\|$", re.MULTILINE)

Table = Mapping[str, tuple[str, bool]]
"""Of each key its type, and whether it may be missing."""


def tables() -> dict[str, Table]:
    text = (DOCS / "json.md").read_text()
    return {
        name: {key: (kind, means.startswith("optional")) for key, kind, means in _ROW.findall(body)}
        for name, body in _TABLE.findall(text)
    }


TABLES = tables()
PLAIN = {"string": str, "number": int, "boolean": bool}


def wrong(value: object, kind: str, path: str) -> Iterator[str]:
    """Where a value is not what the tables say."""
    if kind.endswith(" or null"):
        if value is None:
            return
        kind = kind.removesuffix(" or null")
    if kind.startswith("["):
        assert isinstance(value, list), path
        for number, one in enumerate(value):
            yield from wrong(one, kind[1:-1], f"{path}[{number}]")
    elif kind in PLAIN:
        if type(value) is not PLAIN[kind]:
            yield f"{path} is {value!r}, not a {kind}"
    else:
        assert isinstance(value, dict), path
        yield from (f"{path}.{key} is not documented" for key in value.keys() - TABLES[kind].keys())
        for key, (inner, optional) in TABLES[kind].items():
            if key in value:
                yield from wrong(value[key], inner, f"{path}.{key}")
            elif not optional:
                yield f"{path}.{key} is missing"


HOST = "--host host.json"
PRINTED = {
    "check": ["check web.yaml", "check bad.yaml"],
    "plan": [f"plan web.yaml {HOST}", f"plan forwards.yaml {HOST}"],
    "test": ["test web.yaml", "test bad.yaml", "test broken.yaml"],
    "audit": [f"audit {HOST}", f"audit web.yaml {HOST}", f"audit forwards.yaml {HOST}"],
    "verify": [f"verify web.yaml {HOST}"],
    "import": [f"import {HOST}"],
    "trace": [f"trace tcp 203.0.113.9 25 {HOST}", f"trace icmp 203.0.113.9 echo-request --to 192.0.2.1 {HOST}"],
    "status": [f"status {HOST}"],
    "sockets": [f"sockets {HOST}"],
    "services": ["services", "services telnet", "services 443"],
    "explain": ["explain", "explain PG602"],
    "backends": ["backends"],
}
"""Command lines for each table, by which every documented shape is met."""

BROKEN = "portgate: 1\ninbound: {allow: [https, 8080/tcp]}\nexpect: [{only: [https]}]\n"
BAD = "portgate: 1\ninbound: {allow: [htps, ssh, ssh, telnet]}\n"
FORWARDS = """\
{portgate: 1, name: forwards, inbound: {default: drop, allow: [{port: ssh, limit: 3/minute}, {port: 40000/tcp}]},
 forward: [{port: 443/tcp, to: 8443}, {port: 2222/tcp, to: "10.0.0.7:22", from: 192.0.2.0/24}]}
"""


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    (folder / "bad.yaml").write_text(BAD)
    (folder / "broken.yaml").write_text(BROKEN)
    (folder / "forwards.yaml").write_text(FORWARDS)
    return folder


def answer(place: Path, line: str) -> object:
    done = process(*shlex.split(line), "--format", "json", cwd=place)
    assert done.returncode in (0, 1, 2), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("table", "line"), [(table, line) for table, lines in PRINTED.items() for line in lines])
def test_json_has_the_keys_that_are_documented_and_no_others(place: Path, table: str, line: str) -> None:
    found = answer(place, line)
    assert isinstance(found, dict)
    assert found["schema"] == 1
    assert list(wrong(found, table, table)) == []


def test_packets_in_batch_are_answered_one_object_a_line_in_order(place: Path) -> None:
    done = process(
        "trace", "--packets", "packets.jsonl", "--host", "host.json", "--format", "json", cwd=place
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["src"] for one in answers] == ["198.51.100.7", "203.0.113.9", "2001:db8:7::1"]
    assert [one["verdict"] for one in answers] == ["accept", "drop", "accept"]
    assert answers[1]["rule"]["name"] == "inet filter input rule 1: tcp dport 25 drop"
    for one in answers:
        assert one["schema"] == 1
        assert list(wrong(one, "trace", "trace")) == []


def test_a_capture_has_the_documented_shape(place: Path) -> None:
    assert list(wrong(json.loads((place / "host.json").read_text()), "capture", "capture")) == []


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
def test_what_a_live_host_answers_has_the_documented_shape(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        run = run_live(sandbox, tmp_path)
        lines = (
            ("apply", "apply web.yaml --yes"),
            ("open", "open 8080/tcp --from office -p web.yaml --yes"),
            ("open", "open 9090/udp --for 1h --yes"),
            ("status", "status"),
            ("audit", "audit web.yaml"),
            ("try", "try web.yaml"),
            ("test", "test web.yaml --in sandbox"),
            ("probe", "probe 192.0.2.1 web.yaml --rate 5000"),
            ("compared", "history 1"),
            ("compared", "history 1 3"),
        )
        for table, line in lines:
            assert list(wrong(json.loads(run([*line.split(), "--format", "json"])), table, table)) == []
        sandbox.run(["nft", "flush chain inet portgate input; add table inet other;" + DROPPING])
        for table, line in (("plan", "plan web.yaml"), ("status", "status")):
            answer, _ = json.JSONDecoder().raw_decode(run([*line.split(), "--format", "json"]))  # warnings follow
            assert answer["drift"]["ours"]
            assert list(wrong(answer, table, table)) == []


DROPPING = "add chain inet other in { type filter hook input priority 0; policy drop; }"


def test_the_tables_name_only_tables_that_exist() -> None:
    kinds = {kind.removesuffix(" or null").strip("[]") for table in TABLES.values() for kind, _ in table.values()}
    assert kinds <= TABLES.keys() | PLAIN.keys()
    assert len(TABLES) > 25


def test_the_example_is_whole() -> None:
    assert {one.name for one in EXAMPLE.iterdir()} == {"web.yaml", "ruleset.nft", "sockets.txt", "packets.jsonl"}
