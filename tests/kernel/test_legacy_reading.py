"""Legacy rules on a host without iptables-legacy-save: python-iptables reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from random import Random

import pytest

from portgate import programs
from portgate.backends.iptables import live
from portgate.backends.iptables.parse import parse
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Sandbox
from tests.generate.iptables import listing

installed = pytest.mark.skipif(find_spec("iptc") is None, reason="python-iptables is not installed")
RULES = """*nat
-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
COMMIT
*filter
:INPUT DROP [0:0]
:f2b - [0:0]
-A INPUT ! -s 10.0.0.0/8 -i eth+ -p tcp -m multiport --dports 22,80:90 -m comment --comment "a \\"b\\" c" -j f2b
-A INPUT ! -p udp -m conntrack ! --ctstate INVALID -g f2b
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 5/sec -j LOG --log-prefix "x y "
-A INPUT -m addrtype ! --dst-type LOCAL -j RETURN
-A f2b -s 192.0.2.1/32 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox() as sandbox:
            sandbox.run(["iptables-legacy", "--version"])
            yield sandbox
    except PortgateError as error:
        pytest.skip(f"no sandbox with iptables-legacy here: {error}")


def both_ways(sandbox: Sandbox, name: str) -> tuple[Ruleset, Ruleset]:
    by_program = sandbox.run([f"{name}tables-legacy-save"]).stdout
    by_library = sandbox.run([sys.executable, "-I", str(live._LIBRARY), name]).stdout
    first, second = (parse((Reading(f"{name}tables-legacy-save", one, "test"),)) for one in (by_program, by_library))
    return first, second


def meanings(ruleset: Ruleset) -> Sequence[object]:
    """Every chain with what its rules match and do, whatever their words."""
    return sorted(
        (
            one.name,
            chain.name,
            str(chain.base),
            [(str(rule.match), str(rule.verdict), str(rule.effects)) for rule in chain.rules],
        )
        for one in ruleset.containers
        for chain in one.chains
    )


@installed
@pytest.mark.kernel
def test_rules_are_read_as_the_program_lists_them(sandbox: Sandbox) -> None:
    sandbox.run(["iptables-legacy-restore"], RULES)
    program, library = both_ways(sandbox, "ip")
    assert meanings(library) == meanings(program)
    assert sum(len(chain.rules) for one in library.containers for chain in one.chains) == 6


@installed
@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(6))
def test_random_rules_are_read_as_the_program_lists_them(sandbox: Sandbox, seed: int) -> None:
    for family, name in ((Family.IPV4, "ip"), (Family.IPV6, "ip6")):
        text = "\n".join(line for line in listing(Random(seed), family).splitlines() if "--match-set" not in line)
        sandbox.run([f"{name}tables-legacy-restore"], text + "\n")
        program, library = both_ways(sandbox, name)
        assert meanings(library) == meanings(program)


def test_where_nothing_lists_legacy_rules_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "has_legacy_tables", lambda family: family == "ip")
    monkeypatch.setattr(programs, "find", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert [str(one.detail) for one in live.capture().notes] == [
        "there are legacy rules of iptables, and nothing that lists them"
    ]
