"""The network between the two machines: the commands that bring it up, and the addresses on it.

Theory
    The prober is everybody. It has the addresses of all that are out there, and the host under test has routes to them through
    the prober, so a policy can be tried as it stands, with the documentation addresses that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_interface

TARGET, TARGET6 = "192.168.1.1", "2001:db8:77::1"
PROBER = ("192.168.1.50", "2001:db8:77::50")
LENGTHS = {4: 24, 6: 64}


def interface_of(listing: str, address: str) -> str | None:
    """The interface that has an address. **Shape** what `ip -o address` prints, or `ifconfig`."""
    name = ""
    for line in listing.splitlines():
        if heading := re.match(r"(?:\d+: )?([\w.]+)(?::|\s+inet)", line):
            name = heading[1]
        if re.search(rf"\sinet6? {re.escape(address)}[/ ]", line):
            return name
    return None


def commands(linux: bool, interface: str, own: Sequence[str], more: Iterable[str], far: Iterable[str]) -> Iterator[str]:
    """Shell commands that may be run again. **Shape** `own` are addresses on the network, `more` are further addresses
    of this machine, `far` those that are reached through the prober."""
    yield f"ip link set {interface} up" if linux else f"ifconfig {interface} up"
    for address in own:
        yield from _address(linux, interface, f"{address}/{LENGTHS[ip_address(address).version]}")
    for address in more:
        yield from _address(linux, interface, f"{address}/{ip_address(address).max_prefixlen}")
    for address in far:
        gateway = next(one for one in PROBER if ip_address(one).version == ip_address(address).version)
        yield _route(linux, address, gateway)


def _address(linux: bool, interface: str, address: str) -> Iterator[str]:
    one = ip_interface(address)
    if linux:
        yield f"ip address replace {address} dev {interface}" + (" nodad" if one.version == 6 else "")
    elif one.version == 6:
        yield f"ifconfig {interface} inet6 {one.ip} prefixlen {one.network.prefixlen} alias"
    else:
        yield f"ifconfig {interface} inet {one.ip} netmask {one.netmask} alias"


def _route(linux: bool, address: str, gateway: str) -> str:
    version = ip_address(address).version
    if linux:
        return f"ip -{version} route replace {address} via {gateway}"
    return f"route -q add {'-inet6' if version == 6 else '-inet'} -host {address} {gateway} || true"
