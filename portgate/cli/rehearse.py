"""A policy on the real kernel, in a sandbox: try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import backend_option, format_option
from portgate.cli.output import complain, paint, room, say, say_json
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.rehearsal import Rehearsal


@click.command("try")
@click.argument("policy")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@backend_option
@format_option
def try_policy(policy: str, command: tuple[str, ...], backend: str, output_format: str) -> int:
    """A policy on the real kernel, on a host made up for it.

    A host is made up with the interfaces and addresses that the policy names, the policy is applied to it, programs listen at
    its ports, and somebody from every zone knocks. This host's own rules and links are not touched, and no root is needed
    where the kernel grants user namespaces. Exits with 1 when the kernel does otherwise than portgate's engine says.

    With `-- COMMAND`, runs it on that host instead, for instance a shell, and exits as it does.
    """
    from portgate import rehearsal

    if command:
        return rehearsal.run(policy, backend, date.today(), command)
    with Progress("trying"):
        done = rehearsal.rehearse(policy, backend, date.today())
    if output_format == "json":
        say_json(_fields(done))
    else:
        say(_lines(done))
        complain(done.disagreements)
    return 1 if done.disagreements else 0


def _lines(done: Rehearsal) -> Iterator[str]:
    from portgate.report import rehearsal
    from portgate.report.text import escape

    yield f"{escape(done.policy)}, by {done.backend}"
    yield ""
    meetings = (rehearsal.Meeting(one.origin.name, one.packet, one.answer.value) for one in done.conversations)
    yield from rehearsal.lines(meetings, paint(), room())
    yield ""
    if done.left_out:
        yield f"without these interfaces: {', '.join(map(escape, done.left_out))}"
    wrong = len(done.disagreements)
    verdict = f"{wrong} of them not as the engine says" if wrong else "all as the engine says"
    yield f"{len(done.conversations)} conversations, {len(done.packets)} single packets: {verdict}"


def _fields(done: Rehearsal) -> Mapping[str, object]:
    from portgate.report.diagnostics import as_dict

    return {
        "policy": done.policy,
        "backend": done.backend,
        "system": done.system,
        "agrees": not done.disagreements,
        "conversations": [
            {
                "from": one.origin.name,
                "packet": one.packet.fields(),
                "answer": one.answer.value,
                "verdict": one.engine.answer.fate.value,
            }
            for one in done.conversations
        ],
        "packets": len(done.packets),
        "left_out": list(done.left_out),
        "diagnostics": [as_dict(one) for one in done.disagreements],
    }
