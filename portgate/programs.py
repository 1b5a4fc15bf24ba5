"""The programs of a host: where they are, and what they answer.

Rules of this file
    Commands are lists of words, never a shell's line. They are found in the folders of the system, whatever PATH says, and
    speak a fixed locale. Most commands of portgate run none: what that needs is imported then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin")
PATIENCE = 60  # seconds
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(FOLDERS)}


class ProgramError(Exception):
    """A program could not be started, gave no answer in time, or says that it failed. The text says why."""


class Answer(NamedTuple):
    """What a command said."""

    status: int
    output: str
    complaint: str


Runner = Callable[[Sequence[str], str], Answer]
"""Runs a command with a text on its standard input. Errors: ProgramError when there is no answer."""


def find(program: str) -> str | None:
    """Its path, None when the host does not have it."""
    return next((path for folder in FOLDERS if os.path.isfile(path := f"{folder}/{program}")), None)


def ask(command: Sequence[str], text: str = "") -> Answer:
    """What it says on this host. Errors: ProgramError when there is no answer."""
    import subprocess

    given = text.encode("utf-8", "surrogateescape")
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False)
    except OSError as error:
        raise ProgramError(str(error.strerror)) from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"no answer in {PATIENCE} seconds") from error
    return Answer(done.returncode, _decoded(done.stdout), _decoded(done.stderr))


def run(command: Sequence[str], text: str = "") -> str:
    """What it prints. Errors: ProgramError."""
    answer = ask(command, text)
    if answer.status != 0:
        said = answer.complaint.strip().splitlines()
        raise ProgramError(said[0] if said else f"exit status {answer.status}")
    return answer.output


def _decoded(said: bytes) -> str:
    return said.decode("utf-8", "backslashreplace")
