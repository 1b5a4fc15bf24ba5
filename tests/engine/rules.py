"""Rulesets of a few words, and what becomes of one packet."""

from __future__ import annotations

from portgate.core.addresses import ANY_HOST, Host
from portgate.core.listener import Interface
from portgate.core.net import TCP, UDP, AddressSet, Family, interface_interval, normalize, parse_address, parse_prefix
from portgate.core.packets import Packet
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    All,
    Base,
    Chain,
    ChainKind,
    Container,
    Continue,
    CtState,
    Dnat,
    Drop,
    Effect,
    Field,
    Goto,
    Hook,
    Jump,
    Match,
    NamedSet,
    Reject,
    Return,
    Rule,
    Ruleset,
    Test,
    Verdict,
)
from portgate.core.trace import Decision, decide

ACCEPT, DROP, REJECT, RETURN, CONTINUE = Accept(), Drop(), Reject(), Return(), Continue()

HOST = Host(
    (
        Interface("lo", ((Family.IPV4, 127 << 24 | 1, 8), (Family.IPV6, 1, 128))),
        Interface("eth0", ((Family.IPV4, parse_address("192.0.2.1")[1], 24), (*parse_address("2001:db8::1"), 64))),
        Interface("eth1", ((Family.IPV4, parse_address("10.0.0.1")[1], 24),)),
    )
)

# ------------------------------------------------------------------ matches and rules


def port(number: int, protocol: int = TCP, field: Field = Field.DPORT) -> Match:
    return All((Test(Field.PROTOCOL, ((protocol, protocol),)), Test(field, ((number, number),))))


def udp(number: int) -> Match:
    return port(number, UDP)


def source(*texts: str) -> Match:
    return Test(Field.SRC4, AddressSet.of(*texts).v4)


def destination(*texts: str) -> Match:
    return Test(Field.DST4, AddressSet.of(*texts).v4)


def iif(*names: str) -> Match:
    return Test(Field.IIF, normalize(map(interface_interval, names)))


def state(*states: CtState) -> Match:
    return Test(Field.CT_STATE, normalize((one.value, one.value) for one in states))


def rule(match: Match, verdict: Verdict = CONTINUE, *effects: Effect) -> Rule:
    return Rule(match, verdict, effects)


def always(verdict: Verdict, *effects: Effect) -> Rule:
    return Rule(ALWAYS, verdict, effects)


def jump(chain: str, match: Match = ALWAYS) -> Rule:
    return Rule(match, Jump(chain))


def goto(chain: str, match: Match = ALWAYS) -> Rule:
    return Rule(match, Goto(chain))


def dnat(address: str | None, to_port: int | None) -> Dnat:
    """`None` for the address is this host itself: a redirect."""
    family, interval = parse_prefix(address) if address else (None, None)
    return Dnat(family, interval, None if to_port is None else (to_port, to_port))


# ------------------------------------------------------------------ chains and tables


def chain(name: str, *rules: Rule) -> Chain:
    return Chain(name, rules)


def base(
    *rules: Rule,
    hook: Hook = Hook.INPUT,
    priority: int = 0,
    default: Accept | Drop | Reject = ACCEPT,
    kind: ChainKind = ChainKind.FILTER,
    devices: tuple[str, ...] = (),
) -> Chain:
    """A base chain that is named after its hook."""
    return Chain(
        f"{hook}{priority}{kind if kind is ChainKind.NAT else ''}", rules, Base(hook, priority, default, kind, devices)
    )


def translating(*rules: Rule, priority: int = -100) -> Chain:
    """A nat chain before routing."""
    return base(*rules, hook=Hook.PREROUTING, priority=priority, kind=ChainKind.NAT)


def table(*chains: Chain, name: str = "filter", sets: tuple[NamedSet, ...] = (), owned: bool = False) -> Container:
    return Container(name, (Family.IPV4, Family.IPV6), chains, sets, owned=owned)


def rules(*tables: Container) -> Ruleset:
    return Ruleset(tables)


def filtering(*some: Rule, default: Accept | Drop = DROP) -> Ruleset:
    """One table with one chain on input."""
    return rules(table(base(*some, default=default)))


# ------------------------------------------------------------------ packets and their fate


def to_port(
    number: int,
    protocol: int = TCP,
    source: str = "198.51.100.7",
    *,
    to: str | None = "192.0.2.1",
    iif: str = "eth0",
    ct_state: CtState = CtState.NEW,
) -> Packet:
    family, src = parse_address(source)
    dst = None if to is None else parse_address(to)[1]
    flags = 2 if protocol == TCP else 0
    return Packet(family, protocol, iif, src, dst, 40000, number, tcp_flags=flags, ct_state=ct_state)


def decided(ruleset: Ruleset, packet: Packet, host: Host = ANY_HOST) -> Decision:
    return decide(ruleset, [packet], host)[0]


def fate(ruleset: Ruleset, packet: Packet, host: Host = ANY_HOST) -> str:
    return str(decided(ruleset, packet, host).answer.fate)
