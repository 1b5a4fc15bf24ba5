"""Lines as commands of ipfw: a script for /bin/sh, or a file for `ipfw -q FILE`.

Theory
    The new rules are added to a set that is disabled, which then changes places with the set in force, at once. So a
    command that fails leaves the old rules as they were. The old ones stay in the spare set, disabled, until the next
    load, because states end with the rule that made them. Names of tables hold a checksum of what is in them, so no
    table that is in use is ever changed.

Facts (ipfw and kernel of FreeBSD 12.1)
    States are found by their name whatever the set of their rule, also a disabled one; so connections go on after the
    swap. A rule that keeps states without `setup` makes a lost state again. `fwd` to this host delivers a connection to
    another port, and leaves its addresses as they are; only TCP answers from the port that was asked.
    `set move rule` of a rule that is not there is no error, `delete` of one is. A `#` begins a comment anywhere in
    a file. A file's line is read 4095 bytes at a time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import count
from types import MappingProxyType
from zlib import crc32

from portgate.backends.ipfw import FLOW, GUARD, GUARD_NUMBER, LIVE, MARK, SPARE, TABLES
from portgate.core.bsd import HOME, LOOPBACK
from portgate.core.capture import Artifact, Reading
from portgate.core.compile import MESSAGES
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.lowering import LOCAL, Address, Line, Lines, in_place, lines, refuse, short_name
from portgate.core.net import (
    ICMP,
    ICMPV6,
    TCP,
    Family,
    Intervals,
    format_address,
    interface_interval,
    interface_pattern,
    normalize,
    prefixes,
    subtract,
)
from portgate.core.ruleset import Accept, All, Drop, Field, Reject, Ruleset, Test

DIALECTS = ("sh", "file")
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 58: "ipv6-icmp", 132: "sctp"}
LO = interface_interval("lo")
FIRST, STEP = 1000, 10  # numbers of our rules
MOST_PORTS = 30  # of a rule, as ipfw(8) has it
DHCP = [((one, one), ((other, other),)) for one, other in ((67, 68), (68, 67), (546, 547), (547, 546))]
A_LINE = 8  # entries of a table that are added at once

Words = tuple[str, ...]
Tables = dict[tuple[str, Family, Intervals], str]
Contents = Mapping[str, list[Intervals]]
NO_TABLES: Contents = MappingProxyType({})

_HEADER = {
    "sh": """#!/bin/sh
# Made by portgate from its policy. Edits are overwritten by the next apply.
# Run it as root. A command that fails ends it, with the old rules in force.
set -e
""",
    "file": """# Made by portgate from its policy. Edits are overwritten by the next apply.
# Load it as root, by its absolute path:
#     ipfw -q FILE
""",
}


def emit(desired: Ruleset, dialect: str, live: Contents = NO_TABLES) -> Artifact:
    """All commands that make `desired` true. `live` is what tables of ours hold on the host, by their names.

    Errors: PG303 for an unknown dialect, PG302 for what ipfw can't say.
    """
    if dialect not in DIALECTS:
        remedy = f"the dialects are {', '.join(DIALECTS)}"
        raise PortgateError(Diagnostic("PG303", f"ipfw has no dialect {dialect!r}", remedy=remedy))
    own = lines(desired, plain_name)
    return _artifact(_removal() if own is None else _Commands(own, live).all(), dialect)


def transaction(observed: Ruleset, desired: Ruleset) -> Artifact | None:
    """The commands that replace what is ours as a whole; None when what is there means the same."""
    return None if same(_known(observed), lines(desired, plain_name)) else emit(desired, "file", _contents(observed))


def restoring(own: Reading) -> Artifact:
    """The rules and tables that are listed in a reading, as they were."""
    found = own.text.splitlines()
    if not found:
        return _artifact(_removal(), "file")
    tables: list[Words] = []
    rules: list[Words] = []
    table = ""
    for line in found:
        header = _TABLE_LISTED.match(line)
        rule = _RULE_LISTED.match(line)
        if header:
            table = header[1]
            tables.append(("table", table, "create", "type", "addr", "missing"))
        elif rule and int(rule[2]) == LIVE:
            rules.append(("add", rule[1], "set", str(SPARE), *rule[3].replace(" proto ip", " ip").split()))
        elif not rule and line.split():
            tables.append(("table", table, "add", line.split()[0]))
    return _artifact(_loading(tables, rules), "file")


_TABLE_LISTED = re.compile(r"--- table\(([A-Za-z0-9_.-]+)\)")
_RULE_LISTED = re.compile(r"(\d{1,5}) set (\d+) (.*)")


def same(old: Lines | None, new: Lines | None) -> bool:
    """Whether the rules of both are the same, one by one."""
    if old is None or new is None:
        return old is new
    return _told(old) == _told(new)


def _told(own: Lines) -> tuple[object, ...]:
    inbound = in_place(own)
    used = {end for line in (*inbound, *own.outbound) for end in (line.src, line.dst)}
    return inbound, own.outbound, [one for one in own.tables if one[0] in used]


def _known(observed: Ruleset) -> Lines | None:
    """What is there; nothing that portgate would write, when somebody else has changed our set."""
    try:
        return lines(observed, plain_name)
    except PortgateError:
        return Lines()


def _contents(observed: Ruleset) -> Contents:
    found: dict[str, list[Intervals]] = {}
    for one in (table for container in observed.owned().containers for table in container.sets):
        values = normalize(element.box[0] for element in one.elements)
        found.setdefault(one.name.removesuffix(":6"), []).append(values)
    return found


def table_name(name: str, family: Family, values: Intervals, salt: int = 0) -> str:
    """The native name of a table, which tells its content. `salt` makes another one of it."""
    return f"{TABLES}{name}-{crc32(repr((int(family), values, salt)).encode()):08x}"


def plain_name(name: str) -> str:
    """What a native name was made of; other names as they are, so far as ipfw takes them."""
    found = _TABLE_NAME.fullmatch(name)
    return found[1] if found else short_name(name)


_TABLE_NAME = re.compile(re.escape(TABLES) + "(.+)-[0-9a-f]{8}(?::6)?")


# ------------------------------------------------------------------ texts


def _artifact(commands: Iterator[Words], dialect: str) -> Artifact:
    start = "ipfw -q " if dialect == "sh" else ""
    word = shlex.quote if dialect == "sh" else str
    body = "".join(f"{start}{' '.join(map(word, one))}\n" for one in commands)
    return Artifact("ipfw", _HEADER[dialect] + body, dialect)


def _loading(tables: list[Words], rules: list[Words]) -> Iterator[Words]:
    """The guard keeps open connections open, should somebody flush all other rules."""
    spare = str(SPARE)
    yield ("set", "disable", spare)
    yield ("set", "move", "rule", str(GUARD_NUMBER), "to", spare)
    yield ("delete", "set", spare)
    guard = "allow tcp from any to any established"
    yield ("add", str(GUARD_NUMBER), "set", str(GUARD), *guard.split(), "//", f"{MARK}guard")
    yield from tables
    yield from rules
    yield ("set", "swap", str(LIVE), spare)


def _removal() -> Iterator[Words]:
    yield ("set", "disable", str(SPARE))
    yield ("set", "move", "rule", str(GUARD_NUMBER), "to", str(SPARE))
    yield ("delete", "set", str(LIVE), str(SPARE))


# ------------------------------------------------------------------ rules


class _Commands:
    """Collects tables while lines are written."""

    def __init__(self, own: Lines, live: Contents) -> None:
        self.own = own
        self.live = live
        self.named = {name: (family, values) for name, family, values in own.tables}
        self.tables: Tables = {}

    def all(self) -> Iterator[Words]:
        rules: list[Words] = [("check-state", FLOW, "//", f"{MARK}established")]
        rules += [words for line in in_place(self.own) for words in self._rules(line, "in")]
        rules += [words for line in self.own.outbound for words in self._rules(line, "out")]
        yield from _loading(list(self._filled()), list(_numbered(rules)))

    def _filled(self) -> Iterator[Words]:
        for (_, family, values), name in sorted(self.tables.items(), key=lambda item: item[1]):
            yield ("table", name, "create", "type", "addr", "missing")
            entries = [_prefix(family, *one) for interval in values for one in prefixes(family, interval)]
            for at in range(0, len(entries), A_LINE):
                pairs = [word for entry in entries[at : at + A_LINE] for word in (entry, "0")]
                yield ("table", name, "add", *pairs)

    def _rules(self, line: Line, direction: str) -> Iterator[Words]:
        if len(line.dports) <= MOST_PORTS:
            yield tuple(self._words(line, direction))
            return
        for at in range(0, len(line.dports), MOST_PORTS):
            yield tuple(self._words(replace(line, dports=line.dports[at : at + MOST_PORTS]), direction))

    def _words(self, line: Line, direction: str) -> Iterator[str]:
        yield from _action(line)
        if line.log:
            yield "log"
        yield _protocol(line)
        yield from ("from", self._address(line.src, line))
        if line.sport is not None:
            yield _ranges((line.sport,))
        yield from ("to", self._address(line.dst, line))
        if line.dports:
            yield _ranges(line.dports)
        yield direction
        if line.interface is not None:
            yield from ("recv" if direction == "in" else "xmit", _interface(line))
        yield from _family(line)
        yield from _icmp_types(line)
        if _keeps_state(line):
            yield from ("keep-state", FLOW)
        yield from ("//", f"{MARK}{line.label}")

    def _address(self, address: Address | None, line: Line) -> str:
        """One prefix as it is; anything else is a table."""
        if address is None:
            return "any"
        if address == LOCAL:
            return "me6" if line.family is Family.IPV6 else "me"
        if line.family is None:
            raise TypeError("a line with an address names its family")
        if isinstance(address, str):
            return self._table(address, *self.named[address])
        found = list(prefixes(line.family, address))
        return _prefix(line.family, *found[0]) if len(found) == 1 else self._table("range", line.family, (address,))

    def _table(self, name: str, family: Family, values: Intervals) -> str:
        native = next(
            one
            for one in (table_name(name, family, values, salt) for salt in count())
            if self.live.get(one, [values]) == [values]
        )
        self.tables[name, family, values] = native
        return f"table({native})"


def _numbered(rules: list[Words]) -> Iterator[Words]:
    step = STEP if FIRST + STEP * len(rules) < GUARD_NUMBER else 1
    if FIRST + step * len(rules) >= GUARD_NUMBER:
        detail = f"{len(rules)} rules, and ipfw has no more than {GUARD_NUMBER - FIRST} numbers for them"
        raise PortgateError(Diagnostic("PG302", detail, remedy="use another backend, or fewer grants"))
    for index, words in enumerate(rules):
        yield ("add", str(FIRST + step * index), "set", str(SPARE), *words)


def _action(line: Line) -> Iterator[str]:
    match line.action:
        case Accept() if line.limit is None:
            yield "allow"
        case Drop():
            yield "deny"
        case Reject():
            yield from ("unreach", "port")
        case (None, int(port)) if line.protocol == TCP and line.family is not None:
            yield from ("fwd", f"{format_address(line.family, HOME[line.family][0])},{port}")
        case _:
            refuse("a rate limit, or a translation other than of TCP to a port of this host", line)


def _protocol(line: Line) -> str:
    if line.protocol is None:
        return "ip" if line.family is None else f"ip{int(line.family)}"
    if line.protocol == 0:
        refuse("protocol 0, which ipfw takes for any", line)
    return PROTOCOLS.get(line.protocol, str(line.protocol))


def _family(line: Line) -> Iterator[str]:
    """The family, where nothing else in the rule tells it."""
    told = (line.src, line.dst) if line.family is Family.IPV6 else tuple({line.src, line.dst} - {LOCAL})
    if line.family is not None and line.protocol is not None and not any(told) and not line.icmp_types:
        yield f"ip{int(line.family)}"


def _interface(line: Line) -> str:
    """A name or a beginning of names that ipfw takes for just that."""
    if line.interface == LO:
        return LOOPBACK
    name = interface_pattern(line.interface or LO) or ""
    plain = all(one.isascii() and (one.isalnum() or one in "._-") for one in name.removesuffix("*"))
    if not plain or not name[:1].isalpha() or name == "any":
        refuse(f"ipfw can't be told the interface {name!r}", line)
    return name


def _ranges(values: Intervals) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in values)


def _prefix(family: Family, network: int, length: int) -> str:
    return f"{format_address(family, network)}{'' if length == family.bits else f'/{length}'}"


def _icmp_types(line: Line) -> Iterator[str]:
    if not line.icmp_types:
        return
    word, top = ("icmptypes", 31) if line.protocol == ICMP else ("icmp6types", 201)
    if line.icmp_types[-1][1] > top:
        refuse(f"an ICMP type above {top}", line)
    yield from (word, ",".join(str(one) for first, last in line.icmp_types for one in range(first, last + 1)))


def _keeps_state(line: Line) -> bool:
    """What passes both ways anyway needs none. A state that an ICMP error made would let all other ICMP through."""
    if isinstance(line.action, Drop | Reject) or line.interface == LO or (line.sport, line.dports) in DHCP:
        return False
    return not line.icmp_types or bool(subtract(line.icmp_types, _MESSAGES.get(line.protocol or 0, ())))


def _types_of(protocol: int) -> Intervals:
    """The ICMP messages that pass both ways, whatever a policy says."""
    mine = Test(Field.PROTOCOL, ((protocol, protocol),))
    parts = [part for one in MESSAGES if isinstance(one, All) and mine in one.matches for part in one.matches]
    tests = [part for part in parts if isinstance(part, Test) and part.field is Field.ICMP_TYPE]
    return normalize(interval for part in tests for interval in part.values)


_MESSAGES: dict[int, Intervals] = {protocol: _types_of(protocol) for protocol in (ICMP, ICMPV6)}
