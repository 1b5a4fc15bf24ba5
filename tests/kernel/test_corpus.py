"""Rulesets of real hosts and tools, loaded into the kernel: every packet fares as the engine says.

By iptables-nft, iptables-legacy and nft in turn. What does not load here is counted and left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from portgate.core.diagnostics import PortgateError
from portgate.sandbox import Oracle, Sandbox
from tests.iptables.test_corpus import listings
from tests.kernel import command
from tests.kernel.differential import SEED, Kernel, Tally, Tell, conntrack_states, pairs
from tests.kernel.test_differential import engine
from tests.kernel.test_iptables import Host
from tests.nftables import corpus

pytestmark = [pytest.mark.kernel, pytest.mark.corpus, corpus.needed]

MOST_RULES = 3000
"""What the kernel takes too long to load, and to list."""

NOT_COMPARABLE = {
    "nft/github-configs/chutz_mullvad-netns__rules.nft": "its last chain comes after that of the referee",
}


def texts() -> Iterator[tuple[str, str]]:
    """(name, text for `Host.put`), in an order that the seed decides."""
    found = []
    for _, reading in listings():
        if reading.text.count("-A ") <= MOST_RULES:
            family = "ip6tables" if reading.kind.startswith("ip6") else "iptables"
            text = reading.text if reading.text.endswith("\n") else f"{reading.text}\n"
            found += [
                (f"{reading.source} {store}", f"##> {family}-{store}-restore\n{text}") for store in ("nft", "legacy")
            ]
    for path in corpus.files("nft"):
        found.append((path, f"##> nft\n{corpus.text(path)}\n"))
    loading = {
        line.split("\t")[0] for line in corpus.text("INDEX.tsv").splitlines() if re.search(r"\b(nft|legacy):ok", line)
    }
    found = [one for one in found if one[0].split(" ")[0] in loading and one[0] not in NOT_COMPARABLE]
    Random(SEED).shuffle(found)
    yield from found


def test_the_kernel_agrees_about_rulesets_of_real_hosts(
    sandbox: Sandbox, oracle: Oracle, tmp_path: Path, record_property: Tell
) -> None:
    host = Host(sandbox, oracle)
    wanted = pairs(0.1, 2000)
    deciders = {"engine": engine, "trace": command.trace(host.readings, tmp_path)}
    kernel = Kernel(oracle, host.read, conntrack_states(oracle), host.put)
    total, count = Tally(), Counter[str]()
    for number, (name, text) in enumerate(texts()):
        if total.compared >= wanted:
            break
        count["tried"] += 1
        try:
            tally = kernel.compare([text], deciders, 1, SEED + number)
        except PortgateError:
            count["do not load"] += 1
            continue
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        total.add(tally)
    host.empty()
    record_property("told", f"real rulesets: {total}; {dict(count)}")
    assert total.compared >= wanted
    assert total.depends["engine"] < total.compared / 4
