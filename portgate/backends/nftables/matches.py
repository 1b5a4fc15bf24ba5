"""The meaning of nft's match expressions: libnftables JSON -> `Match`.

Rules of this file
    A match whose header field a packet does not have is false, and so is its negation: an expression therefore brings
    `guards`, the tests that hold exactly for the packets that have the field.
    What is not understood becomes `Opaque`, behind the same guards. Its key is its text, where the same text has the same
    answer for one packet; else its text and its rule.
    No packet is a fragment: `ip frag-off & 0x1fff` is 0, and no packet has the header `frag`.
    `th dport` reads two bytes of any transport header: a port of the protocols that have ports, opaque for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from portgate.backends.nftables import render, values, words
from portgate.backends.nftables.values import DataType, NotUnderstoodError
from portgate.core.dataclasses import dataclass
from portgate.core.net import PORT_PROTOCOLS, Family, Intervals, complement, contains, normalize, subtract
from portgate.core.ruleset import (
    ALWAYS,
    AddressType,
    All,
    AnonymousLookup,
    Any,
    Bits,
    Box,
    CtState,
    Field,
    Lookup,
    Match,
    NamedSet,
    Not,
    Opaque,
    ReversePath,
    Test,
)  # fmt: skip

IS_IPV4 = Test(Field.FAMILY, ((4, 4),))
IS_IPV6 = Test(Field.FAMILY, ((6, 6),))
HAS_PORTS = Test(Field.PROTOCOL, normalize((number, number) for number in PORT_PROTOCOLS))
# Only packets of a connection have connection data; `ct state` alone is readable for all.
TRACKED = Test(
    Field.CT_STATE, normalize((s.value, s.value) for s in (CtState.NEW, CtState.ESTABLISHED, CtState.RELATED))
)
IS_DNATED = Test(Field.DNATED, ((1, 1),))
NEVER = Any(())
FRAGMENT_BITS = 0x3FFF
"""Of `ip frag-off`: more fragments, and the offset. Packets are taken for reassembled, so that these are 0."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule's expressions refer to, and where it stands.

    **Shape** `family` of the table; `place` is unique to the rule; `sets` the translated ones only; `changing` the texts of
    expressions whose answer for one packet may change from rule to rule (sets that rules update, fields that rules write).
    """

    family: str
    table: str
    place: str
    sets: Mapping[str, NamedSet]
    changing: frozenset[str] = frozenset()

    @property
    def family_test(self) -> Match | None:
        """A test that all packets of this table pass."""
        return {"ip": IS_IPV4, "ip6": IS_IPV6}.get(self.family)


@dataclass(frozen=True, slots=True)
class Operand:
    """A header field as nft reads it. `any_transport`: a port only for protocols with ports."""

    field: Field
    type: DataType
    guards: tuple[Match, ...] = ()
    any_transport: bool = False


def _protocol(number: int) -> Test:
    return Test(Field.PROTOCOL, ((number, number),))


_PORT_FIELDS = {"sport": Field.SPORT, "dport": Field.DPORT}
_PORT_HEADERS = ("tcp", "udp", "udplite", "sctp", "dccp")
_GUARDS: dict[str, tuple[Match, ...]] = {
    "ip": (IS_IPV4,),
    "ip6": (IS_IPV6,),
    # A listing does not tell whether nft added a test of the family, so ICMP in the other family is not told apart.
    "icmp": (_protocol(1),),
    "icmpv6": (_protocol(58),),
    **{
        name: (_protocol(words.PROTOCOL_NUMBERS[name]),)
        for name in (*_PORT_HEADERS, "igmp", "ah", "esp", "comp", "gre")
    },
}
_HEADERS: dict[tuple[str, str], Operand] = {
    ("ip", "saddr"): Operand(Field.SRC4, values.IPV4, _GUARDS["ip"]),
    ("ip", "daddr"): Operand(Field.DST4, values.IPV4, _GUARDS["ip"]),
    ("ip", "protocol"): Operand(Field.PROTOCOL, values.PROTOCOL, _GUARDS["ip"]),
    ("ip6", "saddr"): Operand(Field.SRC6, values.IPV6, _GUARDS["ip6"]),
    ("ip6", "daddr"): Operand(Field.DST6, values.IPV6, _GUARDS["ip6"]),
    ("ip6", "nexthdr"): Operand(Field.PROTOCOL, values.PROTOCOL, _GUARDS["ip6"]),
    ("icmp", "type"): Operand(Field.ICMP_TYPE, values.ICMP_TYPE, _GUARDS["icmp"]),
    ("icmp", "code"): Operand(Field.ICMP_CODE, values.ICMP_CODE, _GUARDS["icmp"]),
    ("icmpv6", "type"): Operand(Field.ICMP_TYPE, values.ICMPV6_TYPE, _GUARDS["icmpv6"]),
    ("icmpv6", "code"): Operand(Field.ICMP_CODE, values.ICMPV6_CODE, _GUARDS["icmpv6"]),
    ("tcp", "flags"): Operand(Field.TCP_FLAGS, values.TCP_FLAGS, _GUARDS["tcp"]),
    **{
        (header, name): Operand(field, values.PORT, _GUARDS[header])
        for header in _PORT_HEADERS
        for name, field in _PORT_FIELDS.items()
    },
    **{("th", name): Operand(field, values.PORT, (), any_transport=True) for name, field in _PORT_FIELDS.items()},
}
_RAW: dict[tuple[object, object, object], Operand] = {
    ("th", 0, 16): _HEADERS["th", "sport"],
    ("th", 16, 16): _HEADERS["th", "dport"],
}
_META: dict[str, Operand] = {
    "l4proto": Operand(Field.PROTOCOL, values.PROTOCOL),
    "nfproto": Operand(Field.FAMILY, values.FAMILY),
    "protocol": Operand(Field.FAMILY, values.ETHER_TYPE),
    "mark": Operand(Field.MARK, values.MARK),
    "iif": Operand(Field.IIF, values.INTERFACE_INDEX),
    "iifname": Operand(Field.IIF, values.INTERFACE),
    "oif": Operand(Field.OIF, values.INTERFACE_INDEX),
    "oifname": Operand(Field.OIF, values.INTERFACE),
}
_CT: dict[tuple[str, str | None], Operand] = {
    ("state", None): Operand(Field.CT_STATE, values.CT_STATE),
    ("mark", None): Operand(Field.CT_MARK, values.MARK, (TRACKED,)),
    ("ip saddr", "original"): Operand(Field.ORIGINAL_SRC4, values.IPV4, (IS_IPV4, TRACKED)),
    ("ip daddr", "original"): Operand(Field.ORIGINAL_DST4, values.IPV4, (IS_IPV4, TRACKED)),
    ("ip6 saddr", "original"): Operand(Field.ORIGINAL_SRC6, values.IPV6, (IS_IPV6, TRACKED)),
    ("ip6 daddr", "original"): Operand(Field.ORIGINAL_DST6, values.IPV6, (IS_IPV6, TRACKED)),
    ("proto-src", "original"): Operand(Field.ORIGINAL_SPORT, values.PORT, (TRACKED,), any_transport=True),
    ("proto-dst", "original"): Operand(Field.ORIGINAL_DPORT, values.PORT, (TRACKED,), any_transport=True),
}
_FIB_TYPES = {
    "saddr": Operand(Field.SRC_TYPE, values.ADDRESS_TYPE),
    "daddr": Operand(Field.DST_TYPE, values.ADDRESS_TYPE),
}
# Guards that a positive test of the field implies.
_IMPLIED: dict[Field, tuple[Match, ...]] = {
    **dict.fromkeys((Field.SRC4, Field.DST4), (IS_IPV4,)),
    **dict.fromkeys((Field.SRC6, Field.DST6), (IS_IPV6,)),
    **dict.fromkeys((Field.ORIGINAL_SRC4, Field.ORIGINAL_DST4), (IS_IPV4, TRACKED)),
    **dict.fromkeys((Field.ORIGINAL_SRC6, Field.ORIGINAL_DST6), (IS_IPV6, TRACKED)),
    **dict.fromkeys((Field.ORIGINAL_SPORT, Field.ORIGINAL_DPORT), (TRACKED,)),
}

_REASONS = {
    "hour": "time of day", "day": "day of the week", "time": "date", "random": "chance", "numgen": "chance",
    "jhash": "hash of the packet", "symhash": "hash of the packet", "skuid": "owner of the socket", "skgid": "owner of the socket",
    "cgroup": "control group of the socket", "socket": "a local socket", "osf": "operating system fingerprint",
    "pkttype": "link-layer packet type", "length": "packet length", "cpu": "processor", "fib": "route lookup", "rt": "route",
    "ipsec": "IPsec state", "secpath": "IPsec state", "xt": "xtables match", "exthdr": "IPv6 extension header",
    "tcp option": "TCP option", "ip option": "IP option", "ether": "link-layer header", "vlan": "link-layer header",
    "ct": "connection data",
}  # fmt: skip
_CHANCE = frozenset({"numgen", "random"})


def operands(left: object, family: str) -> tuple[Operand, ...]:
    """The fields that an expression reads, several for a concatenation. Errors: NotUnderstoodError."""
    match left:
        case {"concat": [*parts]} if parts:
            return tuple(one for part in parts for one in operands(part, family))
        case {"payload": {"protocol": str(header), "field": str(name), **rest}} if (
            header,
            name,
        ) in _HEADERS and not rest:
            return (_HEADERS[header, name],)
        case {"payload": {"base": str(base), "offset": int(offset), "len": int(length)}} if (
            base,
            offset,
            length,
        ) in _RAW:
            return (_RAW[base, offset, length],)
        case {"meta": {"key": str(key), **rest}} if key in _META and not rest:
            return (_META[key],)
        case {"ct": {"key": str(key), **rest}} if (found := _connection(key, rest, family)) in _CT:
            return (_CT[found],)
        case {"fib": {"result": "type", "flags": ("saddr" | "daddr") as side}}:
            return (_FIB_TYPES[side],)
        case {"fib": {"result": "type", "flags": [("saddr" | "daddr") as side]}}:
            return (_FIB_TYPES[side],)
    raise NotUnderstoodError(reason(left))


def _connection(key: str, rest: Mapping[object, object], family: str) -> tuple[str, str | None]:
    """The family of an address is in the key, beside it (nft < 0.9), or that of the table."""
    direction = rest.get("dir")
    if not rest.keys() <= {"dir", "family"}:
        return "", None
    if key in ("saddr", "daddr"):
        key = f"{rest.get('family', family)} {key}"
    return key, direction if isinstance(direction, str) else None


def reason(expression: object) -> str:
    """Why it is opaque, in the words of people."""
    for word in _vocabulary(expression):
        if word in _REASONS:
            return _REASONS[word]
    return render.expression(expression) or "an expression of an unknown form"


def _vocabulary(expression: object) -> Iterable[str]:
    match expression:
        case {"meta": {"key": str(key)}} | {"payload": {"protocol": str(key)}}:
            yield key
        case dict():
            yield from (key for key in expression if isinstance(key, str))
    for part in values.children(expression):
        yield from _vocabulary(part)


def guards(expression: object) -> list[Match]:
    """What must hold for the packet to have all the fields that an expression reads."""
    found: list[Match] = []
    match expression:
        case {"payload": {"protocol": str(header), **rest}} if header in _GUARDS and "tunnel" not in rest:
            found.extend(_GUARDS[header])
        case {"tcp option": _}:
            found.extend(_GUARDS["tcp"])
        case {"ip option": _}:
            found.extend(_GUARDS["ip"])
        case {"ct": {"key": str(key)}} if key != "state":
            found.append(TRACKED)
        case {"set": _}:
            return found
    for part in values.children(expression):
        found.extend(guards(part))
    return found


def opaque(text: str, why: str, scope: Scope, consuming: bool = False) -> Opaque:
    """An opaque match; a `consuming` one has another answer in every rule."""
    if consuming or any(one in text for one in scope.changing):
        return Opaque(f"{text} [{scope.place}]", why)
    return Opaque(f"{text} [{scope.family} {scope.table}]" if "@" in text else text, why)


def relation(body: Mapping[str, object], known: list[Match], scope: Scope) -> list[Match]:
    """A `match` statement as conjuncts, given those of the rule so far."""
    op, left, right = body.get("op", "=="), body.get("left"), body.get("right")
    if (routed := _reverse_path(op, left, right, scope)) is not None:
        return [routed]
    try:
        found = _understood(op, left, right, known, scope)
    except NotUnderstoodError as problem:
        why = str(problem)
        found = [*guards(left), *_of_routes(op, left, right, scope), _doubtful(op, left, right, why, scope)]
    return [one for one in found if one != scope.family_test]


def _reverse_path(op: object, left: object, right: object, scope: Scope) -> Match | None:
    """Whether the route to the source leads out of an interface, that of the packet or any."""
    match left:
        case {"fib": {"result": "oif" | "oifname" | "check", "flags": str() | [*_] as flags}} if (
            op == "==" and isinstance(right, bool)
        ):
            asked = {*values.as_list(flags)} - {"mark"}
            if asked in ({"saddr"}, {"saddr", "iif"}):
                text = render.match({"op": op, "left": left, "right": True})
                return _negated(ReversePath(opaque(text, reason(left), scope), loose="iif" not in asked), not right)
    return None


def _of_routes(op: object, left: object, right: object, scope: Scope) -> list[Match]:
    """Whatever routes make of addresses of IPv4, they are none of this host's, nor broadcast or multicast."""
    if scope.family != "ip" or op != "==" or right not in words.ROUTE_TYPES:
        return []
    match left:
        case {"fib": {"result": "type", "flags": ["saddr" | "daddr" as side] | ("saddr" | "daddr" as side)}}:
            return [Test(_FIB_TYPES[side].field, ((AddressType.UNICAST.value, AddressType.UNICAST.value),))]
    return []


def _doubtful(op: object, left: object, right: object, why: str, scope: Scope) -> Match:
    consuming = not _CHANCE.isdisjoint(_vocabulary(left))
    if op == "!=" and isinstance(left, dict) and "payload" in left and guards(left):
        # The guards hold, so the field can be read, and != is the negation of ==.
        return Not(opaque(render.match({"op": "==", "left": left, "right": right}), why, scope, consuming))
    return opaque(render.match({"op": op, "left": left, "right": right}), why, scope, consuming)


def _understood(op: object, left: object, right: object, known: list[Match], scope: Scope) -> list[Match]:
    match left:
        case {"exthdr": {"name": "frag"}} if right is not False:
            return [NEVER]
        case {"&": [{"payload": {"protocol": "ip", "field": "frag-off"}}, int(mask)]} if not mask & ~FRAGMENT_BITS:
            return [IS_IPV4, _of_number(0, op, right)]
        case {"&": [inner, mask]}:
            return _masked(op, inner, mask, right, scope)
        case {"ct": {"key": "status"}}:
            return _status(op, right, scope)
    found = operands(left, scope.family)
    if op in ("in", "!") and render.is_flags(left):
        return [*found[0].guards, _negated(_has_flags(found[0], right), op == "!")]
    if op in ("<", ">", "<=", ">="):
        return [*found[0].guards, _compared(op, found, right)]
    if op not in ("==", "!=", "in"):
        raise NotUnderstoodError(reason(left))
    return _equal(left, right, found, op == "!=", known, scope)


def _of_number(number: int, op: object, right: object) -> Match:
    """A test of a field of which the number is known."""
    if op not in ("==", "!=") or not isinstance(right, int):
        raise NotUnderstoodError("comparison of an unknown form")
    return ALWAYS if (number == right) is (op == "==") else NEVER


def _negated(match: Match, negative: bool) -> Match:
    if not negative:
        return match
    return match.match if isinstance(match, Not) else Not(match)


def _equal(
    left: object, right: object, found: tuple[Operand, ...], negative: bool, known: list[Match], scope: Scope
) -> list[Match]:
    needed = [guard for operand in found for guard in operand.guards]
    if isinstance(right, str) and right.startswith("@"):
        test, boxes = _named_lookup(right[1:], found, scope)
    else:
        types = tuple(one.type for one in found)
        items = _set_items(right)
        _check_next_headers(left, items)
        boxes = [one for one in (values.box(types, item) for item in items) if not values.is_empty(one)]
        test = membership(tuple(one.field for one in found), boxes)
    if not negative:
        implied = {guard for one in found for guard in _IMPLIED.get(one.field, ())}
        needed = [guard for guard in needed if guard not in implied]
    result = _negated(test, negative)
    if any(one.any_transport for one in found) and not ports_are_certain(found, boxes, known):
        text = render.match({"op": "!=" if negative else "==", "left": left, "right": right})
        other = opaque(text, "transport header of any protocol", scope)
        result = Any((All((HAS_PORTS, result)), All((Not(HAS_PORTS), other))))
    return [*needed, result]


def _set_items(right: object) -> list[object]:
    match right:
        case {"set": items}:
            return values.as_list(items)
    return [right]


_NEXT_HEADER = {"payload": {"protocol": "ip6", "field": "nexthdr"}}


def _check_next_headers(left: object, items: list[object]) -> None:
    """`ip6 nexthdr` is the protocol of the packet unless it names an extension header."""
    if left != _NEXT_HEADER:
        return
    named = normalize(values.PROTOCOL.interval(item) for item in items)
    if any(contains(named, number) for number in words.EXTENSION_HEADERS):
        raise NotUnderstoodError("IPv6 extension header")


def membership(fields: tuple[Field, ...], boxes: list[Box]) -> Match:
    if len(fields) == 1:
        return Test(fields[0], normalize(one[0] for one in boxes))
    if len(boxes) == 1:
        return All(tuple(Test(field, (interval,)) for field, interval in zip(fields, boxes[0], strict=True)))
    return AnonymousLookup(fields, tuple(boxes)) if boxes else NEVER


def _named_lookup(name: str, found: tuple[Operand, ...], scope: Scope) -> tuple[Match, list[Box]]:
    named = scope.sets.get(name)
    if named is None or len(named.fields) != len(found):
        raise NotUnderstoodError("a set that is not understood")
    return Lookup(tuple(one.field for one in found), name), [element.box for element in named.elements]


def ports_are_certain(found: tuple[Operand, ...], boxes: Iterable[Box], known: list[Match]) -> bool:
    """Whether all these packets are of protocols with ports."""
    if any(isinstance(one, Test) and one.field is Field.PROTOCOL and _all_have_ports(one.values) for one in known):
        return True
    place = next((i for i, one in enumerate(found) if one.field is Field.PROTOCOL), None)
    return place is not None and _all_have_ports(normalize({one[place] for one in boxes}))


def _all_have_ports(protocols: Intervals) -> bool:
    return not subtract(protocols, HAS_PORTS.values)


# Types whose numbers are those of the kernel.
_ORDERED = (values.IPV4, values.IPV6, values.PORT, values.MARK, values.ICMP_TYPE, values.ICMP_CODE, values.ICMPV6_TYPE,
            values.ICMPV6_CODE, values.TCP_FLAGS)  # fmt: skip


def _compared(op: object, found: tuple[Operand, ...], right: object) -> Match:
    if len(found) != 1 or found[0].any_transport or found[0].type not in _ORDERED:
        raise NotUnderstoodError("comparison of an unknown form")
    (one,) = found
    first, last = one.type.interval(right)
    if first != last:
        raise NotUnderstoodError("comparison of an unknown form")
    bounds = {"<": (0, first - 1), "<=": (0, first), ">": (first + 1, one.field.top), ">=": (first, one.field.top)}
    return Test(one.field, normalize([bounds[str(op)]]))


def _has_flags(operand: Operand, right: object) -> Match:
    """Any of the bits is set."""
    if operand.field is Field.CT_STATE:
        return Test(Field.CT_STATE, values.ct_states(values.flags(right, values.CT_STATE_BITS)))
    mask = values.flags(right, words.TCP_FLAG_BITS)
    if not 0 < mask <= operand.field.top:
        raise NotUnderstoodError("flags of an unknown form")
    return Bits(operand.field, mask, mask) if mask & (mask - 1) == 0 else Not(Bits(operand.field, mask, 0))


def _status(op: object, right: object, scope: Scope) -> list[Match]:
    """`ct status` has any of the bits. Only `dnat` is known of a packet."""
    names = values.as_list(right["|"] if isinstance(right, dict) and "|" in right else right)
    if op not in ("in", "!") or not names or not all(isinstance(one, str) for one in names):
        raise NotUnderstoodError("state of the connection")
    tests: list[Match] = [
        IS_DNATED if one == "dnat" else opaque(f"ct status {one}", "state of the connection", scope) for one in names
    ]
    if tests == [IS_DNATED] and op == "in":
        return tests
    return [TRACKED, _negated(tests[0] if len(tests) == 1 else Any(tuple(tests)), op == "!")]


def _masked(op: object, inner: object, mask: object, right: object, scope: Scope) -> list[Match]:
    """`inner & mask` against values."""
    negative = op == "!="
    if op not in ("==", "!="):
        raise NotUnderstoodError("comparison of an unknown form")
    match inner:
        case {"ct": {"key": "status"}} if mask == "dnat" and right in ("dnat", 0):
            return [TRACKED, _negated(IS_DNATED, negative is (right == "dnat"))]
    (operand,) = operands(inner, scope.family)[:1]
    if isinstance(inner, dict) and "concat" in inner:
        raise NotUnderstoodError("mask on a concatenation")
    tests = sorted((_masked_value(operand, mask, item) for item in _set_items(right)), key=repr)
    return [*operand.guards, _negated(tests[0] if len(tests) == 1 else Any(tuple(tests)), negative)]


def _masked_value(operand: Operand, mask: object, value: object) -> Match:
    if operand.type is values.CT_STATE:
        bits, wanted = values.flags(mask, values.CT_STATE_BITS), values.flags(value, values.CT_STATE_BITS)
        if wanted == 0:
            return Not(Test(Field.CT_STATE, values.ct_states(bits)))
        return (
            Test(Field.CT_STATE, values.ct_states(bits & wanted))
            if wanted & (wanted - 1) == 0 and wanted & bits
            else NEVER
        )
    if operand.type in (values.MARK, values.TCP_FLAGS):
        names = words.TCP_FLAG_BITS if operand.type is values.TCP_FLAGS else {}
        bits, wanted = values.flags(mask, names), values.flags(value, names)
        if not 0 <= bits <= operand.field.top:
            raise NotUnderstoodError("mask of an unknown form")
        if wanted & ~bits:
            return NEVER
        return Bits(operand.field, bits, wanted) if bits else ALWAYS
    return _address_mask(operand, mask, value)


def _address_mask(operand: Operand, mask: object, value: object) -> Match:
    """A mask that is a prefix; others have no interval."""
    (bits, _), (wanted, _) = operand.type.interval(mask), operand.type.interval(value)
    host = operand.field.top ^ bits
    if operand.type not in (values.IPV4, values.IPV6) or host & (host + 1):
        raise NotUnderstoodError("mask on an address")
    return NEVER if wanted & host else Test(operand.field, ((wanted, wanted | host),))


def not_in(fields: tuple[Field, ...], boxes: list[Box]) -> Match:
    """Outside of all the boxes; of packets that have the fields."""
    if len(fields) == 1:
        return Test(fields[0], complement(normalize(one[0] for one in boxes), fields[0].top))
    return Not(membership(fields, boxes))


FAMILIES: dict[str, tuple[Family, ...]] = {
    "ip": (Family.IPV4,),
    "ip6": (Family.IPV6,),
    "inet": (Family.IPV4, Family.IPV6),
    "netdev": (Family.IPV4, Family.IPV6),
}
