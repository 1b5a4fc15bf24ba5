"""Questions about a host that change nothing: audit, verify, trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import IO, TYPE_CHECKING

import click

from portgate.cli.options import format_option, host_option, report_option
from portgate.cli.output import SCHEMA, complain, complain_of_some, paint, room, say, say_json, say_suites
from portgate.cli.progress import Progress

if TYPE_CHECKING:
    from portgate.core.audit import Audit
    from portgate.core.diagnostics import Diagnostic
    from portgate.core.listener import Listener
    from portgate.core.packets import Packet
    from portgate.core.verify import Difference
    from portgate.report.suites import Suite


@click.command
@click.argument("policy", required=False)
@host_option
@report_option
def audit(policy: str | None, host_file: str | None, output_format: str) -> int:
    """Every listener, who can reach it, and which rule decides.

    With POLICY, also where the host and the policy disagree. Exits with 1 when there are findings; `portgate explain
    CODE` tells what a finding means.
    """
    from portgate import engine
    from portgate.report import audit as report
    from portgate.report import shapes

    with Progress("auditing"):
        file = engine.load(policy, date.today()) if policy is not None else None
        seen = engine.see(host_file)
        found = engine.audit(seen, file, date.today())
    complain_of_some((*seen.notes, *engine.blind_spots(seen)))
    if file is not None:
        complain((*file.warnings, *engine.shortfalls(seen, file)), file.sources)
    if output_format == "json":
        say_json(shapes.audit(seen.rules, found))
    elif output_format != "text":
        say_suites(output_format, [_audit_suite(found, policy)])
    else:
        say(report.lines(found, seen.rules, paint(), room()))
    return 1 if found.findings else 0


def _audit_suite(found: Audit, policy: str | None) -> Suite:
    """A case for each listener, and one for what is not about a listener."""
    from portgate.report import listeners
    from portgate.report.suites import Case, Suite

    about: dict[Listener | None, list[Diagnostic]] = {one.listener: [] for one in found.exposures}
    for one in found.findings:
        about.setdefault(one.listener, []).append(one.diagnostic)
    names = {one: " ".join(filter(None, listeners.row(one)[:3])) if one else "the host" for one in (*about, None)}
    return Suite("audit", tuple(Case(name, tuple(about.get(one, ()))) for one, name in names.items()), policy)


@click.command
@click.argument("policy")
@host_option
@report_option
def verify(policy: str, host_file: str | None, output_format: str) -> int:
    """Proof that a host does what a policy says, else an example.

    Every new connection is compared, to and from the host, in both families, through everybody's rules. Exits with 1
    when one is treated otherwise.
    """
    from portgate import engine
    from portgate.report import shapes

    with Progress("verifying"):
        file = engine.load(policy, date.today())
        seen = engine.see(host_file)
        found = engine.verify(seen, file, date.today())
    complain_of_some(seen.notes)
    complain(file.warnings, file.sources)
    if output_format == "json":
        say_json({"proven": not found, "differences": [shapes.difference(one) for one in found]})
    elif output_format != "text":
        from portgate.report.suites import Case, Suite

        case = Case("the host does what the policy says", engine.at_grants(file, found, date.today()))
        say_suites(output_format, [Suite(file.policy.name, (case,), policy)])
    else:
        say(_verified(file.policy.name, found))
    return 1 if found else 0


def _verified(policy: str, found: tuple[Difference, ...]) -> Iterator[str]:
    from portgate.report.plan import difference
    from portgate.report.text import escape

    if not found:
        yield f"proven: this host treats every new connection as {escape(policy)} says"
        return
    yield f"this host is not what {escape(policy)} says; by the policy -> on this host:"
    for one in found:
        yield from difference(one, paint())


@click.command
@click.argument("proto", required=False)
@click.argument("source", required=False)
@click.argument("port", required=False)
@click.option("--iif", default="", metavar="NAME", help="The interface on which it comes in.")
@click.option("--to", "destination", metavar="ADDRESS", help="Its destination; else an address of that interface.")
@click.option("--packets", type=click.File("rb"), metavar="FILE", help="Many packets, a JSON object a line.")
@host_option
@format_option
def trace(
    proto: str | None,
    source: str | None,
    port: str | None,
    iif: str,
    destination: str | None,
    packets: IO[bytes] | None,
    host_file: str | None,
    output_format: str,
) -> int:
    """Which rule decides a packet, hook by hook.

    PROTO is tcp, udp, icmp, ...; SOURCE an address; PORT a number, a service, or a type of ICMP. With --packets, each
    line of the file is a packet such as {"proto": "tcp", "iif": "eth0", "src": "198.51.100.7", "dport": 443}, and each line of
    the answer its verdict.
    """
    if packets is not None:
        if proto is not None:
            raise click.UsageError("name a packet, or a file of them, not both")
        return _trace_many(packets, host_file, output_format)
    if proto is None or source is None:
        raise click.UsageError("name a packet (PROTO SOURCE PORT), or a file of them (--packets FILE)")
    return _trace_one(_packet(proto, source, port, iif, destination), host_file, output_format)


def _trace_one(packet: Packet, host_file: str | None, output_format: str) -> int:
    from portgate import engine
    from portgate.report import shapes
    from portgate.report import trace as report

    with Progress("tracing"):
        seen = engine.see(host_file)
        traced = engine.trace(seen, packet)
    complain_of_some(seen.notes)
    if output_format == "json":
        say_json(shapes.trace(seen.rules, traced))
    else:
        say(report.lines(traced, seen.rules, paint(), room()))
    return 0


def _trace_many(file: IO[bytes], host_file: str | None, output_format: str) -> int:
    from portgate import engine
    from portgate.core.provenance import Grants
    from portgate.report import shapes
    from portgate.report import trace as report

    packets = list(_packets(file))
    with Progress("tracing"):
        seen = engine.see(host_file)
        decisions = engine.decide(seen, packets)
    complain_of_some(seen.notes)
    grants = Grants(seen.rules)
    for decision in decisions:
        if output_format == "json":
            say([json.dumps({"schema": SCHEMA, **shapes.decision(seen.rules, decision, grants)})])
        else:
            say([report.verdict(decision, grants, paint())])
    return 0


def _packets(file: IO[bytes]) -> Iterator[Packet]:
    from portgate.core.packets import Packet

    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield Packet.of_fields(_object(line))
            except (ValueError, RecursionError) as error:
                raise click.BadParameter(f"line {number}: {error}", param_hint="--packets") from error


def _object(line: bytes) -> dict[str, object]:
    """Errors: ValueError, RecursionError."""
    try:
        fields = json.loads(line.decode("utf-8-sig").strip())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    return fields


def _packet(proto: str, source: str, port: str | None, iif: str, destination: str | None) -> Packet:
    from portgate.core.packets import Packet
    from portgate.language.grammar import PORT_PROTOCOL_NAMES

    proto = proto.lower()
    if port is None and proto in PORT_PROTOCOL_NAMES:
        raise click.UsageError(f"{proto} has ports; name the one that the packet is sent to: PROTO SOURCE PORT")
    if proto == "icmp" and ":" in source:
        raise click.UsageError("icmp is of IPv4; for IPv6 write icmpv6")
    fields: dict[str, object] = {"proto": proto, "src": source, "iif": iif or None, "dst": destination}
    try:
        if port is not None:
            fields |= {"icmp_type": _number(port)} if proto.startswith("icmp") else {"dport": _port(port)}
        return Packet.of_fields(fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _port(text: str) -> int:
    from portgate.language import services

    if text.isascii() and text.isdigit():
        return int(text)
    ports = {one.first for one in services.lookup(text) or ()}
    if len(ports) != 1:
        raise ValueError(f"{text!r} is neither a number nor a service with one port")
    return ports.pop()
