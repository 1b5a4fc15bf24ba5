"""What the documentation shows of a terminal is what the commands say: every transcript is run again.

A block of YAML that begins with `# NAME.yaml` is that file, from there on. A console block holds commands after `$`,
each followed by what it prints; `echo $?` is the exit code of the one before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portgate.cli import run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("ci.md", "tutorial.md")
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\w+\.yaml)\n")


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what follows it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.mark.parametrize("page", PAGES)
def test_every_transcript_is_what_the_commands_say(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    code = 0
    for kind, block in BLOCK.findall((DOCS / page).read_text()):
        if kind == "yaml":
            if name := NAME.match(block):
                Path(name[1]).write_text(block)
            continue
        for command, output in commands(block):
            if command == "echo $?":
                assert output == f"{code}\n"
                continue
            program, *arguments = shlex.split(command)
            assert program == "portgate"
            code = run(arguments)
            shown = capsys.readouterr()
            assert shown.err + shown.out == output, command
            ran += 1
    assert ran
