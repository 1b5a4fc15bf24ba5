"""The Markdown files of this folder are tests: each `yaml` block is loaded, and the `text` block behind it is what is shown.

Set PORTGATE_REWRITE=1 to write the `text` blocks anew; then read the difference.
A line `# file: NAME` begins a further file of the same case; the first file is `policy.yaml`.
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path

import pytest

from portgate.language import load
from portgate.language.lint import lint
from portgate.report.diagnostics import render

HERE = Path(__file__).parent
TODAY = date(2026, 6, 1)
CASE = re.compile(r"```yaml\n(?P<source>.*?)```\n\n```text\n(?P<shown>.*?)```\n", re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FILE = re.compile(r"^# file: (.*)\n", re.MULTILINE)


def files_of(source: str) -> dict[str, bytes]:
    first, *more = FILE.split(source)
    found = {"policy.yaml": first.encode()}
    found.update((name, text.encode()) for name, text in zip(more[::2], more[1::2], strict=True))
    return found


def show(source: str) -> str:
    files = files_of(source)

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path]

    loaded = load("policy.yaml", read, TODAY)
    doubts = lint(loaded.policy, TODAY) if loaded.policy else ()
    return render((*loaded.diagnostics, *doubts), loaded.sources) or "nothing to report"


def cases() -> list[tuple[Path, str, int]]:
    found = []
    for path in sorted(HERE.glob("*.md")):
        text = path.read_text()
        for number, match in enumerate(CASE.finditer(text)):
            title = HEADING.findall(text, 0, match.start())[-1]
            found.append((path, title, number))
    return found


@pytest.mark.parametrize(
    ("path", "number"), [pytest.param(path, number, id=f"{path.stem}: {title}") for path, title, number in cases()]
)
def test_what_is_shown_is_what_the_document_says(path: Path, number: int) -> None:
    text = path.read_text()
    match = list(CASE.finditer(text))[number]
    shown = show(match["source"]) + "\n"
    if os.environ.get("PORTGATE_REWRITE"):
        path.write_text(text[: match.start("shown")] + shown + text[match.end("shown") :])
        return

    assert shown == match["shown"]
