"""The entries of a policy: grants, forwards, expectations and management, with all names resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import repeat
from typing import Any

from portgate.core.dataclasses import dataclass, many
from portgate.core.diagnostics import Span
from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS
from portgate.core.policy import Default, Expectation, Forward, Grant, Outcome, Peer, Rulebook, Traffic
from portgate.language import grammar, identity, values
from portgate.language.conflicts import contradictions
from portgate.language.grammar import Record
from portgate.language.mistakes import MistakeError, Mistakes, span_of
from portgate.language.names import Names
from portgate.language.nodes import Entry, Node, Pair, Run, Scalar, expanded, words_of
from portgate.language.peers import PeerReader, Peers
from portgate.language.records import Records

Fields = dict[str, Pair]

IPV4, IPV6, BOTH = 1, 2, 3
"""Families as bits: an entry whose parts have none in common matches nothing."""
IGMP = 2
_FAMILY_OF_PROTOCOL = {ICMP: IPV4, IGMP: IPV4, ICMPV6: IPV6}
_MATCH_KEYS = frozenset({"port", "proto", "from", "to"})
_PEER_KEYS = frozenset({"from", "to"})
_PROPERTIES: dict[str, Callable[[str], Any]] = {
    "limit": values.limit,
    "log": values.flag,
    "note": values.prose,
    "owner": values.prose,
    "expires": values.day,
}
_PLAIN_KEYS = _MATCH_KEYS - {"proto"} | {"id"} | _PROPERTIES.keys()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a grant stands: how its derived id begins, and what makes sense there."""

    label: str
    blocks: bool
    inbound: bool


class Entries:
    """Reads entries one by one. After a mistake, which is reported, what is returned has gaps."""

    def __init__(self, names: Names, records: Records, mistakes: Mistakes, today: date) -> None:
        self._names = names
        self._records = records
        self._mistakes = mistakes
        self._today = today
        self._peers = PeerReader(names, records, mistakes)
        self._ids: dict[str, Span] = {}
        self._repeated: dict[str, int] = {}

    # ---- lists of entries

    def rulebook(self, pair: Pair | None, record: Record, default: Default) -> Rulebook:
        fields = None if pair is None else self._records.fields(pair[1], record)
        if fields is None:
            return Rulebook(default)
        inbound = record is grammar.INBOUND
        label = "" if inbound else "out-"
        chosen = Default(self._records.word(fields.get("default"), tuple(Default), default))
        block = self._grants(fields.get("block"), Place(f"{label}block-", True, inbound))
        allow = self._grants(fields.get("allow"), Place(label, False, inbound))
        if chosen is Default.ACCEPT and allow:
            place = fields["default"][0] if "default" in fields else fields["allow"][0]
            self._mistakes.add("PG227", "the default is accept", place, "set `default: drop`, or remove `allow`")
        return Rulebook(chosen, block, allow)

    def forwards(self, pair: Pair | None) -> tuple[Forward, ...]:
        found = tuple(one for item in self._records.entries(pair) if (one := self._forward(expanded(item))))
        for later, earlier in contradictions(tuple(one for one in found if not one.grant.expired(self._today))):
            if later.grant.span and earlier.grant.span:
                related = ((earlier.grant.span, "forwarded here"),)
                detail = f"`{earlier.grant.id}` sends some of the same packets elsewhere"
                self._mistakes.add("PG229", detail, later.grant.span, "keep one, or tell them apart by `from`", related)
        return found

    def expectations(self, pair: Pair | None) -> tuple[Expectation, ...]:
        return tuple(one for item in self._records.entries(pair) if (one := self._expectation(expanded(item))))

    def management(self, pair: Pair | None) -> Peers:
        fields = None if pair is None else self._records.fields(pair[1], grammar.MANAGEMENT)
        if not fields or "from" not in fields:
            return ()
        return self._peers.read(fields["from"]) or (Peer(),)

    def _grants(self, pair: Pair | None, place: Place) -> tuple[Grant, ...]:
        listed = self._records.listed(pair)
        found: list[Grant | None] = []
        for part in listed.parts if listed else ():
            if isinstance(part, Run):
                found += self._plain_grants(part, place) or [self._either(one, place) for one in part.entries()]
            else:
                found.append(self._either(part, place))
        return tuple(grant for grant in found if grant)

    def _either(self, item: Node | Entry, place: Place) -> Grant | None:
        return self._plain_grant(item, place) or self._grant(expanded(item), place)

    def _plain_grants(self, run: Run, place: Place) -> list[Grant]:
        """The grants of a run, column by column. None of them if one is anything else, or wrong."""
        columns = run.columns
        if "port" not in columns or not _PLAIN_KEYS.issuperset(columns) or (place.blocks and "limit" in columns):
            return []
        try:
            traffic = self._names.traffics(columns["port"])
            peers = {key: self._peers.all_named(columns[key]) for key in _PEER_KEYS & columns.keys()}
            properties = {key: [*map(_PROPERTIES[key], columns[key])] for key in columns if key in _PROPERTIES}
            given = [*map(values.identifier, columns["id"])] if "id" in columns else []
        except MistakeError:
            return []
        if any(map(self._is_over, properties.get("expires", ()))) or any(
            map(_has_interface, peers.get("to" if place.inbound else "from", ()))
        ):
            return []
        if not _all_in_one_family(traffic, peers) or not self._are_new(given):
            return []
        ids = given or self._all_unique(identity.derived(place.label, columns), run.spans)
        self._ids.update(zip(ids, run.spans, strict=True))
        ends = {name: peers[key] for key, name in (("from", "sources"), ("to", "destinations")) if key in peers}
        return many(Grant(""), len(ids), id=ids, traffic=traffic, span=run.spans, **ends, **properties)

    def _plain_grant(self, item: Node | Entry, place: Place) -> Grant | None:
        """What most entries of a large policy are, quickly. None for anything else, and for anything wrong."""
        words = words_of(item)
        if "port" not in words or not _PLAIN_KEYS.issuperset(words):
            return None
        try:
            traffic = self._names.traffic(words["port"])
            sources = self._peers.named(words.get("from", "any"))
            destinations = self._peers.named(words.get("to", "any"))
            properties = {key: _PROPERTIES[key](word) for key, word in words.items() if key in _PROPERTIES}
            given = values.identifier(words["id"]) if "id" in words else None
        except MistakeError:
            return None
        if given in self._ids or self._is_over(properties.get("expires")) or (place.blocks and "limit" in words):
            return None
        if not _in_one_family(traffic, sources, destinations) or _has_interface(
            destinations if place.inbound else sources
        ):
            return None
        span = item.span if type(item) is Entry else span_of(item)
        name = given or self._unique(identity.derive(place.label, words))
        self._ids[name] = span
        return Grant(name, traffic, sources, destinations, span=span, **properties)

    # ---- one entry

    def _grant(self, node: Node, place: Place) -> Grant | None:
        if type(node) is Scalar:
            fields: Fields | None = {"port": (node, node)}
        else:
            fields = self._records.fields(node, grammar.GRANT)
        if fields is None:
            return None
        if _MATCH_KEYS.isdisjoint(fields):
            self._report_nothing_said(node, fields)
            return None
        traffic = self._traffic(fields)
        sources = self._peers.optional(fields, "from")
        destinations = self._peers.optional(fields, "to")
        self._check_families(node, traffic, sources, destinations)
        self._check_place(fields, place, destinations if place.inbound else sources)
        return self._finished(node, fields, place.label, traffic, sources, destinations)

    def _forward(self, node: Node) -> Forward | None:
        fields = self._records.fields(node, grammar.FORWARD)
        if fields is None or "to" not in fields or "port" not in fields:
            return None
        traffic, sources = self._ports(fields["port"]), self._peers.optional(fields, "from")
        if any(part.protocol not in PORT_PROTOCOLS for part in traffic):
            self._mistakes.add("PG222", "only protocols with ports can be forwarded", fields["port"][1], "name a port")
        grant = self._finished(node, fields, "forward-", traffic, sources, ())
        place = self._records.scalar(fields["to"][1], values.target)
        if place is None:
            return None
        address, port = place
        self._check_families(node, traffic, sources, (Peer(addresses=address),) if address else ())
        return Forward(grant, address, port)

    def _expectation(self, node: Node) -> Expectation | None:
        fields = self._records.fields(node, grammar.EXPECTATION)
        if fields is None:
            return None
        if ("only" in fields) == ("is" in fields) or ("only" in fields and len(fields) > 1):
            if not fields.keys() <= grammar.EXPECTATION.names:
                return None  # which is reported, and the unknown key may be the one that says it
            remedy = "write `{port: ssh, from: office, is: accepted}` or `{only: [ssh, https]}`"
            self._mistakes.add("PG226", "it needs either `is`, or `only` and nothing else", node, remedy)
            return None
        if "only" in fields:
            return Expectation(self._ports(fields["only"], may_be_empty=True), None, span=span_of(node))
        outcome = Outcome(self._records.word(fields["is"], tuple(Outcome), Outcome.BLOCKED))
        sources, destinations = self._peers.optional(fields, "from"), self._peers.optional(fields, "to")
        traffic = self._traffic(fields)
        self._check_families(node, traffic, sources, destinations)
        self._check_own(fields, "to", destinations)
        return Expectation(traffic, outcome, sources, destinations, span_of(node))

    def _finished(
        self, node: Node, fields: Fields, label: str, traffic: tuple[Traffic, ...], sources: Peers, destinations: Peers
    ) -> Grant:
        span = span_of(node)
        name = self._explicit_id(fields["id"][1]) if "id" in fields else self._derived_id(fields, label)
        self._ids[name] = span
        if fields.keys() <= _MATCH_KEYS:
            return Grant(name, traffic, sources, destinations, span=span)
        return Grant(name, traffic, sources, destinations, span=span, **self._properties(fields))

    # ---- the parts of an entry

    def _traffic(self, fields: Fields) -> tuple[Traffic, ...]:
        if "proto" in fields:
            return self._protocols(fields)
        return self._ports(fields["port"]) if "port" in fields else ()

    def _ports(self, pair: Pair, *, may_be_empty: bool = False) -> tuple[Traffic, ...]:
        node = pair[1]
        if type(node) is Scalar:
            return self._records.scalar(node, self._names.traffic) or ()
        found = self._records.scalars(pair, self._names.traffic)
        if not may_be_empty:
            self._records.not_empty(node)
        return tuple(dict.fromkeys(one for part in found for one in part))

    def _protocols(self, fields: Fields) -> tuple[Traffic, ...]:
        pair = fields["proto"]
        if "port" in fields:
            remedy = "write the protocol behind the port (`53/udp`), and remove `proto`"
            self._mistakes.add("PG213", "`port` says its protocol itself", pair[0], remedy)
        self._records.not_empty(pair[1])
        return tuple(dict.fromkeys(self._records.scalars(pair, values.protocol)))

    def _properties(self, fields: Fields) -> dict[str, Any]:
        """What a grant has beside what it matches, as far as it is written and right."""
        found = {
            key: self._records.scalar(pair[1], _PROPERTIES[key]) for key, pair in fields.items() if key in _PROPERTIES
        }
        day = found.get("expires")
        if day is not None and self._is_over(day):
            age = (self._today - day).days
            detail = f"the last day was {age} day{'s' if age > 1 else ''} ago"
            self._mistakes.add("PG218", detail, fields["expires"][1], "remove the entry, or give it a new date")
        return found

    def _is_over(self, day: date | None) -> bool:
        return day is not None and day < self._today

    def _explicit_id(self, node: Node) -> str:
        name = self._records.scalar(node, values.identifier) or ""
        if name and name in self._ids:
            related = ((self._ids[name], "first used here"),)
            self._mistakes.add("PG219", f"`{name}` is taken", node, "give one of them another id", related)
        return name

    def _derived_id(self, fields: Fields, label: str) -> str:
        said = {key: identity.written(node) for key, (_, node) in fields.items() if key in identity.KEYS}
        return self._unique(identity.derive(label, said))

    def _unique(self, name: str) -> str:
        """Entries that say the same are told apart by a number, which only they share."""
        if name not in self._ids:
            return name
        count = self._repeated.get(name, 1) + 1
        while f"{name}-{count}" in self._ids:
            count += 1
        self._repeated[name] = count
        return f"{name}-{count}"

    def _all_unique(self, names: list[str], spans: list[Span]) -> list[str]:
        if self._are_new(names):
            return names
        found = []
        for name, span in zip(names, spans, strict=True):
            found.append(self._unique(name))
            self._ids[found[-1]] = span
        return found

    def _are_new(self, names: list[str]) -> bool:
        return len(set(names)) == len(names) and self._ids.keys().isdisjoint(names)

    # ---- what can't be meant

    def _report_nothing_said(self, node: Node, fields: Fields) -> None:
        """Unless a key is unknown, which is reported and may be the one that says it."""
        if fields.keys() <= grammar.GRANT.names:
            detail = "it has neither `port` nor `proto`, `from` or `to`"
            self._mistakes.add("PG221", detail, node, "say what it is about")

    def _check_place(self, fields: Fields, place: Place, here: Peers) -> None:
        if place.blocks and "limit" in fields:
            remedy = "put the limit on an `allow` entry"
            self._mistakes.add("PG222", "what is blocked has no rate", fields["limit"][0], remedy)
        self._check_own(fields, "to" if place.inbound else "from", here)

    def _check_own(self, fields: Fields, name: str, here: Peers) -> None:
        if _has_interface(here):
            key, node = fields[name]
            detail = f"`{key.value}` means this host's own addresses here, and has no interface"
            self._mistakes.add("PG222", detail, node, "name addresses")

    def _check_families(self, node: Node, traffic: tuple[Traffic, ...], sources: Peers, destinations: Peers) -> None:
        if _in_one_family(traffic, sources, destinations):
            return
        families = _families_of_traffic(traffic), _families_of_peers(sources), _families_of_peers(destinations)
        parts = zip(("protocols", "sources", "destinations"), families, strict=True)
        told = " and ".join(f"{what} of IPv{4 if bits == IPV4 else 6}" for what, bits in parts if bits != BOTH)
        self._mistakes.add("PG217", f"no packet has {told}", node, "use parts of one family")


def _has_interface(peers: Peers) -> bool:
    return bool(peers) and any(peer.interfaces for peer in peers)


def _in_one_family(traffic: tuple[Traffic, ...], sources: Peers, destinations: Peers) -> bool:
    """Whether a packet can have all of these."""
    found = _families_of_traffic(traffic)
    if found == BOTH and not (sources and destinations):
        return True
    return bool(found & _families_of_peers(sources) & _families_of_peers(destinations))


def _all_in_one_family(traffic: Sequence[tuple[Traffic, ...]], peers: Mapping[str, Sequence[Peers]]) -> bool:
    """The same of many; of most the protocols alone tell."""
    protocols = {part.protocol for parts in set(traffic) for part in parts}
    if len(peers) < 2 and protocols.isdisjoint(_FAMILY_OF_PROTOCOL):
        return True
    nobody: repeat[Peers] = repeat(())
    return all(map(_in_one_family, traffic, peers.get("from", nobody), peers.get("to", nobody)))


def _families_of_traffic(traffic: tuple[Traffic, ...]) -> int:
    found = 0
    for protocol, _, _ in traffic:
        found |= _FAMILY_OF_PROTOCOL.get(protocol, BOTH)
    return found or BOTH


def _families_of_peers(peers: Peers) -> int:
    """BOTH for empty sets, which are reported where they are defined."""
    found = 0
    for peer in peers:
        addresses = peer.addresses
        if addresses is None:
            return BOTH
        if addresses.v4:
            found |= IPV4
        if addresses.v6:
            found |= IPV6
    return found or BOTH
