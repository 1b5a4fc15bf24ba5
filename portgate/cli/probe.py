"""A host seen from outside: probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import click

from portgate.cli.options import report_option
from portgate.cli.output import complain, paint, room, say, say_json, say_suites
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.core.net import Family
    from portgate.probing import Probed
    from portgate.report.suites import Suite


@click.command
@click.argument("host")
@click.argument("policy")
@click.option("-4", "only", flag_value="4", help="IPv4 only.")
@click.option("-6", "only", flag_value="6", help="IPv6 only.")
@click.option("--from", "source", default="", metavar="ADDRESS", help="How the host sees this machine, if over NAT.")
@click.option("--iif", default="", metavar="NAME", help="The host's interface on which this machine comes in.")
@click.option(
    "--timeout", default=1.0, show_default=True, metavar="SECONDS", type=click.FloatRange(0.05, 60),
    help="How long to wait for each answer.",
)  # fmt: skip
@click.option(
    "--rate", default=100.0, show_default=True, metavar="N", type=click.FloatRange(0.1, 10000), help="Ports per second."
)
@click.option(
    "--sample", default=60, show_default=True, metavar="N", type=click.IntRange(0, 5000),
    help="How many of the ports to ask, TCP and UDP each, that the policy does not name.",
)  # fmt: skip
@report_option
def probe(
    host: str, policy: str, only: str | None, source: str, iif: str, timeout: float, rate: float, sample: int,
    output_format: str,
) -> int:  # fmt: skip
    """What of a host answers here, against what its policy says.

    Connects to the TCP ports that the policy speaks of, to their neighbours and to a sample of the rest, and sends a datagram
    to the UDP ports. Speaks to nobody but HOST, by the first address of each family that the name has.

    Exits with 1 when a port answers that the policy blocks for this source, or a TCP port is silent that it opens.
    """
    from portgate import engine, probing

    terms = probing.Terms(timeout, rate, sample, _families(only), _address(source), _interface(iif))
    file = engine.load(policy, date.today())
    progress = Progress("probing")
    with progress:
        found = probing.probe(
            host,
            file.policy,
            date.today(),
            terms,
            lambda done, total: progress.tell(f"probing, {done} of {total} ports"),
        )
    complain(file.warnings, file.sources)
    wrong = [one.diagnostic for one in found if one.diagnostic]
    if output_format == "json":
        say_json({"host": host, "agrees": not wrong, "ports": [_fields(one) for one in found]})
    elif output_format != "text":
        say_suites(output_format, [_suite(host, policy, found)])
    else:
        from portgate.report import probe as report

        ports = [
            report.Port(one.way.address, one.way.source, one.packet, one.answer.value, one.fate, one.meaning.value)
            for one in found
        ]
        say(report.lines(ports, paint(), room()))
        complain(wrong)
    return 1 if wrong else 0


def _families(only: str | None) -> tuple[Family, ...]:
    from portgate.core.net import Family

    return tuple(one for one in Family if only in (None, str(one.value)))


def _address(text: str) -> str:
    from portgate.core.net import parse_address

    try:
        if text:
            parse_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--from") from None
    return text


def _interface(text: str) -> str:
    from portgate.core.net import interface_interval

    try:
        if text:
            interface_interval(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--iif") from None
    return text


def _suite(host: str, policy: str, found: Sequence[Probed]) -> Suite:
    from portgate.report.probe import name
    from portgate.report.suites import Case, Suite

    cases = (
        Case(f"{one.way.address} {name(one.packet)}", (one.diagnostic,) if one.diagnostic else ()) for one in found
    )
    return Suite(f"probe of {host}", tuple(cases), policy)


def _fields(one: Probed) -> Mapping[str, object]:
    return {
        "packet": one.packet.fields(),
        "answer": one.answer.value,
        "verdict": one.fate.value,
        "meaning": one.meaning.value,
    }
