"""What is checked on two machines, as tests for pytest: `conftest.py` gives them the machines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NOT_RUN = 77
_GRACE = 180.0  # for the test that runs when the time is up


def run(config: Path, seconds: float, options: Sequence[str]) -> int:
    """Runs them on the machines of an ssh configuration. **Shape** 0, 1, or 77 when the time was too short for all."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(Path(__file__).parent),
        "-vv",
        "-rs",
        "--durations=0",
        "--durations-min=5",
    ]
    command += [f"--ssh-config={config}", f"--seconds={seconds:.0f}", *options]
    try:
        status = subprocess.run(command, timeout=seconds + _GRACE, check=False).returncode
    except subprocess.TimeoutExpired:
        print("a check did not come to its end", file=sys.stderr)
        return 1
    return status if status in (0, NOT_RUN) else 1
