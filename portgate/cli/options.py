"""Options that several commands share."""

from __future__ import annotations

import click

from portgate import backends

format_option = click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="For people, or for programs.",
)  # fmt: skip
report_option = click.option(
    "--format", "output_format", type=click.Choice(["text", "json", "junit", "sarif", "github"]), default="text",
    show_default=True, help="For people, for programs, or for CI systems.",
)  # fmt: skip
host_option = click.option(
    "--host",
    "host_file",
    metavar="FILE",
    help="A capture in place of this host (see `portgate capture`); `-` is standard input.",
)
backend_option = click.option(
    "--backend", type=click.Choice(["auto", *backends.names()]), default="auto", show_default=True,
    help="The firewall to drive; auto takes the one that was used last, else the one that can say most.",
)  # fmt: skip
