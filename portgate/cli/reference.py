"""Commands that only look something up: services, codes, the schema, the backends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from portgate.cli.options import format_option
from portgate.cli.output import paint, say, say_json, say_table
from portgate.core.diagnostics import CATALOGUE, Kind
from portgate.report.text import Style, escape

if TYPE_CHECKING:
    from portgate.core.policy import Traffic
    from portgate.language.services import Service


@click.command
@click.argument("what", metavar="[NAME|PORT]", required=False)
@format_option
def services(what: str | None, output_format: str) -> int:
    """The built-in services, by name or by port.

    Without an argument all of them; a PORT is `53` or `53/udp`, and what such a number means by itself is told, too. Exits
    with 1 when there is none.
    """
    port = _port(what or "")
    found = _services(what, port)
    if output_format == "json":
        say_json({"services": [_service_fields(one) for one in found], "port": _port_fields(port)})
        return 0 if found else 1
    if found:
        say_table(("SERVICE", "PORTS", "ALSO", "RISK"), [_service_row(one) for one in found])
    else:
        print(f"no service is known as {escape(what or '')}", file=sys.stderr)
    if port is not None:
        say([_port_text(port)])
    return 0 if found else 1


def _port(what: str) -> int | None:
    """The number in `53` and `53/udp`, None for a name and for what is no port."""
    from portgate.core.net import PORT_MAX

    number, _, _ = what.partition("/")
    is_port = number.isascii() and number.isdigit() and len(number) < 6 and 1 <= int(number) <= PORT_MAX
    return int(number) if is_port else None


def _port_text(port: int) -> str:
    """`443 is a well-known port (0-1023); only root may listen there by default`"""
    from portgate.core import numbers

    kind = numbers.range_of(port)
    words = [f"{port} is a {kind} port ({kind.ports[0]}-{kind.ports[1]})"]
    if numbers.is_privileged(port):
        words.append("only root may listen there by default")
    if numbers.is_ephemeral(port):
        words.append("Linux hands it out to outgoing connections by default ({}-{})".format(*numbers.EPHEMERAL))
    return "; ".join(words)


def _port_fields(port: int | None) -> dict[str, object] | None:
    from portgate.core import numbers

    if port is None:
        return None
    return {
        "number": port,
        "range": numbers.range_of(port).value,
        "privileged": numbers.is_privileged(port),
        "ephemeral": numbers.is_ephemeral(port),
    }


def _services(what: str | None, port: int | None) -> tuple[Service, ...]:
    from portgate.language import services as known

    if what is None:
        return known.table()
    if port is not None:
        _, _, protocol = what.partition("/")
        return tuple(one for one in known.at(port) if any(_uses(one, port, protocol)))
    named = known.by_name().get(what.lower())
    return (named,) if named else ()


def _uses(service: Service, port: int, protocol: str) -> list[bool]:
    from portgate.core.net import PORT_PROTOCOLS, protocol_name

    return [
        part.first <= port <= part.last and protocol in ("", protocol_name(part.protocol))
        for part in service.traffic
        if part.protocol in PORT_PROTOCOLS
    ]


def _service_row(service: Service) -> tuple[str, ...]:
    ports = " ".join(_traffic_text(part) for part in service.traffic)
    return (service.name, ports, " ".join(service.aliases), service.risk)


def _service_fields(service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "ports": [_traffic_text(part) for part in service.traffic],
        "aliases": list(service.aliases),
        "risk": service.risk or None,
    }


def _traffic_text(traffic: Traffic) -> str:
    from portgate.core.net import protocol_name

    ports = str(traffic.first) if traffic.first == traffic.last else f"{traffic.first}-{traffic.last}"
    return f"{ports}/{protocol_name(traffic.protocol)}"


@click.command
@click.argument("code", required=False)
@format_option
def explain(code: str | None, output_format: str) -> int:
    """What the code of a diagnostic means, and what to do.

    Without CODE, a list of all.
    """
    from portgate.report.diagnostics import explain as explanation

    kinds = [_kind(code)] if code else list(CATALOGUE.values())
    if output_format == "json":
        say_json({"codes": [_kind_fields(one) for one in kinds]})
    elif code:
        say([explanation(kinds[0].code) or ""])
    else:
        say_table(("CODE", "SEVERITY", "MEANS"), [(one.code, str(one.severity), one.summary) for one in kinds])
    return 0


def _kind(code: str) -> Kind:
    """`PG205`, `pg205` and `205` are the same."""
    wanted = "PG" + code.upper().removeprefix("PG")
    if wanted not in CATALOGUE:
        raise click.BadParameter(
            f"{code!r} is not a code of portgate; `portgate explain` lists them", param_hint="CODE"
        )
    return CATALOGUE[wanted]


def _kind_fields(kind: Kind) -> dict[str, object]:
    return {
        "code": kind.code,
        "severity": str(kind.severity),
        "summary": kind.summary,
        "explanation": kind.explanation,
    }


@click.command
def schema() -> int:
    """The JSON Schema of policy files, for editors."""
    import json

    from portgate.language.json_schema import schema as made

    say([json.dumps(made(), indent=2)])
    return 0


@click.command
@format_option
def backends(output_format: str) -> int:
    """The firewalls that portgate can drive here."""
    from portgate import backends as known

    found = known.preferred()
    if output_format == "json":
        say_json({
            "backends": [
                {"name": one.name, "unavailable": one.available(), "features": sorted(one.features), "readings": list(one.reading_kinds)}
                for one in found
            ]
        })  # fmt: skip
        return 0
    for one in found:
        say([f"{paint()(Style.HEADING, one.name)}: {one.available() or 'available'}"])
        say(f"  {feature}" for feature in sorted(one.features))
    return 0
