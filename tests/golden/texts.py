"""What is kept of each case: one policy, and beside it what every backend makes of it.

The texts of the first case are complete. Those of the others are what differs from them: `+` is a line more, `-` one less,
and `@` names the block that they are in. What a backend can't say is its refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from difflib import SequenceMatcher
from pathlib import Path

from portgate import engine
from portgate.core.diagnostics import PortgateError
from tests.conformance.writers import Writer

CASES = Path(__file__).parent / "cases"
FIRST = "nothing-is-allowed"
NAMES = sorted(path.name for path in CASES.iterdir())
TODAY = date(2026, 11, 21)


def golden(name: str, writer: Writer) -> str:
    """What the file of a case and a backend shall hold."""
    try:
        text = _compiled(name, writer)
    except PortgateError as refused:
        return "".join(f"{one.code} {one.detail}\n" for one in refused.diagnostics)
    if name == FIRST:
        return text
    return "".join(f"{line}\n" for line in _differences(_lines(_compiled(FIRST, writer)), _lines(text)))


def _compiled(name: str, writer: Writer) -> str:
    file = engine.load(str(CASES / name / "policy.yaml"), TODAY)
    return writer.text(engine.rules_for(writer.backend, file, TODAY))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _differences(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    block = ""
    for kind, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        around = _block(new, start, _indent(new[start] if start < end else old[first]))
        if around != block:
            block = around
            yield f"@ {around.strip()}"
        yield from (f"-{line}" for line in old[first:last])
        yield from (f"+{line}" for line in new[start:end])


def _block(lines: Sequence[str], at: int, depth: int) -> str:
    """The nearest line before that is less indented."""
    return next((line for line in reversed(lines[:at]) if _indent(line) < depth), "")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def path(name: str, writer: Writer) -> Path:
    return CASES / name / f"{writer}.txt"
