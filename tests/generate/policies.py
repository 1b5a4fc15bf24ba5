"""Random policies, as YAML text, over the whole of the language that single packets can test.

Rules of this file
    Every policy is valid. Limits are left out, for what they do depends on more than one packet.
"""

from __future__ import annotations

from random import Random
from typing import Any

import yaml

from portgate.core.net import Family, format_address, prefixes
from tests.generate.world import CUTS, PORTS, own_addresses

SERVICES = ("ssh", "http", "https", "dns", "smtp")
INTERFACES = ("eth0", "eth1", "wg0", "wg1", "wg*", "e*")
Grant = Any


def policy(rng: Random) -> str:
    """A whole file."""
    zones = {name: _zone(rng) for name in rng.sample(("lan", "office", "vpn"), rng.randint(0, 3))}
    addresses = {
        name: _prefixes(rng, rng.randint(1, 4))
        for name in rng.sample(("monitoring", "abusers", "partners"), rng.randint(0, 3))
    }
    services = {"app": [f"{_range(rng)}/tcp", "8443/udp"]} if rng.random() < 0.5 else {}
    names = Names(rng, (*zones, *addresses), (*SERVICES, *services))
    document = {
        "portgate": 1,
        "name": "random",
        "zones": zones,
        "addresses": addresses,
        "services": services,
        "inbound": {
            "default": rng.choice(("drop", "drop", "reject", "accept")),
            "block": names.distinct(rng.randint(0, 3)),
            "allow": names.distinct(rng.randint(1, 7)),
        },
        "forward": names.forwards(rng.randint(0, 2)),
    }
    return yaml.safe_dump({key: value for key, value in document.items() if value}, sort_keys=False)


class Names:
    """Grants that refer to what the policy has named."""

    def __init__(self, rng: Random, peers: tuple[str, ...], services: tuple[str, ...]) -> None:
        self._rng = rng
        self._peers = peers
        self._services = services

    def distinct(self, count: int) -> list[Grant]:
        grants: list[Grant] = []
        while len(grants) < count:
            if (grant := self._grant()) not in grants:
                grants.append(grant)
        return grants

    def forwards(self, count: int) -> list[Grant]:
        """To a port of this host, or to a machine behind it."""
        return [self._forward(port) for port in self._rng.sample((2222, 8081, 8088, 9090), count)]

    def _forward(self, port: int) -> Grant:
        rng = self._rng
        grant: Grant = {"port": f"{port}/{rng.choice(('tcp', 'udp'))}"}
        if rng.random() < 0.5:
            return self._with_sources({**grant, "to": rng.choice((8080, 443))})
        family, target = rng.choice(
            ((Family.IPV4, "10.0.0.7:22"), (Family.IPV4, "10.9.0.9:80"), (Family.IPV6, "[2001:db8:2::7]:22"))
        )
        return {**grant, "to": target} | ({"from": _prefix(rng, family)} if rng.random() < 0.5 else {})

    def _grant(self) -> Grant:
        rng = self._rng
        if rng.random() < 0.1:
            return rng.choice(("ping", "https", f"{rng.choice(PORTS)}/tcp"))
        grant: Grant = {"proto": rng.choice(("gre", "esp"))} if rng.random() < 0.07 else {"port": self._port()}
        grant = self._with_sources(grant)
        if rng.random() < 0.25:
            grant["to"] = [format_address(family, rng.choice(own_addresses(family))) for family in Family]
        return grant

    def _with_sources(self, grant: Grant) -> Grant:
        if self._rng.random() < 0.7:
            grant["from"] = self._source()
        return grant

    def _port(self) -> Any:
        rng = self._rng
        choices: list[Any] = [
            rng.choice(self._services),
            f"{rng.choice(PORTS)}/{rng.choice(('tcp', 'udp', 'sctp', 'dccp'))}",
            f"{_range(rng)}/{rng.choice(('tcp', 'udp', 'sctp'))}",
            [rng.choice(self._services), f"{_range(rng)}/udp", "9000/tcp"],
            "ping",
        ]
        return rng.choice(choices)

    def _source(self) -> Any:
        rng = self._rng
        choices: list[Any] = [*_prefixes(rng, 1), _prefixes(rng, 2), _with_exception(rng)]
        if self._peers:
            choices += [rng.choice(self._peers), [rng.choice(self._peers), *_prefixes(rng, 1)], rng.choice(self._peers)]
        return rng.choice(choices)


def _zone(rng: Random) -> dict[str, Any]:
    interfaces = rng.sample(INTERFACES, rng.randint(1, 2))
    return rng.choice(
        (
            {"interfaces": interfaces},
            {"sources": _prefixes(rng, rng.randint(1, 3))},
            {"interfaces": interfaces, "sources": _prefixes(rng, rng.randint(1, 3))},
        )
    )


def _prefixes(rng: Random, count: int) -> list[str]:
    """Of both families, none twice."""
    found = {_prefix(rng, rng.choice((Family.IPV4, Family.IPV4, Family.IPV6))) for _ in range(count)}
    return sorted(found)


def _prefix(rng: Random, family: Family) -> str:
    """One of the prefixes that make up an interval between two cuts."""
    first, last = sorted(rng.sample(CUTS[family], 2))
    address, length = rng.choice(tuple(prefixes(family, (first, last - 1))))
    return format_address(family, address) + ("" if length == family.bits else f"/{length}")


def _with_exception(rng: Random) -> dict[str, str]:
    return rng.choice(
        (
            {"any": "10.0.0.0/8", "except": "10.9.0.0/16"},
            {"any": "198.51.100.0/24", "except": "198.51.100.64/26"},
            {"any": "2001:db8::/32", "except": "2001:db8:42::/48"},
        )
    )


def _range(rng: Random) -> str:
    first, last = sorted(rng.sample(PORTS, 2))
    return f"{first}-{last}"
