"""The reading of a live Linux host, to listeners."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate import sockets
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.listener import Listener, Process, Sockets
from portgate.core.net import Family
from portgate.sockets import linux, ss
from portgate.sockets.live import diag, procnet

EMPTY: dict[str, Any] = {
    "schema": 1,
    "sockets": {},
    "established": {},
    "owners": {},
    "processes": {},
    "users": {},
    "cgroups": {},
    "fallbacks": {},
    "unseen": {},
    "hidden": False,
}


def parse(**parts: Any) -> Sockets:
    return linux.parse(Reading("linux-sockets", json.dumps({**EMPTY, **parts}), "a test"))


def row(address: str, port: int, device: str | None = None, v6only: bool | None = False, inode: int = 7) -> list[Any]:
    return [address, port, device, v6only, inode, 0, 0]


def test_a_row_becomes_a_listener_with_all_that_is_known_of_its_owner() -> None:
    found = parse(
        sockets={"tcp": [["192.0.2.1", 443, None, False, 7, 33, 1]]},
        owners={"7": [12]},
        processes={"12": ["nginx", 33, "/system.slice/nginx.service", "nginx-core"]},
        users={"33": "www-data"},
    )
    owner = Process(12, "nginx", "www-data", "nginx.service", None, "nginx-core")
    assert found == Sockets(
        (Listener("stream", 6, Family.IPV4, 0xC0000201, 443, processes=(owner,), inode=7, user="www-data"),)
    )


def test_without_an_owner_the_control_group_of_the_socket_names_its_unit() -> None:
    (found,) = parse(
        sockets={"udp": [["0.0.0.0", 53, None, False, 7, 101, 4242]]},
        cgroups={"4242": "/system.slice/systemd-resolved.service"},
    ).listeners
    assert (found.processes, found.unit) == ((), "systemd-resolved.service")


def test_connections_belong_to_the_address_before_the_wildcard_and_to_the_device_before_any() -> None:
    rows = [row("192.0.2.1", 80), row("0.0.0.0", 80), row("0.0.0.0", 80, "eth0"), row("::", 81)]
    connections = [
        ["192.0.2.1", 80, None, 1],
        ["192.0.2.2", 80, None, 2],
        ["192.0.2.2", 80, "eth0", 4],
        ["::ffff:192.0.2.2", 81, None, 8],
        ["192.0.2.2", 81, None, 16],
        ["192.0.2.2", 82, None, 32],
    ]
    found = parse(sockets={"tcp": rows}, established={"tcp": connections}).listeners
    assert {one.where: one.connections for one in found} == {
        "192.0.2.1:80": 1,
        "0.0.0.0:80": 2,
        "0.0.0.0%eth0:80": 4,
        "*:81 (dual)": 24,
    }


def test_ipv4_connections_of_a_v6only_listener_are_not_its_own() -> None:
    (found,) = parse(
        sockets={"tcp": [row("::", 80, v6only=True)]},
        established={"tcp": [["192.0.2.1", 80, None, 3], ["2001:db8::1", 80, None, 5]]},
    ).listeners
    assert found.connections == 5


def test_where_v6only_is_not_told_a_free_ipv4_port_is_taken_to_be_served_too() -> None:
    rows = [row("::", 80, v6only=None), row("0.0.0.0", 80), row("::", 81, v6only=None), row("::1", 82, v6only=None)]
    found = parse(sockets={"tcp": rows}).listeners
    assert [one.where for one in found] == ["0.0.0.0:80", "[::]:80", "*:81 (dual)", "[::1]:82"]


def test_raw_and_packet_sockets_have_no_port() -> None:
    rows = {"raw": [row("192.0.2.1", 47)], "packet": [[None, 0x88CC, "eth0", False, 7, 0, 0]]}
    found = parse(sockets=rows).listeners
    assert found[0] == Listener("raw", 47, Family.IPV4, 0xC0000201, None, inode=7)
    assert found[1] == Listener("packet", 0x88CC, None, None, None, device="eth0", inode=7)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"hidden": True}, "PG440"),
        ({"fallbacks": {"raw": "No such file or directory"}}, "PG441"),
        ({"unseen": {"sctp": "No such file or directory"}}, "PG442"),
    ],
)
def test_what_could_not_be_seen_is_a_note(parts: dict[str, Any], code: str) -> None:
    assert [note.code for note in parse(**parts).notes] == [code]


def test_a_damaged_reading_is_an_error_with_a_remedy() -> None:
    with pytest.raises(PortgateError) as caught:
        linux.parse(Reading("linux-sockets", '{"schema": 2}', "host.json"))
    (told,) = caught.value.diagnostics
    assert (told.code, told.remedy) == ("PG445", "take it again with `portgate capture`")
    assert "host.json" in told.detail and "schema is 2" in told.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.fixed_dictionaries({"schema": st.just(1)}, optional={name: JSON for name in EMPTY if name != "schema"}))
def test_no_damage_ends_in_anything_but_a_diagnostic(content: dict[str, Any]) -> None:
    try:
        linux.parse(Reading("linux-sockets", json.dumps({**EMPTY, **content}), "a test"))
    except PortgateError as error:
        assert {told.code for told in error.diagnostics} == {"PG445"}


def test_every_source_is_found_by_its_kinds() -> None:
    assert sockets.sources()["linux-sockets"].KINDS == linux.KINDS == ("linux-sockets",)
    assert sockets.sources()["ss"].KINDS == ss.KINDS == ("ss",)
    assert {kind: sockets.source_of(kind) for kind in sockets.sources()} == sockets.sources()
    assert [sockets.source_of(kind) for kind in ("nft", "netstat-of-nobody", "__init__", "live", "")] == [None] * 5


def test_readings_that_do_not_tell_of_sockets_are_passed_over_and_others_are_joined() -> None:
    both = [
        Reading("ss", "tcp LISTEN 0 128 127.0.0.1:80 0.0.0.0:*", "b"),
        Reading("nft", "table inet x {}", "rules"),
        Reading("ss", "tcp LISTEN 0 128 127.0.0.1:22 0.0.0.0:*", "a"),
    ]
    assert [one.where for one in sockets.parse(both).listeners] == ["127.0.0.1:22", "127.0.0.1:80"]
    assert sockets.parse([]) == Sockets()


def test_an_sctp_socket_with_several_addresses_listens_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """This is how the kernel words it (linux/inet_diag.h); few kernels have SCTP to ask."""
    addresses = struct.pack("=H2x4s120x", 2, bytes([192, 0, 2, 1])) + struct.pack("=H6x16s104x", 10, bytes(15) + b"\1")
    locals_ = struct.pack("=HH", 4 + len(addresses), 12) + addresses

    def dump(_: int, __: int, request: bytes) -> list[bytes]:
        listening = struct.pack("=BBxx2s2x16s16x4x8x12xII", request[0], 10, (9899).to_bytes(2, "big"), bytes(16), 0, 5)
        closed = listening[:1] + b"\x07" + listening[2:]
        return [listening + locals_, closed + locals_] if request[0] == 10 else []

    monkeypatch.setattr(diag, "dump", dump)
    rows = diag.listening("sctp", diag.Devices())
    assert [one[:5] for one in rows] == [("192.0.2.1", 9899, None, None, 5), ("::1", 9899, None, None, 5)]


def test_an_interface_that_is_gone_still_binds_its_socket() -> None:
    assert diag.Devices()[2**31 - 1] == f"#{2**31 - 1}"
    assert diag.Devices()[0] is None


def test_proc_net_files_are_read_as_the_kernel_documents_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4242 1 0 100 0 0 10 0\n"
    v6 = "   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1\n"
    other = v4.replace(" 0A ", " 01 ").replace("00000000:0000 ", "0200007F:C350 ")
    (tmp_path / "tcp").write_text(head + v4 + other)
    (tmp_path / "tcp6").write_text(head + v6)
    monkeypatch.setattr(procnet, "_NET", tmp_path)
    monkeypatch.setattr(sys, "byteorder", "little")
    assert procnet.listening("tcp") == [
        ("127.0.0.1", 8080, None, False, 4242, 33, 0),
        ("::1", 8081, None, None, 4243, 0, 0),
    ]
    assert procnet.established("tcp", {8080}) == [("127.0.0.1", 8080, None, 1)]
    (tmp_path / "tcp6").unlink()  # a kernel without IPv6
    assert len(procnet.listening("tcp")) == 1


def test_a_reading_nested_without_end_is_damaged() -> None:
    with pytest.raises(PortgateError) as caught:
        linux.parse(Reading("linux-sockets", "[" * 200_000, "a test"))
    assert caught.value.diagnostics[0].code == "PG445"


@pytest.mark.parametrize(
    "bad", [["0.0.0.0", 70000], ["0.0.0.0", "80"], ["0.0.0.0", -1], [None, None], [4, 80], ["x", 80]]
)
def test_a_row_that_is_no_socket_is_damage(bad: list[Any]) -> None:
    with pytest.raises(PortgateError):
        parse(sockets={"tcp": [[*bad, None, False, 7, 0, 0]]})
