"""The small host of docs/example, and the transcripts of docs/commands.md: `python -m tests.cli.example` writes them anew."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from portgate.sandbox import Sandbox

from .conftest import process

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example"
COMMANDS = DOCS / "commands.md"
CAPTURE = (
    "capture --from nft=ruleset.nft --from ss=sockets.txt "
    "--from interfaces=eth0:192.0.2.1/24,eth0:2001:db8::1/64 -o host.json"
)
_BLOCK = re.compile(r"^```console(?P<live> live)?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

Run = Callable[[list[str]], str]


def captured(folder: Path) -> Path:
    """A folder with the example's files and the capture of its host."""
    for one in EXAMPLE.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    assert process(*shlex.split(CAPTURE), cwd=folder).returncode == 0
    return folder


def transcripts(*, live: bool) -> Iterator[str]:
    for block in _BLOCK.finditer(COMMANDS.read_text()):
        if bool(block["live"]) is live:
            yield block["text"]


def replayed(transcript: str, run: Run) -> str:
    """The transcript as it would be if its commands were run now."""
    lines = [line for line in transcript.splitlines() if line.startswith("$ ")]
    return "".join(f"{line}\n{run(shlex.split(line)[2:])}" for line in lines)


def run_saved(folder: Path) -> Run:
    """For commands about the captured host."""

    def run(arguments: list[str]) -> str:
        done = process(*arguments, cwd=folder)
        return done.stdout + done.stderr

    return run


def run_live(sandbox: Sandbox, folder: Path) -> Run:
    """For commands about a live host, in a folder with the example's files."""
    for one in EXAMPLE.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())

    def run(arguments: list[str]) -> str:
        environment = {**os.environ, "PORTGATE_STATE_DIR": str(folder / "state"), "PYTHONPATH": str(DOCS.parent)}
        inside = ["env", f"--chdir={folder}", sys.executable, "-m", "portgate", *arguments]
        done = sandbox.run(inside, check=False, env=environment)
        return done.stdout + done.stderr

    return run


def _rewrite() -> None:
    with Sandbox() as sandbox, TemporaryDirectory() as name:
        folder = captured(Path(name))
        runs = {"": run_saved(folder), " live": run_live(sandbox, folder)}

        def block(found: re.Match[str]) -> str:
            live = found["live"] or ""
            return f"```console{live}\n{replayed(found['text'], runs[live])}```"

        COMMANDS.write_text(_BLOCK.sub(block, COMMANDS.read_text()))


if __name__ == "__main__":
    _rewrite()
