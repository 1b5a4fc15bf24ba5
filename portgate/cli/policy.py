"""Commands that need a policy and no host: check, compile."""

from __future__ import annotations

from datetime import date

import click

from portgate import backends
from portgate.cli.options import report_option
from portgate.cli.output import complain, complain_of_some, say, say_json, say_suites, write
from portgate.core.diagnostics import Severity

EXIT_CODES = {Severity.ERROR: 2, Severity.WARNING: 1, Severity.NOTE: 0}


@click.command
@click.argument("policies", metavar="POLICY...", nargs=-1, required=True)
@report_option
def check(policies: tuple[str, ...], output_format: str) -> int:
    """Every mistake in policies, and what is doubtful.

    Looks at the files alone, not at the host. A folder stands for every policy below it. Of many notes that are alike, text shows
    five.

    Exits with 2 when a policy has errors, else with 1 when it has warnings; notes alone are no reason to stop.
    """
    from portgate import engine
    from portgate.promises import policy_files
    from portgate.report.diagnostics import as_dict

    checked = {path: engine.check(path, date.today()) for path in policy_files(policies)}
    if output_format == "json":
        results = {path: [as_dict(one) for one in loaded.diagnostics] for path, loaded in checked.items()}
        say_json({"policies": [{"file": path, "diagnostics": found} for path, found in results.items()]})
    elif output_format != "text":
        from portgate.report.suites import Case, Suite

        parts = [(path, Case("check", loaded.diagnostics)) for path, loaded in checked.items()]
        say_suites(output_format, [Suite(path, (case,), path) for path, case in parts])
    else:
        for path, loaded in checked.items():
            notes = [one for one in loaded.diagnostics if one.severity is Severity.NOTE]
            complain([one for one in loaded.diagnostics if one.severity is not Severity.NOTE], loaded.sources)
            complain_of_some(notes, loaded.sources)
            if loaded.policy is not None:
                count = len(loaded.policy.grants())
                say([f"{path}: {count} grant{'' if count == 1 else 's'}"])
    found = [one.severity for loaded in checked.values() for one in loaded.diagnostics]
    return max((EXIT_CODES[severity] for severity in found), default=0)


@click.command("compile")
@click.argument("policy")
@click.option(
    "--to", "language", type=click.Choice(list(backends.languages())), required=True, help="The language of the rules."
)
@click.option("--dialect", help="A variant of that language: pf has openbsd, freebsd and macos, ipfw sh and file.")
@click.option(
    "-o", "--output", metavar="FILE", default="-", show_default=True, help="Where to; `-` is standard output."
)
def compile_policy(policy: str, language: str, dialect: str | None, output: str) -> int:
    """The native rules of a policy, ready to be loaded."""
    from portgate import engine

    write(output, engine.compile_policy(policy, language, dialect, date.today()).text)
    return 0
