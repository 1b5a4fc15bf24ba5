"""What the benchmarks shall show, and one table of what they showed.

Times of whole commands are what people wait for, from exec to exit, as those that the goals were made from; the ratio of processor time, which what else runs
here disturbs less, is shown beside. A benchmark calls `compare`; `script/bench` names a file in $PORTGATE_BENCH_RESULTS, in which the comparisons of all benchmarks are collected,
and at the end runs `python benchmarks/goals.py FILE`, which prints them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple


class Goal(NamedTuple):
    """Of the ratio to a yardstick measured in the same run; where there is none, of the value itself."""

    yardstick: str
    goal: float
    limit: float


GOALS = {
    "plan, nothing changed, N=100": Goal("foomuuri", 0.35, 0.7),
    "apply, nothing changed, N=10,000": Goal("nft -f, a chain", 0.25, 0.6),
    "apply, one grant changed, N=10,000": Goal("foomuuri", 0.35, 0.6),
    "apply, first load from YAML, N=10,000": Goal("nft -f, a chain", 0.9, 1.5),
    "MiB of the first load, N=10,000": Goal("nft -f, a chain", 1.0, 2.0),
    "1,000,000 prefixes, first load, s": Goal("", 10, 20),
    "1,000,000 prefixes, 1 % churn, s": Goal("", 1, 20),
    "1,000,000 prefixes, MiB": Goal("", 600, 1200),
    "sockets, 10,000 listeners, 20,000 connections": Goal("ss -tulpnH", 0.55, 1.0),
    "sockets, small host": Goal("ufw status", 1.0, 1.5),
    "status, small host": Goal("ufw status", 1.0, 1.5),
    "--help": Goal("click hello world", 1.5, 2.5),
    "check of a small policy": Goal("click hello world", 1.5, 2.5),
    "a new flow, what is added, N=10,000": Goal("nft, a chain", 0.005, 0.01),
    "a new flow, what is added, N=10,000 to N=10": Goal("itself", 1.05, 1.2),
    "engine, acl1, seconds": Goal("", 0.3, 1),
    "engine, fw1, seconds": Goal("", 2, 5),
    "engine, mixed, seconds": Goal("", 4, 8),
    "engine, audit, seconds": Goal("", 1.5, 3),
}


def compare(what: str, ours: float, yardstick: float | None = None, name: str = "", busy: float | None = None) -> None:
    """Notes one result, if there is a goal for it and somebody collects.

    **Shape** `what` is a key of GOALS; `name` that of the yardstick where it may be another than the goal's; `busy` the ratio of processor time.
    """
    path = os.environ.get("PORTGATE_BENCH_RESULTS")
    if path and what in GOALS:
        with Path(path).open("a") as file:
            file.write(json.dumps([what, ours, yardstick, name, busy]) + "\n")


def main() -> None:
    found = {what: rest for what, *rest in map(json.loads, Path(sys.argv[1]).read_text().splitlines())}
    print(
        "\n| what | portgate | yardstick | | ratio | of processor time | goal | never above |\n|---|--:|--:|---|--:|--:|--:|--:|"
    )
    for what, goal in GOALS.items():
        if what not in found:
            print(f"| {what} | not measured | | {goal.yardstick} | | | {goal.goal:g} | {goal.limit:g} |")
            continue
        ours, theirs, name, busy = found[what]
        value = ours if theirs is None else ours / theirs
        shown = ("", "") if theirs is None else (f"{theirs:.3g}", f"{value:.3g}")
        verdict = "" if value <= goal.goal else " (!)" if value > goal.limit else " (goal missed)"
        print(
            f"| {what} | {ours:.3g} | {shown[0]} | {name or goal.yardstick} | {shown[1]}{verdict} | {'' if busy is None else f'{busy:.3g}'} | {goal.goal:g} | {goal.limit:g} |"
        )


if __name__ == "__main__":
    main()
