"""Where results go: text and JSON to standard output, diagnostics to standard error, colour to terminals only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import click

from portgate.core.diagnostics import Diagnostic
from portgate.report import text

if TYPE_CHECKING:
    from portgate.report.suites import Suite

SCHEMA = 1
_MOST_ALIKE = 5


def colour(stream: TextIO) -> bool:
    """For a terminal; not for anything else, with NO_COLOR, or on a terminal that has none."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(stream: TextIO | None = None) -> text.Paint:
    """How to paint what goes to a stream, standard output unless another is named."""
    return text.coloured if colour(stream or sys.stdout) else text.plain


def room() -> int | None:
    """The columns of the terminal that standard output goes to, None for anything else."""
    return os.get_terminal_size(sys.stdout.fileno()).columns or None if sys.stdout.isatty() else None


def say(lines: Iterable[str]) -> None:
    """Lines that are safe to show."""
    columns = room()
    for line in lines:
        print(line) if columns is None else print(*text.folded(line, columns), sep="\n")


def say_beside(lines: Iterable[str]) -> None:
    """Lines about a result that itself goes to standard output, safe to show."""
    for line in lines:
        print(line, file=sys.stderr)


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    say(text.table(header, rows, paint(), room()))


def say_json(content: Mapping[str, object]) -> None:
    """Everything for programs is one object that names its schema."""
    import json

    print(json.dumps({"schema": SCHEMA, **content}, indent=2))


def say_suites(output_format: str, suites: Sequence[Suite]) -> None:
    """What was found, in a format of CI systems."""
    if output_format == "junit":
        from portgate.report import junit

        sys.stdout.write(junit.document(suites))
    elif output_format == "sarif":
        import json

        from portgate.report import sarif

        print(json.dumps(sarif.log(suites), indent=2))
    else:
        from portgate.report import github

        say(github.commands(suites))


def complain(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
    """**Shape** `sources` are the texts of the files that diagnostics point into, by path."""
    from portgate.report.diagnostics import render

    if shown := render(diagnostics, sources or {}, colour(sys.stderr)):
        print(shown, file=sys.stderr)


def complain_of_some(found: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
    """A few of those that are alike: there can be thousands of what could not be read of a host, or of notes on a policy."""
    kinds: dict[str, list[Diagnostic]] = {}
    for one in found:
        kinds.setdefault(one.code, []).append(one)
    for code, alike in kinds.items():
        complain(alike[:_MOST_ALIKE], sources)
        if len(alike) > _MOST_ALIKE:
            print(f"... and {code} {len(alike) - _MOST_ALIKE} times more", file=sys.stderr)


def write(path: str, content: str, *, private: bool = False) -> None:
    """To a file, or to standard output where `path` is `-`."""
    from portgate import engine

    if path == "-":
        sys.stdout.write(content)
        return
    try:
        engine.write_file(path, content, private=private)
    except OSError as error:
        raise click.FileError(path, error.strerror) from error
