"""Named sets and maps, and the maps written in rules: libnftables JSON -> boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from operator import itemgetter

from portgate.backends.nftables import matches, values
from portgate.backends.nftables.values import DataType, NotUnderstoodError
from portgate.core.dataclasses import dataclass
from portgate.core.net import normalize
from portgate.core.ruleset import Box, Element, Field, NamedSet


@dataclass(frozen=True, slots=True)
class Table:
    """A map's keys with their native data, in order. `otherwise` is the data of all other keys (`*`), if any."""

    entries: tuple[tuple[Box, object], ...]
    otherwise: tuple[object, ...] = ()


def named_set(body: Mapping[str, object], family: str, dynamic: bool) -> NamedSet:
    """Errors: NotUnderstoodError, when one element or the type is not understood."""
    fields, types = key_types(body.get("type"), family)
    elements = [one for item in values.as_list(body.get("elem")) for one in _elements(types, item)]
    comment = body.get("comment")
    return NamedSet(
        str(body.get("name")),
        fields,
        _disjoint(elements),
        dynamic,
        comment if isinstance(comment, str) else "",
        ("timeout" in body or "timeout" in values.as_list(body.get("flags"))) and not dynamic,
    )


def has_conditions(body: Mapping[str, object]) -> bool:
    """Whether elements hold a limit or the like, so that finding one is not all that a lookup needs."""
    owners = [
        body,
        *(item["elem"] for item in values.as_list(body.get("elem")) if isinstance(item, dict) and "elem" in item),
    ]
    return any(isinstance(one, dict) and not _CONDITIONS.isdisjoint(_kinds(one)) for one in owners)


_CONDITIONS = frozenset({"limit", "quota", "ct count"})


def _kinds(owner: Mapping[str, object]) -> Iterator[str]:
    yield from owner
    for statement in values.as_list(owner.get("stmt")):
        if isinstance(statement, dict):
            yield from statement


def key_types(written: object, family: str) -> tuple[tuple[Field, ...], tuple[DataType, ...]]:
    """Of `type` (names) or `typeof` (an expression). Errors: NotUnderstoodError."""
    match written:
        case {"typeof": expression}:
            types = tuple(one.type for one in matches.operands(expression, family))
            return tuple(one.field for one in types), types
        case str() | [*_]:
            names = values.as_list(written)
            types = tuple(values.TYPES[name] for name in names if isinstance(name, str) and name in values.TYPES)
            if types and len(types) == len(names):
                return tuple(one.field for one in types), types
    raise NotUnderstoodError("a set of an unknown type")


def _elements(types: tuple[DataType, ...], item: object) -> Iterable[Element]:
    if isinstance(item, values.Run):
        from portgate.backends.nftables.bulk import elements

        return elements(types, item)
    one = _element(types, item)
    return () if values.is_empty(one.box) else (one,)


def _element(types: tuple[DataType, ...], item: object) -> Element:
    match item:
        case {"elem": {"val": value, **rest}}:
            comment, expires = rest.get("comment"), rest.get("expires", rest.get("timeout"))
            return Element(
                values.box(types, value),
                comment if isinstance(comment, str) else "",
                expires if isinstance(expires, int) else None,
            )
    return Element(values.box(types, item))


def _disjoint(elements: list[Element]) -> tuple[Element, ...]:
    """In order. The kernel keeps elements disjoint; a script with `auto-merge`, and `*`, need not."""
    ordered = sorted(elements, key=itemgetter(0))
    intervals = [box[0] for box, _, _ in ordered if len(box) == 1]
    if any(last >= first for (_, last), (first, _) in pairwise(intervals)):
        return tuple(Element((interval,)) for interval in normalize(one.box[0] for one in ordered))
    return tuple(ordered)


def table(types: tuple[DataType, ...], pairs: object) -> Table:
    """The `[key, data]` pairs of a map. Errors: NotUnderstoodError."""
    entries: list[tuple[Box, object]] = []
    otherwise: tuple[object, ...] = ()
    for pair in values.as_list(pairs):
        match pair:
            case ["*" | {"elem": {"val": "*"}}, data]:
                otherwise = (data,)
            case [key, data]:
                box = values.box(types, key)
                if not values.is_empty(box):
                    entries.append((box, data))
            case _:
                raise NotUnderstoodError("a map of an unknown form")
    return Table(tuple(sorted(entries, key=itemgetter(0))), otherwise)
