"""The expressions of nft's language -> libnftables JSON: constants, header fields, sets and maps."""

from __future__ import annotations

import re
from collections.abc import Callable

from portgate.backends.nftables.tokens import Cursor, UnreadableError, is_sign, seconds, unquote, value


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FIELDS: dict[str, frozenset[str]] = {
    name: _words(fields)
    for name, fields in {
        "ether": "saddr daddr type",
        "vlan": "id cfi dei pcp type",
        "arp": "htype ptype hlen plen operation saddr daddr",
        "ip": "version hdrlength dscp ecn length id frag-off ttl protocol checksum saddr daddr",
        "icmp": "type code checksum id sequence gateway mtu",
        "igmp": "type mrt checksum group",
        "ip6": "version dscp ecn flowlabel length nexthdr hoplimit saddr daddr",
        "icmpv6": "type code checksum parameter-problem packet-too-big id sequence max-delay mtu taddr daddr",
        "ah": "nexthdr hdrlength reserved spi sequence",
        "esp": "spi sequence",
        "comp": "nexthdr flags cpi",
        "udp": "sport dport length checksum",
        "udplite": "sport dport checksum csumcov",
        "tcp": "sport dport sequence ackseq doff reserved flags window checksum urgptr",
        "dccp": "sport dport type",
        "sctp": "sport dport vtag checksum",
        "th": "sport dport",
        "gre": "flags version protocol",
        "vxlan": "vni flags",
        "geneve": "vni type",
    }.items()
}
_EXTENSIONS: dict[str, frozenset[str]] = {
    name: _words(fields)
    for name, fields in {
        "hbh": "nexthdr hdrlength",
        "rt": "nexthdr hdrlength type seg-left",
        "srh": "flags tag",
        "frag": "nexthdr reserved frag-off reserved2 more-fragments id",
        "dst": "nexthdr hdrlength",
        "mh": "nexthdr hdrlength type reserved checksum",
    }.items()
}
_FIB_RESULTS = _words("oif oifname type")
_META = _words(
    "length protocol priority random mark iif iifname iiftype oif oifname oiftype skuid skgid nftrace rtclassid ibriport "
    "obriport ibrname obrname ibridgename obridgename ibrpvid ibrvproto pkttype cpu iifgroup oifgroup cgroup nfproto l4proto "
    "secpath ipsec iifkind oifkind time day hour sdif sdifname broute secmark"
)
_BARE_META = _META - _words("length protocol priority random secpath ipsec nfproto l4proto nftrace secmark")
_CT = _words(
    "state direction status mark expiration helper label l3proto protocol saddr daddr proto-src proto-dst packets bytes "
    "avgpkt zone id event secmark timeout expectation"
)
_OPTION_FIELDS = _words(
    "tsn stream ssn ppid init-tag a-rwnd num-outbound-streams num-inbound-streams initial-tsn cum-tsn-ack "
    "num-gap-ack-blocks num-dup-tsns lowest-tsn new-cum-tsn "
    "kind length size count left right tsval tsecr type ptr addr value seqno env flags subtype"
)
_LEVELS = {"|": 1, "or": 1, "^": 2, "xor": 2, "&": 3, "and": 3, "<<": 4, "lshift": 4, ">>": 4, "rshift": 4}
_SIGNS = {"or": "|", "xor": "^", "and": "&", "lshift": "<<", "rshift": ">>"}
_RATE = r"(\d{1,18})(bytes|kbytes|mbytes)?/(second|minute|hour|day|week)"
PLAIN_VERDICTS = frozenset({"accept", "drop", "continue", "return"})
_VERDICTS = PLAIN_VERDICTS | {"jump", "goto"}


# ------------------------------------------------------------------ values


def expression(cursor: Cursor) -> object:
    """A value to be written: constants, header fields, maps."""
    found = joined(cursor, term)
    return {"map": {"key": found, "data": data(cursor)}} if cursor.has("map") else found


def concatenation(cursor: Cursor) -> object:
    """Header fields."""
    return joined(cursor, selector)


def constants(cursor: Cursor) -> object:
    """The right side of a comparison: a constant, a list of flags, a concatenation."""
    return _listed(cursor, constant)


def _listed(cursor: Cursor, atom: Callable[[Cursor], object]) -> object:
    """`a`, or the list `a,b`."""
    several = [joined(cursor, atom)]
    while cursor.has(","):
        several.append(binary(cursor, atom))
    return several if len(several) > 1 else several[0]


def joined(cursor: Cursor, atom: Callable[[Cursor], object]) -> object:
    """`a`, or the concatenation `a . b`."""
    parts = [binary(cursor, atom)]
    while cursor.has("."):
        parts.append(binary(cursor, atom))
    return {"concat": parts} if len(parts) > 1 else parts[0]


def binary(cursor: Cursor, atom: Callable[[Cursor], object], level: int = 1) -> object:
    """Atoms joined by the operators of at least this level."""
    left = atom(cursor)
    while _LEVELS.get(cursor.now, 0) >= level:
        word = cursor.next()
        right = binary(cursor, term, _LEVELS[word] + 1)
        left = {_SIGNS.get(word, word): [left, right]}
    return left


def term(cursor: Cursor) -> object:
    """A header field where one can be read, else a constant."""
    if cursor.now in _SELECTORS or cursor.now in _BARE_META or cursor.now[:1] == "@":
        start = cursor.index
        try:
            return selector(cursor)
        except UnreadableError:
            cursor.move(start)
    return constant(cursor)


def constant(cursor: Cursor) -> object:
    if cursor.has("("):
        inner = _listed(cursor, term)
        cursor.need(")")
        return inner
    if cursor.has("["):
        inner = cursor.next()
        cursor.need("]")
        return _until(cursor, inner)
    word = cursor.next()
    if word in ("exists", "missing"):
        return word == "exists"
    if is_sign(word):
        raise UnreadableError
    return _until(cursor, word) if cursor.now == "-" else value(word)


def _until(cursor: Cursor, first: str) -> object:
    """`first`, or the range that starts with it."""
    if not cursor.has("-"):
        return value(first)
    bracket = cursor.has("[")
    last = cursor.next()
    if bracket:
        cursor.need("]")
    return {"range": [value(first), value(last)]}


def name(cursor: Cursor) -> str:
    """The name of a chain, map or option."""
    word = cursor.next()
    if is_sign(word):
        raise UnreadableError
    return unquote(word)


def one_of(cursor: Cursor, known: frozenset[str]) -> str:
    """A word of `known`."""
    if cursor.now not in known:
        raise UnreadableError
    return cursor.next()


# ------------------------------------------------------------------ sets


def data(cursor: Cursor) -> object:
    """`@name` or `{ ... }`."""
    if cursor.now[:1] == "@":
        return cursor.next()
    return {"set": elements(cursor)}


def elements(cursor: Cursor) -> list[object]:
    """`{ a, b : c, ... }`. Sets within sets come from variables, and are opened."""
    cursor.need("{")
    simple = _simple_elements(cursor)
    if simple is not None:
        return simple
    result: list[object] = []
    while not cursor.has("}"):
        if cursor.now == "{":
            result.extend(elements(cursor))
        else:
            result.append(_element(cursor))
        if cursor.now != "}":
            cursor.need(",")
    return result


def _simple_elements(cursor: Cursor) -> list[object] | None:
    """The quick way for a long list of constants."""
    try:
        end = cursor.words.index("}", cursor.index)
    except ValueError:
        raise UnreadableError from None
    inside = cursor.words[cursor.index : end]
    if inside and inside[-1] == ",":
        inside.pop()
    words = inside[::2]
    if len(inside) % 2 == 0 or inside[1::2].count(",") != len(inside) // 2 or any(is_sign(word) for word in words):
        return None
    cursor.move(end + 1)
    return [value(word) for word in words]


def _element(cursor: Cursor) -> object:
    key: object = "*" if cursor.has("*") else joined(cursor, constant)
    options: dict[str, object] = {}
    while cursor.now in _ELEMENT_OPTIONS:
        element_option(cursor, options)
    if options:
        key = {"elem": {"val": key, **options}}
    if not cursor.has(":"):
        return key
    return [key, verdict(cursor) if cursor.now in _VERDICTS else joined(cursor, constant)]


def element_option(cursor: Cursor, options: dict[str, object]) -> None:
    """What an element has beside its key: a lifetime, a comment, a state of its own."""
    word = cursor.now
    if word in STATES:
        options.update(STATES[word](cursor))
        return
    cursor.next()
    options[word] = unquote(cursor.next()) if word == "comment" else seconds(cursor.next())


def verdict(cursor: Cursor) -> object:
    """One that a map can hold."""
    word = cursor.next()
    if word in ("jump", "goto"):
        return {word: {"target": name(cursor)}}
    return {word: None}


# ------------------------------------------------------------------ header fields


def selector(cursor: Cursor) -> object:
    """One header field, or other datum of a packet."""
    word = cursor.now
    if word in _BARE_META:
        return {"meta": {"key": cursor.next()}}
    if word.startswith("@"):
        return _raw_payload(cursor)
    reader = _SELECTORS.get(word)
    if reader is None:
        raise UnreadableError
    cursor.next()
    return reader(cursor, word)


def _raw_payload(cursor: Cursor) -> object:
    base = cursor.next()[1:]
    if base not in ("ll", "nh", "th", "ih"):
        raise UnreadableError
    cursor.need(",")
    offset = cursor.number()
    cursor.need(",")
    return {"payload": {"base": base, "offset": offset, "len": cursor.number()}}


def _payload(cursor: Cursor, header: str) -> object:
    if cursor.now in ("option", "chunk"):
        return _option(cursor, f"{header} {cursor.next()}")
    name = one_of(cursor, _FIELDS[header])
    if header == "arp" and name in ("saddr", "daddr"):
        name = f"{name} {cursor.next()}"
    return {"payload": {"protocol": header, "field": name}}


def _option(cursor: Cursor, kind: str) -> object:
    body: dict[str, object] = {"type" if kind == "dccp option" else "name": value(cursor.next())}
    if cursor.now in _OPTION_FIELDS:
        body["field"] = cursor.next()
    return {kind: body}


def _meta(cursor: Cursor, _word: str) -> object:
    return {"meta": {"key": one_of(cursor, _META)}}


def _ct(cursor: Cursor, _word: str) -> object:
    body: dict[str, object] = {}
    if cursor.now in ("original", "reply"):
        body["dir"] = cursor.next()
    family = f"{cursor.next()} " if cursor.now in ("ip", "ip6") else ""
    return {"ct": {"key": family + one_of(cursor, _CT), **body}}


def _fib(cursor: Cursor, _word: str) -> object:
    flags = [cursor.next()]
    while cursor.has("."):
        flags.append(cursor.next())
    result = "check" if cursor.has("check") else one_of(cursor, _FIB_RESULTS)
    if result == "check" and cursor.now in _FIB_RESULTS:
        result = cursor.next()
    return {"fib": {"result": result, "flags": flags}}


def _socket(cursor: Cursor, _word: str) -> object:
    key = one_of(cursor, frozenset({"transparent", "mark", "wildcard", "cgroupv2"}))
    return {"socket": {"key": key, "level": cursor.number()} if cursor.has("level") else {"key": key}}


def _osf(cursor: Cursor, _word: str) -> object:
    ttl = {"ttl": cursor.next()} if cursor.has("ttl") else {}
    return {"osf": {"key": one_of(cursor, frozenset({"name", "version"})), **ttl}}


def _route(cursor: Cursor, word: str) -> object:
    if cursor.now in _EXTENSIONS["rt"]:
        return _extension(cursor, word)
    family = {"family": cursor.next()} if cursor.now in ("ip", "ip6") else {}
    return {"rt": {"key": one_of(cursor, frozenset({"classid", "nexthop", "mtu", "ipsec"})), **family}}


def _extension(cursor: Cursor, word: str) -> object:
    if word == "exthdr":
        return {"exthdr": {"name": one_of(cursor, frozenset(_EXTENSIONS))}}
    return {"exthdr": {"name": word, "field": one_of(cursor, _EXTENSIONS[word])}}


def _ipsec(cursor: Cursor, _word: str) -> object:
    body: dict[str, object] = {"dir": one_of(cursor, frozenset({"in", "out"})), "spnum": 0}
    if cursor.has("spnum"):
        body["spnum"] = cursor.number()
    if cursor.now in ("ip", "ip6"):
        body["family"] = cursor.next()
    return {"ipsec": {"key": one_of(cursor, frozenset({"reqid", "spi", "saddr", "daddr"})), **body}}


def _numgen(cursor: Cursor, _word: str) -> object:
    return {"numgen": {"mode": one_of(cursor, frozenset({"inc", "random"})), **_modulus(cursor)}}


def _jhash(cursor: Cursor, _word: str) -> object:
    key = concatenation(cursor)
    return {"jhash": {**_modulus(cursor), "expr": key}}


def _symhash(cursor: Cursor, _word: str) -> object:
    return {"symhash": _modulus(cursor)}


def _modulus(cursor: Cursor) -> dict[str, object]:
    cursor.need("mod")
    body: dict[str, object] = {"mod": cursor.number()}
    while cursor.now in ("seed", "offset"):
        body[cursor.next()] = cursor.number()
    return body


# ------------------------------------------------------------------ states: of a rule, or of each element of a set


def _limit(cursor: Cursor) -> dict[str, object]:
    cursor.next()
    if cursor.has("name"):
        return {"limit": expression(cursor)}
    cursor.need("rate")
    inverted = cursor.now == "over"
    if cursor.now in ("over", "until"):
        cursor.next()
    body: dict[str, object] = _rate(cursor)
    if inverted:
        body["inv"] = True
    if cursor.has("burst"):
        body["burst"] = cursor.number()
        if cursor.now in ("packets", "bytes", "kbytes", "mbytes"):
            unit = cursor.next()
            if unit != "packets":
                body["burst_unit"] = unit
    elif "rate_unit" not in body:
        body["burst"] = 5
    return {"limit": body}


def _rate(cursor: Cursor) -> dict[str, object]:
    text = ""
    for _ in range(4):
        text += cursor.next()
        found = re.fullmatch(_RATE, text)
        if found:
            amount, unit, per = found.groups()
            return {"rate": int(amount), "per": per} | ({"rate_unit": unit} if unit else {})
    raise UnreadableError


def _quota(cursor: Cursor) -> dict[str, object]:
    cursor.next()
    if cursor.has("name"):
        return {"quota": expression(cursor)}
    inverted = cursor.now == "over"
    if cursor.now in ("over", "until"):
        cursor.next()
    body: dict[str, object] = {"val": cursor.number(), "val_unit": cursor.next()}
    if inverted:
        body["inv"] = True
    if cursor.has("used"):
        body |= {"used": cursor.number(), "used_unit": cursor.next()}
    return {"quota": body}


def _count(cursor: Cursor) -> dict[str, object]:
    cursor.next()
    cursor.need("count")
    inverted = {"inv": True} if cursor.has("over") else {}
    return {"ct count": {"val": cursor.number(), **inverted}}


def _counter(cursor: Cursor) -> dict[str, object]:
    cursor.next()
    if cursor.has("name"):
        return {"counter": expression(cursor)}
    while cursor.now in ("packets", "bytes"):
        cursor.next()
        cursor.number()
    return {"counter": None}


def _last(cursor: Cursor) -> dict[str, object]:
    cursor.next()
    if cursor.has("used"):
        cursor.next()
    return {"last": None}


STATES: dict[str, Callable[[Cursor], dict[str, object]]] = {
    "limit": _limit,
    "quota": _quota,
    "ct": _count,
    "counter": _counter,
    "last": _last,
}
_ELEMENT_OPTIONS = frozenset({"timeout", "expires", "comment", *STATES})

_SELECTORS: dict[str, Callable[[Cursor, str], object]] = {
    **dict.fromkeys(_FIELDS, _payload),
    **dict.fromkeys(_EXTENSIONS, _extension),
    "exthdr": _extension,
    "rt": _route,
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "socket": _socket,
    "osf": _osf,
    "ipsec": _ipsec,
    "numgen": _numgen,
    "jhash": _jhash,
    "symhash": _symhash,
}
