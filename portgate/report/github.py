"""Findings as workflow commands of GitHub Actions, which become annotations at the lines of a pull request.

**Source** GitHub Docs, "Workflow commands for GitHub Actions"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portgate.core.diagnostics import Diagnostic, Severity
from portgate.report.suites import Suite, findings
from portgate.report.text import escape

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_MESSAGE, ":": "%3A", ",": "%2C"}


def commands(suites: Sequence[Suite]) -> Iterator[str]:
    """A line for each finding."""
    for suite, one in findings(suites):
        properties = {**_place(one, suite), "title": f"{one.code} {one.summary}"}
        told = [one.detail, *(f"{span}: {text}" for span, text in one.related)]
        message = "\n".join(map(escape, [*told, f"help: {one.remedy}"] if one.remedy else told))
        joined = ",".join(f"{name}={_encode(escape(value), _PROPERTY)}" for name, value in properties.items())
        yield f"::{_COMMANDS[one.severity]} {joined}::{_encode(message, _MESSAGE)}"


def _place(one: Diagnostic, suite: Suite) -> dict[str, str]:
    span = one.span
    if span is None:
        return {"file": suite.file} if suite.file else {}
    place = {"file": span.file, "line": str(span.line), "endLine": str(span.end_line)}
    if span.line == span.end_line:  # columns of several lines are refused
        place |= {"col": str(span.column), "endColumn": str(span.end_column)}
    return place


def _encode(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)
