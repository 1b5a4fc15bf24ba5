"""Addresses, ports, interfaces and ICMP types of a pf rule, as matches."""

from __future__ import annotations

import re
from collections.abc import Mapping

from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.backends.pf.words import (
    ICMP6_CODES,
    ICMP6_TYPES,
    ICMP_CODES,
    ICMP_TYPES,
)
from portgate.core.addresses import LOOPBACKS
from portgate.core.bsd import (
    HOME,
    LOOPBACK,
    NEVER,
    PROTOCOL_NUMBERS,
    SERVICE_PORTS,
    TYPES,
    Side,
    address_interval,
    both,
    either,
    family_test,
    number,
)
from portgate.core.net import (
    ICMP,
    PORT_MAX,
    Family,
    Interval,
    Intervals,
    complement,
    interface_interval,
    normalize,
)
from portgate.core.ruleset import (
    ALWAYS,
    AddressType,
    Any,
    Field,
    InterfaceAddress,
    InterfaceGroup,
    Lookup,
    Match,
    NamedSet,
    Not,
    Opaque,
    Part,
    Test,
)

Tables = dict[str, tuple[NamedSet, ...]]


# ------------------------------------------------------------------ interfaces


def interface(cursor: Cursor, field: Field) -> Match:
    """One name after `on`, which may be negated. A name that does not end in a digit is a group of interfaces."""
    negated = bool(cursor.accept("!"))
    match = interface_match(cursor.take(), field)
    return Not(match) if negated else match


def interface_match(name: str, field: Field) -> Match:
    loopback = Test(field, (interface_interval("lo"),))
    if name in ("lo", LOOPBACK):
        return loopback
    if name == "any":
        return Not(loopback)
    if not name[-1:].isdecimal():
        return InterfaceGroup(field, name)
    try:
        return Test(field, (interface_interval(name),))
    except ValueError:
        raise NotReadError from None


# ------------------------------------------------------------------ addresses


def hosts(cursor: Cursor, side: Side, tables: Tables) -> Match:
    """What stands after `from` or `to`, up to the port."""
    return either(cursor.listed(lambda: _host(cursor, side, tables)))


def _host(cursor: Cursor, side: Side, tables: Tables) -> Match:
    negated = bool(cursor.accept("!"))
    match = _one_host(cursor, side, tables, negated=negated)
    if not negated:
        return match
    family = next((family for family, field in side.items() if isinstance(match, Test) and match.field is field), None)
    return both(family_test(family), Not(match)) if family else Not(match)


def _one_host(cursor: Cursor, side: Side, tables: Tables, *, negated: bool) -> Match:
    if cursor.accept("any"):
        return ALWAYS
    if cursor.accept("<"):
        name = cursor.take()
        cursor.expect(">")
        return table_match(name.partition(":")[0], side, tables)  # `pfctl -vsr` adds how much is in it
    if cursor.peek() == "(":
        return _of_interface(" ".join(cursor.parenthesised()), _mask(cursor), side)
    if cursor.accept("route"):
        return _unknown(f"route {cursor.take()}", side)
    text = cursor.take() + _mask(cursor)
    if cursor.accept("-"):
        text += " - " + cursor.take()
    found = address_interval(text)
    if found is not None:
        return Test(side[found[0]], (found[1],))
    if text == "localhost":
        return localhost(side)
    if negated:  # pfctl makes a rule of each address, of which a packet from one matches that of another
        return _unknown(text, side)
    return _own(side) if text == "self" else _named(text, side)


def localhost(side: Side) -> Match:
    """The one name whose addresses are the same on every host."""
    return either([Test(side[family], (HOME[family],)) for family in Family])


def _mask(cursor: Cursor) -> str:
    return "/" + cursor.take() if cursor.accept("/") else ""


def _own(side: Side) -> Match:
    local = AddressType.LOCAL.value
    return Test(TYPES[side[Family.IPV4]], ((local, local),))


def _unknown(name: str, side: Side) -> Match:
    """Addresses that only the host knows: of an interface, of a name, of a route."""
    return Opaque(f"{side[Family.IPV4].label[:3]} {name}", f"which addresses `{name}` stands for")


def _of_interface(name: str, mask: str, side: Side) -> Match:
    """What stands in parentheses: the addresses of an interface, which are some of the host's own, or its network."""
    name = _COUNTED.sub("", name)
    if name == "self" and not mask:
        return _own(side)
    if name in ("lo:network", f"{LOOPBACK}:network"):
        return either([Test(side[family], LOOPBACKS[family]) for family in Family])
    if name in ("lo", LOOPBACK) and not mask:
        return localhost(side)
    found = _named(f"({name}){mask}", side)
    return found if mask or set(name.split(":")[1:]) & _PARTS.keys() else both(_own(side), found)


def _named(text: str, side: Side) -> Match:
    """`em0`, `(em0:network:0)`, `(em0)/24`: what it stands for is known where the interfaces of the host are."""
    name, _, length = text.replace("(", "").replace(")", "").partition("/")
    name, *words = name.split(":")
    part = next((_PARTS[word] for word in words if word in _PARTS), Part.ADDRESS)
    inside = number(length) if length else None
    if not set(words) <= {*_PARTS, "0"} or (length and inside is None):
        return _unknown(text, side)
    of_family = (InterfaceAddress(field, text, name, part, "0" in words, inside) for field in side.values())
    return Any(tuple(of_family))


_PARTS = {"network": Part.NETWORK, "broadcast": Part.BROADCAST, "peer": Part.PEER}
_COUNTED = re.compile(r":(\*|[1-9][0-9]*)$")  # how many addresses there are, in `pfctl -vsr`


def spoofed(name: str, side: Side, iif: Field) -> tuple[Match, ...]:
    """What `antispoof` is about: the network of an interface anywhere else, and its own addresses but for loopback's."""
    interface_name = name.partition(":")[0]
    elsewhere = both(Not(interface_match(interface_name, iif)), _of_interface(f"{name}:network", "", side))
    return (elsewhere,) if interface_name in ("lo", LOOPBACK) else (elsewhere, _of_interface(name, "", side))


def table_match(name: str, side: Side, tables: Tables) -> Match:
    """A table; one that the text does not tell of is filled at run time."""
    known = tables.get(name)
    if known is None:
        return Any(tuple(Lookup((field,), name) for field in side.values()))
    found: list[Match] = [Lookup((side[_family(one)],), one.name) for one in known]
    return found[0] if len(found) == 1 else Any(tuple(found))


def _family(one: NamedSet) -> Family:
    return Family.IPV6 if one.fields == (Field.SRC6,) else Family.IPV4


# ------------------------------------------------------------------ numbers


def protocol(cursor: Cursor) -> Match:
    """One member after `proto`."""
    text = cursor.take()
    found = PROTOCOL_NUMBERS.get(text, number(text))
    if found is None or found > 255:
        return Opaque(f"protocol {text}", f"which protocol `{text}` is")
    return Test(Field.PROTOCOL, ((found, found),))


def ports(cursor: Cursor, field: Field) -> Match:
    """What stands after `port`."""
    return either(cursor.listed(lambda: _port(cursor, field)))


def _port(cursor: Cursor, field: Field) -> Match:
    sign = cursor.accept("=", "!=", "<", "<=", ">", ">=")
    text = cursor.take()
    between = "" if sign else cursor.accept("><", "<>")
    try:
        values = _between(text, between, cursor.take()) if between else _port_values(sign, text)
    except KeyError as error:
        return Opaque(f"{field.label} {error.args[0]}", f"which port `{error.args[0]}` is")
    return Test(field, values) if values else NEVER


def _port_values(sign: str, text: str) -> Intervals:
    first, colon, last = text.partition(":")
    low = _number(first) if first or not colon else 0
    high = low if not colon else _number(last) if last else PORT_MAX
    match sign:
        case "!=":
            return complement(((low, high),), PORT_MAX)
        case "<":
            return normalize([(0, low - 1)])
        case "<=":
            return ((0, low),)
        case ">":
            return normalize([(low + 1, PORT_MAX)])
        case ">=":
            return ((low, PORT_MAX),)
        case _:
            return normalize([(low, high)])


def _between(low: str, sign: str, high: str) -> Intervals:
    inside = (_number(low), _number(high))
    if sign == "><":
        return normalize([(inside[0] + 1, inside[1] - 1)])
    return complement((inside,), PORT_MAX)


def target_ports(cursor: Cursor) -> Interval:
    """The port to which a translation leads; `4000:*` is as many from there on as arrive. Errors: NotReadError."""
    cursor.accept("=")
    first, colon, last = cursor.take().partition(":")
    try:
        low = _number(first)
        return low, PORT_MAX if last == "*" else _number(last) if colon else low
    except KeyError:
        raise NotReadError from None


def _number(text: str) -> int:
    """Errors: KeyError for a name that is not known."""
    if text.isdecimal() or text[:2] == "0x":
        try:
            value = int(text, 0 if text[:2] == "0x" else 10)
        except ValueError:
            raise KeyError(text) from None
        if value <= PORT_MAX:
            return value
        raise KeyError(text)
    return SERVICE_PORTS[text]


def icmp_types(cursor: Cursor, of: int) -> Match:
    """What stands after `icmp-type` or `icmp6-type`."""
    return either(cursor.listed(lambda: _icmp_type(cursor, of)))


def _icmp_type(cursor: Cursor, of: int) -> Match:
    types, codes = (ICMP_TYPES, ICMP_CODES) if of == ICMP else (ICMP6_TYPES, ICMP6_CODES)
    kind = _icmp_number(cursor.take(), types, Field.ICMP_TYPE)
    return both(kind, _icmp_number(cursor.take(), codes, Field.ICMP_CODE)) if cursor.accept("code") else kind


def _icmp_number(text: str, names: Mapping[str, int], field: Field) -> Match:
    found = names.get(text, number(text))
    if found is None or found > 255:
        return Opaque(f"{field.label} {text}", f"which {field.label} `{text}` is")
    return Test(field, ((found, found),))
