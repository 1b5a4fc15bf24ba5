"""Whatever a listing holds, reading it ends with rules or with a diagnostic."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.backends.iptables.parse import KINDS, parse
from portgate.core.capture import Reading
from portgate.core.diagnostics import PortgateError
from portgate.core.ruleset import All, Container, Lookup, Match, Not, Rule
from portgate.core.ruleset import Any as AnyOf

EXAMPLES = int(os.environ.get("PORTGATE_EXAMPLES", "1500"))
WORDS = st.sampled_from(
    ["*filter", "*nat", "*raw", "COMMIT", ":INPUT", "ACCEPT", "DROP", "[0:0]", ":user", "-", "-A", "-I", "-N", "-P", "-F", "INPUT", "user", "!", "-s", "-d", "-i", "-p", "-f", "-m", "-j", "-g", "tcp", "udp", "icmp", "10.0.0.0/8", "10.0.0.1,10.0.0.2", "0/0", "::/0", "fe80::1/64", "eth+", "+", "--dport", "--sports", "--dports", "--ports", "22", "22:80", "22,80", ":", ",", "80:22", "65536", "-1", "multiport", "conntrack", "state", "--ctstate", "--state", "NEW,DNAT", "--ctproto", "addrtype", "--dst-type", "LOCAL", "set", "--match-set", "a", "src,dst", "src", "mark", "--mark", "0x1/0x3", "--tcp-flags", "SYN", "ALL", "--icmp-type", "8/0", "255", "iprange", "--src-range", "10.0.0.1-10.0.0.9", "comment", "--comment", '"', "\\", "limit", "--limit", "1/s", "MARK", "--set-xmark", "DNAT", "--to-destination", "10.0.0.1:80", "[::1]:80", "REDIRECT", "--to-ports", "NETMAP", "--to", "CT", "--notrack", "REJECT", "nonsense", "\x00", "é", "٣", "0x", "1_0", "create", "add", "hash:ip", "hash:net,port", "list:set", "bitmap:port", "netmask", "24", "nomatch", "timeout", "family", "inet6"]
)  # fmt: skip
LINES = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=9).map("\n".join)


def read(kind: str, text: str) -> tuple[Container, ...]:
    try:
        return parse(
            (Reading(kind, text, "noise"), Reading("ipset", "create a hash:ip\nadd a 10.0.0.1\n", "sets"))
        ).containers
    except PortgateError as error:
        assert {one.code for one in error.diagnostics} <= {"PG413", "PG414"}
        return ()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(KINDS), LINES)
def test_words_of_iptables_in_any_order(kind: str, text: str) -> None:
    check(read(kind, text))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(KINDS), st.text())
def test_any_text(kind: str, text: str) -> None:
    check(read(kind, text))


@settings(max_examples=EXAMPLES, deadline=None)
@given(LINES)
def test_every_line_between_the_lines_of_a_listing_is_a_rule_or_a_doubt(text: str) -> None:
    check(read("iptables-save", f"*filter\n:INPUT ACCEPT [0:0]\n{text}\nCOMMIT\n"))


def check(containers: tuple[Container, ...]) -> None:
    """Whatever a rule looks up is there."""
    for container in containers:
        for rule in (rule for chain in container.chains for rule in chain.rules):
            assert isinstance(rule, Rule)
            assert looked_up(rule.match) <= set(container.sets_by_name())


def looked_up(match: Match) -> set[str]:
    match match:
        case Lookup(_, name):
            return {name}
        case Not(inner):
            return looked_up(inner)
        case All(parts) | AnyOf(parts):
            return set().union(*map(looked_up, parts))
        case _:
            return set()
