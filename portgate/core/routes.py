"""By which interfaces this host would answer an address: what rules about the reverse path of a packet ask.

Theory
    A source is looked up in the table `local`, then in `main`; in each the longest prefix counts. Of each interface this file
    knows the sources to which it surely leads back, and those to which it perhaps does, where that hangs on more than the
    source: on rules of routing (`ip rule`), of which only those that every Linux has are understood, on which of several
    routes of IPv6 is taken, on whether a link is up.

Facts
    This host's own addresses have no way back (RTN_LOCAL). Of several next hops IPv4 accepts each, IPv6 the one that it
    would take. Link-local sources are looked up among the routes of the packet's own interface. Exceptions of which this
    file knows nothing are packets from 0.0.0.0/8 to groups and broadcast addresses, and of ICMPv6 from :: (nft_fib_ipv4.c, nft_fib_ipv6.c, ipt_rpfilter.c and ip6t_rpfilter.c of Linux 6.18).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from portgate.core.addresses import LINK_LOCAL
from portgate.core.capture import Reading
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import Family, Interval, Intervals, intersect, normalize, parse_prefix, subtract, union

MOST = 10_000
"""Routes, beyond which what they say is not known."""

_USUAL_RULES = {
    Family.IPV4: [(0, "local"), (32766, "main"), (32767, "default")],
    Family.IPV6: [(0, "local"), (32766, "main")],
}
_REFUSING = frozenset({"unreachable", "prohibit", "blackhole"})
_DOWN = frozenset({"dead", "linkdown"})


@dataclass(frozen=True, slots=True)
class Ways:
    """**Shape** the sources that surely have a way back, and others that perhaps have one."""

    surely: Intervals = ()
    perhaps: Intervals = ()

    def __or__(self, other: Ways) -> Ways:
        return Ways(union(self.surely, other.surely), union(self.perhaps, other.perhaps))


NONE = Ways()


@dataclass(frozen=True, slots=True)
class Routes:
    """The ways back of one family: by interface, by each that is not named, and by any at all; to link-local sources apart."""

    by_interface: Mapping[str, Ways]
    by_others: Ways
    by_any: Ways
    to_link_local: Mapping[str, Ways]

    def back(self, interface: str, *, loose: bool) -> Ways:
        """For what came by an interface: the ways by it, or if `loose` by any."""
        far = self.by_any if loose else self.by_interface.get(interface, self.by_others)
        return far | self.to_link_local.get(interface, NONE)


@dataclass(frozen=True, slots=True)
class _Lead:
    """Where the routes to a prefix lead: surely by each of some interfaces, or perhaps by each of others, None being all.

    **Shape** `exists`: whether there is a way at all, None where that is not known.
    """

    surely: frozenset[str] = frozenset()
    perhaps: frozenset[str] | None = frozenset()
    exists: bool | None = True


_NOWHERE = _Lead(exists=False)
_UNKNOWN = _Lead(perhaps=None, exists=None)


def parse_routes(reading: Reading, family: Family) -> Routes | None:
    """None where they are not understood: other rules of routing than the usual ones, or more than MOST routes.

    Errors: PortgateError with a PG449 for what `ip -json` does not print.
    """
    try:
        listed = [one for document in _documents(reading.text) for one in document]
        rules = sorted(_rule(one) for one in listed if "priority" in one)
        tables: dict[str, list[Mapping[str, Any]]] = {"local": [], "main": [], "default": []}
        for one in listed:
            if "priority" not in one:
                tables.setdefault(str(one.get("table", "main")), []).append(one)
        own = [(_prefix(family, one["dst"]), str(one["dev"])) for one in tables["local"]]
        leads = _leads(family, tables["main"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = f"save what `ip -json -{family.value} rule` and `ip -json -{family.value} route show table all` print"
        raise PortgateError(Diagnostic("PG449", f"{reading.source}: {error!r:.100}", remedy=remedy)) from error
    if rules != _USUAL_RULES[family] or tables["default"] or len(leads) > MOST:
        return None
    return _routes(family, own, leads)


def _documents(text: str) -> Iterator[list[dict[str, Any]]]:
    """Errors: ValueError, RecursionError."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        found, end = decoder.raw_decode(text)
        yield _objects(found)
        text = text[end:].lstrip()


def _objects(found: object) -> list[dict[str, Any]]:
    """Errors: ValueError."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("not a list of objects")
    return found


def _rule(one: Mapping[str, Any]) -> tuple[int, str]:
    """Priority and table of a rule for all packets; no table for any other."""
    plain = one.keys() == {"priority", "src", "table"} and one["src"] == "all"
    return int(one["priority"]), str(one["table"]) if plain else ""


Leads = Mapping[Interval, Sequence[_Lead]]


def _leads(family: Family, routes: Iterable[Mapping[str, Any]]) -> Leads:
    """Of the routes to each prefix; of IPv4 those with the least metric. Errors: ValueError, KeyError, TypeError."""
    metrics: dict[Interval, dict[int, list[_Lead]]] = {}
    for one in routes:
        metric = int(one.get("metric", 0)) if family is Family.IPV4 else 0
        metrics.setdefault(_prefix(family, one["dst"]), {}).setdefault(metric, []).append(_lead(one))
    return {prefix: found[min(found)] for prefix, found in metrics.items()}


def _prefix(family: Family, text: str) -> Interval:
    """Errors: ValueError."""
    if text == "default":
        return 0, family.top
    found, interval = parse_prefix(text)
    if found is not family or "-" in text:
        raise ValueError(f"{text!r} is no prefix of IPv{family.value}")
    return interval


def _lead(one: Mapping[str, Any]) -> _Lead:
    """Of one route. Errors: KeyError, TypeError."""
    hops = _objects(one.get("nexthops", [one]))
    if one.get("type", "unicast") in _REFUSING:
        return _NOWHERE
    if one.get("type", "unicast") != "unicast" or not {"tos", "from"}.isdisjoint(one) or any(map(_is_down, hops)):
        return _UNKNOWN
    return _Lead(frozenset(str(hop["dev"]) for hop in hops))


def _is_down(hop: Mapping[str, Any]) -> bool:
    return "dev" not in hop or not _DOWN.isdisjoint(hop.get("flags", ()))


def _together(family: Family, leads: Sequence[_Lead]) -> _Lead:
    """Of all routes to one prefix."""
    first = leads[0]
    if any(one.exists is not first.exists for one in leads) or not first.exists:
        return first if len({*leads}) == 1 else _UNKNOWN
    interfaces = frozenset(name for one in leads for name in one.surely)
    if len(leads) == 1 and (family is Family.IPV4 or len(interfaces) == 1):
        return first
    return _Lead(perhaps=interfaces)


def _routes(family: Family, own: Sequence[tuple[Interval, str]], main: Leads) -> Routes:
    """**Shape** `own` are the prefixes of the table `local`, each with its interface."""
    apart = normalize([*(prefix for prefix, _ in own), *_near(family)])
    together = {prefix: _together(family, leads) for prefix, leads in main.items()}
    parts = [(subtract((part,), apart), lead) for part, lead in _parts(family, together)]

    def where(holds: Callable[[_Lead], bool]) -> Intervals:
        return normalize(one for part, lead in parts if holds(lead) for one in part)

    def through(name: str) -> Ways:
        perhaps = where(lambda lead: lead.perhaps is None or name in lead.perhaps)
        return Ways(where(lambda lead: name in lead.surely), perhaps)

    names = {name for lead in together.values() for name in (*lead.surely, *(lead.perhaps or ()))}
    anyhow = Ways(where(lambda lead: lead.exists is True), where(lambda lead: lead.exists is None))
    return Routes(
        {name: through(name) for name in sorted(names)}, through(""), anyhow, _to_link_local(family, own, main)
    )


def _near(family: Family) -> Intervals:
    return LINK_LOCAL if family is Family.IPV6 else ()


def _to_link_local(family: Family, own: Sequence[tuple[Interval, str]], main: Leads) -> Mapping[str, Ways]:
    """Each interface has its own routes to them, of which none but its own addresses is an exception."""
    found: dict[str, Ways] = {}
    for prefix, leads in main.items():
        part = intersect((prefix,), _near(family))
        for lead in leads:
            for name in lead.surely:
                ways = Ways(part) if len(lead.surely) == 1 else Ways((), part)
                found[name] = found.get(name, NONE) | ways
    mine = {name: normalize(prefix for prefix, owner in own if owner == name) for name in found}
    return {name: Ways(subtract(ways.surely, mine[name]), ways.perhaps) for name, ways in found.items()}


def _parts(family: Family, leads: Mapping[Interval, _Lead]) -> Iterator[tuple[Interval, _Lead]]:
    """All addresses, in parts that the same longest prefix holds. Of two prefixes one holds the other, or they are apart."""
    start, holding = 0, [(family.top, _NOWHERE)]
    for (first, last), lead in sorted(leads.items(), key=lambda one: (one[0][0], -one[0][1])):
        while holding[-1][0] < first:
            end, outer = holding.pop()
            if start <= end:
                yield (start, end), outer
                start = end + 1
        if start < first:
            yield (start, first - 1), holding[-1][1]
            start = first
        holding.append((last, lead))
    for end, outer in reversed(holding):
        if start <= end:
            yield (start, end), outer
            start = end + 1
