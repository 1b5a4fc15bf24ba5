"""Commands about one port: open, close."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.change import carry_out, show_only, terms_options, waiting, yes_option
from portgate.cli.options import backend_option, format_option
from portgate.cli.output import say
from portgate.cli.progress import Progress
from portgate.report.text import duration, escape

if TYPE_CHECKING:
    from portgate.changes import Applied, Consent, Terms
    from portgate.ports import Asked, Ported

_TIME = re.compile(r"(?=\d)(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")
_LONGEST = 365 * 86400


class Duration(click.ParamType[int]):
    """A time in words. **Units** seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _TIME.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a time such as 30m, 1h or 2d12h", param, ctx)
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if not 1 <= total <= _LONGEST:
            self.fail(f"{value!r} is not between a second and 365 days", param, ctx)
        return total


policy_option = click.option(
    "-p", "--policy", metavar="FILE", help="The policy to edit and apply.  [default: the one that was applied last]"
)
from_option = click.option(
    "--from", "sources", metavar="SOURCE", multiple=True,
    help="A zone or address set of the policy, or an address; repeat for each.  [default: everybody]",
)  # fmt: skip
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would change, as `portgate plan` does.")


@click.command("open")
@click.argument("port")
@from_option
@click.option("--for", "seconds", type=Duration(), help="Open it for so long only, such as 30m, 1h or 2d12h.")
@policy_option
@backend_option
@format_option
@dry_run_option
@yes_option
@terms_options
def open_port(
    port: str,
    sources: tuple[str, ...],
    seconds: int | None,
    policy: str | None,
    backend: str,
    output_format: str,
    dry_run: bool,
    yes: bool,
    terms: Terms,
) -> int:
    """Opens a port, in the policy and on this host.

    A grant is added to the policy, which is then applied. PORT is written as in a policy: 8080/tcp, 8000-8100/udp, or a service. The file keeps its comments and layout; a block that closed just this
    port goes. With --for the policy stays as it is: the kernel closes the port by itself when the time is over, and until then it
    stays open through every apply and a new start of the machine. Everything else is as with `portgate apply`.
    """
    from portgate.ports import Asked

    asked = Asked(port, sources, policy, seconds=seconds)
    return _carry_out(asked, backend, output_format, dry_run, yes, terms)


@click.command("close")
@click.argument("port")
@from_option
@policy_option
@backend_option
@format_option
@dry_run_option
@yes_option
@terms_options
def close_port(
    port: str,
    sources: tuple[str, ...],
    policy: str | None,
    backend: str,
    output_format: str,
    dry_run: bool,
    yes: bool,
    terms: Terms,
) -> int:
    """Closes a port, in the policy and on this host.

    Its grant is taken out of the policy, which is then applied. Where a wider grant, a forward or an included file still opens it, a block is added. What was opened for a time is closed, too. Rules of
    others that leave the port open are named. Everything else is as with `portgate open`.
    """
    from portgate.ports import Asked

    asked = Asked(port, sources, policy, closes=True)
    return _carry_out(asked, backend, output_format, dry_run, yes, terms)


def _carry_out(asked: Asked, backend: str, output_format: str, dry_run: bool, yes: bool, terms: Terms) -> int:
    from portgate import ports

    today = date.today()
    if dry_run:
        with Progress("planning"):
            planned = ports.planned(asked, backend, today)
        return show_only(planned, output_format=output_format)
    done: list[Ported] = []

    def run(consent: Consent | None) -> Applied | None:
        done.append(ports.carry_out(asked, backend, today, consent, waiting, terms))
        return done[0].applied

    def fields() -> dict[str, object]:
        added = [{"list": book, "entry": text} for book, text in done[0].added]
        return {"file": done[0].file, "removed": list(done[0].removed), "added": added}

    code = carry_out(run, yes=yes, output_format=output_format, more=fields)
    if code == 0 and output_format == "text":
        say(_told(asked, done[0]))
    return code


def _told(asked: Asked, done: Ported) -> Iterator[str]:
    file = escape(done.file)
    yield from (f"{file}: removed: {escape(one)}" for one in done.removed)
    yield from (f"{file}: added to {book}: {escape(text)}" for book, text in done.added)
    state = "closed" if asked.closes else "open"
    changed = done.applied is not None and done.applied.changed
    already = "" if changed or done.added or done.removed else " already"
    yield f"{escape(str(asked))} is {state}{already}{_until(asked.seconds) if changed else ''}"


def _until(seconds: int | None) -> str:
    return "" if seconds is None else f" for {duration(seconds)}"
