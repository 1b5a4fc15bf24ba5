"""What pf's words stand for: ICMP types and codes, TCP flags.

**Source** pf.conf(5) of OpenBSD 7.6 and FreeBSD 14.
"""

from __future__ import annotations

WRITTEN = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6"}

ICMP_TYPES: dict[str, int] = {
    "echorep": 0, "unreach": 3, "squench": 4, "redir": 5, "althost": 6, "echoreq": 8, "routeradv": 9, "routersol": 10,
    "timex": 11, "paramprob": 12, "timereq": 13, "timerep": 14, "inforeq": 15, "inforep": 16, "maskreq": 17,
    "maskrep": 18, "trace": 30, "dataconv": 31, "mobredir": 32, "ipv6-where": 33, "ipv6-here": 34, "mobregreq": 35,
    "mobregrep": 36, "skip": 39, "photuris": 40,
}  # fmt: skip
ICMP6_TYPES: dict[str, int] = {
    "unreach": 1, "toobig": 2, "timex": 3, "paramprob": 4, "echoreq": 128, "echorep": 129, "groupqry": 130,
    "listqry": 130, "grouprep": 131, "listenrep": 131, "groupterm": 132, "listendone": 132, "routersol": 133,
    "routeradv": 134, "neighbrsol": 135, "neighbradv": 136, "redir": 137, "routrrenum": 138, "fqdnreq": 139,
    "niqry": 139, "wrureq": 139, "fqdnrep": 140, "nirep": 140, "wrurep": 140, "listenrepv2": 143, "mtraceresp": 200, "mtrace": 201,
}  # fmt: skip

ICMP_CODES: dict[str, int] = {
    "net-unr": 0, "host-unr": 1, "proto-unr": 2, "port-unr": 3, "needfrag": 4, "srcfail": 5, "net-unk": 6, "host-unk": 7,
    "isolate": 8, "net-prohib": 9, "host-prohib": 10, "net-tos": 11, "host-tos": 12, "filter-prohib": 13,
    "host-preced": 14, "cutoff-preced": 15, "redir-net": 0, "redir-host": 1, "redir-tos-net": 2, "redir-tos-host": 3,
    "normal-adv": 0, "common-adv": 16, "transit": 0, "reassemb": 1, "badhead": 0, "optmiss": 1, "badlen": 2,
    "unknown-ind": 1, "auth-fail": 2, "decrypt-fail": 3,
}  # fmt: skip
ICMP6_CODES: dict[str, int] = {
    "noroute-unr": 0, "admin-unr": 1, "beyond-unr": 2, "notnbr-unr": 2, "addr-unr": 3, "port-unr": 4, "transit": 0,
    "reassemb": 1, "badhead": 0, "nxthdr": 1, "redironlink": 0, "redirrouter": 1,
}  # fmt: skip

FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "W": 128}
