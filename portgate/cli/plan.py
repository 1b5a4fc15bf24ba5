"""The command plan, and how plans are shown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import backend_option, format_option, host_option
from portgate.cli.output import complain, complain_of_some, paint, room, say, say_json
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.core.drift import Drift
    from portgate.engine import Planned


@click.command
@click.argument("policy")
@host_option
@backend_option
@format_option
@click.option("--native", is_flag=True, help="Show the native rules that would be loaded, too.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 in place of 1 when something would change.")
def plan(
    policy: str, host_file: str | None, backend: str, output_format: str, native: bool, detailed_exitcode: bool
) -> int:
    """What applying a policy would change.

    First the traffic that would be opened and closed, with a packet as witness; then the rules; then the listeners as
    they would be reachable. Nothing is changed. Exits with 0 when nothing would change, else with 1.
    """
    made, drift = planned(policy, host_file, backend)
    show(made, output_format, native, drift)
    if made.plan.empty:
        return 0
    return 2 if detailed_exitcode else 1


def planned(policy: str, host_file: str | None, backend: str) -> tuple[Planned, Drift | None]:
    """The plan, and what somebody changed on this host since the last apply."""
    from portgate import applied, backends, engine

    today = date.today()
    with Progress("planning"):
        file = engine.load(policy, today)
        seen = engine.see(host_file)
        if host_file is None:
            chosen = engine.backend_here(backend)
        else:
            chosen = backends.get(engine.backend_of(seen.capture) if backend == "auto" else backend)
        made = engine.plan(seen, file, chosen, today)
        drift = applied.drift(seen, chosen) if host_file is None else None
    complain_of_some((*seen.notes, *engine.blind_spots(seen)))
    return made, drift


def show(planned: Planned, output_format: str, native: bool = False, drift: Drift | None = None) -> None:
    complain(planned.plan.warnings, planned.sources)
    if output_format == "json":
        from portgate.report import shapes

        told = None if drift is None else shapes.drift(drift)
        say_json({**shapes.plan(planned.plan, planned.rules), "drift": told})
        return
    from portgate.report import plan as report

    if drift is not None:
        say(report.drift(drift, paint()))
    say(report.lines(planned.plan, planned.rules, paint(), room()))
    if native and planned.plan.artifact is not None:
        say(["", *_native(planned.plan.artifact.text)])


def _native(text: str) -> Iterable[str]:
    from portgate.report.text import escape

    return (escape(line.expandtabs(4)) for line in text.splitlines())
