"""Loading a large policy, against PyYAML's C loader on the same text, turn by turn in one process.

python benchmarks/bench_language.py [GRANTS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import date

import yaml

from portgate.language import load
from portgate.language.lint import lint

ROUNDS = 7
PREFIXES = 1_000_000


def policy_text(count: int) -> str:
    """Grant number i: a port of its own from a prefix of its own."""
    lines = (f"    - {{port: {1024 + i % 60_000}/tcp, from: 10.{i // 250 % 250}.{i % 250}.0/24}}" for i in range(count))
    return "portgate: 1\nname: large\ninbound:\n  default: drop\n  allow:\n" + "\n".join(lines) + "\n"


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    text = policy_text(count)
    content = text.encode()
    today = date.today()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(milliseconds(lambda: yaml.load(text, yaml.CSafeLoader)))
        ours.append(milliseconds(lambda: load("policy.yaml", lambda _: content, today)))
    mine, yardstick = statistics.median(ours), statistics.median(theirs)
    print(f"{count:,} grants: portgate {mine:.0f} ms, CSafeLoader {yardstick:.0f} ms, ratio {mine / yardstick:.2f}")

    policy = load("policy.yaml", lambda _: content, today).policy
    if policy is not None:
        print(f"lint of the same: {milliseconds(lambda: lint(policy, today)):.0f} ms")

    listed = "\n".join(f"{10 + i // 65536}.{i // 256 % 256}.{i % 256}.{i * 7 % 256}" for i in range(PREFIXES)).encode()
    files = {"policy.yaml": b"portgate: 1\naddresses: {all: {file: list}}\n", "list": listed}
    print(
        f"{PREFIXES:,} addresses from a file: {milliseconds(lambda: load('policy.yaml', files.__getitem__, today)):.0f} ms"
    )


if __name__ == "__main__":
    main()
