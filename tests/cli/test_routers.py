"""`plan` on hosts whose firewall judges what passes through by the rules for what arrives and what leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Done

Portgate = Callable[..., Done]

INTERFACES = "--from=interfaces=lo0:127.0.0.1/8,em0:203.0.113.9/24,em0:2001:db8::9/64,em1:10.0.0.1/24,em1:fd00::1/64"
BEFORE = "portgate: 1\nname: before\ninbound: {allow: [ssh]}\n"
AFTER = """\
portgate: 1
name: after
inbound: {allow: [ssh, https, {port: 67-69/udp, from: 10.0.0.0/24}]}
outbound: {default: reject, allow: [https, {port: 8100/udp}]}
forward: [{port: 8080/tcp, to: 80}]
"""


@pytest.mark.parametrize("backend", ["pf", "ipfw"])
def test_a_plan_tells_how_packets_fare_once_it_is_loaded(backend: str, portgate: Portgate, tmp_path: Path) -> None:
    hosts = {}
    for name, text in (("before", BEFORE), ("after", AFTER)):
        (tmp_path / name).write_text(text)
        compiled = portgate("compile", tmp_path / name, "--to", backend)
        assert compiled.code == 0, compiled.err
        (tmp_path / f"{name}.rules").write_text(compiled.out)
        hosts[name] = tmp_path / f"{name}.json"
        reading = f"--from={backend}={tmp_path / name}.rules"
        captured = portgate("capture", reading, INTERFACES, "-o", hosts[name])
        assert captured.code == 0, captured.err
    planned = portgate("plan", tmp_path / "after", "--host", hosts["before"], "--backend", backend, "--format", "json")
    told = json.loads(planned.out)["traffic"]
    assert "through this host" in {one["scope"] for one in told}
    for one in told:
        for moment in ("before", "after"):
            assert fate(portgate, hosts[moment], one["witness"]) == one[moment], one


def fate(portgate: Portgate, host: Path, packet: dict[str, object]) -> str:
    packets = host.with_suffix(".packet")
    packets.write_text(json.dumps(packet) + "\n")
    done = portgate("trace", "--packets", packets, "--host", host, "--format", "json")
    return str(json.loads(done.out)["verdict"])
