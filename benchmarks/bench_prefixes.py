"""A blocked list of many addresses: first load, one in a hundred of them replaced, one more grant beside it, nothing changed.

Run as root: `python benchmarks/bench_prefixes.py [COUNT]`. It works in a network namespace of its own. The processor time of whole processes is
shown; nft loads the same set beside it, and lists it where that ends: for each 32 KiB of a listing the kernel walks the whole set again.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import goals
from bench_commands import CLONE_NEWNET, PORTGATE, Cost, run, use_plain_python

POLICY = "portgate: 1\naddresses: {listed: {file: list}}\ninbound:\n  default: drop\n  block: [{from: listed}]\n  allow: [ssh]\n"

MOST_LISTED = 100_000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise SystemExit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    rng = Random(count)
    before = rng.sample(range(1 << 24, 224 << 24), count)
    after = before[count // 100 :] + rng.sample(range(1 << 24, 224 << 24), count // 100)
    with TemporaryDirectory() as folder:
        use_plain_python(Path(folder, "compiled"))
        costs = _measured(Path(folder), before, after)
    print(f"{count:,} addresses")
    for name, cost in costs.items():
        print(f"  {name:<22} {cost.processor / 1000:8.2f} s  {cost.memory:6.0f} MiB")
    if count == 1_000_000:
        goals.compare("1,000,000 prefixes, first load, s", costs["first load"].processor / 1000)
        goals.compare("1,000,000 prefixes, 1 % churn, s", costs["1 % replaced"].processor / 1000)
        goals.compare("1,000,000 prefixes, MiB", max(cost.memory for cost in costs.values()))


def _measured(folder: Path, before: list[int], after: list[int]) -> dict[str, Cost]:
    os.environ["PORTGATE_STATE_DIR"] = str(folder / "state")
    policy, addresses, script = folder / "policy.yaml", folder / "list", folder / "set.nft"
    script.write_text(
        f"table inet t {{ set s {{ type ipv4_addr; flags interval; elements = {{ {', '.join(_texts(before))} }}\n}}\n}}\n"
    )
    apply = (*PORTGATE, "apply", str(policy), "--yes")
    costs = {"nft -f": run(("nft", "-f", str(script)))}
    if len(before) <= MOST_LISTED:
        costs["nft list"] = run(("nft", "list", "ruleset"))
    run(("nft", "flush", "ruleset"))
    for name, numbers, text in (
        ("first load", before, POLICY),
        ("1 % replaced", after, POLICY),
        ("one grant more", after, POLICY.replace("[ssh]", "[ssh, https]")),
        ("no change", after, POLICY.replace("[ssh]", "[ssh, https]")),
    ):
        policy.write_text(text)
        addresses.write_text("\n".join(_texts(numbers)) + "\n")
        costs[name] = run(apply)
    return costs


def _texts(numbers: list[int]) -> list[str]:
    return [f"{one >> 24}.{one >> 16 & 255}.{one >> 8 & 255}.{one & 255}" for one in numbers]


if __name__ == "__main__":
    main()
