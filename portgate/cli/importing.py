"""The command that makes a policy of what a host enforces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import format_option, host_option
from portgate.cli.output import complain_of_some, paint, say_beside, say_json, write
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.core.verify import Difference


@click.command("import")
@click.option("--name", default="imported", show_default=True, help="The name of the policy.")
@click.option(
    "-o", "--output", metavar="FILE", default="-", show_default=True, help="Where to; `-` is standard output."
)
@host_option
@format_option
def import_policy(name: str, output: str, host_file: str | None, output_format: str) -> int:
    """The live rules as a policy, proven equivalent.

    Everybody's rules are told together, as what they let through. What a policy can't say is listed with a packet, and left
    out; the exit code is then 1.
    """
    from portgate import engine
    from portgate.report import shapes

    with Progress("importing"):
        seen = engine.see(host_file)
        found = engine.import_policy(seen, name, date.today())
    complain_of_some(seen.notes)
    if output_format == "json":
        left = [shapes.difference(one) for one in found.left]
        say_json({"policy": found.text, "proven": not found.left, "differences": left})
    else:
        write(output, found.text)
        say_beside(_result(found.left))
    return 1 if found.left else 0


def _result(left: tuple[Difference, ...]) -> Iterator[str]:
    from portgate.report.plan import difference

    if not left:
        yield "proven: the policy treats every new connection as this host does"
        return
    yield "what the policy does not say; on this host -> by the policy:"
    for one in left:
        yield from difference(one, paint(sys.stderr))
