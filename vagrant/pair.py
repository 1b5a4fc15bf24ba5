"""The host under test and the prober: portgate on the one, packets from the other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from vagrant import lan
from vagrant.expectations import Expectation, Table
from vagrant.machine import PATIENCE, Machine

HERE = Path(__file__).parent
TOOLS = "/opt/portgate-vm"
PYTHON, PORTGATE = "/opt/portgate/bin/python", "/opt/portgate/bin/portgate"
PROBE = f"{TOOLS}/probe.py"
POLICIES = "/etc/portgate"
STATE = "/var/lib/portgate"
LAN = "eth1"  # of the prober
PING = "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range"  # so that a socket for pings can be had
ANYWHERE = ("0.0.0.0", "::")
WITH_A_WAY_IN = """\
portgate: 1
include: [policies/{policy}]
zones: {{harness: {{interfaces: [{interface}]}}}}
inbound: {{allow: [{{port: ssh, from: harness, note: the machine that runs the checks}}]}}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """**Shape** `addresses` are those of the target, IPv4 and IPv6; `management` is its interface to the machine that
    runs the checks, `lan` the one to the prober."""

    target: Machine
    prober: Machine
    table: Table
    addresses: tuple[str, str]
    management: str
    lan: str

    # -------------------------------------------------------------- once

    def prepare(self, wheel: Path, policies: Path, folder: Path) -> None:
        """Installs portgate, the policies and the tools of the checks. `folder` is an empty one, for what is sent."""
        everybody = sorted({address for addresses in self.table.sources.values() for address in addresses})
        linux = self.target.run("uname", "-s").stdout.strip() == "Linux"
        at_target = lan.commands(linux, self.lan, self.addresses, (), everybody)
        at_prober = (PING, *lan.commands(True, LAN, lan.PROBER, everybody, ()))
        _write_tools(folder / "target", at_target, self._listen(PYTHON, "inbound", ANYWHERE))
        _write_tools(folder / "prober", at_prober, self._listen("python3", "outbound", everybody))
        shutil.copy(wheel, folder / "target" / TOOLS.lstrip("/"))
        self._write_policies(policies, folder / "target" / POLICIES.lstrip("/"))
        self.target.send(folder / "target", "/")
        self.prober.send(folder / "prober", "/")
        self.target.run("sh", f"{TOOLS}/install.sh", f"{TOOLS}/{wheel.name}")
        for machine in (self.target, self.prober):
            machine.run("sh", f"{TOOLS}/start.sh")
        self.await_listeners()

    def _listen(self, python: str, direction: str, addresses: Sequence[str]) -> str:
        ports = [one for one in self.table.ports(direction) if one != "22/tcp"]  # where the SSH server listens
        return shlex.join(["exec", python, f"{TOOLS}/listen.py", *ports, "--", *addresses])

    def _write_policies(self, policies: Path, folder: Path) -> None:
        """Each under the names of this host's interfaces, and beside it one that includes it and keeps the way of the checks open."""
        shutil.copytree(policies, folder / "policies")
        shutil.copy(HERE / "checks/boot.yaml", folder)
        for file in folder.rglob("*.yaml"):
            text = file.read_text()
            file.write_text(re.sub(r"\beth([01])\b", lambda found: (self.management, self.lan)[int(found[1])], text))
        for policy in policies.glob("*.yaml"):
            text = WITH_A_WAY_IN.format(policy=policy.name, interface=self.management)
            (folder / policy.name).write_text(text)

    # -------------------------------------------------------------- on the target

    def portgate(self, *words: str, check: bool = True, anew: bool = False) -> subprocess.CompletedProcess[str]:
        return self.target.run(PORTGATE, *words, check=check, anew=anew)

    def apply(self, policy: str, backend: str, *options: str) -> str:
        """Applies a policy and says what portgate said. Errors: AssertionError."""
        return self.portgate("apply", f"{POLICIES}/{policy}.yaml", "--yes", "--backend", backend, *options).stdout

    def put_in_force(self, policy: str, backend: str) -> None:
        """Applies a policy over SSH, where it is on trial, and confirms it from another connection."""
        if "On trial" in self.apply(policy, backend):
            self.portgate("confirm", anew=True)

    def lacks(self, backend: str) -> str | None:
        """None when the host has this backend, else why not."""
        told = json.loads(self.portgate("backends", "--format", "json").stdout)["backends"]
        found: str | None = next(one["unavailable"] for one in told if one["name"] == backend)
        return found

    @property
    def has_systemd(self) -> bool:
        return self.target.run("test", "-d", "/run/systemd/system", check=False).returncode == 0

    def restart(self, *, cut: bool = False) -> None:
        """Starts the host anew; where systemd does not start the listeners, they are started afterwards."""
        self.target.restart(cut=cut)
        if not self.has_systemd:
            self.target.run("sh", f"{TOOLS}/start.sh")
        self.await_listeners()

    def await_listeners(self) -> None:
        """They come up later than the SSH server. Errors: TimeoutError."""
        tcp = [int(port.removesuffix("/tcp")) for port in self.table.ports("inbound") if port.endswith("/tcp")]
        asked = json.dumps([["tcp", port, None, here] for port in tcp for here in ("127.0.0.1", "::1")]) + "\n"
        deadline = time.monotonic() + PATIENCE
        while set(json.loads(self.target.run(PYTHON, PROBE, given=asked).stdout)) != {"open"}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the listeners of {self.target.name} did not come up")

    def forget(self) -> None:
        """The host has never heard of portgate's rules."""
        if self.target.run("test", "-e", STATE, check=False).returncode == 0:
            self.target.run("rm", "-rf", STATE)
            self.restart()

    # -------------------------------------------------------------- packets

    def surprises(self, policy: str) -> list[str]:
        """Every packet that met something else than the table says."""
        return self.unmet(self.table.policies[policy])

    def unmet(self, expected: Sequence[Expectation]) -> list[str]:
        """Silence where none is expected is asked once more: a slow machine answers late."""
        found = self.answers(expected)
        late = dict(self.answers([one for one, answer in found if answer == "filtered" and not one.is_met_by(answer)]))
        last = [(one, late.get(one, answer)) for one, answer in found]
        return [f"{one}, but was {answer}" for one, answer in last if not one.is_met_by(answer)]

    def answers(self, expected: Sequence[Expectation]) -> list[tuple[Expectation, str]]:
        """What came back to each packet."""
        found: list[tuple[Expectation, str]] = []
        for direction, machine, python in (("inbound", self.prober, "python3"), ("outbound", self.target, PYTHON)):
            asked = [one for one in expected if one.direction == direction]
            if asked:
                given = json.dumps([self._question(one) for one in asked]) + "\n"
                found += zip(asked, json.loads(machine.run(python, PROBE, given=given).stdout), strict=True)
        return found

    def _question(self, one: Expectation) -> list[object]:
        if one.direction == "outbound":
            return [one.protocol, one.port, None, one.peer]
        (here,) = (address for address in self.addresses if ip_address(address).version == one.family)
        return [one.protocol, one.port, one.peer, here]

    @contextmanager
    def watching(self, policy: str) -> Iterator[Callable[[], list[tuple[Expectation, list[str]]]]]:
        """The prober asks again and again, but the SSH server: it begins a process for each stranger.

        What is given ends that, and tells all that came back to each packet.
        """
        tcp = [one for one in self.table.policies[policy] if (one.direction, one.protocol) == ("inbound", "tcp")]
        asked = [one for one in tcp if one.port != 22]
        with subprocess.Popen(
            self.prober.command("python3", PROBE, "watch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watch:
            assert watch.stdin is not None
            watch.stdin.write(json.dumps([self._question(one) for one in asked]) + "\n")
            watch.stdin.flush()
            try:
                yield partial(_ended, watch, asked)
            finally:
                watch.kill()


def _write_tools(folder: Path, network: Iterable[str], listen: str) -> None:
    tools = folder / TOOLS.lstrip("/")
    shutil.copytree(HERE / "guest", tools, ignore=shutil.ignore_patterns("__pycache__"))
    (tools / "up").write_text(_UP.format(network="\n".join(network), listen=listen))


# What configures an interface late in a start takes away what others have given to it, so that is given again for a while.
_UP = """\
#!/bin/sh
network() {{
{network}
}}
network
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 3; network; done &
{listen}
"""


def _ended(watch: subprocess.Popen[str], asked: Sequence[Expectation]) -> list[tuple[Expectation, list[str]]]:
    told, _ = watch.communicate(timeout=60)
    return list(zip(asked, json.loads(told), strict=True))
