"""Interfaces, as ifconfig of several systems lists them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Reading
from portgate.core.ifconfig import parse_ifconfig
from portgate.core.listener import Interface
from portgate.core.net import Family, parse_address


def read(text: str) -> tuple[Interface, ...]:
    return parse_ifconfig(Reading("ifconfig", text, "ifconfig -a"))


def address(text: str) -> tuple[Family, int, int]:
    number, _, length = text.partition("/")
    return (*parse_address(number), int(length))


OPENBSD = """lo0: flags=2008049<UP,LOOPBACK,RUNNING,MULTICAST,LRO> mtu 32768
\tindex 3 priority 0 llprio 3
\tgroups: lo
\tinet6 ::1 prefixlen 128
\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x3
\tinet 127.0.0.1 netmask 0xff000000
vio0: flags=808b43<UP,BROADCAST,RUNNING,PROMISC,ALLMULTI,SIMPLEX,MULTICAST,AUTOCONF4> mtu 1500
\tlladdr 52:54:00:00:00:01
\tgroups: egress
\tmedia: Ethernet autoselect
\tstatus: active
\tinet 203.0.113.9 netmask 0xfffffff0 broadcast 203.0.113.15
\tinet 203.0.113.10 netmask 0xffffffff
wg0: flags=80c2<BROADCAST,NOARP,MULTICAST> mtu 1420
\twgport 51820
\tgroups: wg vpn
pppoe0: flags=8851<UP,POINTOPOINT,RUNNING,SIMPLEX,MULTICAST> mtu 1492
\tinet 198.51.100.4 --> 198.51.100.1 netmask 0xffffffff
"""


def test_openbsd_tells_addresses_and_groups() -> None:
    assert read(OPENBSD) == (
        Interface("lo", tuple(map(address, ("::1/128", "fe80::1/64", "127.0.0.1/8"))), groups=("lo",)),
        Interface("vio0", tuple(map(address, ("203.0.113.9/28", "203.0.113.10/32"))), groups=("egress",)),
        Interface("wg0", (), up=False, groups=("wg", "vpn")),
        Interface("pppoe0", (address("198.51.100.4/32"),)),
    )


@pytest.mark.parametrize(
    ("text", "name", "addresses"),
    [
        (
            "em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n"
            "\toptions=4e504bb<RXCSUM,TXCSUM>\n\tinet 10.0.2.15/24 broadcast 10.0.2.255 vhid 1\n"
            "\tinet6 fe80::a%em0 prefixlen 64 scopeid 0x1\n\ttunnel inet 192.0.2.1 --> 192.0.2.2\n",
            "em0",
            "10.0.2.15/24 fe80::a/64",
        ),
        (
            "eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500\n"
            "        inet 192.0.2.7  netmask 255.255.255.0  broadcast 192.0.2.255\n"
            "        inet6 2001:db8::7  prefixlen 64  scopeid 0x0<global>\n        RX packets 1  bytes 2\n",
            "eth0",
            "192.0.2.7/24 2001:db8::7/64",
        ),
        (
            "net0: flags=1004843<UP,BROADCAST,RUNNING,MULTICAST,DHCP,IPv4> mtu 1500 index 2\n"
            "        inet 192.0.2.8 netmask ffffff00 broadcast 192.0.2.255\n        ether 8:0:27:0:0:1\n",
            "net0",
            "192.0.2.8/24",
        ),
    ],
)
def test_other_systems_write_masks_in_other_ways(text: str, name: str, addresses: str) -> None:
    assert read(text) == (Interface(name, tuple(map(address, addresses.split()))),)


def test_what_is_not_understood_is_left_out() -> None:
    text = "em0: flags=1<UP> mtu 1\n\tinet 10.0.0.300 netmask 0xff\n\tinet 10.0.0.1 netmask 0xff00ff00\n\tinet\n"
    assert read(text) == (Interface("em0"),)
    assert read("a-name-that-is-too-long: flags=1<UP> mtu 1\n") == ()


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    assert all(isinstance(one, Interface) for one in read("em0: flags=1<UP> mtu 1\n" + text))
