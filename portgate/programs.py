"""The programs of a host: where they are, and what they answer.

Rules of this file
    Commands are lists of words, never a shell's line. They are found in the folders of the system, whatever PATH says, and
    speak a fixed locale.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin")
PATIENCE = 60  # seconds
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(FOLDERS)}


class Answer(NamedTuple):
    """What a command said."""

    status: int
    output: str
    complaint: str


Runner = Callable[[Sequence[str], str], Answer]
"""Runs a command with a text on its standard input. Errors: OSError, subprocess.TimeoutExpired."""


def find(program: str) -> str | None:
    """Its path, None when the host does not have it."""
    return next((str(path) for folder in FOLDERS if (path := Path(folder, program)).is_file()), None)


def ask(command: Sequence[str], text: str = "") -> Answer:
    """What it says on this host. Errors: OSError, subprocess.TimeoutExpired."""
    given = text.encode("utf-8", "surrogateescape")
    done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False)
    return Answer(done.returncode, _decoded(done.stdout), _decoded(done.stderr))


def run(command: Sequence[str], text: str = "") -> str:
    """What it prints. Errors: OSError, subprocess.SubprocessError."""
    answer = ask(command, text)
    if answer.status != 0:
        raise subprocess.CalledProcessError(answer.status, command, stderr=answer.complaint)
    return answer.output


def why(error: OSError | subprocess.SubprocessError) -> str:
    """What a program that failed said."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.strip().splitlines()
        return said[0] if said else f"exit status {error.returncode}"
    return str(error.strerror) if isinstance(error, OSError) else f"no answer in {PATIENCE} seconds"


def _decoded(said: bytes) -> str:
    return said.decode("utf-8", "backslashreplace")
