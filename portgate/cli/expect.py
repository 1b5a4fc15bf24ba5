"""Policies that test themselves: test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import backend_option, report_option
from portgate.cli.output import colour, complain, say, say_json, say_suites
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.promises import Tested
    from portgate.report.suites import Suite


@click.command
@click.argument("policies", metavar="POLICY...", nargs=-1, required=True)
@click.option(
    "--in", "place", type=click.Choice(["engine", "sandbox"]), default="engine", show_default=True,
    help="By the engine alone, or with real packets in a network namespace, too.",
)  # fmt: skip
@backend_option
@report_option
def test(policies: tuple[str, ...], place: str, backend: str, output_format: str) -> int:
    """Whether policies keep their `expect` entries.

    Each is decided for every packet that it names; when one breaks it, that packet is shown, with the grant that causes
    it. A folder stands for every policy below it. Nothing on this host is read.

    With `--in sandbox` each policy is also applied to a host that is made up for it, and packets from the edges of each
    expectation are sent: the kernel must do with every one what the engine says. No root is needed where the kernel grants
    user namespaces.

    Exits with 1 when an expectation is broken, with 2 when a policy is wrong.
    """
    from portgate import promises

    with Progress("testing"):
        tested = {path: _tested(path, place, backend) for path in promises.policy_files(policies)}
    if output_format == "json":
        say_json({"policies": [_fields(path, one) for path, one in tested.items()]})
    elif output_format == "text":
        for path, one in tested.items():
            complain(one.loaded.diagnostics, one.loaded.sources)
            say(_lines(path, one))
    else:
        say_suites(output_format, [_suite(path, one) for path, one in tested.items()])
    return max(map(_exit_code, tested.values()))


def _tested(path: str, place: str, backend: str) -> Tested:
    from portgate import promises

    if place == "engine":
        return promises.test(path, date.today())
    from portgate import rehearsal

    return rehearsal.test(path, backend, date.today())


def _exit_code(tested: Tested) -> int:
    if tested.loaded.policy is None:
        return 2
    return 1 if any(one.diagnostics for one in tested.results) else 0


def _lines(path: str, tested: Tested) -> Iterator[str]:
    from portgate.report.diagnostics import render
    from portgate.report.text import escape

    if tested.loaded.policy is None:
        return
    broken = [one.diagnostics for one in tested.results if one.diagnostics]
    if broken:
        yield render([one for found in broken for one in found], tested.loaded.sources, colour(sys.stdout))
    held = f"{len(tested.results) - len(broken)} of {len(tested.results)} expectations hold"
    sent = sum(one.sent or 0 for one in tested.results)
    real = f", {sent} packets sent" if sent else ""
    yield f"{escape(path)}: {held if tested.results else 'expects nothing'}{real}"


def _suite(path: str, tested: Tested) -> Suite:
    from portgate.core.broken import title
    from portgate.core.diagnostics import errors
    from portgate.report.suites import Case, Suite

    cases = [Case("the policy", errors(tested.loaded.diagnostics))]  # its warnings are for `check`
    for one in tested.results:
        at = one.result.expectation.span
        line = f"line {at.line}: " if at else ""
        cases.append(Case(line + title(one.result.expectation), one.diagnostics))
    return Suite(path, tuple(cases), path)


def _fields(path: str, tested: Tested) -> Mapping[str, object]:
    from portgate.report import shapes
    from portgate.report.diagnostics import as_dict

    return {
        "file": path,
        "diagnostics": [as_dict(one) for one in tested.loaded.diagnostics],
        "expectations": [shapes.expectation(one.result, one.broken, one.sent, one.surprises) for one in tested.results],
    }
