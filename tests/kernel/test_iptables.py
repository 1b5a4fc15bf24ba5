"""Rules of iptables, of both stores and beside native nft tables: every packet fares as the engine says.

PORTGATE_PAIRS (20,000) and PORTGATE_SEED (0) say how many pairs of a ruleset and a packet are tried, and which: a quarter of
that number for iptables alone, a tenth beside native tables, because so many chains take the engine longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random

import pytest

from portgate.backends import get, reader
from portgate.core.capture import Reading
from portgate.core.joining import joined
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from portgate.sandbox.oracle import TABLE
from tests.generate import iptables, nft
from tests.kernel.differential import Kernel, conntrack_states, texts
from tests.kernel.test_differential import DECIDERS, PAIRS, SEED

pytestmark = pytest.mark.kernel

TABLES = ("raw", "mangle", "nat", "filter", "security")
_PART = re.compile(r"^##> (\S+)\n", re.MULTILINE)
_SAME_PLACE = re.compile(r"priority (0|50|-150|-300|-100|100)\b")


class Host:
    """The host of a sandbox, with both stores."""

    def __init__(self, sandbox: Sandbox, oracle: Oracle) -> None:
        self.sandbox = sandbox
        self.oracle = oracle
        self.empty()

    def empty(self) -> None:
        """Also makes the legacy tables, if there are none, so that they are older than all of nft."""
        nothing = "".join(f"*{table}\nCOMMIT\n" for table in TABLES)
        for program in ("iptables", "ip6tables"):
            policies = "".join(f"*{table}\n{_accepting(table)}COMMIT\n" for table in TABLES)
            self.sandbox.run([f"{program}-legacy-restore"], policies + nothing)

    def put(self, text: str) -> None:
        """**Shape** parts that begin with a line `##> PROGRAM`."""
        _, *parts = _PART.split(text)
        parts_by_program = dict(zip(parts[::2], parts[1::2], strict=True))
        self.empty()
        self.oracle.load(parts_by_program.pop("nft", ""))
        self.sandbox.run(["ipset", "flush"])  # rules of nft that are gone hold on to their sets
        for program, part in parts_by_program.items():
            self.sandbox.run(["ipset", "-exist", "restore"] if program == "ipset" else [program], part)

    def read(self, _: str) -> Ruleset:
        readings = [
            Reading(
                f"{program}-legacy-save" if store == "legacy" else f"{program}-save",
                self._said(f"{program}-{store}-save"),
                store,
            )
            for program in ("iptables", "ip6tables")
            for store in ("legacy", "nft")
        ]
        readings.append(Reading("ipset", self._said("ipset", "save"), "ipset save"))
        listing = Reading("nft-json", self._said("nft", "-j", "list", "ruleset"), "nft -j list ruleset")
        observed = joined((get("nftables").parse((listing,)), reader("iptables").parse(tuple(readings))))
        return Ruleset(tuple(one for one in observed.containers if TABLE not in one.name))

    def _said(self, *argv: str) -> str:
        return self.sandbox.run(argv).stdout


def _accepting(table: str) -> str:
    chains = {"raw": "PREROUTING OUTPUT", "nat": "PREROUTING INPUT OUTPUT POSTROUTING"}.get(
        table, "INPUT FORWARD OUTPUT"
    )
    return "".join(
        f":{chain} ACCEPT\n" for chain in (f"{chains} PREROUTING POSTROUTING" if table == "mangle" else chains).split()
    )


@pytest.fixture(scope="module")
def host(sandbox: Sandbox, oracle: Oracle) -> Iterator[Host]:
    host = Host(sandbox, oracle)
    yield host
    host.empty()


def alone(rng: Random) -> str:
    rules = iptables.rules(rng)
    return f"##> ipset\n{rules.sets}" + "".join(f"##> {program}\n{text}" for program, text in rules.listings)


def beside_nft(rng: Random) -> str:
    native = nft.ruleset(rng)
    while _SAME_PLACE.search(native):
        native = nft.ruleset(rng)
    return f"##> nft\n{native}{alone(rng)}"


@pytest.mark.parametrize(("make", "pairs"), [(alone, PAIRS // 4), (beside_nft, PAIRS // 10)])
def test_the_kernel_agrees_about_random_rules_of_iptables(
    make: Callable[[Random], str], pairs: int, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.empty()
    kernel = Kernel(host.oracle, host.read, conntrack_states(host.oracle), host.put)
    tally = kernel.compare(texts(make, SEED), DECIDERS, pairs, SEED)
    with capsys.disabled():
        print(f"\niptables, {make.__name__}: {tally}")
    assert tally.compared >= pairs
    assert max(tally.depends.values()) < pairs / 2
