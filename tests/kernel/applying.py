"""A program that applies two policies in turn, over and over, in one process: `python -m tests.kernel.applying FIRST SECOND TIMES`.

It prints, as JSON: how many applies changed something, the seconds that they took, its resident memory in KiB after a tenth of
them and after the last, and the bytes of the state directory at these two moments.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import date
from itertools import cycle, islice
from pathlib import Path

from portgate import changes
from portgate.apply.state import state_path


def memory() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def on_disk() -> int:
    return sum(one.stat().st_size for one in Path(state_path()).rglob("*") if one.is_file())


def main(arguments: Sequence[str]) -> None:
    *policies, times = arguments
    changed, resident, stored = 0, [0, 0], [0, 0]
    start = time.monotonic()
    for number, policy in enumerate(islice(cycle(policies), int(times)), 1):
        done = changes.apply(policy, "nftables", date(2026, 11, 21), None, lambda: None, changes.Terms(confirm=0))
        changed += done is not None and done.changed
        if number in (max(1, int(times) // 10), int(times)):
            at = number == int(times)
            resident[at], stored[at] = memory(), on_disk()
    seconds = round(time.monotonic() - start, 1)
    print(json.dumps({"changed": changed, "seconds": seconds, "resident": resident, "stored": stored}))


if __name__ == "__main__":
    main(sys.argv[1:])
