"""Whole rulesets as files: what a file says, what the kernel lists after it was loaded, and what the kernel does, is the same.

PORTGATE_RULESETS names a directory of other rulesets (`rulesets`, beside this file): scripts for nft, and files for the restore programs
of iptables, of which a name that ends in `6` or `v6` is about IPv6, and which find their sets in a file NAME.ipset. PORTGATE_PAIRS and
PORTGATE_SEED are those of the other tests against the kernel. What does not load here is printed, and counted where the rulesets are not ours.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from portgate.backends import get, reader
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import Ruleset
from portgate.sandbox import Oracle, Sandbox
from portgate.sandbox.oracle import TABLE
from tests.generate.packets import Packets
from tests.kernel.differential import PACKETS_FOR_EACH, SEED, Kernel, agree, conntrack_states
from tests.kernel.test_differential import engine
from tests.kernel.test_iptables import Host
from tests.packet import Packet

pytestmark = pytest.mark.kernel

OURS = Path(__file__).with_name("rulesets")
DIRECTORY = Path(os.environ.get("PORTGATE_RULESETS", OURS))


class File:
    """One ruleset: how it is loaded, and how it is read."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.text = path.read_text(encoding="utf-8", errors="replace")
        self.is_nft = not re.search(r"^\*(raw|mangle|nat|filter|security)\s*$", self.text, re.MULTILINE)
        self.family = "ip6tables" if path.stem.endswith("6") or path.suffix.endswith("6") else "iptables"
        sets = path.with_name(f"{path.name}.ipset")
        self.sets = sets.read_text() if sets.exists() else ""

    def parts(self) -> str:
        """For `Host.put`."""
        if self.is_nft:
            return f"##> nft\n{self.text}\n"
        return f"##> ipset\n{self.sets}\n##> {self.family}-nft-restore\n{self.text}\n"

    def read(self) -> Ruleset:
        if self.is_nft:
            return get("nftables").parse((Reading("nft", self.text, self.name),))
        readings = (Reading(f"{self.family}-save", self.text, self.name), Reading("ipset", self.sets, self.name))
        return reader("iptables").parse(readings)


def files() -> list[Path]:
    return sorted(one for one in DIRECTORY.rglob("*") if one.is_file() and one.suffix != ".ipset")


def listed(host: Host, file: File) -> Iterator[tuple[str, Ruleset]]:
    """What is loaded, as the file and as every listing says."""
    yield "file", file.read()
    yield "listings", host.read("")
    text = host.sandbox.run(["nft", "list", "ruleset"]).stdout
    found = get("nftables").parse((Reading("nft", text, "nft list ruleset"),))
    yield "text", Ruleset(tuple(one for one in found.containers if TABLE not in one.name))


def told(
    packets: list[Packet], verdicts: list[str], name: str, ruleset: Ruleset, doubts: Counter[str]
) -> Iterator[str]:
    """The packets about which a reading is wrong."""
    for packet, kernel, decided in zip(packets, verdicts, engine(ruleset, packets), strict=True):
        doubts[name] += decided == "depends"
        if not agree(packet, kernel, decided):
            yield f"{packet}: the kernel says {kernel}, the {name} {decided}"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_a_file_and_the_listings_of_what_it_loads_say_what_the_kernel_does(
    path: Path, sandbox: Sandbox, oracle: Oracle, capsys: pytest.CaptureFixture[str]
) -> None:
    file, host = File(path), Host(sandbox, oracle)
    kernel = Kernel(oracle, host.read, conntrack_states(oracle), host.put)
    try:
        host.put(file.parts())
    except PortgateError as error:
        assert DIRECTORY != OURS, error
        pytest.skip(f"it does not load here: {error}")
    readings = dict(listed(host, file))
    packets = Packets(Random(SEED), readings["listings"], kernel.states).take(PACKETS_FOR_EACH)
    verdicts = kernel.verdicts(packets)
    doubts: Counter[str] = Counter()
    wrong = [line for name, one in readings.items() for line in told(packets, verdicts, name, one, doubts)]
    host.empty()
    with capsys.disabled():
        print(f"\n{path.name}: {len(packets)} packets, {dict(Counter(verdicts))}; depends: {dict(doubts)}")
    assert not wrong, "\n".join(wrong[:5])
    assert DIRECTORY != OURS or max(doubts.values()) < PACKETS_FOR_EACH / 4
