"""Findings as JUnit XML, which CI systems count and show: a suite for each policy or host, a case for each check."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from portgate.core.diagnostics import Diagnostic
from portgate.report.suites import Case, Suite
from portgate.report.text import escape


def document(suites: Sequence[Suite]) -> str:
    """**Shape** one `failure` for each failed case, with all that is wrong; notes are its `system-out`."""
    cases = [case for suite in suites for case in suite.cases]
    root = ElementTree.Element("testsuites", _counts(cases))
    for suite in suites:
        root.append(_suite(suite))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {"tests": str(len(cases)), "failures": str(sum(bool(one.failures) for one in cases)), "errors": "0"}


def _suite(suite: Suite) -> ElementTree.Element:
    name = escape(suite.name)
    element = ElementTree.Element("testsuite", {"name": name, **_counts(suite.cases)})
    for case in suite.cases:
        element.append(_case(case, name))
    return element


def _case(case: Case, suite: str) -> ElementTree.Element:
    element = ElementTree.Element("testcase", {"name": escape(case.name), "classname": suite})
    if case.failures:
        first = case.failures[0]
        attributes = {"type": first.code, "message": escape(f"{first.summary}: {first.detail}")}
        ElementTree.SubElement(element, "failure", attributes).text = _text(case.failures)
    notes = [one for one in case.diagnostics if one not in case.failures]
    if notes:
        ElementTree.SubElement(element, "system-out").text = _text(notes)
    return element


def _text(diagnostics: Sequence[Diagnostic]) -> str:
    return "\n\n".join("\n".join(map(escape, _lines(one))) for one in diagnostics)


def _lines(one: Diagnostic) -> list[str]:
    at = f"{one.span}: " if one.span else ""
    lines = [f"{at}{one.code} {one.summary}: {one.detail}"]
    lines += [f"{span}: {told}" for span, told in one.related]
    return [*lines, f"help: {one.remedy}"] if one.remedy else lines
