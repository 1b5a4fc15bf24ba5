"""Sets of ipset, and what rules ask of them."""

from __future__ import annotations

import pytest

from portgate.backends.iptables import ipset
from portgate.backends.iptables.parse_values import NotUnderstoodError
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.net import Family, format_interval, interface_interval
from portgate.core.ruleset import All, Any, Field, Lookup, Opaque, Test


def sets(text: str) -> dict[str, ipset.Set]:
    return ipset.parse((Reading("ipset", text, "a test"),))


def addresses(text: str) -> list[str]:
    """Of the one set of addresses in a text."""
    (named,) = sets(text).values()
    return [format_interval(named.family, one.box[0]) for one in ipset.named_set(named).elements]


def test_the_smallest_network_decides_about_an_address() -> None:
    text = "create a hash:net\nadd a 10.0.0.0/8\nadd a 10.1.0.0/16 nomatch\nadd a 10.1.2.0/24\n"
    assert addresses(text) == ["10.0.0.0/16", "10.1.2.0/24", "10.2.0.0-10.255.255.255"]


def test_a_netmask_makes_networks_of_addresses() -> None:
    assert addresses("create a hash:ip netmask 24\nadd a 10.1.1.7\n") == ["10.1.1.0/24"]


def test_a_port_stands_with_its_protocol() -> None:
    (named,) = sets("create a hash:ip,port\nadd a 10.0.0.1,udp:53 timeout 9\nadd a 10.0.0.1,80\n").values()
    one = 10 << 24 | 1
    boxes = [element.box for element in ipset.named_set(named).elements]
    assert boxes == [((one, one), (6, 6), (80, 80)), ((one, one), (17, 17), (53, 53))]


def test_an_interface_is_a_dimension() -> None:
    known = sets("create a hash:net,iface\nadd a 10.0.0.0/8,eth0\n")
    assert ipset.named_set(known["a"]).elements[0].box[1] == interface_interval("eth0")
    assert ipset.lookup("a", ("src", "dst"), Family.IPV4, known) == Lookup((Field.SRC4, Field.OIF), "a")


def test_a_bitmap_of_ports_holds_ports_of_tcp_and_udp() -> None:
    known = sets("create a bitmap:port range 0-1023\nadd a 22\n")
    match = ipset.lookup("a", ("dst",), Family.IPV6, known)
    assert match == All((Test(Field.PROTOCOL, ((6, 6), (17, 17))), Lookup((Field.DPORT,), "a")))


def test_a_list_matches_where_one_of_its_sets_does() -> None:
    known = sets("create a hash:ip\ncreate b hash:ip\ncreate l list:set\nadd l a\nadd l b\n")
    one, other = Lookup((Field.SRC4,), "a"), Lookup((Field.SRC4,), "b")
    assert ipset.lookup("l", ("src",), Family.IPV4, known) == Any((one, other))
    assert set(ipset.names("l", known)) == {"l", "a", "b"}


def test_a_list_that_holds_itself_ends() -> None:
    known = sets("create l list:set\ncreate m list:set\nadd l m\nadd m l\n")
    match = ipset.lookup("l", ("src",), Family.IPV4, known)
    assert isinstance(match, Any)


@pytest.mark.parametrize("directions", [("src",), ()])
def test_with_too_few_directions_nothing_matches(directions: tuple[str, ...]) -> None:
    known = sets("create a hash:ip,port\nadd a 10.0.0.1,80\n")
    assert ipset.lookup("a", directions, Family.IPV4, known) == Any(())


def test_a_set_of_the_other_family_matches_nothing() -> None:
    assert ipset.lookup("a", ("src",), Family.IPV4, sets("create a hash:net family inet6\n")) == Any(())


@pytest.mark.parametrize(
    "text",
    [
        "create a hash:mac\nadd a 02:00:00:00:00:01\n",
        "create a hash:ip,mark\nadd a 10.0.0.1,0x1\n",
        "create a hash:ip,port\nadd a 10.0.0.1,icmp:echo-request\n",
        "create a hash:net,iface\nadd a 10.0.0.0/8,physdev:eth0\n",
        "create a hash:ip\nadd a host.example\n",
        "create a hash:ip bitmask 255.0.255.0\nadd a 10.0.0.1\n",
    ],
)
def test_a_set_with_one_part_that_is_not_understood_is_opaque(text: str) -> None:
    assert isinstance(ipset.lookup("a", ("src", "src"), Family.IPV4, sets(text)), Opaque)
    with pytest.raises(NotUnderstoodError):
        ipset.named_set(sets(text)["a"])


def test_a_text_that_creates_no_set_is_refused() -> None:
    with pytest.raises(PortgateError, match="PG414"):
        sets("Name: a\nType: hash:ip\n")
