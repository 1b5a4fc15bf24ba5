"""`portgate import`: what a host enforces, as a policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .conftest import Done

Portgate = Callable[..., Done]
RULES = """table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif "lo" accept
        tcp dport { 22, 443 } accept
        tcp dport 25 limit rate 10/minute accept
    }
}
"""


@pytest.fixture
def host(portgate: Portgate, tmp_path: Path) -> Path:
    return capture(portgate, tmp_path, RULES)


def capture(portgate: Portgate, folder: Path, rules: str) -> Path:
    (folder / "rules.nft").write_text(rules)
    path = folder / "host.json"
    assert portgate("capture", f"--from=nft={folder / 'rules.nft'}", "-o", path).code == 0
    return path


def test_the_policy_goes_to_standard_output_and_what_it_cannot_say_beside_it(portgate: Portgate, host: Path) -> None:
    done = portgate("import", "--host", host, "--name", "mail")
    assert done.code == 1
    assert done.out.splitlines() == [
        "portgate: 1", "", "name: mail", "", "inbound:", "  default: drop", "  allow:", "    - {port: [ssh, https]}"
    ]  # fmt: skip
    assert "depends on rate limit -> dropped" in done.err
    assert "tcp 25" in done.err


def test_a_policy_that_says_all_is_proven_and_can_be_verified(portgate: Portgate, tmp_path: Path) -> None:
    plain = "\n".join(line for line in RULES.splitlines() if "limit" not in line)
    host = capture(portgate, tmp_path, plain)
    policy = tmp_path / "policy.yaml"
    done = portgate("import", "--host", host, "-o", policy)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("proven: ")
    assert portgate("check", policy).code == 0


MAPPED = """table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif "lo" accept
        ip6 saddr ::ffff:0.0.0.0/96 tcp dport 80 accept
        ip6 saddr ::-2001:db8:: tcp dport 22 accept
    }
    chain output {
        type filter hook output priority filter; policy accept;
        ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002:a00::/24 } drop
    }
}
"""


def test_addresses_that_no_packet_has_are_left_out(portgate: Portgate, tmp_path: Path) -> None:
    """firewalld blocks those that hold addresses of IPv4, of which a policy refuses to speak."""
    policy = tmp_path / "policy.yaml"
    done = portgate("import", "--host", capture(portgate, tmp_path, MAPPED), "-o", policy)
    assert (done.code, done.err.partition(":")[0]) == (0, "proven")
    assert "ffff:0" not in policy.read_text()
    assert portgate("check", policy).code < 2


def test_the_way_back_is_taken_for_right_and_told(portgate: Portgate, tmp_path: Path) -> None:
    """Every host with firewalld has such a rule for IPv6."""
    early = "chain early {\ntype filter hook prerouting priority 10\nmeta nfproto ipv6 fib saddr . mark . iif oif missing drop\n}\n"
    plain = RULES.replace("tcp dport 25 limit rate 10/minute accept", "").replace("chain input", early + "chain input")
    done = portgate("import", "--host", capture(portgate, tmp_path, plain))
    assert yaml.safe_load(done.out)["inbound"] == {"default": "drop", "allow": [{"port": ["ssh", "https"]}]}
    assert done.code == 1
    assert "IPv6: depends on route lookup -> accepted" in done.err


def test_programs_get_the_text_and_the_differences(portgate: Portgate, host: Path) -> None:
    done = portgate("import", "--host", host, "--format", "json")
    answer = json.loads(done.out)
    assert done.code == 1
    assert answer["policy"].startswith("portgate: 1\n")
    assert answer["proven"] is False
    assert {one["witness"]["dport"] for one in answer["differences"]} == {25}


@pytest.mark.parametrize("name", ["a\nb: c", "'}{", "- x", "# no comment"])
def test_any_text_is_a_name_and_nothing_else(portgate: Portgate, host: Path, tmp_path: Path, name: str) -> None:
    policy = tmp_path / "policy.yaml"
    assert portgate("import", "--host", host, "--name", name, "-o", policy).code == 1
    assert yaml.safe_load(policy.read_text())["name"] == name
    assert portgate("check", policy).code == 0


def test_a_name_that_no_policy_may_have_is_an_error(portgate: Portgate, host: Path) -> None:
    done = portgate("import", "--host", host, "--name", "\x1b[2J")
    assert (done.code, done.out) == (2, "")
    assert "\x1b" not in done.err


def test_a_host_without_rules_is_open(portgate: Portgate, tmp_path: Path) -> None:
    host = capture(portgate, tmp_path, "table inet empty {\n}\n")
    done = portgate("import", "--host", host)
    assert done.code == 0
    assert "default: accept" in done.out
