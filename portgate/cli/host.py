"""Commands that look at the host and change nothing: sockets, capture, status."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

import click

from portgate.cli.options import backend_option, format_option, host_option
from portgate.cli.output import complain, complain_of_some, say, say_json, say_table, write
from portgate.report.text import duration, escape

if TYPE_CHECKING:
    from portgate.applied import Status
    from portgate.apply.journal import Entry


_MOST_CHANGES = 20


@click.command
@host_option
@click.option("--packages", is_flag=True, help="Ask the package manager which package each program belongs to.")
@format_option
def sockets(host_file: str | None, packages: bool, output_format: str) -> int:
    """What listens on this host, and who it is.

    Without root, the owners of other users' sockets stay unknown.
    """
    from portgate import engine
    from portgate.report import listeners

    found = engine.sockets(host_file, with_packages=packages)
    complain_of_some(found.notes)
    if output_format == "json":
        say_json({"listeners": [listeners.fields(one) for one in found.listeners]})
    elif found.listeners:
        say_table(listeners.HEADER, [listeners.row(one) for one in found.listeners])
    else:
        say(["no listeners"])
    return 0


@click.command
@click.option(
    "--from", "parts", metavar="KIND=FILE", multiple=True,
    help="Build the capture from saved output in place of this host; repeat for each part.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", default="-", show_default=True, help="Where to; `-` is standard output."
)
@click.option("--packages", is_flag=True, help="Ask the package manager which package each program belongs to.")
def capture(parts: tuple[str, ...], output: str, packages: bool) -> int:
    """All that portgate reads of a host, as one file.

    Other commands take it with `--host`. It holds rules, sockets with their processes and users, interfaces and addresses: the file is made readable by its
    owner only. KIND is the program whose output was saved, as in `nft=ruleset.txt`, `nft-json=...`, `ss=...`; or
    `interfaces=NAME:ADDRESS/PREFIX,...`, written out. Exits with 3 when a part could not be read.
    """
    from portgate import engine, host
    from portgate.core.capture import to_json
    from portgate.core.diagnostics import errors

    pairs = [_pair(one) for one in parts]
    found = engine.captured_from(pairs) if pairs else host.capture(with_packages=packages)
    complain_of_some(found.notes)
    write(output, to_json(found), private=True)
    return 3 if errors(found.notes) else 0


def _pair(part: str) -> tuple[str, str]:
    from portgate import host

    kind, equals, value = part.partition("=")
    if not equals or kind not in host.kinds():
        known = ", ".join(host.kinds())
        raise click.BadParameter(f"{part!r} is not KIND=FILE with a KIND of {known}", param_hint="--from")
    return kind, value


@click.command
@host_option
@backend_option
@format_option
def status(host_file: str | None, backend: str, output_format: str) -> int:
    """What was applied last, and whether it is in force.

    When rules have changed since, it says which of portgate's are others now, who changed them where the machine keeps an audit log, and
    which rules of other tools void them. Exits with 1 then, and when portgate's rules are gone; `portgate apply` repairs them. A capture tells whether rules of portgate are loaded, not who applied them.
    """
    from portgate import applied

    found = applied.status(backend) if host_file is None else applied.status_of_capture(host_file, backend)
    if output_format == "json":
        say_json(_status_fields(found))
    else:
        say(f"{name:8}  {escape(value)}" for name, value in _status_lines(found))
    complain((*found.notes, *(found.drift.theirs if found.drift else ())))
    return 1 if (found.record and not found.loaded) or found.drift else 0


def _status_lines(status: Status) -> Iterator[tuple[str, str]]:
    yield "backend", status.backend
    if status.record:
        yield "policy", f"{status.record.policy} ({status.record.files[0][0]})"
        yield "applied", status.record.time
    if status.waiting and status.waiting.left is not None:
        seconds = max(0, status.waiting.left)
        yield "on trial", f"{status.waiting.policy}, undone in {seconds:.0f} seconds unless confirmed: portgate confirm"
    if status.undone:
        yield "undone", f"{status.undone[0]}: {status.undone[1]}"
    yield "rules", _rules_text(status)
    if status.drift:
        yield from (("changed", str(one)) for one in status.drift.ours[:_MOST_CHANGES])
        if len(status.drift.ours) > _MOST_CHANGES:
            yield "changed", f"and {len(status.drift.ours) - _MOST_CHANGES} more"
        yield from (("by", one) for one in status.drift.writers)
    for one in status.openings:
        yield "opened", f"{one}, {duration(one.seconds)} left"
    if status.boot:
        yield "at start", status.boot


def _rules_text(status: Status) -> str:
    match status.record is not None, status.loaded:
        case True, True if status.untouched:
            return f"in force; no rule of {status.backend} has changed since"
        case True, True:
            return _changed_text(status)
        case True, False:
            return "gone: none of portgate's rules is loaded"
        case False, True:
            return "rules of portgate are loaded; there is no record of who applied them"
    return "nothing was applied, and no rule of portgate's is loaded"


def _changed_text(status: Status) -> str:
    found = status.drift
    if found is None:
        return f"loaded; rules of {status.backend}, portgate's or others', have changed since"
    if found.ours:
        return f"loaded, and changed since revision {found.revision}; `portgate apply` repairs them"
    return f"in force as of revision {found.revision}; none of portgate's has changed since"


def _status_fields(status: Status) -> dict[str, object]:
    from portgate.report import shapes

    record = status.record
    return {
        "backend": status.backend,
        "loaded": status.loaded,
        "untouched": status.untouched,
        "policy": record and record.policy,
        "files": [path for path, _ in record.files] if record else [],
        "applied": record and record.time,
        "waiting": status.waiting and _trial_fields(status.waiting),
        "openings": [{"port": str(one), "seconds": one.seconds, "name": one.name} for one in status.openings],
        "drift": None if status.drift is None else shapes.drift(status.drift),
        "boot": status.boot or None,
        "undone": status.undone and {"policy": status.undone[0], "why": status.undone[1]},
    }


def _trial_fields(trial: Entry) -> dict[str, object]:
    return {"policy": trial.policy, "seconds": None if trial.left is None else max(0, ceil(trial.left))}
