"""The text of one nft rule -> its statements, as libnftables JSON has them.

Rules of this file
    Text that is not understood becomes `{"opaque": {"text": ...}}`, from the statement where understanding ended to the end of
    the rule. Nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from portgate.backends.nftables import render
from portgate.backends.nftables.tokens import native, unquote


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
_OPERATORS = {
    "==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!": "!",
    "eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=",
}  # fmt: skip
_NO_CONSTANT = frozenset("{}()[];,=<>!|&^$#@\\\n")
_PLAIN_VERDICTS = frozenset({"accept", "drop", "continue", "return"})
_BEFORE_TARGET = frozenset({"to", "prefix", "addr", "interval", "port", "."})
_NAT_FLAGS = frozenset({"random", "fully-random", "persistent"})
_RATE = re.compile(r"(\d{1,18})(bytes|kbytes|mbytes)?/(second|minute|hour|day|week)")
_TIME = re.compile(r"(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9})s)?(?:\d{1,9}ms)?")
_DIGITS = frozenset("0123456789")


class UnreadableError(Exception):
    """The grammar ends here."""


def value(word: str) -> object:
    """A constant: number, string, prefix `a/n` or range `a-b`."""
    head = word[0]
    if head == '"':
        return unquote(word)
    if head in _DIGITS and word.isdigit():
        # A leading 0 makes it octal for nft: rather not understood than taken for another number.
        return int(word) if len(word) < 19 and (head != "0" or len(word) == 1) else word
    if "-" in word and (head in _DIGITS or ":" in word):
        first, _, last = word.partition("-")
        return {"range": [value(first or "-"), value(last or "-")]}
    if word.startswith("0x"):
        return _hexadecimal(word)
    if "/" in word and ("." in word or ":" in word):
        address, _, length = word.partition("/")
        if address and length.isdigit() and len(length) < 4:
            return {"prefix": {"addr": address, "len": int(length)}}
    return word


def _hexadecimal(word: str) -> object:
    try:
        return int(word, 16) if len(word) < 35 else word
    except ValueError:
        return word


def seconds(word: str) -> int:
    """`1h30m`, `30s`, `90`. Errors: UnreadableError."""
    if word.isdigit() and len(word) < 12:
        return int(word)
    found = _TIME.fullmatch(word)
    if not found:
        raise UnreadableError
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


class Grammar:
    """A cursor on the tokens of one rule, and what can be read at it. Errors of every method: UnreadableError."""

    __slots__ = ("at", "now", "tokens")

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [*tokens, "", "", ""]
        self.at = 0
        self.now = self.tokens[0]

    def next(self) -> str:
        """The word at the cursor, which moves on."""
        word = self.now
        if not word:
            raise UnreadableError
        self.at += 1
        self.now = self.tokens[self.at]
        return word

    def back(self, at: int) -> None:
        self.at = at
        self.now = self.tokens[at]

    def has(self, word: str) -> bool:
        """Reads `word` if it comes next."""
        if self.now != word:
            return False
        self.next()
        return True

    def need(self, word: str) -> None:
        if not self.has(word):
            raise UnreadableError

    def number(self) -> int:
        found = value(self.next())
        if not isinstance(found, int):
            raise UnreadableError
        return found

    def rule(self) -> tuple[list[object], str]:
        """The statements to the end, and the comment."""
        statements: list[object] = []
        comment = ""
        while self.now:
            start = self.at
            try:
                if self.has("comment"):
                    comment = unquote(self.next())
                    continue
                statements.append(self.statement())
            except (UnreadableError, RecursionError):
                statements.append({"opaque": {"text": native(self.tokens[start:-3])}})
                break
        return statements, comment

    def statement(self) -> object:
        word = self.now
        if word in _PLAIN_VERDICTS:
            self.next()
            return {word: None}
        reader = _STATEMENTS.get(word)
        return reader(self) if reader else self.relation()

    # -------------------------------------------------------------- matches

    def relation(self) -> object:
        left = self.concatenation()
        if self.has("set"):
            return self.assignment(left)
        if self.has("vmap"):
            return {"vmap": {"key": left, "data": self.data()}}
        op = _OPERATORS.get(self.now)
        if op:
            self.next()
        if self.now == "{" or (self.now[:1] == "@" and self.tokens[self.at + 1] != ","):
            return _match(op or "==", left, self.data())
        right = self.constants()
        if self.has("/"):
            return _match(op or "==", {"&": [left, self.constants()]}, right)
        if op is None:
            op = "in" if render.is_flags(left) and not isinstance(right, dict) else "=="
        return _match(op, left, right)

    def assignment(self, left: object) -> object:
        match left:
            case {"ct": {"key": "helper" | "timeout" | "expectation" as kind}}:
                return {f"ct {kind}": self.reference()}
        new = self.expression()
        if self.has(":"):  # a traffic class, `1:2`
            new = f"{render.expression(new)}:{unquote(self.next())}"
        return {"mangle": {"key": left, "value": new}}

    def constants(self) -> object:
        """The right side of a comparison: a constant, a list of flags, a concatenation."""
        first = self.binary(self.constant, 1)
        if self.now == ".":
            return self.joined(first, lambda: self.binary(self.constant, 1))
        if self.now != ",":
            return first
        several = [first]
        while self.has(","):
            several.append(self.binary(self.constant, 1))
        return several

    def joined(self, first: object, part: Callable[[], object]) -> object:
        parts = [first]
        while self.has("."):
            parts.append(part())
        return {"concat": parts}

    def concatenation(self) -> object:
        first = self.binary(self.selector, 1)
        return self.joined(first, lambda: self.binary(self.selector, 1)) if self.now == "." else first

    def binary(self, atom: Callable[[], object], level: int) -> object:
        left = atom()
        while _LEVELS.get(self.now, 0) >= level:
            word = self.next()
            right = self.binary(self.term, _LEVELS[word] + 1)
            left = {_SIGNS.get(word, word): [left, right]}
        return left

    def term(self) -> object:
        """A header field where one can be read, else a constant."""
        if self.now in _SELECTORS or self.now in _BARE_META:
            start = self.at
            try:
                return self.selector()
            except UnreadableError:
                self.back(start)
        return self.constant()

    def constant(self) -> object:
        if self.has("("):
            inner = self.constants()
            self.need(")")
            return inner
        if self.has("["):
            inner = self.next()
            self.need("]")
            return self.until(inner)
        word = self.next()
        if word in ("exists", "missing"):
            return word == "exists"
        if _is_sign(word):
            raise UnreadableError
        return self.until(word) if self.now == "-" else value(word)

    def until(self, first: str) -> object:
        """`first`, or the range that starts with it."""
        if not self.has("-"):
            return value(first)
        bracket = self.has("[")
        last = self.next()
        if bracket:
            self.need("]")
        return {"range": [value(first), value(last)]}

    def expression(self) -> object:
        """A value to be written: constants, header fields, maps."""
        first = self.binary(self.term, 1)
        if self.now == ".":
            first = self.joined(first, lambda: self.binary(self.term, 1))
        if self.has("map"):
            return {"map": {"key": first, "data": self.data()}}
        return first

    def reference(self) -> object:
        """The name of an object, or a map to names."""
        return self.expression()

    # -------------------------------------------------------------- sets

    def data(self) -> object:
        """`@name` or `{ ... }`."""
        if self.now[:1] == "@":
            return self.next()
        return {"set": self.elements()}

    def elements(self) -> list[object]:
        """`{ a, b : c, ... }`. Sets within sets come from variables, and are opened."""
        self.need("{")
        simple = self.simple_elements()
        if simple is not None:
            return simple
        result: list[object] = []
        while not self.has("}"):
            if self.now == "{":
                result.extend(self.elements())
            else:
                result.append(self.element())
            if self.now != "}":
                self.need(",")
        return result

    def simple_elements(self) -> list[object] | None:
        """The quick way for a long list of constants."""
        try:
            end = self.tokens.index("}", self.at)
        except ValueError:
            raise UnreadableError from None
        inside = self.tokens[self.at : end]
        if inside and inside[-1] == ",":
            inside.pop()
        words = inside[::2]
        if len(inside) % 2 == 0 or inside[1::2].count(",") != len(inside) // 2 or any(_is_sign(word) for word in words):
            return None
        self.back(end + 1)
        return [value(word) for word in words]

    def element(self) -> object:
        key: object = "*" if self.has("*") else self.element_key()
        options: dict[str, object] = {}
        while self.now in _ELEMENT_OPTIONS:
            self.element_option(options)
        if options:
            key = {"elem": {"val": key, **options}}
        if not self.has(":"):
            return key
        return [key, self.verdict() if self.now in _VERDICTS else self.element_key()]

    def element_key(self) -> object:
        first = self.binary(self.constant, 1)
        return self.joined(first, lambda: self.binary(self.constant, 1)) if self.now == "." else first

    def element_option(self, options: dict[str, object]) -> None:
        word = self.now
        if word in ("timeout", "expires"):
            self.next()
            options[word] = seconds(self.next())
        elif word == "comment":
            self.next()
            options[word] = unquote(self.next())
        else:
            statement = self.statement()
            if isinstance(statement, dict):
                options.update(statement)

    def verdict(self) -> object:
        word = self.next()
        if word in ("jump", "goto"):
            return {word: {"target": self.name()}}
        return {word: None}

    def name(self) -> str:
        word = self.next()
        if word[0] in _NO_CONSTANT:
            raise UnreadableError
        return unquote(word)

    # -------------------------------------------------------------- header fields

    def selector(self) -> object:
        word = self.now
        if word in _BARE_META:
            return {"meta": {"key": self.next()}}
        if word.startswith("@"):
            return self.raw_payload()
        reader = _SELECTORS.get(word)
        if reader is None:
            raise UnreadableError
        self.next()
        return reader(self, word)

    def one_of(self, known: frozenset[str]) -> str:
        if self.now not in known:
            raise UnreadableError
        return self.next()

    def raw_payload(self) -> object:
        base = self.next()[1:]
        if base not in ("ll", "nh", "th", "ih"):
            raise UnreadableError
        self.need(",")
        offset = self.number()
        self.need(",")
        return {"payload": {"base": base, "offset": offset, "len": self.number()}}

    def payload(self, header: str) -> object:
        if self.now in ("option", "chunk"):
            return self.option(f"{header} {self.next()}")
        name = self.one_of(_FIELDS[header])
        if header == "arp" and name in ("saddr", "daddr"):
            name = f"{name} {self.next()}"
        return {"payload": {"protocol": header, "field": name}}

    def option(self, kind: str) -> object:
        body: dict[str, object] = {"type" if kind == "dccp option" else "name": value(self.next())}
        if self.now in _OPTION_FIELDS:
            body["field"] = self.next()
        return {kind: body}

    def meta(self, _word: str) -> object:
        return {"meta": {"key": self.one_of(_META)}}

    def ct(self, _word: str) -> object:
        body: dict[str, object] = {}
        if self.now in ("original", "reply"):
            body["dir"] = self.next()
        family = f"{self.next()} " if self.now in ("ip", "ip6") else ""
        return {"ct": {"key": family + self.one_of(_CT), **body}}

    def fib(self, _word: str) -> object:
        flags = [self.next()]
        while self.has("."):
            flags.append(self.next())
        self.has("check")
        return {"fib": {"result": self.one_of(frozenset({"oif", "oifname", "type"})), "flags": flags}}

    def socket(self, _word: str) -> object:
        key = self.one_of(frozenset({"transparent", "mark", "wildcard", "cgroupv2"}))
        return {"socket": {"key": key, "level": self.number()} if self.has("level") else {"key": key}}

    def osf(self, _word: str) -> object:
        ttl = {"ttl": self.next()} if self.has("ttl") else {}
        return {"osf": {"key": self.one_of(frozenset({"name", "version"})), **ttl}}

    def route(self, word: str) -> object:
        if self.now in _EXTENSIONS["rt"]:
            return self.extension(word)
        family = {"family": self.next()} if self.now in ("ip", "ip6") else {}
        return {"rt": {"key": self.one_of(frozenset({"classid", "nexthop", "mtu", "ipsec"})), **family}}

    def extension(self, word: str) -> object:
        if word == "exthdr":
            return {"exthdr": {"name": self.one_of(frozenset(_EXTENSIONS))}}
        return {"exthdr": {"name": word, "field": self.one_of(_EXTENSIONS[word])}}

    def ipsec(self, _word: str) -> object:
        body: dict[str, object] = {"dir": self.one_of(frozenset({"in", "out"})), "spnum": 0}
        if self.has("spnum"):
            body["spnum"] = self.number()
        if self.now in ("ip", "ip6"):
            body["family"] = self.next()
        return {"ipsec": {"key": self.one_of(frozenset({"reqid", "spi", "saddr", "daddr"})), **body}}

    def numgen(self, _word: str) -> object:
        return {"numgen": {"mode": self.one_of(frozenset({"inc", "random"})), **self.modulus()}}

    def jhash(self, _word: str) -> object:
        key = self.concatenation()
        return {"jhash": {**self.modulus(), "expr": key}}

    def symhash(self, _word: str) -> object:
        return {"symhash": self.modulus()}

    def modulus(self) -> dict[str, object]:
        self.need("mod")
        body: dict[str, object] = {"mod": self.number()}
        while self.now in ("seed", "offset"):
            body[self.next()] = self.number()
        return body

    # -------------------------------------------------------------- other statements

    def limit(self) -> object:
        self.next()
        if self.has("name"):
            return {"limit": self.reference()}
        self.need("rate")
        inverted = self.now == "over"
        if self.now in ("over", "until"):
            self.next()
        body: dict[str, object] = self.rate()
        if inverted:
            body["inv"] = True
        if self.has("burst"):
            body["burst"] = self.number()
            if self.now in ("packets", "bytes", "kbytes", "mbytes"):
                unit = self.next()
                if unit != "packets":
                    body["burst_unit"] = unit
        elif "rate_unit" not in body:
            body["burst"] = 5
        return {"limit": body}

    def rate(self) -> dict[str, object]:
        text = ""
        for _ in range(4):
            text += self.next()
            found = _RATE.fullmatch(text)
            if found:
                amount, unit, per = found.groups()
                return {"rate": int(amount), "per": per} | ({"rate_unit": unit} if unit else {})
        raise UnreadableError

    def quota(self) -> object:
        self.next()
        if self.has("name"):
            return {"quota": self.reference()}
        inverted = self.now == "over"
        if self.now in ("over", "until"):
            self.next()
        body: dict[str, object] = {"val": self.number(), "val_unit": self.next()}
        if inverted:
            body["inv"] = True
        if self.has("used"):
            body |= {"used": self.number(), "used_unit": self.next()}
        return {"quota": body}

    def connection(self) -> object:
        """`ct count`, or any other match or assignment of `ct`."""
        if self.tokens[self.at + 1] != "count":
            return self.relation()
        self.next()
        self.next()
        inverted = {"inv": True} if self.has("over") else {}
        return {"ct count": {"val": self.number(), **inverted}}

    def counter(self) -> object:
        self.next()
        if self.has("name"):
            return {"counter": self.reference()}
        while self.now in ("packets", "bytes"):
            self.next()
            self.number()
        return {"counter": None}

    def last(self) -> object:
        self.next()
        if self.has("used"):
            self.next()
        return {"last": None}

    def log(self) -> object:
        self.next()
        body: dict[str, object] = {}
        while self.now in ("prefix", "group", "snaplen", "queue-threshold", "level", "flags"):
            word = self.next()
            if word == "flags":
                self.log_flags()
            else:
                body[word] = value(self.next())
        return {"log": body or None}

    def log_flags(self) -> None:
        if self.next() in ("tcp", "ip"):
            while self.next() and self.has(","):
                pass

    def reject(self) -> object:
        self.next()
        if not self.has("with"):
            return {"reject": None}
        if self.has("tcp"):
            self.need("reset")
            return {"reject": {"type": "tcp reset"}}
        kind = self.one_of(frozenset({"icmp", "icmpv6", "icmpx"}))
        self.has("type")
        return {"reject": {"type": kind, "expr": self.constant()}}

    def translation(self) -> object:
        kind = self.next()
        body: dict[str, object] = {}
        if self.now in ("ip", "ip6") and self.tokens[self.at + 1] in _BEFORE_TARGET:
            body["family"] = self.next()
        while self.now in _BEFORE_TARGET and self.now != "to":
            self.next()
        if self.has("to") or (kind in ("snat", "dnat") and self.now):
            if self.now != ":":
                body["addr"] = self.expression()
            if self.has(":"):
                body["port"] = self.expression()
        if kind == "redirect" and "addr" in body:
            body["port"] = body.pop("addr")
        flags: list[object] = []
        while self.now in _NAT_FLAGS:
            flags.append(self.next())
            self.has(",")
        if flags:
            body["flags"] = flags if len(flags) > 1 else flags[0]
        return {kind: body or None}

    def queue(self) -> object:
        self.next()
        body: dict[str, object] = {}
        flags: list[object] = []
        while self.now:
            if self.now in ("bypass", "fanout", "flags", ","):
                word = self.next()
                flags += [word] if word in ("bypass", "fanout") else []
            elif self.now in ("num", "to"):
                self.next()
                body["num"] = self.expression()
            else:
                break
        if flags:
            body["flags"] = flags if len(flags) > 1 else flags[0]
        return {"queue": body or None}

    def copy(self) -> object:
        """`dup` and `fwd`."""
        kind = self.next()
        body: dict[str, object] = {}
        if self.now in ("ip", "ip6"):
            body["family"] = self.next()
        self.need("to")
        body["addr"] = self.expression()
        if self.has("device"):
            body["dev"] = self.expression()
        elif kind == "fwd" or ("family" not in body and not re.search(r"[.:]", render.expression(body["addr"]))):
            body["dev"] = body.pop("addr")
        return {kind: body}

    def notrack(self) -> object:
        return {self.next(): None}

    def flow(self) -> object:
        self.next()
        if self.has("table"):
            return self.metered(self.name())
        self.one_of(frozenset({"add", "offload"}))
        return {"flow": {"op": "add", "flowtable": self.next()}}

    def synproxy(self) -> object:
        self.next()
        if self.has("name"):
            return {"synproxy": self.reference()}
        body: dict[str, object] = {}
        flags: list[object] = []
        while self.now in ("mss", "wscale", "timestamp", "sack-perm"):
            word = self.next()
            if word in ("mss", "wscale"):
                body[word] = self.number()
            else:
                flags.append(word)
        if flags:
            body["flags"] = flags if len(flags) > 1 else flags[0]
        return {"synproxy": body or None}

    def update(self) -> object:
        """`add @name { key options statements : data }`."""
        op = self.next()
        name = self.next()
        if name[0] != "@":
            raise UnreadableError
        self.need("{")
        key, statements = self.keyed()
        data = self.expression() if self.has(":") else None
        self.need("}")
        if data is not None:
            return {"map": {"op": op, "elem": key, "data": data, "map": name}}
        return {"set": {"op": op, "elem": key, "set": name} | ({"stmt": statements} if statements else {})}

    def old_update(self) -> object:
        """`set add key @name`, of before nft 0.9."""
        self.next()
        op = self.one_of(frozenset({"add", "update", "delete"}))
        key, statements = self.keyed()
        return {"set": {"op": op, "elem": key, "set": self.next()} | ({"stmt": statements} if statements else {})}

    def keyed(self) -> tuple[object, list[object]]:
        key = self.concatenation()
        options: dict[str, object] = {}
        while self.now in ("timeout", "expires", "comment"):
            self.element_option(options)
        statements: list[object] = []
        while self.now not in ("}", ":") and self.now[:1] != "@":
            statements.append(self.statement())
        return ({"elem": {"val": key, **options}} if options else key), statements

    def meter(self) -> object:
        self.next()
        return self.metered(self.name())

    def metered(self, name: str) -> object:
        if self.has("size"):
            self.number()
        self.need("{")
        key, statements = self.keyed()
        self.need("}")
        if len(statements) != 1:
            raise UnreadableError
        return {"meter": {"key": key, "stmt": statements[0], "name": name}}

    def reset(self) -> object:
        self.next()
        return {"reset": self.selector()}

    def xtables(self) -> object:
        self.next()
        return {"xt": {"type": self.one_of(frozenset({"match", "target", "watcher"})), "name": self.name()}}


def _match(op: str, left: object, right: object) -> object:
    return {"match": {"op": op, "left": left, "right": right}}


def _is_sign(word: str) -> bool:
    return word in (".", "-", ":") or word[0] in _NO_CONSTANT


_ELEMENT_OPTIONS = frozenset({"timeout", "expires", "comment", "counter", "limit", "quota", "ct", "last"})
_VERDICTS = _PLAIN_VERDICTS | {"jump", "goto"}

_SELECTORS: dict[str, Callable[[Grammar, str], object]] = {
    **dict.fromkeys(_FIELDS, Grammar.payload),
    **dict.fromkeys(_EXTENSIONS, Grammar.extension),
    "exthdr": Grammar.extension,
    "rt": Grammar.route,
    "meta": Grammar.meta,
    "ct": Grammar.ct,
    "fib": Grammar.fib,
    "socket": Grammar.socket,
    "osf": Grammar.osf,
    "ipsec": Grammar.ipsec,
    "numgen": Grammar.numgen,
    "jhash": Grammar.jhash,
    "symhash": Grammar.symhash,
}

_STATEMENTS: dict[str, Callable[[Grammar], object]] = {
    "limit": Grammar.limit,
    "quota": Grammar.quota,
    "ct": Grammar.connection,
    "counter": Grammar.counter,
    "last": Grammar.last,
    "log": Grammar.log,
    "reject": Grammar.reject,
    **dict.fromkeys(("snat", "dnat", "masquerade", "redirect", "tproxy"), Grammar.translation),
    "queue": Grammar.queue,
    **dict.fromkeys(("dup", "fwd"), Grammar.copy),
    "notrack": Grammar.notrack,
    "flow": Grammar.flow,
    "synproxy": Grammar.synproxy,
    **dict.fromkeys(("add", "update", "delete"), Grammar.update),
    "set": Grammar.old_update,
    "meter": Grammar.meter,
    "reset": Grammar.reset,
    "xt": Grammar.xtables,
    **dict.fromkeys(("jump", "goto"), Grammar.verdict),
}
