"""What pf's words stand for: the numbers of protocols, services, ICMP types and TCP flags.

**Source** pf.conf(5) of OpenBSD 7.6 and FreeBSD 14; pfctl of FreeBSD and macOS prints ports by the names of
/etc/services, of which these are the usual ones. A name that is not here, or that two of them
give to different ports, as `spamd`, makes its rule doubtful.
"""

from __future__ import annotations

from portgate.core.net import PROTOCOLS

LOOPBACK = "lo0"  # the interface that policies call `lo`

PROTOCOL_NUMBERS: dict[str, int] = {
    **PROTOCOLS, "ip": 0, "icmp6": 58, "ipv6-icmp": 58, "ipencap": 4, "ipip": 94, "etherip": 97, "encap": 98, "pfsync": 240,
    "carp": 112, "ipcomp": 108, "mobile": 55, "ospf": 89,
}  # fmt: skip
del PROTOCOL_NUMBERS["icmpv6"]  # pf does not know it by this name
WRITTEN = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6"}

SERVICE_PORTS: dict[str, int] = {
    "tcpmux": 1, "echo": 7, "discard": 9, "daytime": 13, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25,
    "time": 37, "whois": 43, "nicname": 43, "tacacs": 49, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69,
    "gopher": 70, "finger": 79, "http": 80, "www": 80, "kerberos": 88, "kerberos-sec": 88, "pop3": 110, "sunrpc": 111,
    "auth": 113, "ident": 113, "nntp": 119, "ntp": 123, "epmap": 135, "loc-srv": 135, "netbios-ns": 137,
    "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161, "snmptrap": 162, "snmp-trap": 162,
    "bgp": 179, "irc": 194, "ldap": 389, "https": 443, "microsoft-ds": 445, "kpasswd": 464, "smtps": 465,
    "submissions": 465, "isakmp": 500, "biff": 512, "exec": 512, "login": 513, "who": 513, "shell": 514, "syslog": 514,
    "printer": 515, "route": 520, "dhcpv6-client": 546, "dhcpv6-server": 547, "afpovertcp": 548, "rtsp": 554,
    "nntps": 563, "submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873, "ftps-data": 989,
    "ftps": 990, "telnets": 992, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194, "ms-sql-s": 1433,
    "l2tp": 1701, "l2f": 1701, "pptp": 1723, "radius": 1812, "radius-acct": 1813, "nfs": 2049, "nfsd": 2049,
    "cvspserver": 2401, "mysql": 3306, "ms-wbt-server": 3389, "rdp": 3389, "svn": 3690, "ipsec-nat-t": 4500,
    "ipsec-msft": 4500, "sip": 5060, "sip-tls": 5061, "sips": 5061, "xmpp-client": 5222, "xmpp-server": 5269,
    "mdns": 5353, "mdnsresponder": 5353, "postgresql": 5432, "amqp": 5672, "rfb": 5900, "vnc-server": 5900, "x11": 6000,
    "redis": 6379, "http-alt": 8080, "spamd-cfg": 8026, "ftp-proxy": 8021, "git": 9418,
}  # fmt: skip

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
SYN_OF_SYN_ACK = (0x12, 0x02)  # flags S/SA as (mask, value)
