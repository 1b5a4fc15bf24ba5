"""What is portgate's among chains and sets, by its name."""

from __future__ import annotations

from portgate.core.compile import FILTER_PRIORITY, NAT_PRIORITY
from portgate.core.net import Family
from portgate.core.ruleset import Base, ChainKind, Hook

CHAIN_PREFIX = "PORTGATE-"
SET_PREFIX = "pg_"
TABLES = ("nat", "filter")  # in the order in which they are loaded: what translates, then what may drop
IP = {Family.IPV4: "ip", Family.IPV6: "ip6"}
PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}

# Our chains that chains of the kernel jump to. They stand before other rules, as a chain of such a priority would.
BASES = {
    "PORTGATE-PREROUTING": Base(Hook.PREROUTING, NAT_PRIORITY, kind=ChainKind.NAT),
    "PORTGATE-INPUT": Base(Hook.INPUT, FILTER_PRIORITY),
    "PORTGATE-FORWARD": Base(Hook.FORWARD, FILTER_PRIORITY),
    "PORTGATE-OUTPUT": Base(Hook.OUTPUT, FILTER_PRIORITY),
}


def chain_name(name: str) -> str:
    """As iptables has it: `input` is PORTGATE-INPUT."""
    return CHAIN_PREFIX + name.upper()


def is_ours(chain: str) -> bool:
    return chain.startswith(CHAIN_PREFIX)


def table_of(base: Base) -> str:
    """The table in which a chain of ours hangs."""
    return "nat" if base.kind is ChainKind.NAT else "filter"


def set_names(base: str) -> tuple[str, str]:
    """The two sets that take turns: a new one is filled while rules look the other up."""
    return f"{base}.a", f"{base}.b"


def base_of(native: str) -> str:
    """What the two have in common; "" for a set that is not ours."""
    base, dot, letter = native.rpartition(".")
    return base if dot and letter in ("a", "b") and base.startswith(SET_PREFIX) else ""
