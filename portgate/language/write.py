"""Policy -> its text: YAML that reads as if somebody had written it, with a line for each grant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from portgate.core.grouping import whole
from portgate.core.net import ANY_ADDRESS, AddressSet, Family, format_interval, protocol_name
from portgate.core.policy import Default, Forward, Grant, Peer, Policy, Rulebook, Traffic
from portgate.language import grammar, services

MOST_LITERALS = 8  # of one entry; longer lists of addresses get a name
WIDTH = 140


def text_of(policy: Policy) -> str:
    """The text of a policy: its name, rulebooks and forwards. Ids, expectations and management are not written."""
    return _Writer().text(policy)


class _Entry(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _on_one_line(dumper: yaml.SafeDumper, data: _Entry) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)


_Dumper.add_representer(_Entry, _on_one_line)


class _Writer:
    """Collects the zones and address sets that entries need."""

    def __init__(self) -> None:
        self._zones: dict[Peer, str] = {}
        self._addresses: dict[AddressSet, str] = {}

    def text(self, policy: Policy) -> str:
        rules = {
            "inbound": self._rulebook(policy.inbound),
            "outbound": self._rulebook(policy.outbound),
            "forward": [self._forward(one) for one in policy.forwards],
        }
        if policy.outbound == Rulebook(Default.ACCEPT):
            del rules["outbound"]
        zones = {name: self._zone(peer) for peer, name in self._zones.items()}
        addresses = {name: list(found.texts()) for found, name in self._addresses.items()}
        parts = {"portgate": int(grammar.VERSION), "name": policy.name, "zones": zones, "addresses": addresses, **rules}
        return "\n".join(
            yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
            for key, value in parts.items()
            if value
        )

    def _rulebook(self, book: Rulebook) -> dict[str, Any]:
        lists = {"block": [self._entry(one) for one in book.block], "allow": [self._entry(one) for one in book.allow]}
        return {"default": book.default.value, **{key: value for key, value in lists.items() if value}}

    def _entry(self, grant: Grant) -> str | _Entry:
        said = self._said(grant)
        only = said.get("port") if len(said) == 1 else None
        return only if isinstance(only, str) else _Entry(said or {"from": "any"})

    def _said(self, grant: Grant) -> dict[str, Any]:
        ends = {"from": self._peers(grant.sources), "to": self._peers(grant.destinations)}
        return {**_traffic(grant.traffic), **{key: value for key, value in ends.items() if value}}

    def _forward(self, forward: Forward) -> _Entry:
        return _Entry({**self._said(forward.grant), "to": _target(forward)})

    def _peers(self, peers: tuple[Peer, ...]) -> Any:
        """Each peer as one word or a list of literals; None for everybody."""
        words = [word for peer in peers for word in self._words(peer)]
        return _one_or_many(words) if words else None

    def _words(self, peer: Peer) -> list[Any]:
        if peer.interfaces:
            return [self._zones.setdefault(peer, f"zone-{len(self._zones) + 1}")]
        if peer.addresses is None:
            return []
        every, word = _whole_families(peer.addresses)
        rest = every - peer.addresses
        if rest and len(rest) < len(peer.addresses):
            return [_Entry({"any": word, "except": self._literals(rest)})]
        return self._literals(peer.addresses)

    def _literals(self, addresses: AddressSet) -> list[str]:
        texts = list(addresses.texts())
        if len(texts) <= MOST_LITERALS:
            return texts
        return [self._addresses.setdefault(addresses, f"addresses-{len(self._addresses) + 1}")]

    def _zone(self, peer: Peer) -> _Entry:
        sources = {"sources": list(peer.addresses.texts())} if peer.addresses is not None else {}
        return _Entry({"interfaces": list(peer.interfaces), **sources})


def _target(forward: Forward) -> str | int:
    if forward.address is None:
        return forward.port or ""
    address = next(forward.address.texts())
    if forward.port is None:
        return address
    return f"[{address}]:{forward.port}" if forward.address.v6 else f"{address}:{forward.port}"


def _traffic(traffic: tuple[Traffic, ...]) -> dict[str, Any]:
    """`port` with services and port ranges, or `proto`: a grant has one of them."""
    if not traffic:
        return {}
    if all(whole(one) for one in traffic):
        return {"proto": _one_or_many([protocol_name(one.protocol) for one in traffic])}
    return {"port": _one_or_many(list(_ports(traffic)))}


def _ports(traffic: tuple[Traffic, ...]) -> Iterator[str]:
    """The services that are all there, and the ports that no service names."""
    left = dict.fromkeys(traffic)
    for one in traffic:
        if one in left:
            named = [
                found for found in services.at(one.first) if one in found.traffic and left.keys() >= {*found.traffic}
            ]
            best = max(named, key=lambda found: len(found.traffic), default=None)
            for said in best.traffic if best else (one,):
                del left[said]
            yield best.name if best else _port(one)


def _port(one: Traffic) -> str:
    ports = str(one.first) if one.first == one.last else f"{one.first}-{one.last}"
    return f"{ports}/{protocol_name(one.protocol)}"


def _whole_families(addresses: AddressSet) -> tuple[AddressSet, str]:
    """All addresses of the families that a set has, and how a policy calls them."""
    if addresses.v4 and addresses.v6:
        return ANY_ADDRESS, "any"
    family = Family.IPV4 if addresses.v4 else Family.IPV6
    every = AddressSet(v4=ANY_ADDRESS.v4) if addresses.v4 else AddressSet(v6=ANY_ADDRESS.v6)
    return every, format_interval(family, (0, family.top))


def _one_or_many(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items
