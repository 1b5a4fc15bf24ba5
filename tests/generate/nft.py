"""Random rulesets as other people write them, in the text of nft: foreign tables, of all kinds and habits.

Rules of this file
    Everything that it writes loads (nft 1.0.6): the tests fail when something does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from portgate.core.net import Family, format_address, format_interval
from tests.generate.world import CUTS, PORTS, own_addresses, peers

INTERFACES = ('"eth0"', '"eth1"', '"wg0"', '"wg1"', '"wg*"', '"e*"')
STATES = ("new", "established", "related", "invalid", "untracked")
L4 = ("tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmpv6", "gre", "esp")
REJECTIONS = {"ip": "icmp admin-prohibited", "ip6": "icmpv6 admin-prohibited", "inet": "icmpx admin-prohibited"}
ICMP = {Family.IPV4: "icmp type", Family.IPV6: "icmpv6 type"}
MARKS = ("0x0", "0x1", "0x2", "0x3")
MASKS = {Family.IPV4: "255.255.255.128", Family.IPV6: "ffff:ffff:ffff::"}
NETWORKS = {Family.IPV4: "198.51.100.128", Family.IPV6: "2001:db8:42::"}
FLAGS = ("syn", "ack", "fin", "rst", "psh", "urg")
USUAL = (-300, -150, -100, 0, 0, 10, 50, 100)
BETWEEN = (*range(-290, -205), *range(-195, -105), *range(-95, 95), *range(105, 400))
FAMILIES = {"ip": (Family.IPV4,), "ip6": (Family.IPV6,), "inet": (Family.IPV4, Family.IPV6)}


def ruleset(rng: Random) -> str:
    """Several tables, some of whose base chains have the same priority."""
    names = rng.sample(["filter", "mangle", "fw", "raw", "custom", "f2b-table"], rng.randint(1, 3))
    return "\n".join(_Table(rng, rng.choice(("ip", "ip6", "inet", "inet")), name).text() for name in names)


@dataclass
class _Table:
    rng: Random
    family: str
    name: str
    sets: dict[str, str] = field(default_factory=dict)  # name: its key, as its type words
    lines: list[str] = field(default_factory=list)
    callees: Sequence[str] = ()

    def text(self) -> str:
        callees = self.callees = [f"c{number}" for number in range(self.rng.randint(0, 4))]
        self._sets()
        self._verdict_map_of_callees()
        for number, name in enumerate(callees):
            self._chain(name, "", callees[number + 1 :])
        for number in range(self.rng.randint(1, 3)):
            self._chain(f"base{number}", self._filter_head(), callees)
        if self.rng.random() < 0.5:
            self._nat_chains()
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"table {self.family} {self.name} {{\n{body}\n}}\n"

    # ---- sets and maps

    def _sets(self) -> None:
        for family in FAMILIES[self.family]:
            address = f"ipv{int(family)}_addr"
            self._set(f"net{family}", address, partial(_disjoint, self.rng, family))
            self._set(f"pair{family}", f"{address} . inet_service", partial(self._pairs, family))
            self._set(f"triple{family}", f"{address} . inet_proto . inet_service", partial(self._triples, family))
            self._set(f"from{family}", f"ifname . {address}", partial(self._links_and_addresses, family))
        self._set("ports", "inet_service", partial(_disjoint_ports, self.rng))
        self._set("links", "ifname", partial(self.rng.sample, INTERFACES[:4], 2), interval=False)
        self._set("marks", "mark", partial(self.rng.sample, MARKS, 2), interval=False)

    def _set(self, name: str, words: str, elements: Callable[[], Sequence[str]], interval: bool = True) -> None:
        if self.rng.random() < 0.6:
            self.sets[name] = words
            flags = "flags interval; " if interval else ""
            self.lines.append(f"set {name} {{ type {words}; {flags}elements = {{ {', '.join(elements())} }}; }}")

    def _pairs(self, family: Family) -> list[str]:
        return [f"{address} . {_port(self.rng)}" for address in _disjoint(self.rng, family)]

    def _triples(self, family: Family) -> list[str]:
        protocols = ("tcp", "udp", "sctp")
        return [f"{one} . {self.rng.choice(protocols)} . {_port(self.rng)}" for one in _disjoint(self.rng, family)]

    def _links_and_addresses(self, family: Family) -> list[str]:
        return [f"{self.rng.choice(INTERFACES[:4])} . {one}" for one in _disjoint(self.rng, family)]

    def _verdict_map_of_callees(self) -> None:
        if self.callees and self.rng.random() < 0.4:
            self.sets["ways"] = "inet_service : verdict"
            pairs = [f"{port} : {self.rng.choice(_verdicts(self.callees))}" for port in _disjoint_ports(self.rng)]
            self.lines.append(
                f"map ways {{ type inet_service : verdict; flags interval; elements = {{ {', '.join(pairs)} }}; }}"
            )

    # ---- chains

    def _chain(self, name: str, head: str, callees: Sequence[str]) -> None:
        rules = [self._rule(callees) for _ in range(self.rng.randint(1, 6))]
        self.lines += [f"chain {name} {{", *([f"    {head}"] if head else []), *(f"    {one}" for one in rules), "}"]

    def _filter_head(self) -> str:
        hook = self.rng.choices(("input", "forward", "prerouting"), (6, 3, 2))[0]
        default = self.rng.choice(("accept", "accept", "accept", "drop"))
        return f"type filter hook {hook} priority {self.rng.choice((*USUAL, *BETWEEN[::40]))}; policy {default};"

    def _nat_chains(self) -> None:
        """One from which others are called, and at times one that translates sources, which comes too late to decide."""
        rng = self.rng
        priority = rng.choice((-100, -100, rng.randint(-199, 200)))
        self._nat_chain("published", "", [])
        self._nat_chain("nat", f"type nat hook prerouting priority {priority};", ["jump published", "goto published"])
        if rng.random() < 0.3:
            self.lines += [
                "chain masq {",
                "    type nat hook postrouting priority 100;",
                '    oifname "eth1" masquerade',
                "}",
            ]

    def _nat_chain(self, name: str, head: str, calls: Sequence[str]) -> None:
        rules = [self._nat_rule(calls) for _ in range(self.rng.randint(1, 3))]
        self.lines += [f"chain {name} {{", *([f"    {head}"] if head else []), *(f"    {one}" for one in rules), "}"]

    # ---- rules

    def _rule(self, callees: Sequence[str]) -> str:
        rng = self.rng
        family = rng.choice(FAMILIES[self.family])
        if rng.random() < 0.15:
            return (
                f"{self._matches(family, rng.randint(0, 2), with_transport=False)} {self._verdict_map(family, callees)}"
            )
        if rng.random() < 0.12:
            return f"{self._matches(family, rng.randint(0, 3), with_transport=False)} {self._side_effect()}"
        matches = self._matches(family, rng.randint(0, 3))
        if rng.random() < 0.05:
            inner = "; ".join(
                f"{self._matches(family, 1)} {rng.choice(('accept', 'drop', 'return'))}" for _ in range(2)
            )
            return f"{matches} {rng.choice(('jump', 'goto'))} {{ {inner}; }}"
        if rng.random() < 0.05:
            return f"meta l4proto tcp {self._matches(family, 1, with_transport=False)} counter reject with tcp reset"
        log = rng.choice(("counter ", "", 'log prefix "a } # " level info ')) if rng.random() < 0.2 else ""
        end = ' comment "says { drop }"' if rng.random() < 0.1 else ""
        return f"{matches} {log}{rng.choice(('reject', f'reject with {REJECTIONS[self.family]}', *_verdicts(callees)))}{end}"

    def _side_effect(self) -> str:
        return self.rng.choice(
            (
                "meta mark set 0x1",
                "meta mark set meta mark | 0x2",
                "meta mark set meta mark & 0xfffffffe",
                "meta mark set 0x10 accept",
                "meta mark set (meta mark & 0xfe) | 0x1",
                "meta mark set tcp dport map { 22 : 0x1, 80 : 0x2, 1024-65535 : 0x3 }",
                'ct mark set iifname map { "eth0" : 0x1, "wg0" : 0x3 }',
                "meta mark set ct mark & 0x3 accept",
                "ct mark set meta mark & 0x1",
                "meta priority set 1:1",
                "meta mark set meta mark ^ 0x3",
                "meta mark set ct mark",
                "meta mark set ct mark & 0x2 | 0x1",
                "ct mark set 0x1",
                "ct mark set meta mark",
                "ct mark set meta mark ^ 0x1",
                "ct mark set ct mark | 0x2",
                "counter",
                "notrack",
                self.rng.choice(("ct zone set 1", "ct zone set 0", "ct original zone set 2")),
            )
        )

    def _verdict_map(self, family: Family, callees: Sequence[str]) -> str:
        pick = self.rng.choice
        if "ways" in self.sets and callees == self.callees and self.rng.random() < 0.4:
            return f"{pick(('tcp', 'udp'))} dport vmap @ways"
        what, keys = pick(
            (
                ("tcp dport", _disjoint_ports(self.rng)),
                ("udp dport", _disjoint_ports(self.rng)),
                ("iifname", self.rng.sample(INTERFACES[:4], 2)),
                ("ct state", self.rng.sample(STATES, 3)),
                ("meta l4proto", self.rng.sample(L4, 3)),
                ("meta mark", ["0x0", "0x1", "0x3"]),
                ("ct mark", ["0x0", "0x1"]),
                ("meta protocol", ["ip", "ip6"] if self.family == "inet" else ["ip"]),
                ("fib daddr type", ["local", "unicast", "broadcast"]),
                ("iifname . tcp dport", [f"{one} . {_port(self.rng)}" for one in self.rng.sample(INTERFACES[:4], 3)]),
                ("meta l4proto . th dport", [f"{one} . {_port(self.rng)}" for one in ("tcp", "udp", "sctp")]),
                (f"{_ip(family)} saddr", _disjoint(self.rng, family)),
                (f"{_ip(family)} daddr . tcp dport", self._own_places(family)),
                (f"{_ip(family)} saddr . {_ip(family)} daddr", self._address_pairs(family)),
                (ICMP[family], ["echo-request", "destination-unreachable"]),
            )
        )
        return f"{what} vmap {{ {', '.join(f'{key} : {pick(_verdicts(callees))}' for key in keys)} }}"

    def _nat_rule(self, calls: Sequence[str]) -> str:
        rng = self.rng
        if calls and rng.random() < 0.4:
            return f"{self._matches(rng.choice(FAMILIES[self.family]), rng.randint(0, 2))} {rng.choice(calls)}"
        family = rng.choice(FAMILIES[self.family])
        protocol = rng.choice(("tcp", "udp"))
        ip = "ip" if family is Family.IPV4 else "ip6"
        local = rng.choice(
            ("fib daddr type local ", f"{ip} daddr {format_address(family, rng.choice(own_addresses(family)))} ", "")
        )
        match = f"{rng.choice((self._interface(), ''))} {local}{protocol} dport {_port(rng)}"
        if rng.random() < 0.2:
            return f"{match} {rng.choice(('accept', 'return', 'drop'))}"
        if rng.random() < 0.4:
            return f"{match} redirect{rng.choice(('', f' to :{rng.choice(PORTS)}', f' to :{rng.choice(PORTS)}'))}"
        target = format_address(family, rng.choice((*peers(family), *own_addresses(family))))
        if rng.random() < 0.15:
            pairs = ", ".join(f"{port} : {target} . {rng.choice(PORTS)}" for port in rng.sample(PORTS, 3))
            return f"{match} dnat {ip} addr . port to {protocol} dport map {{ {pairs} }}"
        if rng.random() < 0.15:
            return f"{match} dnat {ip} to {protocol} dport map {{ {', '.join(f'{one} : {target}' for one in rng.sample(PORTS, 3))} }}"
        where = f"[{target}]:{rng.choice(PORTS)}" if family is Family.IPV6 else f"{target}:{rng.choice(PORTS)}"
        return f"{match} dnat {'' if self.family != 'inet' else ip} to {rng.choice((where, target))}"

    # ---- matches

    def _matches(self, family: Family, count: int, with_transport: bool = True) -> str:
        """Matches of one rule may not contradict each other's protocol: at most one of each layer."""
        layers: list[Callable[[], str]] = [self._interface, self._connection, partial(self._address, family)]
        if with_transport:
            layers.append(partial(self._transport, family))
        return " ".join(layer() for layer in self.rng.sample(layers, count))

    def _interface(self) -> str:
        rng = self.rng
        if "links" in self.sets and rng.random() < 0.2:
            return f"iifname {rng.choice(('', '!= '))}@links"
        return rng.choice(
            (
                f"iifname {rng.choice(INTERFACES)}",
                f"iifname != {rng.choice(INTERFACES)}",
                f"iifname {{ {', '.join(rng.sample(INTERFACES[:4], 2))} }}",
                f"iif {rng.choice(INTERFACES[:4])}",
                f"oifname {rng.choice(('', '!= '))}{rng.choice(INTERFACES)}",
                f"oif {rng.choice(('', '!= '))}{rng.choice(INTERFACES[:4])}",
            )
        )

    def _connection(self) -> str:
        rng = self.rng
        return rng.choice(
            (
                f"ct state {','.join(rng.sample(STATES, rng.randint(1, 3)))}",
                f"ct state != {','.join(rng.sample(STATES, rng.randint(1, 2)))}",
                f"ct state {{ {', '.join(rng.sample(STATES, 2))} }}",
                "ct status dnat",
                f"meta mark {rng.choice(('0x1', '0x2', '!= 0x1', '& 0x1 == 0x1', '& 0x3 == 0x2', '!= 0x0'))}",
                f"meta mark {rng.choice(('{ 0x1, 0x3 }', '0x1-0x2', '!= { 0x0, 0x2 }', '& 0x2 != 0x0', '< 0x2', '>= 0x2'))}",
                f"ct mark {rng.choice(('0x1', '0x0', '!= 0x1', '& 0x1 == 0x1', '{ 0x0, 0x2 }', '& 0x3 != 0x0'))}",
                *(["meta mark @marks", "ct mark != @marks"] if "marks" in self.sets else []),
                rng.choice(("ct status ! dnat", "ct status & dnat == dnat", "ct status & dnat == 0")),
                "ct state & (established | related) == 0",
                f"ct state . meta mark {{ new . 0x0, {rng.choice(STATES)} . 0x1 }}",
                "meta nfproto . meta l4proto { ipv4 . tcp, ipv6 . udp, ipv6 . icmpv6 }"
                if self.family == "inet"
                else "ct state new",
                f"meta pkttype {rng.choice(('host', '!= host'))}",
            )
        )

    def _address(self, family: Family) -> str:
        rng = self.rng
        ip = "ip" if family is Family.IPV4 else "ip6"
        side = rng.choice(("saddr", "saddr", "daddr"))
        choices = [
            f"{ip} {side} {rng.choice(('', '!= '))}{_range(rng, family)}",
            f"{ip} {side} {rng.choice(('', '!= '))}{{ {', '.join(_disjoint(rng, family))} }}",
            f"{ip} {side} . {ip} daddr {{ {', '.join(self._address_pairs(family))} }}",
            f"fib {rng.choice(('daddr', 'saddr'))} type {rng.choice(('local', 'unicast', '!= local', '{ local, broadcast }'))}",
        ]
        choices += [
            f"{ip} {side} . {ip} daddr != {{ {', '.join(self._address_pairs(family))} }}",
            f"{ip} {side} {rng.choice(('<', '<=', '>', '>='))} {format_address(family, rng.choice(CUTS[family]))}",
            f"{ip} {side} & {MASKS[family]} {rng.choice(('==', '!='))} {NETWORKS[family]}",
            f"iifname . {ip} saddr {rng.choice(('', '!= '))}{{ {', '.join(self._links_and_addresses(family))} }}",
            f"ct original {ip} daddr {rng.choice(('', '!= '))}{format_address(family, rng.choice(own_addresses(family)))}",
            f"ct original {ip} saddr {_range(rng, family)}",
        ]
        if f"from{family}" in self.sets:
            choices += [f"iifname . {ip} saddr {rng.choice(('', '!= '))}@from{family}"] * 2
        if f"net{family}" in self.sets:
            choices += [f"{ip} {side} {rng.choice(('', '!= '))}@net{family}"] * 2
        if self.family == "inet":
            choices.append(f"meta nfproto ipv{int(family)}")
        return rng.choice(choices)

    def _address_pairs(self, family: Family) -> list[str]:
        own = own_addresses(family)
        return [f"{one} . {format_address(family, self.rng.choice(own))}" for one in _disjoint(self.rng, family)]

    def _own_places(self, family: Family) -> list[str]:
        """Own addresses and ports."""
        own = self.rng.sample(own_addresses(family), 3)
        return [f"{format_address(family, one)} . {_port(self.rng)}" for one in own]

    def _transport(self, family: Family) -> str:
        rng = self.rng
        ip, l4 = ("ip", "protocol") if family is Family.IPV4 else ("ip6", "nexthdr")
        protocol = rng.choice(("tcp", "tcp", "udp", "sctp", "dccp", "udplite"))
        choices = [
            *[f"{protocol} dport {rng.choice(('', '!= '))}{_port(rng)}"] * 3,
            f"{protocol} dport {{ {', '.join(_disjoint_ports(rng))} }}",
            f"{protocol} sport {rng.choice(('', '!= '))}{_port(rng)}",
            f"meta l4proto {rng.choice(('', '!= '))}{rng.choice(L4)}",
            f"meta l4proto {{ {', '.join(rng.sample(L4, 3))} }}",
            f"meta l4proto {{ tcp, udp }} th dport {_port(rng)}",
            f"{ip} {l4} {rng.choice(L4[:5])}",
            f"meta l4proto {rng.choice(('tcp', 'udp'))} ct original proto-dst {rng.choice(('', '!= '))}{_port(rng)}",
            f"meta l4proto {rng.choice(('tcp', 'udp'))} ct original proto-src {rng.choice(('', '!= '))}{_port(rng)}",
            self._flags(),
            self._icmp(family),
            f"{protocol} dport {rng.choice(('<', '>=', '>'))} {rng.choice(PORTS)}",
            f"{protocol} dport != {{ {', '.join(_disjoint_ports(rng))} }}",
            f"{protocol} sport . {protocol} dport {rng.choice(('', '!= '))}{{ 1024-65535 . {_port(rng)}, 0-1023 . {_port(rng)} }}",
            f"meta l4proto . th dport {rng.choice(('', '!= '))}{{ tcp . {_port(rng)}, udp . {_port(rng)} }}",
            f"meta l4proto {rng.choice(('tcp', 'udp'))} @th,16,16 {rng.choice(('', '!= '))}{rng.choice(PORTS)}",
            f"th dport {_port(rng)}",
            f"{ip} daddr . {protocol} dport {rng.choice(('', '!= '))}{{ {', '.join(self._own_places(family))} }}",
            f"{ip} {l4} {rng.choice(('!= tcp', '{ tcp, udp }', '!= { udp, sctp }'))}",
            f"meta l4proto != {{ {', '.join(rng.sample(L4, 2))} }}",
            f"{ip} {l4} . th dport {{ tcp . {_port(rng)}, udp . {_port(rng)} }}",
        ]
        if "ports" in self.sets:
            choices.append(f"{protocol} dport {rng.choice(('', '!= '))}@ports")
        if f"pair{family}" in self.sets:
            choices.append(f"{ip} saddr . {protocol} dport {rng.choice(('', '!= '))}@pair{family}")
        if f"triple{family}" in self.sets:
            choices.append(f"{ip} saddr . meta l4proto . th dport @triple{family}")
        return rng.choice(choices)

    def _flags(self) -> str:
        some = "|".join(self.rng.sample(FLAGS, 2))
        return self.rng.choice(
            (
                f"tcp flags {self.rng.choice(FLAGS)}",
                "tcp flags & (fin|syn|rst|ack) == syn",
                "tcp flags & (fin|syn|rst|ack) != syn",
                f"tcp flags & ({some}) == {some.split('|')[0]}",
                f"tcp flags == {some}",
                "tcp flags { syn, ack }",
                f"tcp flags ! {some.replace('|', ',')}",
                f"tcp flags {some.replace('|', ',')}",
                f"tcp flags != {some.split('|')[0]}",
                "tcp flags & (fin|syn|rst|psh|ack|urg) == { syn, syn|psh, ack }",
                "tcp flags & (syn|ack) == 0x0",
            )
        )

    def _icmp(self, family: Family) -> str:
        if family is Family.IPV4:
            return self.rng.choice(
                (
                    "icmp type echo-request",
                    "icmp type { echo-request, timestamp-request }",
                    "icmp type != echo-request",
                    "icmp code 0",
                    "icmp code != 0-1",
                    "icmp type . icmp code { destination-unreachable . 0-1, echo-request . 0, parameter-problem . 1 }",
                    "icmp type 0-8",
                    "icmp type >= 11",
                )
            )
        return self.rng.choice(
            (
                "icmpv6 type echo-request",
                "icmpv6 type { echo-request, nd-neighbor-solicit }",
                "icmpv6 type != echo-request",
                "icmpv6 code { 1, 3 }",
                "icmpv6 type . icmpv6 code { destination-unreachable . 0-3, echo-request . 0 }",
                "icmpv6 type < 128",
                "icmpv6 type 133-136",
            )
        )


def _ip(family: Family) -> str:
    return "ip" if family is Family.IPV4 else "ip6"


def _verdicts(callees: Sequence[str]) -> list[str]:
    jumps = (f"{word} {one}" for one in callees for word in ("jump", "goto"))
    return ["accept", "accept", "drop", "drop", "return", *jumps]


def _range(rng: Random, family: Family) -> str:
    first, last = sorted(rng.sample(CUTS[family], 2))
    return format_interval(family, rng.choice(((first, last - 1), (first, last), (first, first))))


def _disjoint(rng: Random, family: Family) -> list[str]:
    """One to four intervals of addresses with gaps between them."""
    cuts = sorted(rng.sample(CUTS[family], 2 * rng.randint(1, 4)))
    return [format_interval(family, (first, last - 2)) for first, last in zip(cuts[::2], cuts[1::2], strict=True)]


def _port(rng: Random) -> str:
    first, last = sorted(rng.sample(PORTS, 2))
    return rng.choice((str(first), f"{first}-{last}"))


def _disjoint_ports(rng: Random) -> list[str]:
    cuts = sorted(rng.sample(PORTS, 2 * rng.randint(1, 3)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=True))
    return [rng.choice((str(first), f"{first}-{last}" if last - first > 1 else str(first))) for first, last in pairs]
