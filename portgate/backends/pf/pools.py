"""Where a translation leads: addresses, ports, and how one of several is chosen."""

from __future__ import annotations

from portgate.backends.pf import hosts
from portgate.backends.pf.cursor import Cursor
from portgate.core.bsd import DST, HOME, either
from portgate.core.net import PORT_MAX, Family, Interval
from portgate.core.ruleset import ALWAYS, Dnat, Match, Test

_WORDS = (
    "round-robin", "random", "bitmask", "source-hash", "sticky-address", "static-port", "least-states", "endpoint-independent",
)  # fmt: skip


def pool(cursor: Cursor, family: Family | None) -> tuple[Dnat, ...]:
    """Addresses and ports of a translation. What is not one interval of each may lead anywhere."""
    target = either(cursor.listed(lambda: hosts.hosts(cursor, DST, {})))
    port = hosts.target_ports(cursor) if cursor.accept("port") else None
    words = pool_words(cursor)
    family = family_of(target) or family
    if target == hosts.localhost(DST):
        return (Dnat(family, None, port),)
    if target == ALWAYS or (isinstance(target, Test) and target.values == ((0, target.field.top),)):
        if "bitmask" in words:  # no bit of the address changes
            return (Dnat(family, None, port),)
    elif family and isinstance(target, Test) and target.field is DST[family] and len(target.values) == 1:
        return (Dnat(family, None if target.values[0] == HOME[family] else target.values[0], port),)
    return anywhere(family, port)


def family_of(addresses: Match) -> Family | None:
    """The family of addresses that are known."""
    return next((one for one in Family if isinstance(addresses, Test) and addresses.field is DST[one]), None)


def anywhere(family: Family | None = None, port: Interval | None = (0, PORT_MAX)) -> tuple[Dnat, ...]:
    """A new destination that is not known."""
    return tuple(Dnat(one, (0, one.top), port) for one in ((family,) if family else Family))


def pool_words(cursor: Cursor) -> list[str]:
    """How one of several addresses is chosen. The key of a `source-hash` may be any word."""
    found: list[str] = []
    while word := cursor.accept(*_WORDS):
        found.append(word)
        if word == "source-hash" and not cursor.done() and cursor.peek() not in (*_WORDS, *_AFTER):
            cursor.take()
    return found


_AFTER = (
    "flags", "keep", "modulate", "synproxy", "no", "label", "tag", "tagged", "queue", "set", "port", "to", "from", "in", "out",
    "inet", "inet6", "proto", "all",
)  # fmt: skip
