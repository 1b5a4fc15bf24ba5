"""Addresses, ports, interfaces and other tests of a rule, as matches.

Facts (kernel of FreeBSD 12.1)
    Ports are tested of TCP, UDP, UDP-Lite and SCTP; `not` turns the result round, whatever was tested: `not 10.0.0.0/8`
    holds for all IPv6. `established` is TCP but for packets that have SYN and neither ACK nor RST; the manual says ACK or RST.
    A packet that arrives has no interface that it leaves by.
"""

from __future__ import annotations

from portgate.backends.ipfw.cursor import Cursor, NotReadError
from portgate.backends.ipfw.tables import Tables
from portgate.backends.ipfw.words import FLAGS
from portgate.core.bsd import (
    DST,
    LOOPBACK,
    PROTOCOL_NUMBERS,
    SERVICE_PORTS,
    SRC,
    TYPES,
    Side,
    address_interval,
    both,
    either,
    family_test,
)
from portgate.core.lowering import SYN_OF_SYN_ACK
from portgate.core.net import (
    IFNAME_BYTES,
    PORT_MAX,
    TCP,
    Family,
    Interval,
    interface_interval,
    normalize,
)
from portgate.core.ruleset import (
    ALWAYS,
    AddressType,
    Bits,
    Field,
    Lookup,
    Match,
    Not,
    Opaque,
    Test,
)

WITH_PORTS = normalize((one, one) for one in (6, 17, 132, 136))
OF_PORTS = Test(Field.PROTOCOL, WITH_PORTS)
IS_TCP = Test(Field.PROTOCOL, ((TCP, TCP),))
LOCAL = AddressType.LOCAL.value


# ------------------------------------------------------------------ protocols


def protocol(word: str) -> Match:
    """The first word of a body: also all packets, or those of a family."""
    if word in ("ip", "all"):
        return ALWAYS
    if word in ("ip4", "ipv4"):
        return family_test(Family.IPV4)
    if word in ("ip6", "ipv6"):
        return family_test(Family.IPV6)
    return inner_protocol(word)


def inner_protocol(word: str) -> Match:
    """What stands after `proto`. Errors: NotReadError for a word that is none."""
    if word in ("ip4", "ip6", "ip", "all"):
        return protocol(word)
    number = int(word) if word.isdecimal() and len(word) < 4 else PROTOCOL_NUMBERS.get(word.lower(), 0)
    if word.startswith("$"):
        return Opaque(f"ipfw protocol {word}", f"which protocol `{word}` is")
    if not 0 < number < 256:
        raise NotReadError
    return Test(Field.PROTOCOL, ((number, number),))


# ------------------------------------------------------------------ addresses


def address(word: str, side: Side, tables: Tables) -> Match:
    """One alternative after `from` or `to`."""
    if word == "any":
        return ALWAYS
    if word == "me":
        return Test(TYPES[side[Family.IPV4]], ((LOCAL, LOCAL),))
    if word == "me6":
        return both(family_test(Family.IPV6), Test(TYPES[side[Family.IPV4]], ((LOCAL, LOCAL),)))
    if word.startswith("table("):
        return looked_up(word, tuple(side.values()), "addr", tables)
    if "{" in word and not word.startswith("$"):
        return _address_set(word, side)
    return either([_one_address(part, side) for part in word.split(",")])


def _one_address(text: str, side: Side) -> Match:
    plain, colon, mask = (text, "", "") if text.count(":") > 1 else text.partition(":")
    found = address_interval(f"{plain}/{_length(mask)}" if colon else text)
    if found is None or "-" in text:
        return Opaque(f"ipfw {side[Family.IPV4].label[:3]} {text}", f"which addresses `{text}` stands for")
    family, (first, last) = found
    whole = last - first == family.top
    return ALWAYS if whole else Test(side[family], ((first, last),))


def _length(mask: str) -> str:
    """The prefix length of a mask, "" for one that is none."""
    found = address_interval(mask)
    if found is None or found[0] is not Family.IPV4:
        return ""
    bits = f"{found[1][0]:032b}"
    return str(bits.count("1")) if "01" not in bits else ""


def _address_set(text: str, side: Side) -> Match:
    """`10.0.0.0/24{1,3-5}`: addresses by their last byte."""
    head, _, tail = text.partition("{")
    found = address_interval(head if "/" in head else f"{head}/24")
    if found is None or found[0] is not Family.IPV4 or not tail.endswith("}"):
        raise NotReadError
    base = found[1][0] & ~0xFF
    bytes_ = [_range(one, 255) for one in tail[:-1].split(",")]
    values = normalize((base + first, base + last) for first, last in bytes_)
    return Test(side[Family.IPV4], values)


# ------------------------------------------------------------------ tables


def looked_up(word: str, fields: tuple[Field, ...], kind: str, tables: Tables) -> Match:
    """`table(NAME)` or `table(NAME,VALUE)`; one that the text does not tell of is filled by somebody else."""
    inner = word[6:].rstrip(")")
    name = inner.partition(",")[0]
    its = tables.kind(name) if name else "none"
    if its is None:
        return either([Lookup((field,), inner) for field in fields])
    if its not in (kind, ""):
        return Opaque(f"ipfw {word} {fields[0].label}", f"the table {name}, of another kind")
    known = tables.sets(inner)
    if kind != "addr":
        return either([Lookup((field,), one.name) for one in known for field in fields])
    places = dict(zip(SRC.values(), fields, strict=True))
    return either([Lookup((places[one.fields[0]],), one.name) for one in known])


# ------------------------------------------------------------------ ports and numbers


def looks_like_ports(word: str) -> bool:
    """Whether a word behind an address is a list of ports, not an option."""
    return all(part.isdecimal() or part in SERVICE_PORTS for part in _pieces(word)) or word[:1] in ("$", "`")


def _pieces(word: str) -> list[str]:
    """The ends of the ranges of a list. Names may have dashes, which a backslash can mark."""
    found = []
    for part in word.replace("\\", "").split(","):
        found += [part] if part in SERVICE_PORTS else part.split("-")
    return found


def ports(word: str, field: Field) -> Match:
    """A list of ports, of the protocols that have them."""
    if word == "any":
        return ALWAYS
    if word[:1] in ("$", "`") or not looks_like_ports(word):
        return both(OF_PORTS, Opaque(f"ipfw {field.label} {word}", f"which ports `{word}` stands for"))
    values = [_range(part, PORT_MAX) for part in word.replace("\\", "").split(",")]
    return both(OF_PORTS, Test(field, normalize(values)))


def _range(text: str, top: int) -> Interval:
    first, _, last = (text, "", "") if text in SERVICE_PORTS else text.partition("-")
    low, high = (_number(one) for one in (first, last or first))
    if max(low, high) > top:
        raise NotReadError
    return low, high


def _number(text: str) -> int:
    """Errors: NotReadError."""
    if text.isdecimal() and len(text) < 6:
        return int(text)
    if text not in SERVICE_PORTS:
        raise NotReadError
    return SERVICE_PORTS[text]


def icmp_types(word: str, of: int) -> Match:
    """What stands after `icmptypes` and `icmp6types`. ICMP of the other family is on no network."""
    values = normalize(_range(part, 255) for part in word.split(",") if part)
    return both(Test(Field.PROTOCOL, ((of, of),)), Test(Field.ICMP_TYPE, values))


# ------------------------------------------------------------------ interfaces and flags


def interface(word: str, field: Field, tables: Tables) -> Match:
    """What stands after `recv`, `xmit` or `via`."""
    if word == "any":
        return ALWAYS
    if word.startswith("table("):
        return looked_up(word, (field,), "iface", tables)
    if word in (LOOPBACK, "lo"):
        return Test(field, (interface_interval("lo"),))
    inner = word.removesuffix("*")
    if word[:1].isdigit() or any(one in inner for one in "*?[$`"):
        return Opaque(f"ipfw {field.label} {word}", f"which interface `{word}` is")
    try:
        found = interface_interval(word[:IFNAME_BYTES])  # ipfw cuts it off as well
    except ValueError:
        raise NotReadError from None
    return Test(field, (_with_loopback(found, word),)) if word.startswith("lo") else Test(field, (found,))


def _with_loopback(found: Interval, word: str) -> Interval:
    """`lo*` is the loopback interface as well, which is `lo` here."""
    return found if not word.endswith("*") else (min(found[0], interface_interval("lo")[0]), found[1])


def tcp_flags(word: str) -> Match:
    """`syn,!ack`: these set, those not."""
    mask = value = 0
    for part in word.split(","):
        name = part.removeprefix("!")
        if name not in FLAGS:
            raise NotReadError
        mask |= FLAGS[name]
        value |= 0 if part.startswith("!") else FLAGS[name]
    return both(IS_TCP, Bits(Field.TCP_FLAGS, mask, value))


SETUP = both(IS_TCP, Bits(Field.TCP_FLAGS, *SYN_OF_SYN_ACK))
ESTABLISHED = both(IS_TCP, Not(Bits(Field.TCP_FLAGS, 0x16, 0x02)))


def lookup(cursor: Cursor, tables: Tables) -> Match:
    """What stands after `lookup`: a field and a table."""
    what, name = cursor.take(), cursor.take()
    word = f"table({name})"
    match what:
        case "src-ip":
            return looked_up(word, tuple(SRC.values()), "addr", tables)
        case "dst-ip":
            return looked_up(word, tuple(DST.values()), "addr", tables)
        case "src-port" | "dst-port":
            field = Field.SPORT if what == "src-port" else Field.DPORT
            return both(OF_PORTS, looked_up(word, (field,), "number", tables))
        case _:
            return Opaque(f"ipfw lookup {what} {name}", f"the table {name}")
