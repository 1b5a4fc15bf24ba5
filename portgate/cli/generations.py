"""Commands about what was applied: confirm, rollback, history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.change import carry_out, terms_options, waiting, yes_option
from portgate.cli.options import format_option
from portgate.cli.output import complain, paint, say, say_json, say_table
from portgate.report.text import escape

if TYPE_CHECKING:
    from portgate.applied import Compared
    from portgate.apply.history import Generation
    from portgate.changes import Applied, Consent, Terms


@click.command
@format_option
@click.option("--same-session", is_flag=True, help="Count this connection, although it is older than the new rules.")
def confirm(output_format: str, same_session: bool) -> int:
    """Keeps the rules of an apply that is on trial.

    That you could log in is the proof that you can, so over SSH it counts only from another connection than the one that applied.
    """
    from portgate import changes

    policy, warnings = changes.confirm(waiting, same_session=same_session)
    complain(warnings)
    if output_format == "json":
        say_json({"policy": policy, "confirmed": True})
    else:
        say([f"{escape(policy)} is confirmed"])
    return 0


@click.command
@click.argument("revision", type=click.IntRange(min=1), required=False)
@format_option
@yes_option
@terms_options
def rollback(
    revision: int | None,
    output_format: str,
    yes: bool,
    terms: Terms,
) -> int:
    """Goes back to an earlier generation.

    Undoes an apply that is on trial, at once. Else the policy of REVISION (see `portgate history`; without it, of the one before
    the latest) is applied again, exactly as `portgate apply` does: shown, asked, proven. Grants that have expired since stay expired.
    """
    from portgate import changes

    def run(consent: Consent | None) -> Applied | None:
        return changes.rollback(revision, date.today(), consent, waiting, terms)

    if revision is None and (undone := changes.undo(waiting)) is not None:
        if output_format == "json":
            say_json({"policy": undone, "undone": True})
        else:
            say([f"{escape(undone)} was undone; the rules of before are in force"])
        return 0
    return carry_out(run, yes=yes, output_format=output_format, look="portgate history REVISION")


@click.command
@click.argument("revisions", metavar="[[FROM] REVISION]", nargs=-1, type=click.IntRange(min=1))
@format_option
def history(revisions: tuple[int, ...], output_format: str) -> int:
    """Every confirmed generation: when, who and why.

    The latest stands first. The last fifty are kept. With a REVISION: the new connections that it let through or stopped, compared with FROM, else with
    the generation before it.
    """
    from portgate import applied

    if len(revisions) > 2:
        raise click.UsageError("name one revision, or two to compare")
    if revisions:
        first = revisions[0] if len(revisions) > 1 else None
        return _show_compared(applied.compared(first, revisions[-1]), output_format)
    found = applied.history()
    if output_format == "json":
        say_json({"generations": [_fields(one) for one in found]})
    elif found:
        rows = [tuple(escape(cell(one)) for cell in _COLUMNS.values()) for one in found]
        say_table(tuple(_COLUMNS), rows)
    else:
        say(["nothing was applied yet"])
    return 0


def _show_compared(found: Compared, output_format: str) -> int:
    """Exits with 0: that generations differ is what they are for."""
    from portgate.report import shapes

    if output_format == "json":
        before = None if found.before is None else _fields(found.before)
        traffic = [shapes.difference(one) for one in found.traffic]
        say_json({"before": before, "after": _fields(found.after), "traffic": traffic})
        return 0
    say(_compared_lines(found))
    return 0


def _compared_lines(found: Compared) -> Iterator[str]:
    from portgate.report.plan import difference

    start = "a host without rules of portgate" if found.before is None else f"revision {found.before.revision}"
    yield f"{escape(found.after.policy)}, from {start} to revision {found.after.revision}: new connections"
    if not found.traffic:
        yield "  no packet fares differently"
    for one in found.traffic:
        yield from difference(one, paint())


_COLUMNS: dict[str, Callable[[Generation], str]] = {
    "REVISION": lambda one: str(one.revision),
    "TIME": lambda one: one.time,
    "POLICY": lambda one: one.policy,
    "BY": lambda one: one.user + (f" from {one.session.split()[0]}" if one.session else ""),
    "WHY": lambda one: one.message,
}


def _fields(one: Generation) -> dict[str, object]:
    return {
        "revision": one.revision,
        "time": one.time,
        "policy": one.policy,
        "backend": one.backend,
        "user": one.user,
        "session": one.session or None,
        "message": one.message,
        "files": [path for path, _ in one.files],
    }
