"""`portgate trace --packets`, as a user calls it: a saved host, a file of packets, a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from portgate.core import packets as core_packets
from portgate.core.capture import Capture, Reading, to_json
from portgate.core.facts import format_interfaces
from portgate.core.net import Family
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Sandbox
from portgate.sandbox.oracle import TABLE
from tests.generate.world import HOST
from tests.packet import Packet

_OURS = re.compile(rf"^table inet {TABLE} \{{\n.*?^\}}\n", re.MULTILINE | re.DOTALL)


def as_asked(packet: Packet) -> core_packets.Packet:
    """The packet as portgate's own questions have it."""
    return core_packets.Packet(
        Family(packet.family), packet.proto, packet.iif, packet.src, packet.dst, packet.sport, packet.dport,
        packet.icmp_type, packet.icmp_code, packet.tcp_flags, packet.ct_state, packet.oif or "",
    )  # fmt: skip


def listed(sandbox: Sandbox, kind: str) -> Reading:
    """What nft lists of the host, as `nft-json` or `nft`, without the referee's own table."""
    argv = ["nft", *(["-j"] if kind == "nft-json" else []), "list", "ruleset"]
    text = sandbox.run(argv).stdout
    return Reading(kind, _without_ours(text) if kind == "nft-json" else _OURS.sub("", text), " ".join(argv))


def _without_ours(text: str) -> str:
    objects = json.loads(text)["nftables"]
    return json.dumps({"nftables": [one for one in objects if TABLE not in _tables(one)]})


def _tables(item: dict[str, dict[str, object]]) -> set[object]:
    return {value for body in item.values() for value in (body.get("table"), body.get("name"))}


def trace(
    readings: Callable[[], Iterable[Reading]], folder: Path
) -> Callable[[Ruleset, Sequence[Packet]], Sequence[str]]:
    """Decides as the command does about a host with these rules, which are read when it is asked."""

    def decide(_: Ruleset, packets: Sequence[Packet]) -> list[str]:
        host, file = folder / "host.json", folder / "packets.jsonl"
        interfaces = Reading("interfaces", format_interfaces(HOST), "the sandbox")
        host.write_text(to_json(Capture((*readings(), interfaces))), encoding="utf-8")
        file.write_text("".join(f"{json.dumps(as_asked(one).fields())}\n" for one in packets), encoding="utf-8")
        words = ["trace", "--packets", str(file), "--host", str(host), "--format", "json"]
        argv = [sys.executable, "-m", "portgate", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["verdict"] for line in done.stdout.splitlines()]

    return decide
