"""What a section of a rule matches: `Section` -> `Match`.

Facts (Linux 6.18, net/netfilter)
    `conntrack`: without a connection its test of the state alone decides, and without such a test it does not match.
    `connmark` matches no packet without a connection, also negated.
    `addrtype` for IPv6 asks whether the address is of *all* the types, and UNICAST is all that is not multicast; for
    IPv4 whether it is of one of them.
    `multiport --ports` is about either port.

Rules of this file
    What is not understood is opaque, never left out. Its key is its text; it names the rule where another rule may be
    answered otherwise: because the match consumes something, or looks at what a target can change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portgate.backends.iptables import ipset
from portgate.backends.iptables.limits import limit_listed, limit_memory, limit_of, usual_memory
from portgate.backends.iptables.parse_options import Option, Section
from portgate.backends.iptables.parse_values import (
    DST,
    ORIGINAL_DST,
    ORIGINAL_SRC,
    SRC,
    NotUnderstoodError,
    address_range,
    interface,
    masked,
    network,
    number,
    ports,
    protocol,
)
from portgate.core.dataclasses import dataclass
from portgate.core.net import (
    DCCP,
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    Family,
    Intervals,
    normalize,
    subtract,
)
from portgate.core.ruleset import (
    ALWAYS,
    AddressType,
    All,
    Any,
    Bits,
    CtState,
    Field,
    Match,
    Not,
    Opaque,
    RateLimit,
    ReversePath,
    Test,
)

NEVER = Any(())
CONNECTED = Test(Field.CT_STATE, ((CtState.NEW.value, CtState.RELATED.value),))

_REASONS = {
    "limit": "rate limit", "hashlimit": "rate limit", "recent": "addresses seen recently", "connlimit": "number of connections",
    "statistic": "chance", "random": "chance", "nth": "chance", "quota": "quota", "connbytes": "bytes of the connection",
    "rateest": "measured rates", "time": "time of day", "owner": "the sending process", "cgroup": "the control group",
    "mac": "link layer", "physdev": "bridge port", "pkttype": "link layer", "string": "content of the packet",
    "u32": "content of the packet", "bpf": "a program of BPF", "geoip": "geography of the address", "policy": "IPsec",
    "rpfilter": "route lookup", "socket": "whether a socket of this host takes it", "length": "length of the packet",
    "ttl": "hop limit", "hl": "hop limit", "dscp": "service class", "tos": "service class", "ecn": "congestion marks",
    "helper": "connection data", "realm": "route lookup", "ipvs": "virtual servers", "connlabel": "connection data",
    "osf": "operating system of the sender", "condition": "a switch in /proc",
}  # fmt: skip
# Asked twice, they may answer twice otherwise: they count, or look at what targets (TTL, DSCP) change.
_UNSTEADY = frozenset(
    [
        "limit",
        "hashlimit",
        "recent",
        "connlimit",
        "statistic",
        "random",
        "nth",
        "quota",
        "connbytes",
        "rateest",
        "account",
        "ttl",
        "hl",
        "dscp",
        "tos",
        "ecn",
    ]
)


@dataclass(slots=True)
class Scope:
    """Where a rule stands, and what is known around it. `used` gathers the sets that are looked up."""

    family: Family
    place: str
    sets: Mapping[str, ipset.Set]
    used: set[str]


def own(section: Section, scope: Scope) -> list[Match]:
    """The rule's own options: addresses, interfaces, protocol."""
    return [_read(_OWN.get(one.name), one, "", scope) for one in section.options if one.name not in _WITHOUT_MEANING]


def transport(section: Section, protocols: Intervals | None, scope: Scope) -> list[Match]:
    """The options of the protocol, which hold only for packets of it."""
    found = [_read(_TRANSPORT.get(one.name), one, "", scope) for one in section.options]
    needed = {_NEEDED[one.name] for one in section.options if one.name in _NEEDED}
    return [*(Test(Field.PROTOCOL, one) for one in needed if protocols is None), *found]


def module(section: Section, protocols: Intervals | None, scope: Scope) -> Match:
    """What one `-m NAME` with its options matches, in a rule for these protocols."""
    match = _module(section, scope)
    if not section.get("--ctorigsrcport", "--ctorigdstport") or (protocols and subtract(protocols, _WITH_PORTS) == ()):
        return match
    # Of a protocol without ports the kernel compares what it has in their place: 0, or type and code (Linux 6.18).
    with_ports = Test(Field.PROTOCOL, _WITH_PORTS)
    return Any((All((with_ports, match)), All((Not(with_ports), _IN_PLACE_OF_PORTS))))


_IN_PLACE_OF_PORTS = Opaque("in place of ports", "what connection tracking has in place of ports")


def _module(section: Section, scope: Scope) -> Match:
    reader = _MODULES.get(section.name)
    if reader is None:
        return _opaque_section(section, scope)
    try:
        return reader(section, scope)
    except NotUnderstoodError:
        return _opaque_section(section, scope)


def _read(reader: Callable[[Option, Scope], Match] | None, option: Option, of: str, scope: Scope) -> Match:
    try:
        match = reader(option, scope) if reader else _opaque(f"{of} {option.text()}".strip(), option.text(), scope)
    except NotUnderstoodError:
        match = _opaque(option.text(), option.text(), scope)
    return Not(match) if option.negated else match


def _opaque(text: str, reason: str, scope: Scope, *, unsteady: bool = False) -> Opaque:
    return Opaque(f"{text} [{scope.place}]" if unsteady else text, reason)


def _opaque_section(section: Section, scope: Scope) -> Match:
    """One option that is negated is the contrary of the same option without `!`."""
    reason = _REASONS.get(section.name, section.text())
    unsteady = section.name in _UNSTEADY
    if len(section.options) == 1 and section.options[0].negated:
        plain = Section(section.kind, section.name, [section.options[0]._replace(negated=False)])
        return Not(_opaque(f"-m {plain.text()}", reason, scope, unsteady=unsteady))
    return _opaque(f"-m {section.text()}", reason, scope, unsteady=unsteady)


# ------------------------------------------------------------------ the rule's own options


def _source(option: Option, scope: Scope) -> Match:
    return Test(SRC[scope.family], (network(scope.family, option.value),))


def _destination(option: Option, scope: Scope) -> Match:
    return Test(DST[scope.family], (network(scope.family, option.value),))


def _in(option: Option, scope: Scope) -> Match:
    return ALWAYS if option.value == "+" else Test(Field.IIF, (interface(option.value),))


def _out(option: Option, scope: Scope) -> Match:
    return ALWAYS if option.value == "+" else Test(Field.OIF, (interface(option.value),))


def _protocol(option: Option, scope: Scope) -> Match:
    value = protocol(option.value)
    return ALWAYS if value is None else Test(Field.PROTOCOL, ((value, value),))


def _fragment(option: Option, scope: Scope) -> Match:
    return NEVER  # fragments are taken for reassembled


_WITHOUT_MEANING = frozenset({"-c", "-t", "-w", "-4", "-6"})
_OWN: Mapping[str, Callable[[Option, Scope], Match]] = {
    "-s": _source, "-d": _destination, "-i": _in, "-o": _out, "-p": _protocol, "-f": _fragment,
}  # fmt: skip


# ------------------------------------------------------------------ options of the protocol

_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128, "ALL": 63, "NONE": 0}
_ICMP_TYPES: Mapping[str, tuple[int, int | None]] = {
    "echo-reply": (0, None), "pong": (0, None), "destination-unreachable": (3, None), "network-unreachable": (3, 0),
    "host-unreachable": (3, 1), "protocol-unreachable": (3, 2), "port-unreachable": (3, 3), "fragmentation-needed": (3, 4),
    "source-route-failed": (3, 5), "network-unknown": (3, 6), "host-unknown": (3, 7), "network-prohibited": (3, 9), "host-prohibited": (3, 10),
    "TOS-network-unreachable": (3, 11), "TOS-host-unreachable": (3, 12), "communication-prohibited": (3, 13),
    "host-precedence-violation": (3, 14), "precedence-cutoff": (3, 15), "source-quench": (4, None), "redirect": (5, None),
    "network-redirect": (5, 0), "host-redirect": (5, 1), "TOS-network-redirect": (5, 2), "TOS-host-redirect": (5, 3),
    "echo-request": (8, None), "ping": (8, None), "router-advertisement": (9, None), "router-solicitation": (10, None),
    "time-exceeded": (11, None), "ttl-exceeded": (11, None), "ttl-zero-during-transit": (11, 0), "ttl-zero-during-reassembly": (11, 1),
    "parameter-problem": (12, None), "ip-header-bad": (12, 0), "required-option-missing": (12, 1), "timestamp-request": (13, None),
    "timestamp-reply": (14, None), "address-mask-request": (17, None), "address-mask-reply": (18, None),
}  # fmt: skip
_ICMP6_TYPES: Mapping[str, tuple[int, int | None]] = {
    "destination-unreachable": (1, None), "no-route": (1, 0), "communication-prohibited": (1, 1), "beyond-scope": (1, 2),
    "address-unreachable": (1, 3), "port-unreachable": (1, 4), "failed-policy": (1, 5), "reject-route": (1, 6), "packet-too-big": (2, None),
    "time-exceeded": (3, None), "ttl-exceeded": (3, None), "ttl-zero-during-transit": (3, 0), "ttl-zero-during-reassembly": (3, 1),
    "parameter-problem": (4, None), "bad-header": (4, 0), "unknown-header-type": (4, 1), "unknown-option": (4, 2),
    "echo-request": (128, None), "ping": (128, None), "echo-reply": (129, None), "pong": (129, None),
    "router-solicitation": (133, None), "router-advertisement": (134, None),
    "neighbour-solicitation": (135, None), "neighbor-solicitation": (135, None),
    "neighbour-advertisement": (136, None), "neighbor-advertisement": (136, None), "redirect": (137, None),
    "mld-listener-query": (130, None), "mld-listener-report": (131, None), "mld-listener-done": (132, None),
}  # fmt: skip


def _sport(option: Option, scope: Scope) -> Match:
    return Test(Field.SPORT, ports(option.value))


def _dport(option: Option, scope: Scope) -> Match:
    return Test(Field.DPORT, ports(option.value))


def _tcp_flags(option: Option, scope: Scope) -> Match:
    if len(option.values) != 2:
        raise NotUnderstoodError(option.text())
    return Bits(Field.TCP_FLAGS, _flags(option.values[0]), _flags(option.values[1]))


def _flags(text: str) -> int:
    bits = 0
    for name in text.split(","):
        if name.upper() not in _FLAGS:
            raise NotUnderstoodError(text)
        bits |= _FLAGS[name.upper()]
    return bits


def _syn(option: Option, scope: Scope) -> Match:
    return Bits(Field.TCP_FLAGS, _flags("FIN,SYN,RST,ACK"), _flags("SYN"))


def _icmp_type(option: Option, scope: Scope) -> Match:
    text = option.value
    if text in ("any", "255") and scope.family is Family.IPV4:
        return ALWAYS
    known = (_ICMP_TYPES if scope.family is Family.IPV4 else _ICMP6_TYPES).get(text)
    kind, code = known or _numbered_type(text)
    of_kind = Test(Field.ICMP_TYPE, ((kind, kind),))
    return of_kind if code is None else All((of_kind, Test(Field.ICMP_CODE, ((code, code),))))


def _numbered_type(text: str) -> tuple[int, int | None]:
    kind, slash, code = text.partition("/")
    return number(kind, 255), number(code, 255) if slash else None


_TRANSPORT: Mapping[str, Callable[[Option, Scope], Match]] = {
    "--sport": _sport, "--dport": _dport, "--tcp-flags": _tcp_flags, "--syn": _syn, "--icmp-type": _icmp_type,
}  # fmt: skip
_WITH_PORTS: Intervals = normalize((one, one) for one in PORT_PROTOCOLS)
_NEEDED: Mapping[str, Intervals] = {
    "--sport": _WITH_PORTS, "--dport": _WITH_PORTS, "--tcp-flags": ((TCP, TCP),), "--syn": ((TCP, TCP),),
    "--tcp-option": ((TCP, TCP),), "--icmp-type": ((ICMP, ICMP), (ICMPV6, ICMPV6)),
    "--chunk-types": ((SCTP, SCTP),), "--dccp-types": ((DCCP, DCCP),), "--dccp-option": ((DCCP, DCCP),),
}  # fmt: skip


# ------------------------------------------------------------------ modules


def _protocol_module(section: Section, scope: Scope) -> Match:
    """`-m tcp` itself: its options are read with those of the protocol."""
    if section.options:
        raise NotUnderstoodError(section.text())
    return Test(Field.PROTOCOL, ((_PROTOCOL_MODULES[section.name], _PROTOCOL_MODULES[section.name]),))


_PROTOCOL_MODULES = {
    "tcp": TCP, "udp": UDP, "udplite": UDPLITE, "sctp": SCTP, "dccp": DCCP, "icmp": ICMP, "icmp6": ICMPV6, "icmpv6": ICMPV6,
    "ipv6-icmp": ICMPV6,
}  # fmt: skip


def _comment(section: Section, scope: Scope) -> Match:
    return ALWAYS


def _each(section: Section, readers: Mapping[str, Callable[[Option, Scope], Match]], scope: Scope) -> list[Match]:
    """Every option by its reader; one without a reader is opaque."""
    return [_read(readers.get(one.name), one, f"-m {section.name}", scope) for one in section.options]


def _multiport(section: Section, scope: Scope) -> Match:
    return _both([Test(Field.PROTOCOL, _WITH_PORTS), *_each(section, _MULTIPORT, scope)])


def _either_port(option: Option, scope: Scope) -> Match:
    values = ports(option.value)
    return Any((Test(Field.SPORT, values), Test(Field.DPORT, values)))


_MULTIPORT: Mapping[str, Callable[[Option, Scope], Match]] = {
    "--sports": _sport, "--source-ports": _sport, "--dports": _dport, "--destination-ports": _dport,
    "--ports": _either_port, "--port": _either_port,
}  # fmt: skip


def _iprange(section: Section, scope: Scope) -> Match:
    return _both(_each(section, _IPRANGE, scope))


_IPRANGE: Mapping[str, Callable[[Option, Scope], Match]] = {
    "--src-range": lambda option, scope: Test(SRC[scope.family], (address_range(scope.family, option.value),)),
    "--dst-range": lambda option, scope: Test(DST[scope.family], (address_range(scope.family, option.value),)),
}


_STATES = {state.name: state.value for state in CtState}


def _states(option: Option, scope: Scope) -> Match:
    """`NEW,DNAT`: states of the packet and of its connection together."""
    names = [name for name in option.value.upper().split(",") if name]
    plain = normalize((_STATES[name], _STATES[name]) for name in names if name in _STATES)
    parts: list[Match] = [Test(Field.CT_STATE, plain)] if plain else []
    for name in names:
        if name == "DNAT":
            parts.append(All((CONNECTED, Test(Field.DNATED, ((1, 1),)))))
        elif name == "SNAT":
            parts.append(All((CONNECTED, Opaque("ct status snat", "whether the source was translated"))))
        elif name not in _STATES:
            raise NotUnderstoodError(name)
    return parts[0] if len(parts) == 1 else Any(tuple(parts))


def _rpfilter(section: Section, scope: Scope) -> Match:
    """Errors: NotUnderstoodError where this host's own addresses may be sources."""
    asked = {one.name for one in section.options}
    if not asked <= {"--loose", "--validmark", "--invert"}:
        raise NotUnderstoodError(section.text())
    text = " ".join(["-m rpfilter", *sorted(asked - {"--invert"})])
    found: Match = ReversePath(_opaque(text, _REASONS["rpfilter"], scope), loose="--loose" in asked)
    if scope.family is Family.IPV6:
        found = Any((Test(Field.SRC6, ((0, 0),)), found))  # ip6t_rpfilter.c never looks up the source ::
    return Not(found) if "--invert" in asked else found


def _conntrack(section: Section, scope: Scope) -> Match:
    states = [
        _read(_states, one, "-m conntrack", scope) for one in section.options if one.name in ("--ctstate", "--state")
    ]
    others = [one for one in section.options if one.name not in ("--ctstate", "--state")]
    rest = [_read(_CONNTRACK.get(one.name), one, "-m conntrack", scope) for one in others]
    if not rest:
        return _both(states)
    connected = All((CONNECTED, *states, *rest))
    return Any((connected, All((Not(CONNECTED), *states)))) if states else connected


def _ctproto(option: Option, scope: Scope) -> Match:
    return _protocol(option, scope)


def _original(fields: Mapping[Family, Field]) -> Callable[[Option, Scope], Match]:
    return lambda option, scope: Test(fields[scope.family], (network(scope.family, option.value),))


_CONNTRACK: Mapping[str, Callable[[Option, Scope], Match]] = {
    "--ctproto": _ctproto,
    "--ctorigsrc": _original(ORIGINAL_SRC),
    "--ctorigdst": _original(ORIGINAL_DST),
    "--ctorigsrcport": lambda option, scope: Test(Field.ORIGINAL_SPORT, ports(option.value)),
    "--ctorigdstport": lambda option, scope: Test(Field.ORIGINAL_DPORT, ports(option.value)),
}


def _hashlimit(section: Section, scope: Scope) -> Match:
    """A limit of ours: its name holds the rate as the policy says it, which iptables lists in another unit."""
    values = {option.name: option.value for option in section.options}
    name = values.pop("--hashlimit-name", "")
    values.setdefault("--hashlimit-htable-expire", str(usual_memory(values.get("--hashlimit-upto", ""))))
    limit = limit_of(name)
    plain = not any(option.negated for option in section.options) and len(
        {option.name for option in section.options}
    ) == len(section.options)
    if (
        limit is None
        or not plain
        or values
        != {
            "--hashlimit-upto": limit_listed(limit),
            "--hashlimit-burst": str(limit.burst),
            "--hashlimit-mode": "srcip",
            "--hashlimit-htable-expire": str(limit_memory(limit)),
        }
    ):
        raise NotUnderstoodError(section.text())
    return RateLimit(SRC[scope.family], limit, name)


_TYPES = {"UNICAST": (AddressType.UNICAST,), "LOCAL": (AddressType.LOCAL,), "BROADCAST": (AddressType.BROADCAST,),
          "MULTICAST": (AddressType.MULTICAST,)}  # fmt: skip
_UNICAST = ((AddressType.UNICAST.value, AddressType.UNICAST.value),)  # what routes make ANYCAST, BLACKHOLE or PROHIBIT
_TYPES6 = {**_TYPES, "UNICAST": (AddressType.UNICAST, AddressType.LOCAL, AddressType.OTHER)}


def _addrtype(section: Section, scope: Scope) -> Match:
    if section.get("--limit-iface-in", "--limit-iface-out"):
        raise NotUnderstoodError(section.text())
    return _both(_each(section, _ADDRTYPE, scope))


def _of_type(field: Field) -> Callable[[Option, Scope], Match]:
    def read(option: Option, scope: Scope) -> Match:
        names = option.value.upper().split(",")
        if scope.family is Family.IPV4 and not option.negated and not any(name in _TYPES for name in names):
            return All((Test(field, _UNICAST), _opaque(option.text(), "type of the route", scope)))
        tests = [Test(field, _type_values(name, scope.family)) for name in names]
        if len(tests) == 1:
            return tests[0]
        if scope.family is Family.IPV6:
            return All(tuple(tests))
        return Test(field, normalize(part for one in tests for part in one.values))

    return read


def _type_values(name: str, family: Family) -> Intervals:
    kinds = (_TYPES if family is Family.IPV4 else _TYPES6).get(name)
    if kinds is None:
        raise NotUnderstoodError(name)
    return normalize((kind.value, kind.value) for kind in kinds)


_ADDRTYPE = {"--src-type": _of_type(Field.SRC_TYPE), "--dst-type": _of_type(Field.DST_TYPE)}


def _mark(section: Section, scope: Scope) -> Match:
    return _both(_each(section, {"--mark": lambda option, _: _marked(Field.MARK, option)}, scope))


def _connmark(section: Section, scope: Scope) -> Match:
    return _both([CONNECTED, *_each(section, {"--mark": lambda option, _: _marked(Field.CT_MARK, option)}, scope)])


def _marked(field: Field, option: Option) -> Match:
    value, mask = masked(option.value)
    return Bits(field, mask, value)


def _set(section: Section, scope: Scope) -> Match:
    option = section.get("--match-set", "--set")
    if option is None or len(option.values) != 2 or len(section.options) != 1:
        raise NotUnderstoodError(section.text())
    name, directions = option.values
    match = ipset.lookup(name, tuple(directions.split(",")), scope.family, scope.sets)
    scope.used.update(ipset.names(name, scope.sets))
    return Not(match) if option.negated else match


def _both(parts: list[Match]) -> Match:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


_MODULES: Mapping[str, Callable[[Section, Scope], Match]] = {
    **dict.fromkeys(_PROTOCOL_MODULES, _protocol_module),
    "comment": _comment,
    "multiport": _multiport,
    "mport": _multiport,
    "iprange": _iprange,
    "conntrack": _conntrack,
    "state": _conntrack,
    "addrtype": _addrtype,
    "mark": _mark,
    "connmark": _connmark,
    "set": _set,
    "hashlimit": _hashlimit,
    "rpfilter": _rpfilter,
}
