"""Loading a large policy, against PyYAML's C loader on the same text, turn by turn in one process. Processor time, the quickest of all rounds.

python benchmarks/bench_language.py [GRANTS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial

import yaml

from portgate.core.compile import compile as compile_policy
from portgate.language import load
from portgate.language.lint import lint

ROUNDS = 7
PREFIXES = 1_000_000


def styles(count: int) -> dict[str, str]:
    """Lists of grants, as people and programs write them: number i has a port of its own, most also a prefix of its own."""
    ports = [f"{1024 + i % 60_000}/{('tcp', 'udp')[i // 60_000 % 2]}" for i in range(count)]
    pairs = [(port, f"10.{i // 250 % 250}.{i % 250}.0/24") for i, port in enumerate(ports)]
    return {
        "braces": "".join(f"    - {{port: {port}, from: {source}}}\n" for port, source in pairs),
        "a key a line": "".join(f"    - port: {port}\n      from: {source}\n" for port, source in pairs),
        "braces, ports alone": "".join(f"    - {{port: {port}}}\n" for port in ports),
        "ports alone": "".join(f"    - {port}\n" for port in ports),
        "ports alone, quoted": "".join(f'    - "{port}"\n' for port in ports),
        "services": "".join(f"    - {('ssh', 'https', 'dns')[i % 3]}\n" for i in range(count)),
        "with comments": "".join(f"    - {port}  # because\n" for port in ports),
        "in brackets": f"    [{', '.join(ports)}]\n",
        "of two kinds": "".join(
            f"    - {port}\n    - {{port: {port}, from: {source}}}\n" for port, source in pairs[: count // 2]
        ),
    }


def milliseconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    today = date.today()
    print(f"{count:,} grants: milliseconds and ratio to CSafeLoader, of loading alone and with compiling")
    for style, grants in styles(count).items():
        text = f"portgate: 1\nname: large\ninbound:\n  default: drop\n  allow:\n{grants}"
        _compare(style, text, today)
    _others(text.encode(), today)


def _compare(style: str, text: str, today: date) -> None:
    content = text.encode()
    theirs, ours, rules = [], [], []
    for _ in range(ROUNDS):
        theirs.append(milliseconds(lambda: yaml.load(text, yaml.CSafeLoader)))
        ours.append(milliseconds(lambda: load("policy.yaml", lambda _: content, today)))
        policy = load("policy.yaml", lambda _: content, today).policy
        assert policy is not None
        rules.append(milliseconds(partial(compile_policy, policy, today)))
    yardstick, mine, both = min(theirs), min(ours), min(ours) + min(rules)
    print(f"  {style:<20} {yardstick:6.1f}  {mine:6.1f} {mine / yardstick:5.2f}  {both:6.1f} {both / yardstick:5.2f}")


def _others(content: bytes, today: date) -> None:
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
