"""The built-in services."""

from __future__ import annotations

import re

import pytest

from portgate.core.net import ICMP, ICMPV6, SCTP, TCP, UDP
from portgate.core.policy import Traffic
from portgate.language import grammar, services


def tcp(first: int, last: int | None = None) -> Traffic:
    return Traffic(TCP, first, first if last is None else last)


def udp(first: int) -> Traffic:
    return Traffic(UDP, first, first)


@pytest.mark.parametrize(
    ("names", "traffic"),
    [
        ("http www", {tcp(80)}),
        ("https", {tcp(443)}),
        ("http3 quic", {udp(443)}),
        ("domain dns", {tcp(53), udp(53)}),
        ("ssh sftp", {tcp(22)}),
        ("smtp", {tcp(25)}),
        ("submission", {tcp(587)}),
        ("submissions smtps", {tcp(465)}),
        ("imaps", {tcp(993)}),
        ("ntp", {udp(123)}),
        ("postgresql postgres", {tcp(5432)}),
        ("mysql mariadb", {tcp(3306)}),
        ("redis", {tcp(6379)}),
        ("mongodb", {tcp(27017)}),
        ("docker", {tcp(2375)}),
        ("kubernetes-api", {tcp(6443)}),
        ("wireguard", {udp(51820)}),
        ("openvpn", {udp(1194)}),
        ("node-exporter", {tcp(9100)}),
        ("rdp", {tcp(3389), udp(3389)}),
        ("smb", {tcp(445)}),
        ("nfs", {tcp(2049), udp(2049)}),
        ("ngap", {Traffic(SCTP, 38412, 38412)}),
        ("x11", {tcp(6000, 6063)}),
        ("ping", {Traffic(ICMP, 8, 8), Traffic(ICMPV6, 128, 128)}),
    ],
)
def test_a_name_means_its_ports(names: str, traffic: set[Traffic]) -> None:
    for name in names.split():
        assert set(services.lookup(name) or ()) == traffic


def test_every_name_is_there_once_and_can_be_written_in_a_policy() -> None:
    names = [name for service in services.table() for name in (service.name, *service.aliases)]

    assert len(names) == len(set(names)) == len(services.by_name()) > 400
    for name in names:
        assert re.fullmatch(
            grammar.NAME_PATTERN.replace("[A-Za-z]", "[A-Za-z]", 1) + "|" + grammar.SERVICE_PATTERN, name
        )
        assert name not in ("any", "tcp", "udp")


def test_every_range_is_in_order() -> None:
    for service in services.table():
        assert service.traffic
        for part in service.traffic:
            assert 1 <= part.first <= part.last <= 0xFFFF


def test_an_unknown_name_means_nothing() -> None:
    assert services.lookup("no-such-service") is None


def test_a_port_leads_to_its_names() -> None:
    assert {"domain"} == {service.name for service in services.at(53)}
    assert "kube-nodeport" in {service.name for service in services.at(31000)}


@pytest.mark.parametrize(
    "name",
    [
        "smb",
        "rdp",
        "telnet",
        "ftp",
        "docker",
        "etcd",
        "redis",
        "mongodb",
        "mysql",
        "postgresql",
        "elasticsearch",
        "nfs",
        "vnc",
    ],
)
def test_services_for_trusted_networks_are_risky_with_a_reason(name: str) -> None:
    (first, *_) = services.lookup(name) or ()

    assert name in {service.name for service in services.risks(first)}
    assert services.by_name()[name].risk


@pytest.mark.parametrize(
    "name",
    ["http", "https", "http3", "ssh", "smtp", "imaps", "domain", "wireguard", "ping", "minecraft", "rtp", "mosh"],
)
def test_services_for_everybody_are_not_risky(name: str) -> None:
    for part in services.lookup(name) or ():
        assert services.risks(part) == ()


def test_a_port_that_a_harmless_service_shares_proves_nothing() -> None:
    assert services.risks(tcp(9000)) == ()  # PHP or ClickHouse, but MinIO too


def test_a_range_is_as_risky_as_what_lies_in_it() -> None:
    assert {"mysql", "rdp"} <= {service.name for service in services.risks(tcp(3000, 4000))}
