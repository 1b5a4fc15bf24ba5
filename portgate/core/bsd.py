"""What pf and ipfw share: how they write addresses, and BSD's names for protocols, services and the loopback interface.

**Source** /etc/protocols and /etc/services, of which these are the usual ones: pfctl of FreeBSD and macOS prints ports by
them, and people write them. A name that is not here, or that two of them give to different ports, as `spamd`, makes
its rule doubtful.
"""

from __future__ import annotations

from portgate.core.net import (
    ICMPV6,
    PROTOCOLS,
    Family,
    Interval,
    normalize,
    parse_address,
)
from portgate.core.ruleset import ALWAYS, All, Any, Field, Match, Test

LOOPBACK = "lo0"  # the interface that policies call `lo`
HOME = {Family.IPV4: (0x7F000001, 0x7F000001), Family.IPV6: (1, 1)}  # what a redirect to this host leads to

PROTOCOL_NUMBERS: dict[str, int] = {
    **PROTOCOLS, "ip": 0, "icmp6": 58, "ipv6-icmp": 58, "ipencap": 4, "ipip": 94, "etherip": 97, "encap": 98, "pfsync": 240,
    "carp": 112, "ipcomp": 108, "mobile": 55, "ospf": 89,
}  # fmt: skip
del PROTOCOL_NUMBERS["icmpv6"]  # BSD does not know it by this name
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
    "redis": 6379, "ircd": 6667, "http-alt": 8080, "privoxy": 8118, "spamd-cfg": 8026, "ftp-proxy": 8021, "git": 9418,
}  # fmt: skip

SRC = {Family.IPV4: Field.SRC4, Family.IPV6: Field.SRC6}
DST = {Family.IPV4: Field.DST4, Family.IPV6: Field.DST6}
TYPES = {SRC[Family.IPV4]: Field.SRC_TYPE, DST[Family.IPV4]: Field.DST_TYPE}
NEVER = Any(())
ARRIVED = Test(Field.IIF, ((1, Field.IIF.top),))  # what the host itself sends has come in by no interface
Side = dict[Family, Field]


def both(*matches: Match) -> Match:
    """All of them, flat, without what always holds."""
    flat = [part for one in matches for part in (one.matches if isinstance(one, All) else (one,))]
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def either(matches: list[Match]) -> Match:
    """Any of them; tests of one field become one test."""
    if ALWAYS in matches:
        return ALWAYS
    tests: dict[Field, list[Interval]] = {}
    for one in matches:
        if isinstance(one, Test):
            tests.setdefault(one.field, []).extend(one.values)
    united: list[Match] = [Test(field, normalize(values)) for field, values in tests.items()]
    united += [one for one in matches if not isinstance(one, Test)]
    return united[0] if len(united) == 1 else Any(tuple(united))


def family_test(family: Family) -> Match:
    """The packets of a family."""
    return Test(Field.FAMILY, ((family, family),))


def of_icmp(number: int) -> Match:
    """The packets of an ICMP; each belongs to one family."""
    family = Family.IPV6 if number == ICMPV6 else Family.IPV4
    return both(family_test(family), Test(Field.PROTOCOL, ((number, number),)))


def number(text: str) -> int | None:
    """A number of up to nine digits; None for anything else, for nobody means more."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def address_interval(text: str) -> tuple[Family, Interval] | None:
    """An address, a prefix whose host bits are masked, short forms as `10/8`, or a range; None for a name."""
    first, dash, last = text.partition(" - ")
    address, slash, length = first.partition("/")
    try:
        if dash:
            (family, low), (other, high) = parse_address(first), parse_address(last)
            return (family, (low, high)) if family is other and low <= high else None
        short = slash and ":" not in address and address.replace(".", "").isdecimal()
        padded = address + ".0" * (3 - address.count(".")) if short else address
        family, low = parse_address(padded.partition("%")[0])
        bits = int(length) if slash else family.bits
    except ValueError:
        return None
    if not 0 <= bits <= family.bits:
        return None
    host = (1 << family.bits - bits) - 1
    return family, (low & ~host, low | host)
