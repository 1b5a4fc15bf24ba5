"""`plan` and `verify` of a host whose rules were told by iptables only, in either store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Done

Portgate = Callable[..., Done]
Captured = Callable[[str, str, str], Path]

POLICY = """\
portgate: 1
name: web
inbound:
  default: drop
  allow: [https, ping, {port: ssh, from: [198.51.100.0/24, "2001:db8:42::/48"]}]
"""
OTHERS = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{}COMMIT\n"
STORES = {"nft": "save", "legacy": "legacy-save"}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path / "policy.yaml"


@pytest.fixture
def compiled(portgate: Portgate, policy: Path) -> tuple[str, str]:
    """What a host has that the policy was applied to."""
    four, six = (portgate("compile", policy, "--to", language).out for language in ("iptables", "ip6tables"))
    return four, six


@pytest.fixture
def captured(portgate: Portgate, tmp_path: Path) -> Captured:
    def capture(store: str, four: str, six: str) -> Path:
        parts = ["--from=interfaces=eth0:192.0.2.1/24,eth0:2001:db8::1/64"]
        for language, text in (("iptables", four), ("ip6tables", six)):
            (tmp_path / language).write_text(text)
            parts.append(f"--from={language}-{STORES[store]}={tmp_path / language}")
        assert portgate("capture", *parts, "-o", tmp_path / "host.json").code == 0
        return tmp_path / "host.json"

    return capture


@pytest.mark.parametrize("store", STORES)
def test_what_was_compiled_for_iptables_is_proven_to_be_the_policy(
    store: str, portgate: Portgate, policy: Path, compiled: tuple[str, str], captured: Captured
) -> None:
    host = captured(store, *compiled)
    done = portgate("verify", policy, "--host", host)
    assert (done.code, done.out) == (0, "proven: this host treats every new connection as web says\n")
    answer = json.loads(portgate("plan", policy, "--host", host, "--backend", "iptables", "--format", "json").out)
    assert answer["traffic"] == []


@pytest.mark.parametrize("store", STORES)
def test_one_altered_rule_gives_a_counterexample(
    store: str, portgate: Portgate, policy: Path, compiled: tuple[str, str], captured: Captured
) -> None:
    four, six = compiled
    host = captured(store, four.replace("--dport 443 ", "--dport 444 "), six)
    done = portgate("verify", policy, "--host", host, "--format", "json")
    answer = json.loads(done.out)
    assert (done.code, answer["proven"]) == (1, False)
    told = {(one["witness"]["dport"], one["before"], one["after"]) for one in answer["differences"]}
    assert told == {(443, "accept", "drop"), (444, "drop", "accept")}
    assert {one["family"] for one in answer["differences"]} == {4}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_rules_of_others_are_compared_and_stay(
    store: str, backend: str, portgate: Portgate, policy: Path, captured: Captured
) -> None:
    accepted = "".join(f"-A INPUT -p tcp -m tcp --dport {port} -j ACCEPT\n" for port in (22, 443, 8443))
    host = captured(store, OTHERS.format(accepted), OTHERS.format(accepted))
    verified = portgate("verify", policy, "--host", host)
    assert verified.code == 1
    assert "+ to this host, IPv4: dropped -> accepted" in verified.out
    assert "tcp 8443" in verified.out
    planned = portgate("plan", policy, "--host", host, "--backend", backend)
    assert planned.code == 1
    assert "- to this host, IPv4: accepted -> dropped\n      tcp 22 from anywhere but 198.51.100.0/24" in planned.out
    assert "--dport 8443" not in planned.out
