"""Tables: address sets, in which the most specific entry decides."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.backends.pf.cursor import Cursor, NotReadError
from portgate.core.bsd import SRC, address_interval
from portgate.core.net import Family, Interval, Intervals, normalize, subtract
from portgate.core.ruleset import Element, NamedSet

Entry = tuple[bool, Family, Interval]


def table(cursor: Cursor) -> tuple[str, tuple[NamedSet, ...]]:
    """A `table` statement after its first word: the name, and a set for each family that it has.

    A table whose contents are not all in the text is dynamic.
    """
    entries: list[Entry] = []
    name, known = "", False
    try:
        cursor.expect("<")
        name = cursor.take()
        cursor.expect(">")
        known = _read(cursor, entries)
    except NotReadError:
        known = False
    families = [family for family in Family if any(entry[1] is family for entry in entries)]
    if not known:
        families = list(Family)
    return name, tuple(_set(name, family, entries, single=len(families) < 2, known=known) for family in families)


def _read(cursor: Cursor, entries: list[Entry]) -> bool:
    """Whether the text tells all that is in the table."""
    told, known = False, True
    while not cursor.done():
        word = cursor.accept("persist", "const", "counters")
        if cursor.accept("file"):
            cursor.take()
            known = False
        elif not word:
            told = True
            known = all(cursor.listed(lambda: _entry(cursor, entries))) and known
    return told and known


def _entry(cursor: Cursor, entries: list[Entry]) -> bool:
    negated = bool(cursor.accept("!"))
    text = " ".join(cursor.parenthesised()) or cursor.take()
    if cursor.accept("/"):
        text += "/" + cursor.take()
    if cursor.accept("-"):
        text += " - " + cursor.take()
    found = address_interval(text)
    if found is not None:
        entries.append((not negated, *found))
    return found is not None


def _set(name: str, family: Family, entries: list[Entry], *, single: bool, known: bool) -> NamedSet:
    """No table can have a name with a colon, so the second family's set has one of its own."""
    own = name if single or family is Family.IPV4 else f"{name}:6"
    elements = tuple(Element((interval,)) for interval in _decided(family, entries))
    return NamedSet(own, (SRC[family],), elements, dynamic=not known)


def _decided(family: Family, entries: list[Entry]) -> Intervals:
    """What the positive entries cover and no more specific negative one excludes."""
    found: Intervals = ()
    sizes = sorted({last - first for _, of, (first, last) in entries if of is family}, reverse=True)
    by_size = {size: [] for size in sizes}  # type: dict[int, list[tuple[bool, Interval]]]
    for positive, of, (first, last) in entries:
        if of is family:
            by_size[last - first].append((positive, (first, last)))
    for size in sizes:
        found = normalize((*found, *_of_sign(by_size[size], True)))
        found = subtract(found, normalize(_of_sign(by_size[size], False)))
    return found


def _of_sign(entries: list[tuple[bool, Interval]], sign: bool) -> Iterator[Interval]:
    return (interval for positive, interval in entries if positive is sign)
