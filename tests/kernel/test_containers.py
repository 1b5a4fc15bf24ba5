"""Ports that a container engine publishes: found, fenced, and still fenced when the engine has made its rules anew."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Answer, Link, Sandbox, Transport

pytestmark = pytest.mark.kernel

# The peer of docker0 plays the container, that of eth0 the world outside.
LINKS = (
    Link("eth0", ("192.0.2.1/24",), ("192.0.2.2/24",)),
    Link("docker0", ("172.17.0.1/16",), ("172.17.0.2/16",)),
)
ENGINE = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -m comment --comment "container web" -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""
POLICY = "portgate: 1\nname: web\ninbound: {{default: drop, allow: [{ports}]}}\ncontainers: {containers}\n"


class Host:
    """A host with a container engine, whose rules stand in one of the stores of iptables."""

    def __init__(self, sandbox: Sandbox, store: str, scratch: Path) -> None:
        self.sandbox, self.store, self.scratch = sandbox, store, scratch
        sandbox.listen(Transport.TCP, "172.17.0.2", 80, inside="docker0")
        sandbox.listen(Transport.TCP, "192.0.2.2", 9999, inside="eth0")
        self.write_rules()

    def write_rules(self) -> None:
        """As the engine does at its start: its chains are made anew."""
        self.sandbox.run([f"iptables-{self.store}-restore"], ENGINE)

    def portgate(self, *arguments: str, ports: str, containers: str = "enforce") -> str:
        policy = self.scratch / "policy.yaml"
        policy.write_text(POLICY.format(ports=ports, containers=containers))
        environment = {**os.environ, "PORTGATE_STATE_DIR": str(self.scratch / "state")}
        argv = [sys.executable, "-m", "portgate", *arguments[:1], str(policy), *arguments[1:]]
        done = self.sandbox.run(argv, check=False, env=environment)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def enforce(self, ports: str) -> None:
        self.portgate("apply", "--yes", ports=ports)

    @property
    def published(self) -> Answer:
        return self.sandbox.connect(Transport.TCP, "192.0.2.1", 8080, source="eth0")

    @property
    def container_gets_out(self) -> bool:
        return self.sandbox.connect(Transport.TCP, "192.0.2.2", 9999, source="docker0") is Answer.OPEN


@pytest.fixture(params=["nft", "legacy"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    try:
        with Sandbox(LINKS) as sandbox:
            yield Host(sandbox, str(request.param), tmp_path)
    except PortgateError as error:
        pytest.skip(f"no sandbox here: {error}")


def test_a_published_port_that_the_policy_does_not_allow_is_found(host: Host) -> None:
    assert host.published is Answer.OPEN
    told = json.loads(host.portgate("audit", "--format", "json", ports="ssh", containers="ignore"))
    (port,) = told["published"]
    reach = port["reach"]
    assert (port["to"], port["name"], reach["verdict"], reach["packets"]) == (
        "172.17.0.2:80", "container web", "accept", ["tcp 8080 in any but docker0"],
    )  # fmt: skip
    (finding,) = (one for one in told["findings"] if one["code"] == "PG604")
    assert finding["detail"] == (
        "tcp 198.51.100.7:40000 to 192.0.2.1:8080 in eth0 reaches 172.17.0.2:80 (container web) and is accepted in "
        "forward, which the policy does not allow"
    )
    assert finding["rule"]["chain"] == "DOCKER"


def test_a_fence_holds_when_the_engine_makes_its_chains_anew(host: Host) -> None:
    host.enforce(ports="ssh")
    for _ in range(2):
        assert host.published is Answer.FILTERED
        assert host.container_gets_out
        host.write_rules()
    host.enforce(ports="ssh, 8080/tcp")
    assert host.published is Answer.OPEN
    assert host.container_gets_out


def test_the_rules_of_the_engine_stay_as_they_are(host: Host) -> None:
    before = host.sandbox.run([f"iptables-{host.store}-save"]).stdout
    host.enforce(ports="ssh")
    after = host.sandbox.run([f"iptables-{host.store}-save"]).stdout
    assert [one for one in after.splitlines() if one.startswith("-A")] == [
        one for one in before.splitlines() if one.startswith("-A")
    ]


def test_a_fenced_port_is_no_finding(host: Host) -> None:
    host.enforce(ports="ssh")
    told = json.loads(host.portgate("audit", "--format", "json", ports="ssh"))
    assert told["published"] == []
    assert "PG604" not in [one["code"] for one in told["findings"]]
