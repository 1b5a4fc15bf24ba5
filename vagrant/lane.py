"""The checks on two machines of QEMU: `python -m vagrant.lane --box DIRECTORY`, which `script/vm-test` calls.

Ends with 0 when all is as expected, 1 when something is not, and 77 when it could not be found out here.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from vagrant import checks, emulator
from vagrant.machine import Machine

NOT_RUN = 77
MEMORY = 2.5e9  # bytes: both machines, and the emulator's translated code
SLOWEST = 15.0  # seconds to the kernel's first complaint; slower than that, nothing would be ready in time


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="script/vm-test")
    # QEMU looks for a disk from the folder of the disk that is based on it.
    parser.add_argument("--box", type=lambda name: Path(name).resolve(), required=True)
    parser.add_argument("--seconds", type=float, default=900, help="the time limit")
    options, for_pytest = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the machines are taken down
    start = time.monotonic()
    if (available := _available_memory()) < MEMORY:
        return _not_run(f"two machines need {MEMORY / 1e9:g} GB of memory, and {available / 1e9:.1f} are free")
    accelerator = emulator.accelerator(options.box)
    if accelerator is None:
        return _not_run("neither KVM nor software emulation starts a kernel here")
    print(f"machines by {accelerator.name}: the kernel answers after {accelerator.seconds:.1f} s", flush=True)
    if accelerator.seconds > SLOWEST:
        return _not_run("this machine is too slow")
    with TemporaryDirectory(prefix="portgate-vm-") as name:
        folder = Path(name)
        with emulator.two_machines(options.box, folder, accelerator.name) as config:
            try:
                for one in ("target", "prober"):
                    Machine(one, config).await_start()
            except TimeoutError as error:
                return _not_run(f"{error}\n{_consoles(folder)}")
            print(f"both machines answer after {time.monotonic() - start:.0f} s", flush=True)
            left = options.seconds - (time.monotonic() - start)
            return checks.run(config, left, for_pytest)


def _available_memory() -> float:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _not_run(why: str) -> int:
    print(f"NOT RUN: {why}", flush=True)
    return NOT_RUN


def _consoles(folder: Path) -> str:
    return "\n".join(f"{path.stem}: {path.read_text(errors='replace')[-2000:]}" for path in folder.glob("*.console"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
