"""Random rulesets as people write them for iptables, in the text of its restore programs and of ipset.

Rules of this file
    Everything that it writes loads (iptables 1.8.9): the tests fail when something does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from portgate.core.net import Family, format_address, prefixes
from tests.generate.world import CUTS, PORTS, own_addresses, peers

# What happens behind the routing decision to packets that leave comes after the referee, so nothing may be dropped there.
HOOKS = {
    "raw": ("PREROUTING",),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "POSTROUTING"),
    "nat": ("PREROUTING", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD"),
    "security": ("INPUT", "FORWARD"),
}
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
INTERFACES = ("eth0", "eth1", "wg0", "wg+", "e+", "+")
WITH_PORTS = ("tcp", "tcp", "udp", "sctp", "dccp", "udplite")
TYPES = {
    Family.IPV4: (
        "8",
        "echo-request",
        "13",
        "3/1",
        "3",
        "any",
        "port-unreachable",
        "time-exceeded",
        "router-advertisement",
    ),
    Family.IPV6: (
        "128",
        "echo-request",
        "135",
        "1/4",
        "1",
        "packet-too-big",
        "no-route",
        "neighbour-solicitation",
        "133/0",
    ),
}
REJECTIONS = {
    Family.IPV4: ("icmp-port-unreachable", "icmp-admin-prohibited", "icmp-host-prohibited"),
    Family.IPV6: ("icmp6-port-unreachable", "icmp6-adm-prohibited", "icmp6-no-route"),
}
DOUBTS = (
    "-m limit --limit 5/min", "-m statistic --mode random --probability 0.5", "-m recent --name x --rcheck --rsource", "-m length --length 0:10",
    "-m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr", "-m hashlimit --hashlimit-upto 5/min --hashlimit-mode srcip --hashlimit-name a",
    "-m pkttype --pkt-type broadcast", "-m string --string abc --algo bm",
    "-m time --timestart 01:00 --timestop 02:00", "-m conntrack --ctstatus CONFIRMED", "-m conntrack --ctdir ORIGINAL", "-m helper --helper ftp",
    "-m dscp --dscp 0x00",
)  # fmt: skip
FLAGS = ("SYN", "ACK", "FIN", "RST", "PSH", "URG")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is loaded, in this order."""

    sets: str
    listings: tuple[tuple[str, str], ...]
    """(`iptables-nft-restore` or a sibling, its input)."""


def rules(rng: Random) -> Rules:
    """Of one or both stores, for both families."""
    stores = rng.choice((("legacy",), ("nft",), ("legacy", "nft")))
    listings = [
        (f"{program}-{store}-restore", listing(rng, family))
        for store in stores
        for program, family in (("iptables", Family.IPV4), ("ip6tables", Family.IPV6))
    ]
    return Rules(sets(rng), tuple(listings))


def listing(rng: Random, family: Family) -> str:
    """Some tables of one family."""
    names = rng.sample(sorted(HOOKS), rng.randint(1, 4))
    return "".join(_Table(rng, family, name).text() for name in names)


def sets(rng: Random) -> str:
    """Sets of every kind that portgate understands, with a suffix for the family."""
    return "".join(_sets(rng, family) for family in Family)


def _sets(rng: Random, family: Family) -> str:
    inet = "inet" if family is Family.IPV4 else "inet6"
    cuts = [format_address(family, one) for one in CUTS[family]]
    nets = _networks(rng, family, 6)
    exception = rng.choice(nets)
    lines = [f"create {kind.replace(':', '-').replace(',', '-')}{family} {kind} family {inet}" for kind in SETS]
    lines += [f"add hash-ip{family} {one}" for one in rng.sample(cuts, 4)]
    lines += [f"add hash-net{family} {one}" for one in nets if one != exception]
    lines += [f"add hash-net{family} {exception} nomatch"]
    for number in range(5):
        port = f"{rng.choice(('tcp', 'udp', 'sctp'))}:{rng.choice(PORTS)}"
        lines += [
            f"add hash-ip-port{family} {rng.choice(cuts)},{port} -exist",
            f"add hash-net-port{family} {rng.choice(nets)},{port}{' nomatch' if number == 4 else ''} -exist",
            f"add hash-net-iface{family} {rng.choice(nets)},{rng.choice(('eth0', 'wg0'))} -exist",
            f"add hash-ip-port-net{family} {rng.choice(cuts)},{port},{rng.choice(nets)} -exist",
        ]
    lines += [f"create timed{family} hash:ip family {inet} timeout 0 counters comment skbinfo"]
    lines += [
        f'add timed{family} {one} timeout {rng.choice((0, 3600))} comment "it\'s "' for one in rng.sample(cuts, 4)
    ]
    lines += [f"create several{family} list:set", f"add several{family} hash-net{family}"]
    lines += [f"add several{family} hash-ip{family}"]
    if family is Family.IPV4:
        lines += ["create ports bitmap:port range 0-65535", f"add ports {PORTS[0]}-{PORTS[2]}", f"add ports {PORTS[5]}"]
        lines += ["create bits bitmap:ip range 10.0.0.0/16", "add bits 10.0.0.5-10.0.0.130"]
        lines += ["create triples hash:ip,port,ip", f"add triples 198.51.100.7,tcp:{rng.choice(PORTS)},192.0.2.1"]
        lines += ["create coarse hash:ip netmask 25", "add coarse 198.51.100.1"]
    return "\n".join(lines) + "\n"


CONNMARKS = (
    "set-mark 1", "set-xmark 0x3/0x1", "save-mark", "save-mark --nfmask 0x2 --ctmask 0x3", "restore-mark",
    "restore-mark --nfmask 0x1 --ctmask 0x3",
)  # fmt: skip
SETS = ("hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "hash:net,iface", "hash:ip,port,net")


def _networks(rng: Random, family: Family, count: int) -> list[str]:
    """Some inside of others."""
    found = {_network(rng, family) for _ in range(count)}
    return sorted(found)


def _network(rng: Random, family: Family) -> str:
    first, last = sorted(rng.sample(CUTS[family], 2))
    base, length = rng.choice(list(prefixes(family, (first, last - 1))))
    return f"{format_address(family, base)}/{max(length, 1)}"


@dataclass(slots=True)
class _Table:
    rng: Random
    family: Family
    name: str

    def text(self) -> str:
        rng = self.rng
        users = [f"user-{number}" for number in range(rng.randint(0, 3))]
        lines = [f"*{self.name}"]
        for hook in HOOKS[self.name]:
            drops = hook != "POSTROUTING" and self.name != "nat" and rng.random() < 0.2
            policy = "DROP" if drops else "ACCEPT"
            lines.append(f":{hook} {policy} [0:0]")
        lines += [f":{name} - [0:0]" for name in users]
        for number, name in enumerate((*users, *HOOKS[self.name])):
            callees = users[number + 1 :] if name in users else users if name != "POSTROUTING" else ()
            lines += [f"-A {name} {self._rule(name, callees)}" for _ in range(rng.randint(1, 7))]
        return "\n".join([*lines, "COMMIT", ""])

    def _rule(self, chain: str, callees: Sequence[str]) -> str:
        rng = self.rng
        protocol = rng.choice((*WITH_PORTS, "icmp", "all", ""))
        if protocol == "icmp" and self.family is Family.IPV6:
            protocol = "ipv6-icmp"
        parts = [f"{self._not()}-p {protocol}"] if protocol else []
        if parts and not parts[0].startswith("!"):
            parts += [self._of_protocol(protocol)]
        elif protocol == "all":
            parts = ["-p all"]
        readers: list[Callable[[], str]] = [
            self._addresses, partial(self._interface, chain), self._state, self._type, self._mark, self._range, self._set, self._rest,
        ]  # fmt: skip
        parts += [one() for one in rng.sample(readers, rng.randint(0, 2))]
        parts.append(self._target(chain, protocol if "!" not in parts[:1] else "", callees, parts))
        return " ".join(part for part in parts if part)

    def _not(self) -> str:
        return "! " if self.rng.random() < 0.2 else ""

    # ---- matches

    def _of_protocol(self, protocol: str) -> str:
        rng = self.rng
        if protocol in WITH_PORTS:
            plain = f"-m {protocol} {self._not()}--{rng.choice('sd')}port {_ports(rng)}"
            several = f"-m multiport {self._not()}--{rng.choice(('sports', 'dports', 'ports'))} {_port_list(rng)}"
            choices = [several, ""] if protocol == "udplite" else [plain, plain, several, ""]
            if protocol == "tcp":
                choices += [f"-m tcp {self._not()}--syn", f"-m tcp {self._not()}--tcp-flags {self._flags()}"]
            return rng.choice(choices)
        if protocol == "icmp":
            return f"-m icmp {self._not()}--icmp-type {rng.choice(TYPES[self.family])}"
        if protocol == "ipv6-icmp":
            return f"-m icmp6 {self._not()}--icmpv6-type {rng.choice(TYPES[self.family])}"
        return ""

    def _flags(self) -> str:
        mask = self.rng.sample(FLAGS, self.rng.randint(1, 4))
        usual = ("FIN,SYN,RST,ACK SYN", "ALL NONE", "ALL ALL", "SYN,RST SYN,RST", "ALL FIN,PSH,URG", "FIN,ACK FIN")
        return self.rng.choice(
            (f"{','.join(mask)} {self.rng.choice((mask[0], 'NONE'))}", *usual[:3], self.rng.choice(usual))
        )

    def _addresses(self) -> str:
        rng = self.rng
        if rng.random() < 0.15:
            return f"-{rng.choice('sd')} {_network(rng, self.family)},{format_address(self.family, rng.choice(CUTS[self.family]))}"
        return f"{self._not()}-{rng.choice('ssd')} {_network(rng, self.family)}"

    def _interface(self, chain: str) -> str:
        """iptables refuses `-o` in PREROUTING and INPUT, and does not list `! -i +` (1.8.9, see the ledger)."""
        negation = self._not()
        sides = {"PREROUTING": "i", "INPUT": "i", "POSTROUTING": "o"}.get(chain, "io")
        return f"{negation}-{self.rng.choice(sides)} {self.rng.choice(INTERFACES[: -1 if negation else None])}"

    def _state(self) -> str:
        rng = self.rng
        states = rng.sample(STATES, rng.randint(1, 3))
        own = [format_address(self.family, one) for one in own_addresses(self.family)]
        return rng.choice(
            (
                f"-m state {self._not()}--state {','.join(states)}",
                f"-m conntrack {self._not()}--ctstate {','.join(states)}",
                f"-m conntrack {self._not()}--ctstate {','.join([*states[:1], 'DNAT'])}",
                f"-m conntrack --ctstate {states[0]} {self._not()}--ctproto {rng.choice(('tcp', 'udp'))}",
                f"-m conntrack --ctproto tcp {self._not()}--ctorigdstport {_ports(rng)}",
                f"-m conntrack --ctproto udp {self._not()}--ctorigsrcport {_ports(rng)}",
                f"-m conntrack {self._not()}--ctstate DNAT",
                f"-m conntrack --ctstate NEW {self._not()}--ctorigdst {rng.choice(own)} --ctorigdstport {_ports(rng)}",
                f"-m conntrack {self._not()}--ctorigdst {rng.choice(own)}",
                f"-m conntrack {self._not()}--ctorigsrc {_network(rng, self.family)}",
            )
        )

    def _type(self) -> str:
        kinds = (
            "LOCAL",
            "UNICAST",
            "MULTICAST",
            "LOCAL,UNICAST",
            *(("BROADCAST",) if self.family is Family.IPV4 else ()),
        )
        if self.rng.random() < 0.2:
            return f"-m addrtype {self._not()}--src-type {self.rng.choice(kinds)} {self._not()}--dst-type {self.rng.choice(kinds)}"
        return f"-m addrtype {self._not()}--{self.rng.choice(('src', 'dst'))}-type {self.rng.choice(kinds)}"

    def _mark(self) -> str:
        return f"-m {self.rng.choice(('mark', 'connmark'))} {self._not()}--mark {self.rng.choice(('0x1', '0x2/0x3', '0x0', '0x1/0x1', '0x0/0x2', '0x3/0x1'))}"

    def _range(self) -> str:
        first, last = sorted(self.rng.sample(CUTS[self.family], 2))
        ends = f"{format_address(self.family, first)}-{format_address(self.family, last)}"
        if self.rng.random() < 0.2:
            return f"-m iprange {self._not()}--src-range {ends} {self._not()}--dst-range {ends}"
        return f"-m iprange {self._not()}--{self.rng.choice(('src', 'dst'))}-range {ends}"

    def _set(self) -> str:
        rng = self.rng
        kind = rng.choice((*SETS, "several", "timed", "ports", "bits", "coarse", "triples"))
        if kind in ("ports", "bits", "coarse", "triples"):
            name, count = kind, 3 if kind == "triples" else 1
        else:
            name, count = f"{kind.replace(':', '-').replace(',', '-')}{self.family}", kind.count(",") + 1
        if self.family is Family.IPV6 and kind in ("bits", "coarse", "triples"):
            name = "hash-net6"
        count = max(1, count + rng.choice((0, 0, 0, 0, 1, -1)))
        more = rng.choice(("", "", "", " --return-nomatch", " ! --update-counters"))
        return f"-m set {self._not()}--match-set {name} {','.join(rng.choice(('src', 'src', 'dst')) for _ in range(count))}{more}"

    def _rest(self) -> str:
        comment = '-m comment --comment "says \\"no\\", -j DROP \\\\"'
        hops = "-m ttl --ttl-eq 1" if self.family is Family.IPV4 else "-m hl --hl-eq 1"
        return self.rng.choice((comment, comment, hops, self.rng.choice(DOUBTS)))

    # ---- targets

    def _target(self, chain: str, protocol: str, callees: Sequence[str], parts: Sequence[str]) -> str:
        rng = self.rng
        choices = ["-j ACCEPT", "-j RETURN", "-j LOG --log-prefix \"a 'b' \"", "-j NFLOG --nflog-group 1", ""]
        choices += [f"{word} {name}" for name in callees for word in ("-j", "-j", "-g")]
        choices += [f"-j MARK --set-{word}" for word in ("mark 1", "xmark 0x2/0x3")]
        if chain == "POSTROUTING":
            return rng.choice([*choices, "-j MASQUERADE"] if self.name == "nat" else choices)
        if self.name == "nat":
            return rng.choice([*choices, *self._translations(protocol, parts)])
        choices += ["-j DROP", "-j DROP", "-j ACCEPT"]
        if self.name == "raw":
            choices += ["-j CT --notrack", "-j NOTRACK", f"-j CT --zone{rng.choice((' 0', ' 3', '-orig 2'))}"]
            choices.append(f"-j CONNMARK --{rng.choice(CONNMARKS)}")
        if self.name == "mangle":
            choices += ["-j MARK --or-mark 2", "-j MARK --and-mark 1", "-j MARK --xor-mark 3"]
            choices += [f"-j CONNMARK --{one}" for one in CONNMARKS]
            choices += ["-j DSCP --set-dscp 0x01", "-j TOS --set-tos 0x10/0x3f"]
            choices.append("-j TTL --ttl-set 64" if self.family is Family.IPV4 else "-j HL --hl-set 64")
        if self.name == "filter":
            choices += ["-j REJECT", f"-j REJECT --reject-with {rng.choice(REJECTIONS[self.family])}"]
            if "-p tcp" in parts:
                choices.append("-j REJECT --reject-with tcp-reset")
        return rng.choice(choices)

    def _translations(self, protocol: str, parts: Sequence[str]) -> list[str]:
        rng = self.rng
        target = format_address(self.family, rng.choice((*peers(self.family), *own_addresses(self.family))))
        if f"-p {protocol}" not in parts or protocol not in WITH_PORTS or protocol == "udplite":
            return [
                "-j REDIRECT",
                f"-j DNAT --to-destination {target}",
                f"-j NETMAP --to {target}",
                "-j DNAT --to-destination " + target,
            ]
        port = rng.choice(PORTS)
        place = f"[{target}]:{port}" if self.family is Family.IPV6 else f"{target}:{port}"
        return [
            *[f"-j REDIRECT --to-ports {port}", f"-j DNAT --to-destination {place}"] * 3,
            f"-j DNAT --to-destination {place} --random",
            f"-j DNAT --to-destination {place}-{port + 3}",
            f"-j DNAT --to-destination :{port}",
        ]


def _ports(rng: Random) -> str:
    first, last = sorted(rng.sample(PORTS, 2))
    return rng.choice((str(first), f"{first}:{last}", f"{first}:", f":{last}"))


def _port_list(rng: Random) -> str:
    ports = sorted(rng.sample(PORTS, 3))
    return rng.choice((f"{ports[0]},{ports[2]}", f"{ports[0]}:{ports[1]},{ports[2]}", str(ports[1])))
