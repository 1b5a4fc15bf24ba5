"""Numbers, addresses and names as iptables writes them -> intervals."""

from __future__ import annotations

from portgate.core.net import (
    ICMPV6,
    PORT_MAX,
    PROTOCOLS,
    Family,
    Interval,
    Intervals,
    interface_interval,
    normalize,
    parse_address,
)
from portgate.core.ruleset import Field

SRC = {Family.IPV4: Field.SRC4, Family.IPV6: Field.SRC6}
DST = {Family.IPV4: Field.DST4, Family.IPV6: Field.DST6}
ORIGINAL_SRC = {Family.IPV4: Field.ORIGINAL_SRC4, Family.IPV6: Field.ORIGINAL_SRC6}
ORIGINAL_DST = {Family.IPV4: Field.ORIGINAL_DST4, Family.IPV6: Field.ORIGINAL_DST6}

_MORE_PROTOCOLS = {
    "hopopt": 0, "ip-encap": 4, "ipencap": 4, "ipv6-route": 43, "ipv6-frag": 44, "ipv6-auth": 51, "ipv6-crypt": 50,
    "ipv6-icmp": ICMPV6, "icmp6": ICMPV6, "ipv6-nonxt": 59, "ipv6-opts": 60, "ospfigp": 89, "ipcomp": 108, "mh": 135,
    "ipv6-mh": 135, "mobility-header": 135, "ggp": 3, "st": 5, "pup": 12, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29,
    "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "idrp": 45, "skip": 57, "rspf": 73, "cphb": 73, "vmtp": 81, "ax.25": 93, "etherip": 97,
    "encap": 98, "isis": 124, "fc": 133, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142,
    "ethernet": 143,
}  # fmt: skip
_PORTS = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53, "bootps": 67, "bootpc": 68,
    "tftp": 69, "http": 80, "www": 80, "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "ident": 113, "nntp": 119, "ntp": 123,
    "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161, "snmp-trap": 162,
    "bgp": 179, "ldap": 389, "https": 443, "microsoft-ds": 445, "isakmp": 500, "syslog": 514, "printer": 515, "submission": 587, "ipp": 631, "ldaps": 636,
    "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194, "ms-sql-s": 1433, "ms-sql-m": 1434, "nfs": 2049, "mysql": 3306, "postgresql": 5432,
    "x11": 6000, "mdns": 5353,
}  # fmt: skip


class NotUnderstoodError(ValueError):
    """A value that is not what it should be; the match around it becomes opaque."""


def number(text: str, top: int = 0xFFFFFFFF) -> int:
    """Decimal or `0x` hexadecimal. Errors: NotUnderstoodError."""
    if not text.isascii() or "_" in text:
        raise NotUnderstoodError(text)
    try:
        value = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        raise NotUnderstoodError(text) from None
    if not 0 <= value <= top:
        raise NotUnderstoodError(text)
    return value


def masked(text: str) -> tuple[int, int]:
    """`0x1/0xff` as (value, mask). Errors: NotUnderstoodError."""
    value, slash, mask = text.partition("/")
    return number(value), number(mask) if slash else 0xFFFFFFFF


def protocol(text: str) -> int | None:
    """A number or a name; None for all of them. Errors: NotUnderstoodError."""
    name = text.lower()
    if name in ("all", "0", "any"):
        return None
    known = PROTOCOLS.get(name, _MORE_PROTOCOLS.get(name))
    return number(name, 255) if known is None else known


def ports(text: str) -> Intervals:
    """`22`, `1024:`, `80,443,8000:8100`, names of usual services. Errors: NotUnderstoodError."""
    return normalize(_port_range(part) for part in text.split(","))


def _port_range(text: str) -> Interval:
    first, colon, last = text.partition(":")
    if not colon:
        only = _port(first)
        return only, only
    return _in_order(_port(first) if first else 0, _port(last) if last else PORT_MAX, text)


def _port(text: str) -> int:
    known = _PORTS.get(text)
    return number(text, PORT_MAX) if known is None else known


def _in_order(first: int, last: int, text: str) -> Interval:
    if first > last:
        raise NotUnderstoodError(text)
    return first, last


def address(family: Family, text: str) -> int:
    """One address; `10` is 10.0.0.0. Errors: NotUnderstoodError."""
    padded = text + ".0" * (3 - text.count(".")) if family is Family.IPV4 else text
    try:
        found, value = parse_address(padded)
    except ValueError:
        raise NotUnderstoodError(text) from None
    if found is not family:
        raise NotUnderstoodError(text)
    return value


def network(family: Family, text: str) -> Interval:
    """`10.0.0.5/8`, `10.0.0.0/255.0.0.0`, `10.0.0.1`. Errors: NotUnderstoodError, also for masks that are no prefix."""
    base, slash, mask = text.partition("/")
    length = _prefix_length(family, mask) if slash else family.bits
    host = (1 << family.bits - length) - 1
    value = address(family, base)
    return value & ~host, value | host


def _prefix_length(family: Family, text: str) -> int:
    if text.isdecimal():
        return number(text, family.bits)
    inverse = address(family, text) ^ family.top
    if inverse & inverse + 1:
        raise NotUnderstoodError(text)
    return family.bits - inverse.bit_length()


def address_range(family: Family, text: str) -> Interval:
    """`10.0.0.1-10.0.0.9`, one address, or a network. Errors: NotUnderstoodError."""
    first, dash, last = text.partition("-")
    if not dash:
        return network(family, first)
    return _in_order(address(family, first), address(family, last), text)


def interface(text: str) -> Interval:
    """`eth0`, `eth+`. Errors: NotUnderstoodError."""
    try:
        if text.endswith("+"):
            return interface_interval(text[:-1] + "*")
        if text.endswith("*"):
            raise NotUnderstoodError(text)
        return interface_interval(text)
    except ValueError:
        raise NotUnderstoodError(text) from None
