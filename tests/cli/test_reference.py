"""The commands that only look something up."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from portgate.core.diagnostics import CATALOGUE

from .conftest import Done

Portgate = Callable[..., Done]


def test_a_service_is_found_by_its_name_and_by_its_alias(portgate: Portgate) -> None:
    assert "80/tcp" in portgate("services", "http").out
    assert portgate("services", "www").out == portgate("services", "HTTP").out


def test_services_are_found_by_a_port_they_use(portgate: Portgate) -> None:
    assert "domain" in portgate("services", "53").out
    assert "domain" in portgate("services", "53/udp").out
    assert portgate("services", "22/udp").code == 1


def test_an_icmp_type_is_no_port(portgate: Portgate) -> None:
    assert "ping" not in portgate("services", "8").out
    assert "8/icmp" in portgate("services", "ping").out


def test_an_unknown_service_exits_with_1_and_its_name_is_not_obeyed(portgate: Portgate) -> None:
    done = portgate("services", "\x1b[2J")
    assert done.code == 1
    assert done.err == "no service is known as \\x1b[2J\n"


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("443", "443 is a well-known port (0-1023); only root may listen there by default"),
        ("1024", "1024 is a registered port (1024-49151)"),
        (
            "40000/udp",
            "40000 is a registered port (1024-49151); Linux hands it out to outgoing connections by default (32768-60999)",
        ),
        ("61000", "61000 is a dynamic port (49152-65535)"),
    ],
)
def test_a_port_is_told_what_it_means_by_itself(port: str, words: str, portgate: Portgate) -> None:
    assert portgate("services", port).out.splitlines()[-1] == words


@pytest.mark.parametrize("what", ["0", "65536", "99999999999", "٤٤٣", "-0"])
def test_what_is_no_port_is_no_service(what: str, portgate: Portgate) -> None:
    done = portgate("services", "--", what)
    assert (done.code, done.out) == (1, "")


def test_services_for_programs(portgate: Portgate) -> None:
    content = json.loads(portgate("services", "telnet", "--format", "json").out)
    assert content["schema"] == 1
    (telnet,) = content["services"]
    assert (telnet["name"], telnet["ports"]) == ("telnet", ["23/tcp"])
    assert telnet["risk"]
    assert len(json.loads(portgate("services", "--format", "json").out)["services"]) > 100


@pytest.mark.parametrize("code", ["PG205", "pg205", "205"])
def test_a_code_is_explained_however_it_is_written(portgate: Portgate, code: str) -> None:
    done = portgate("explain", code)
    assert done.code == 0
    assert CATALOGUE["PG205"].summary in done.out


def test_every_code_has_an_explanation_of_its_own() -> None:
    assert len({kind.explanation for kind in CATALOGUE.values()}) == len(CATALOGUE)
    assert all(kind.explanation.endswith(".") for kind in CATALOGUE.values())


def test_all_codes_are_listed(portgate: Portgate) -> None:
    listed = portgate("explain").out
    assert all(code in listed for code in CATALOGUE)
    codes = json.loads(portgate("explain", "--format", "json").out)["codes"]
    assert [one["code"] for one in codes] == list(CATALOGUE)


def test_an_unknown_code_is_a_wrong_command_line(portgate: Portgate) -> None:
    assert portgate("explain", "PG999").code == 2


def test_the_backends_of_this_portgate_are_told(portgate: Portgate) -> None:
    assert any(line.startswith("nftables: ") for line in portgate("backends").out.splitlines())
    found = json.loads(portgate("backends", "--format", "json").out)["backends"]
    nftables = next(one for one in found if one["name"] == "nftables")
    assert "nft-json" in nftables["readings"]
    assert "ranges of ports" in nftables["features"]


def test_the_schema_is_json(portgate: Portgate) -> None:
    assert json.loads(portgate("schema").out)["type"] == "object"
