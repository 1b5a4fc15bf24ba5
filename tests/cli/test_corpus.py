"""The commands over rulesets and socket listings of many programs: an answer or a diagnostic, in time, and nothing obeyed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nftables.corpus import ROOT, files, needed

from .conftest import Done
from .example import EXAMPLE

Portgate = Callable[..., Done]
PATIENCE = 120.0  # seconds for all commands about one file: longer means for ever
SAMPLE = 40  # files of each kind, spread over all
INTERFACES = "interfaces=eth0:192.0.2.1/24,eth0:2001:db8::1/64,eth1:10.0.0.1/24"
PACKETS = [
    {"family": family, "proto": proto, "iif": "eth0", "src": source, "dst": to, "sport": 40000, "dport": port}
    for family, source in ((4, "198.51.100.7"), (6, "2001:db8:9::7"))
    for proto, port in (("tcp", 22), ("udp", 53))
    for to in (None, {4: "10.9.9.9", 6: "2001:db8:ffff::9"}[family])
]

pytestmark = needed


def spread(kind: str) -> list[Path]:
    """Some files of a kind, of every part of it."""
    found = files(kind)
    return [ROOT / one for one in found[:: max(1, len(found) // SAMPLE)]]


def harmless(done: Done) -> bool:
    return all(one.isprintable() or one == "\n" for one in done.out + done.err)


@pytest.mark.parametrize("kind", ["nft", "nft-json"])
def test_every_command_answers_or_says_why_not(portgate: Portgate, tmp_path: Path, kind: str) -> None:
    (tmp_path / "packets.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in PACKETS))
    host, policy, sockets = tmp_path / "host.json", EXAMPLE / "web.yaml", EXAMPLE / "sockets.txt"
    answered = 0
    for path in spread(kind):
        parts = ["--from", f"{kind}={path}", "--from", f"ss={sockets}", "--from", INTERFACES]
        captured = portgate("capture", *parts, "-o", host)
        assert harmless(captured), path
        if captured.code == 3:
            assert "error[PG41" in captured.err, path
            continue
        started = time.monotonic()
        traced = portgate("trace", "--packets", tmp_path / "packets.jsonl", "--host", host, "--format", "json")
        others = [portgate(command, policy, "--host", host) for command in ("plan", "audit", "verify")]
        assert time.monotonic() - started < PATIENCE, path
        assert all(map(harmless, (traced, *others))), path
        assert traced.code == 0, path
        assert {one.code for one in others} <= {0, 1}, (path, others)
        assert len(traced.out.splitlines()) == len(PACKETS), path
        answered += 1
    print(f"{kind}: {answered} files answered")
    assert answered > SAMPLE // 2


def test_socket_listings_of_ss_are_read(portgate: Portgate, tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    listings = [ROOT / one for one in files("sockets") if re.search(r"ss[-_.]t[^/]*$", one, re.IGNORECASE)]
    assert listings
    for path in listings:
        portgate("capture", "--from", f"ss={path}", "--from", f"nft={EXAMPLE}/ruleset.nft", "-o", host)
        done = portgate("audit", "--host", host)
        assert done.code in (0, 1), path
        assert "PROTO" in done.out, path
        assert harmless(done), path
