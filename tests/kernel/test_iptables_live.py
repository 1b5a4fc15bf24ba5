"""A host with rules in both stores is captured as it is."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path

import pytest

from portgate import engine
from portgate.core.capture import from_json
from portgate.core.net import Family, parse_address
from portgate.core.packets import Packet
from portgate.sandbox import Sandbox

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
CAPTURE = (
    "import json; from portgate import host; from portgate.core.capture import to_json; print(to_json(host.capture()))"
)


@pytest.fixture(scope="module")
def seen(sandbox: Sandbox) -> engine.Seen:
    sandbox.run(["ipset", "create", "blocked", "hash:net"])
    sandbox.run(["ipset", "add", "blocked", "203.0.113.0/24"])
    sandbox.run(["iptables-legacy", "-A", "INPUT", "-m", "set", "--match-set", "blocked", "src", "-j", "DROP"])
    sandbox.run(
        [
            "iptables-nft",
            "-A",
            "INPUT",
            "-p",
            "tcp",
            "-m",
            "multiport",
            "--dports",
            "22,25",
            "-m",
            "comment",
            "--comment",
            "mail",
            "-j",
            "DROP",
        ]
    )
    sandbox.run(["nft", "add rule ip filter INPUT tcp dport { 80, 81 } drop"])
    said = sandbox.run([sys.executable, "-c", CAPTURE], env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout
    return engine.understand(from_json(said, "the sandbox"))


def fate(seen: engine.Seen, source: str, port: int) -> str:
    packet = Packet(Family.IPV4, 6, "eth0", parse_address(source)[1], parse_address("192.0.2.1")[1], 40000, port)
    return engine.decide(seen, [packet])[0].answer.fate.value


@pytest.mark.parametrize(
    ("source", "port", "expected"),
    [
        ("198.51.100.7", 443, "accept"), ("203.0.113.7", 443, "drop"), ("198.51.100.7", 25, "drop"),
        ("198.51.100.7", 80, "drop"), ("198.51.100.7", 82, "accept"),
    ],
)  # fmt: skip
def test_every_store_decides(seen: engine.Seen, source: str, port: int, expected: str) -> None:
    assert fate(seen, source, port) == expected


def test_each_table_counts_once(seen: engine.Seen) -> None:
    names = [one.name for one in seen.rules.containers]
    assert sorted(names) == ["ip filter", "ip filter (legacy)"]


def test_that_both_stores_filter_is_a_finding(seen: engine.Seen) -> None:

    found = engine.audit(seen, None, date(2026, 1, 1)).findings
    assert [one.diagnostic.detail for one in found if one.code == "PG607"] == [
        "a packet must pass each of: ip filter (legacy), ip filter"
    ]


def test_a_capture_is_the_same_when_nothing_but_time_has_passed(sandbox: Sandbox, seen: engine.Seen) -> None:
    said = sandbox.run([sys.executable, "-c", CAPTURE], env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout
    kinds = ("iptables-save", "iptables-legacy-save")
    again = [one["text"] for one in json.loads(said)["readings"] if one["kind"] in kinds]
    assert again == [one.text for one in seen.capture.of_kind(*kinds)]
    assert len(again) == 2
