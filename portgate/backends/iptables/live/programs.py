"""The programs of iptables and ipset on a live host."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin")
PATIENCE = 60  # seconds
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(FOLDERS)}


def find(program: str) -> str | None:
    """Its path, None when the host does not have it."""
    return next((str(path) for folder in FOLDERS if (path := Path(folder, program)).is_file()), None)


def run(argv: Sequence[str], text: str = "") -> str:
    """What it prints. Errors: OSError, subprocess.SubprocessError."""
    done = subprocess.run(
        argv,
        input=text.encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
    )
    return done.stdout.decode("utf-8", "backslashreplace")


def why(error: OSError | subprocess.SubprocessError) -> str:
    """What a program that failed said."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[0] if said else f"exit status {error.returncode}"
    return str(error.strerror) if isinstance(error, OSError) else f"no answer in {PATIENCE} seconds"
