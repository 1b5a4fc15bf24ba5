"""ipfw's words. **Source** ipfw(8) and ipfw2.c of FreeBSD 12.1 to 14."""

from __future__ import annotations

ACCEPTING = frozenset({"allow", "accept", "pass", "permit"})
DENYING = frozenset({"deny", "drop"})
REJECTING = frozenset({"reject", "reset", "reset6", "unreach", "unreach6", "abort", "abort6"})
ON_THE_WAY = frozenset({"count", "setfib", "setdscp", "tee", "ngtee", "tcp-setmss", "reass", "setmark"})  # and go on
SHAPING = frozenset({"pipe", "queue"})
ELSEWHERE = frozenset({
    "divert", "netgraph", "nat", "nat64lsn", "nat64stl", "nat64clat", "nptv6", "eaction",
})  # fmt: skip
"""Another program or a translation decides."""
JUMPING = frozenset({"skipto", "call", "return", "check-state", "fwd", "forward"})
ACTIONS = ACCEPTING | DENYING | REJECTING | ON_THE_WAY | SHAPING | ELSEWHERE | JUMPING
WITH_ARGUMENT = (
    (ON_THE_WAY - {"count", "reass"})
    | SHAPING
    | ELSEWHERE
    | {"unreach", "unreach6", "skipto", "call", "fwd", "forward"}
)

FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}
OPAQUE = {
    "uid": "the user", "gid": "the group", "jail": "the jail", "tagged": "tags", "fib": "the routing table", "flow": "a flow table",
    "ipid": "ipid", "iplen": "the length of the packet", "ipttl": "the time to live", "ipoptions": "IP options",
    "ipopts": "IP options", "ipprecedence": "ipprecedence", "iptos": "the type of service", "dscp": "dscp", "tcpseq": "tcpseq",
    "tcpack": "tcpack", "tcpwin": "tcpwin", "tcpmss": "tcpmss", "tcpdatalen": "tcpdatalen", "tcpoptions": "TCP options",
    "tcpopts": "TCP options", "mac-type": "the link layer", "ext6hdr": "extension headers", "flow-id": "the flow label",
    "mark": "mark",
}  # fmt: skip
"""Options with one argument that no packet alone decides, and what they look at."""
OPAQUE_ALONE = {
    "verrevpath": "route lookup", "versrcreach": "route lookup", "antispoof": "route lookup", "ipsec": "IPsec",
    "diverted": "a program", "diverted-loopback": "a program", "diverted-output": "a program", "sockarg": "the socket",
}  # fmt: skip
COMMANDS = frozenset({
    "add", "delete", "flush", "set", "table", "nat", "pipe", "queue", "sched", "enable", "disable", "zero", "resetlog",
    "list", "show", "print", "internal", "nat64lsn", "nat64stl", "nat64clat", "nptv6", "flowset",
})  # fmt: skip
DEFAULT = 65535  # the number of the last rule, which is always there
