"""Findings as SARIF 2.1.0, which code scanning services and editors show at the lines of a policy.

**Source** OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from portgate import __version__
from portgate.core.diagnostics import CATALOGUE, Diagnostic, Span
from portgate.report.suites import Suite, findings
from portgate.report.text import escape

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Json = dict[str, object]


def log(suites: Sequence[Suite]) -> Json:
    """One run of portgate. Columns count characters, as in `Span`."""
    found = list(findings(suites))
    codes = sorted({one.code for _, one in found})
    driver = {
        "name": "portgate",
        "version": __version__,
        "rules": [_rule(code) for code in codes],
    }
    results = [_result(one, codes.index(one.code), suite.file) for suite, one in found]
    run: Json = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> Json:
    kind = CATALOGUE[code]
    return {
        "id": code,
        "shortDescription": {"text": kind.summary},
        "fullDescription": {"text": kind.explanation},
        "help": {"text": kind.explanation},
        "defaultConfiguration": {"level": kind.severity.value},
    }


def _result(one: Diagnostic, index: int, file: str | None) -> Json:
    parts = [f"{one.summary}: {one.detail}", *([f"help: {one.remedy}"] if one.remedy else [])]
    result: Json = {
        "ruleId": one.code,
        "ruleIndex": index,
        "level": one.severity.value,
        "message": {"text": "\n".join(map(escape, parts))},
        "locations": _places(one.span, file),
    }
    if one.related:
        result["relatedLocations"] = [
            {"id": number, **_place(span), "message": {"text": escape(told)}}
            for number, (span, told) in enumerate(one.related)
        ]
    return result


def _places(span: Span | None, file: str | None) -> list[Json]:
    if span is not None:
        return [_place(span)]
    return [{"physicalLocation": {"artifactLocation": {"uri": uri(file)}}}] if file else []


def _place(span: Span) -> Json:
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": uri(span.file)}, "region": region}}


def uri(path: str) -> str:
    """A path as a URI: relative ones stay relative, and mean the folder that the command ran in."""
    prefix = "file://" if path.startswith("/") else ""
    return prefix + quote(path.removeprefix("./"), safe="/", errors="surrogateescape")
