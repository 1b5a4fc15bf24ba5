"""Policies that test themselves: test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import report_option
from portgate.cli.output import colour, complain, say, say_json, say_suites

if TYPE_CHECKING:
    from portgate.promises import Tested
    from portgate.report.suites import Suite


@click.command
@click.argument("policies", metavar="POLICY...", nargs=-1, required=True)
@report_option
def test(policies: tuple[str, ...], output_format: str) -> int:
    """Whether policies keep their `expect` entries.

    Each is decided for every packet that it names; when one breaks it, that packet is shown, with the grant that causes
    it. A folder stands for every policy below it. Nothing on this host is read.

    Exits with 1 when an expectation is broken, with 2 when a policy is wrong.
    """
    from portgate import promises

    tested = {path: promises.test(path, date.today()) for path in promises.policy_files(policies)}
    if output_format == "json":
        say_json({"policies": [_fields(path, one) for path, one in tested.items()]})
    elif output_format == "text":
        for path, one in tested.items():
            complain(one.loaded.diagnostics, one.loaded.sources)
            say(_lines(path, one))
    else:
        say_suites(output_format, [_suite(path, one) for path, one in tested.items()])
    return max(map(_exit_code, tested.values()))


def _exit_code(tested: Tested) -> int:
    if tested.loaded.policy is None:
        return 2
    return 1 if any(tested.broken) else 0


def _lines(path: str, tested: Tested) -> Iterator[str]:
    from portgate.report.diagnostics import render
    from portgate.report.text import escape

    if tested.loaded.policy is None:
        return
    broken = [one for one in tested.broken if one]
    if broken:
        yield render(broken, tested.loaded.sources, colour(sys.stdout))
    held = f"{len(tested.results) - len(broken)} of {len(tested.results)} expectations hold"
    yield f"{escape(path)}: {held if tested.results else 'expects nothing'}"


def _suite(path: str, tested: Tested) -> Suite:
    from portgate.core.broken import title
    from portgate.core.diagnostics import errors
    from portgate.report.suites import Case, Suite

    cases = [Case("the policy", errors(tested.loaded.diagnostics))]  # its warnings are for `check`
    for result, broken in zip(tested.results, tested.broken, strict=True):
        at = result.expectation.span
        line = f"line {at.line}: " if at else ""
        cases.append(Case(line + title(result.expectation), (broken,) if broken else ()))
    return Suite(path, tuple(cases), path)


def _fields(path: str, tested: Tested) -> Mapping[str, object]:
    from portgate.report import shapes
    from portgate.report.diagnostics import as_dict

    pairs = zip(tested.results, tested.broken, strict=True)
    return {
        "file": path,
        "diagnostics": [as_dict(one) for one in tested.loaded.diagnostics],
        "expectations": [shapes.expectation(result, broken) for result, broken in pairs],
    }
