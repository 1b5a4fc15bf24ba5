"""The command apply, and what all commands have in common that change the host. What follows an apply is in generations.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import wraps
from math import ceil
from typing import TYPE_CHECKING

import click

from portgate.cli.options import backend_option, format_option
from portgate.cli.output import complain, say, say_json
from portgate.cli.plan import planned, show
from portgate.cli.progress import Progress
from portgate.core.diagnostics import OBJECTIONS

if TYPE_CHECKING:
    from portgate.changes import Applied, Consent, Terms
    from portgate.core.diagnostics import Diagnostic
    from portgate.core.drift import Drift
    from portgate.engine import Planned


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
_TERMS = (
    click.option(
        "--confirm", "window", type=click.FloatRange(min=0, max=86400), metavar="SECONDS",
        help="Restore the old rules after that time unless `portgate confirm` is run; 0 is never.  [default: 60 over SSH, else 0]",
    ),
    click.option(
        "--override", "overrides", type=click.Choice(OBJECTIONS, case_sensitive=False), multiple=True,
        help="Go on in spite of this objection; repeat for each.",
    ),
    click.option("--message", default="", help="Why, for `portgate history`."),
    click.option(
        "--persist/--no-persist", default=True, show_default=True,
        help="Whether the machine starts with these rules from now on.",
    ),
)  # fmt: skip


def terms_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of every apply, which the command gets as one value, `terms`."""

    @wraps(command)
    def told(*, overrides: tuple[str, ...], window: float | None, message: str, persist: bool, **rest: object) -> int:
        from portgate.changes import Terms

        return command(terms=Terms(overrides, window, message, persist), **rest)

    for option in reversed(_TERMS):
        told = option(told)
    return told


@click.command
@click.argument("policy")
@backend_option
@format_option
@click.option("--dry-run", is_flag=True, help="Only show what would change: exactly `portgate plan`.")
@click.option(
    "--planned",
    "plan_file",
    metavar="FILE",
    help="Only if the plan is still that in FILE, from `portgate plan --format json`.",
)
@yes_option
@terms_options
def apply(
    policy: str,
    backend: str,
    output_format: str,
    dry_run: bool,
    plan_file: str | None,
    yes: bool,
    terms: Terms,
) -> int:
    """Makes a policy true on this host.

    Shows the plan and asks. Then the rules are loaded, read back, and proven to mean the policy; if they do
    not, the old rules are restored. Where nobody can be asked, it refuses without --yes. Rules that would lock out an administrator (your SSH
    session, or who the policy names under `management`) are refused before anything is touched, without --override.
    With --confirm a guard restores the old rules at the deadline, unless `portgate confirm` is run from a new connection.
    With --planned what somebody has reviewed is loaded, and nothing else: it refuses if policy or host have changed since.
    """
    from portgate import changes

    if dry_run:
        return show_only(*planned(policy, None, backend), output_format=output_format)
    return carry_out(
        lambda consent: changes.apply(policy, backend, date.today(), consent, waiting, terms),
        yes=yes,
        output_format=output_format,
        reviewed=_reviewed(plan_file),
    )


def _reviewed(plan_file: str | None) -> Callable[[Planned], None] | None:
    if plan_file is None:
        return None
    from portgate.cli import reviewed

    return reviewed.plan(plan_file)


def show_only(planned: Planned, drift: Drift | None = None, *, output_format: str) -> int:
    """A dry run: the plan, and the exit code that it has."""
    show(planned, output_format, drift=drift)
    return 0 if planned.plan.empty else 1


def carry_out(
    run: Callable[[Consent | None], Applied | None],
    *,
    yes: bool,
    output_format: str,
    look: str = "--dry-run",
    more: Callable[[], Mapping[str, object]] | None = None,
    reviewed: Callable[[Planned], None] | None = None,
) -> int:
    """Runs an apply with or without asking, and tells what came of it.

    **Shape** `run` gets whom to ask; `look` says how to see before what it would do; `more` is told in JSON, too; `reviewed` refuses a plan.
    """
    if not yes and (output_format == "json" or not sys.stdin.isatty()):
        raise click.UsageError(f"nobody can be asked here; say --yes, or look first with {look}")
    told: list[Diagnostic] = []
    progress = Progress("applying")

    def consents(planned: Planned, window: float | None) -> bool:
        if reviewed is not None:
            reviewed(planned)
        if yes:
            return True
        with progress.paused():
            told.extend(planned.plan.warnings)
            show(planned, "text")
            say(["", _way_back(window)])
            return click.confirm("Load these rules?", default=False, err=True)

    with progress, _ending_in_order():
        done = run(None if yes and reviewed is None else consents)
    if done is None:
        say(["nothing was changed"])
        return 1
    complain([one for one in done.warnings if one not in told], done.sources)
    if output_format == "json":
        confirm = None if done.confirm is None else ceil(done.confirm)
        common = {"policy": done.policy, "backend": done.backend, "changed": done.changed, "confirm": confirm}
        say_json({**common, **(more or dict)()})
    else:
        say(outcome(done))
    return 0


def _way_back(window: float | None) -> str:
    """What is told before the question."""
    if window is None:
        return "They stay until you change them. With --confirm SECONDS the old ones return unless you confirm the new."
    return f"The old rules are back after {window:g} seconds, unless you log in anew and run: portgate confirm"


def outcome(done: Applied) -> Iterable[str]:
    """What an apply did, in words."""
    what = "is in force" if done.changed else "is in force already, nothing changed"
    yield f"{done.policy} {what} ({done.backend})"
    if done.confirm is not None:
        yield f"On trial: the old rules are back in {done.confirm:g} seconds, unless you log in anew and run: portgate confirm"


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """A closed terminal or a polite kill ends like Ctrl-C: the old rules are restored on the way out."""
    import signal

    ending = [one for one in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, signal.default_int_handler) for one in ending}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def waiting() -> None:
    """Told when another apply is running."""
    click.echo("waiting for another apply on this host ...", err=True)
