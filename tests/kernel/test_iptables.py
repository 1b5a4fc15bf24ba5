"""Rules of iptables, of both stores and beside native nft tables: every packet fares as the engine says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from portgate.backends import get, reader
from portgate.core.capture import Reading
from portgate.core.joining import joined
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from tests.generate import iptables, nft
from tests.kernel import command
from tests.kernel.differential import SEED, Kernel, Tell, conntrack_states, pairs, texts
from tests.kernel.test_differential import DECIDERS

pytestmark = pytest.mark.kernel

TABLES = ("raw", "mangle", "nat", "filter", "security")
_PART = re.compile(r"^##> (\S+)\n", re.MULTILINE)


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
        listing, *others = self.readings()
        return joined((get("nftables").parse((listing,)), reader("iptables").parse(tuple(others))))

    def readings(self) -> list[Reading]:
        """As a capture has them, that of nft first."""
        saved = [
            Reading(
                f"{program}-legacy-save" if store == "legacy" else f"{program}-save",
                self._said(f"{program}-{store}-save"),
                store,
            )
            for program in ("iptables", "ip6tables")
            for store in ("legacy", "nft")
        ]
        sets = Reading("ipset", self._said("ipset", "save"), "ipset save")
        return [command.listed(self.sandbox, "nft-json"), *saved, sets]

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
    return f"##> nft\n{nft.ruleset(rng)}{alone(rng)}"


@pytest.mark.parametrize(("make", "wanted"), [(alone, pairs(0.2, 4000)), (beside_nft, pairs(0.05, 1500))])
def test_the_kernel_agrees_about_random_rules_of_iptables(
    make: Callable[[Random], str], wanted: int, host: Host, tmp_path: Path, record_property: Tell
) -> None:
    host.empty()
    kernel = Kernel(host.oracle, host.read, conntrack_states(host.oracle), host.put)
    deciders = {**DECIDERS, "trace": command.trace(host.readings, tmp_path)}
    tally = kernel.compare(texts(make, SEED), deciders, wanted, SEED)
    record_property("told", f"iptables, {make.__name__}: {tally}")
    assert tally.compared >= wanted
    assert max(tally.depends.values()) < wanted / 2
