"""Every finding, on a live host and on a capture of it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Link, Sandbox, Transport

pytestmark = pytest.mark.kernel

LINKS = (
    Link("eth0", ("192.0.2.1/24", "192.0.2.9/24"), ("192.0.2.2/24",)),
    Link("docker0", ("172.17.0.1/16",), ("172.17.0.2/16",)),
)
POLICY = """\
portgate: 1
name: shop
inbound:
  default: drop
  allow: [ssh, smtp, 9443/tcp, {port: 5432/tcp, to: 192.0.2.9}]
"""
NFT_STORE = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 25 -j DROP
-A INPUT -p tcp -m multiport --dports 3300:3310 -j DROP
-A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""
LEGACY_STORE = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.0/24 -j DROP\nCOMMIT\n"
PORTS = (22, 25, 3306, 5432, 8000, 45000)
EXPECTED = {
    "PG601": "listens on tcp 0.0.0.0:3306, and rule 2 of chain INPUT in ip filter",
    "PG602": "on tcp 0.0.0.0:8000 can be reached by",
    "PG603": "allows tcp 9443, and nothing listens there",
    "PG604": "reaches 172.17.0.2:80 and is accepted in forward",
    "PG605": "rule 1 of chain INPUT in ip filter (-A INPUT -p tcp -m tcp --dport 25 -j DROP) drops it",
    "PG606": "listens on all addresses on tcp 0.0.0.0:5432; the policy opens it on 1 of 3",
    "PG607": "ip filter (legacy), ip filter",
    "PG608": "rule 3 of chain INPUT in ip filter never matches: -A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT",
    "PG609": "is on tcp 0.0.0.0:45000, which the kernel also hands out",
    "PG610": "has a packet socket open",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(LINKS) as sandbox:
            sandbox.run(["iptables-nft-restore"], NFT_STORE)
            sandbox.run(["iptables-legacy-restore"], LEGACY_STORE)
            for port in PORTS:
                sandbox.listen(Transport.TCP, "0.0.0.0", port)
            with sandbox.make_socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300):
                yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture(scope="module")
def found(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """Where it was looked -> code -> details."""
    scratch = tmp_path_factory.mktemp("findings")
    policy, capture = str(scratch / "policy.yaml"), str(scratch / "host.json")
    Path(policy).write_text(POLICY)

    def portgate(*arguments: str) -> str:
        done = sandbox.run([sys.executable, "-m", "portgate", *arguments], check=False, env=dict(os.environ))
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    portgate("capture", "-o", capture)
    said = {
        "live": portgate("audit", policy, "--format", "json"),
        "capture": portgate("audit", policy, "--host", capture, "--format", "json"),
    }
    told: dict[str, dict[str, list[str]]] = {}
    for where, text in said.items():
        told[where] = {}
        for one in json.loads(text)["findings"]:
            told[where].setdefault(one["code"], []).append(one["detail"])
    return told


@pytest.mark.parametrize("where", ["live", "capture"])
@pytest.mark.parametrize("code", sorted(EXPECTED))
def test_a_finding_is_made(code: str, where: str, found: dict[str, dict[str, list[str]]]) -> None:
    assert [one for one in found[where].get(code, []) if EXPECTED[code] in one], found[where]


def test_a_capture_tells_as_much_as_the_host(found: dict[str, dict[str, list[str]]]) -> None:
    assert found["live"].keys() == found["capture"].keys()
