"""The entries of a policy: grants, forwards, expectations and management, with all names resolved."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from portgate.core.diagnostics import Span
from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS
from portgate.core.policy import Default, Expectation, Forward, Grant, Outcome, Peer, Rulebook, Traffic
from portgate.language import grammar, identity, values
from portgate.language.grammar import Record
from portgate.language.mistakes import MistakeError, Mistakes, span_of
from portgate.language.names import Names
from portgate.language.nodes import Line, Node, Pair, Scalar, Sequence
from portgate.language.peers import PeerReader, Peers
from portgate.language.records import Records

Fields = dict[str, Pair]

IPV4, IPV6, BOTH = 1, 2, 3
"""Families as bits: an entry whose parts have none in common matches nothing."""
IGMP = 2
_FAMILY_OF_PROTOCOL = {ICMP: IPV4, IGMP: IPV4, ICMPV6: IPV6}
_PLAIN_KEYS = frozenset({"port", "from"})
_MATCH_KEYS = frozenset({"port", "proto", "from", "to"})


class Place(NamedTuple):
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
        return tuple(one for node in self._records.entries(pair) if (one := self._forward(node)))

    def expectations(self, pair: Pair | None) -> tuple[Expectation, ...]:
        return tuple(one for node in self._records.entries(pair) if (one := self._expectation(node)))

    def management(self, pair: Pair | None) -> Peers:
        fields = None if pair is None else self._records.fields(pair[1], grammar.MANAGEMENT)
        if not fields or "from" not in fields:
            return ()
        return self._peers.read(fields["from"]) or (Peer(),)

    def _grants(self, pair: Pair | None, place: Place) -> tuple[Grant, ...]:
        found: list[Grant] = []
        for item in self._records.lines(pair):
            if isinstance(item, Line):
                grant = self._plain_grant(item, place) or self._grant(item.expanded(), place)
            else:
                grant = self._grant(item, place)
            if grant is not None:
                found.append(grant)
        return tuple(found)

    def _plain_grant(self, line: Line, place: Place) -> Grant | None:
        """What most lines of a large policy are: a port and a source. None for anything else, and for anything wrong."""
        words = line.words
        if words.keys() != _PLAIN_KEYS or not place.inbound:
            return None
        try:
            traffic, sources = self._names.traffic(words["port"]), self._peers.named(words["from"])
        except MistakeError:
            return None
        if _families_of_traffic(traffic) != BOTH:
            return None
        span = line.span()
        name = self._unique(identity.derive(place.label, words["port"], words["from"]))
        self._ids[name] = span
        return Grant(name, traffic, sources, span=span)

    # ---- one entry

    def _grant(self, node: Node, place: Place) -> Grant | None:
        if type(node) is Scalar:
            fields: Fields | None = {"port": (node, node)}
        else:
            fields = self._records.fields(node, grammar.GRANT)
        if fields is None:
            return None
        if _MATCH_KEYS.isdisjoint(fields):
            self._mistakes.add(
                "PG221", "it has neither `port` nor `proto`, `from` or `to`", node, "say what it is about"
            )
            return None
        traffic = self._traffic(fields)
        sources = self._peers.optional(fields, "from")
        destinations = self._peers.optional(fields, "to")
        if destinations or _families_of_traffic(traffic) != BOTH:
            self._check_families(node, traffic, sources, destinations)
        if place.blocks or destinations or not place.inbound:
            self._check_place(fields, place, destinations if place.inbound else sources)
        return self._finished(node, fields, place.label, traffic, sources, destinations)

    def _forward(self, node: Node) -> Forward | None:
        fields = self._records.fields(node, grammar.FORWARD)
        if fields is None or "to" not in fields or "port" not in fields:
            return None
        traffic, sources = self._ports(fields["port"]), self._peers.optional(fields, "from")
        if any(part.protocol not in PORT_PROTOCOLS for part in traffic):
            self._mistakes.add("PG222", "only protocols with ports can be forwarded", fields["port"][1], "name a port")
        address, port = self._records.scalar(fields["to"][1], values.target) or (None, None)
        self._check_families(node, traffic, sources, (Peer(addresses=address),) if address else ())
        return Forward(self._finished(node, fields, "forward-", traffic, sources, ()), address, port)

    def _expectation(self, node: Node) -> Expectation | None:
        fields = self._records.fields(node, grammar.EXPECTATION)
        if fields is None:
            return None
        if ("only" in fields) == ("is" in fields) or ("only" in fields and len(fields) > 1):
            remedy = "write `{port: ssh, from: office, is: accepted}` or `{only: [ssh, https]}`"
            self._mistakes.add("PG226", "it needs either `is`, or `only` and nothing else", node, remedy)
            return None
        if "only" in fields:
            return Expectation(self._ports(fields["only"], may_be_empty=True), None, span=span_of(node))
        outcome = Outcome(self._records.word(fields["is"], tuple(Outcome), Outcome.BLOCKED))
        sources, destinations = self._peers.optional(fields, "from"), self._peers.optional(fields, "to")
        traffic = self._traffic(fields)
        self._check_families(node, traffic, sources, destinations)
        return Expectation(traffic, outcome, sources, destinations, span_of(node))

    def _finished(
        self, node: Node, fields: Fields, label: str, traffic: tuple[Traffic, ...], sources: Peers, destinations: Peers
    ) -> Grant:
        span = span_of(node)
        name = self._explicit_id(fields["id"][1]) if "id" in fields else self._derived_id(fields, label)
        self._ids[name] = span
        if fields.keys() <= _MATCH_KEYS:
            return Grant(name, traffic, sources, destinations, span=span)
        return Grant(
            name,
            traffic,
            sources,
            destinations,
            limit=self._records.optional(fields, "limit", values.limit),
            log=self._records.optional(fields, "log", values.flag) or False,
            note=self._records.optional(fields, "note", values.prose),
            owner=self._records.optional(fields, "owner", values.prose),
            expires=self._expires(fields),
            span=span,
        )

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
        self._check_not_empty(node, may_be_empty)
        return tuple(dict.fromkeys(one for part in found for one in part))

    def _protocols(self, fields: Fields) -> tuple[Traffic, ...]:
        pair = fields["proto"]
        if "port" in fields:
            remedy = "write the protocol behind the port (`53/udp`), and remove `proto`"
            self._mistakes.add("PG213", "`port` says its protocol itself", pair[0], remedy)
        self._check_not_empty(pair[1])
        return tuple(dict.fromkeys(self._records.scalars(pair, values.protocol)))

    def _check_not_empty(self, node: Node, may_be_empty: bool = False) -> None:
        if isinstance(node, Sequence) and not node.items and not may_be_empty:
            self._mistakes.add("PG217", "an empty list matches nothing", node, "list something, or remove the entry")

    def _expires(self, fields: Fields) -> date | None:
        day = self._records.optional(fields, "expires", values.day)
        if day is not None and day < self._today:
            age = (self._today - day).days
            detail = f"the last day was {age} day{'s' if age > 1 else ''} ago"
            self._mistakes.add("PG218", detail, fields["expires"][1], "remove the entry, or give it a new date")
        return day

    def _explicit_id(self, node: Node) -> str:
        name = self._records.scalar(node, values.identifier) or ""
        if name and name in self._ids:
            related = ((self._ids[name], "first used here"),)
            self._mistakes.add("PG219", f"`{name}` is taken", node, "give one of them another id", related)
        return name

    def _derived_id(self, fields: Fields, label: str) -> str:
        parts = (identity.written(fields.get(key)) for key in ("from", "to", "limit"))
        what = identity.written(fields.get("port") or fields.get("proto"))
        return self._unique(identity.derive(label, what, *parts))

    def _unique(self, name: str) -> str:
        """Entries that say the same are told apart by a number, which only they share."""
        if name not in self._ids:
            return name
        count = self._repeated.get(name, 1) + 1
        while f"{name}-{count}" in self._ids:
            count += 1
        self._repeated[name] = count
        return f"{name}-{count}"

    # ---- what can't be meant

    def _check_place(self, fields: Fields, place: Place, here: Peers) -> None:
        if place.blocks and "limit" in fields:
            remedy = "put the limit on an `allow` entry"
            self._mistakes.add("PG222", "what is blocked has no rate", fields["limit"][0], remedy)
        if here and any(peer.interfaces for peer in here):
            key, node = fields["to" if place.inbound else "from"]
            detail = f"`{key.value}` means this host's own addresses here, and has no interface"
            self._mistakes.add("PG222", detail, node, "name addresses")

    def _check_families(self, node: Node, traffic: tuple[Traffic, ...], sources: Peers, destinations: Peers) -> None:
        families = _families_of_traffic(traffic), _families_of_peers(sources), _families_of_peers(destinations)
        if families[0] & families[1] & families[2]:
            return
        parts = zip(("protocols", "sources", "destinations"), families, strict=True)
        told = " and ".join(f"{what} of IPv{4 if bits == IPV4 else 6}" for what, bits in parts if bits != BOTH)
        self._mistakes.add("PG217", f"no packet has {told}", node, "use parts of one family")


def _families_of_traffic(traffic: tuple[Traffic, ...]) -> int:
    found = 0
    for part in traffic:
        found |= _FAMILY_OF_PROTOCOL.get(part[0], BOTH)
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
