"""The command line: reads arguments, calls the engine, renders, exits.

Rules of this file
    Starting up must stay cheap, so it imports click and nothing heavy; a command's module imports what it needs inside
    of the command. A command returns its exit code: 0 nothing to report; 1 findings or differences; 2 the command line
    or a policy is wrong; 3 the host could not be read or changed; 4 a bug of portgate. As in a shell, 130 means
    interrupted and 141 that nobody read the output to its end.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from portgate import __version__
from portgate.cli import output
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.report.text import escape

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk answers that takes no more output; whoever writes anything else looks after it."""
USAGE, HOST, BUG, INTERRUPTED, BROKEN_PIPE = 2, 3, 4, 130, 141
_SIMPLER = "ask about a part of the rules: a capture without the others, or `trace` of one packet"

# Each command and the function behind it, in the order of `--help`.
COMMANDS = {
    "check": "policy.check",
    "test": "expect.test",
    "try": "rehearse.try_policy",
    "compile": "policy.compile_policy",
    "plan": "plan.plan",
    "apply": "change.apply",
    "open": "ports.open_port",
    "close": "ports.close_port",
    "confirm": "generations.confirm",
    "rollback": "generations.rollback",
    "history": "generations.history",
    "audit": "questions.audit",
    "verify": "questions.verify",
    "trace": "questions.trace",
    "import": "importing.import_policy",
    "probe": "probe.probe",
    "status": "host.status",
    "sockets": "host.sockets",
    "capture": "host.capture",
    "services": "reference.services",
    "explain": "reference.explain",
    "schema": "reference.schema",
    "backends": "reference.backends",
}


class Commands(click.Group):
    """The commands, each imported when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(".")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), function)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            print(ctx.get_help(), file=sys.stderr)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            self._refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse(self, ctx: click.Context, name: str) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        ctx.fail(f"No such command {name!r}.{hint}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="portgate", message="%(prog)s %(version)s")
def portgate() -> None:
    """A firewall manager that proves what it does.

    A policy says which ports may be reached and from where. portgate compares it with the sockets that listen and with
    every rule the host enforces, shows what would change, applies it atomically, and verifies the result.
    """


def main() -> None:
    """The program `portgate`.

    It ends at once: taking a large policy's objects apart, one by one, takes longer than many a command.
    """
    _open_streams()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _open_streams() -> None:
    """Those that whoever started us has closed lead nowhere: a file that is opened later must not be taken for one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def run(arguments: Sequence[str]) -> int:
    """One command line; its exit code. Nothing is raised."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())  # or the interpreter complains at its end
        return BROKEN_PIPE
    except OSError:
        return HOST


def _run(arguments: Sequence[str]) -> int:
    """Errors: BrokenPipeError, and OSError where not even an error can be told."""
    try:
        with portgate.make_context("portgate", list(arguments)) as context:
            code = portgate.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        _show(error)
        return USAGE
    except PortgateError as error:
        output.complain(error.diagnostics, error.sources)
        return error.exit_code
    except RecursionError:
        output.complain(
            [Diagnostic("PG426", "the calls that this needs inside of each other are too many", remedy=_SIMPLER)]
        )
        return HOST
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is becomes a report that can be sent
        if isinstance(error, OSError) and error.errno in FULL:
            print(f"Error: the output can't be written: {error.strerror}", file=sys.stderr)
            return HOST
        from portgate.cli import bug

        output.complain([bug.report(error, arguments)])
        return BUG
    return int(code)


def _show(error: click.ClickException) -> None:
    """As click does it, and whatever somebody typed in the clear, on one line."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        print(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", file=sys.stderr)
    print(f"Error: {escape(' '.join(error.format_message().split()))}", file=sys.stderr)
