"""A machine that is reached by ssh, wherever it runs."""

from __future__ import annotations

import shlex
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300.0  # for one command; Python starts slowly on an emulated processor that others want as well
START = 400.0  # of a machine
LOST = 255  # how ssh ends when the connection fails


@dataclass(frozen=True, slots=True)
class Machine:
    """**Shape** `config` is a file for `ssh -F`, as `vagrant ssh-config` prints it; `become` makes a command run as root."""

    name: str
    config: Path
    become: tuple[str, ...] = ("sudo", "-n")

    def run(
        self, *words: str, given: str = "", check: bool = True, patience: float = PATIENCE, anew: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as root; `anew` in a new connection, although others may share one.

        Errors: AssertionError with `check` when it fails, ConnectionError, subprocess.TimeoutExpired.
        """
        finished = subprocess.run(
            self.command(*words, anew=anew), input=given, capture_output=True, text=True, timeout=patience, check=False
        )
        if finished.returncode == LOST:
            raise ConnectionError(f"{self.name}: {finished.stderr}")
        if check and finished.returncode != 0:
            raise AssertionError(
                f"{self.name}: {shlex.join(words)} ended with {finished.returncode}\n{finished.stdout}{finished.stderr}"
            )
        return finished

    def command(self, *words: str, anew: bool = False) -> list[str]:
        alone = ["-o", "ControlPath=none"] if anew else []
        return self._ssh(*alone, self.name, "--", shlex.join([*self.become, *words]))

    def here(self) -> str:
        """The address by which it was reached."""
        told = subprocess.run(
            self._ssh(self.name, "--", "echo $SSH_CONNECTION"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return told.stdout.split()[2]

    def _ssh(self, *words: str) -> list[str]:
        return ["ssh", "-F", str(self.config), *words]

    def send(self, folder: Path, to: str) -> None:
        """Puts what is in a folder into another there."""
        with subprocess.Popen(["tar", "-c", "-C", str(folder), "."], stdout=subprocess.PIPE) as packing:
            unpack = self.command("tar", "-x", "--no-same-owner", "--no-same-permissions", "-C", to)
            subprocess.run(unpack, stdin=packing.stdout, check=True, timeout=PATIENCE)

    def boot(self) -> str:
        """What is another after each start, "" while the machine does not answer."""
        ask = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime"
        try:
            return self.run("sh", "-c", ask, check=False, patience=15, anew=True).stdout.strip()
        except (subprocess.TimeoutExpired, ConnectionError):
            return ""

    def await_start(self, *, other_than: str = "", patience: float = START) -> None:
        """Until it answers. Errors: TimeoutError."""
        deadline = time.monotonic() + patience
        while self.boot() in ("", other_than):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} did not answer within {patience:.0f} seconds")
            time.sleep(0.3)

    def restart(self, *, cut: bool = False) -> None:
        """In order; with `cut`, as if its power were cut."""
        before = self.boot()
        how = "echo b >/proc/sysrq-trigger" if cut else "(sleep 0.2; reboot) >/dev/null 2>&1 &"
        with suppress(subprocess.TimeoutExpired, ConnectionError):  # the connection went with the machine
            self.run("sh", "-c", how, check=False, patience=10, anew=True)
        subprocess.run(self._ssh("-O", "exit", self.name), capture_output=True, timeout=PATIENCE, check=False)
        self.await_start(other_than=before)
