"""The contract of a source of sockets, and how sources are found.

A source is a file `portgate/sockets/NAME.py` with the two names of `Source`. It is pure: text in, listeners out. The kinds
of reading that it parses are called NAME, or NAME and more behind a hyphen, so that only what is needed is imported.
Nothing else in portgate names a source, so adding one is adding a file. What reads a live host is in `live/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Protocol, cast

from portgate.core.capture import Reading
from portgate.core.dataclasses import replace
from portgate.core.listener import Listener, Sockets

_NO_OWNERS = "PG440"


class Source(Protocol):
    """One format in which a host tells of its sockets."""

    KINDS: tuple[str, ...]

    def parse(self, reading: Reading) -> Sockets:
        """All listeners in it. Errors: PortgateError when portgate wrote the text and it was damaged since.

        Text that somebody else's program wrote never fails: what is not understood becomes a note.
        """


def sources() -> dict[str, Source]:
    """Every source, by the kinds of reading that it parses."""
    return {kind: source for source in map(_source, _names()) for kind in source.KINDS}


def source_of(kind: str) -> Source | None:
    """The source of a kind of reading; None where that tells of no sockets."""
    name = kind.partition("-")[0]
    source = _source(name) if name in _names() else None
    return source if source and kind in source.KINDS else None


@cache
def _names() -> tuple[str, ...]:
    found = (os.path.splitext(one) for one in os.listdir(os.path.dirname(__file__)))
    return tuple(sorted(name for name, kind in found if kind == ".py" and name != "__init__"))


def _source(name: str) -> Source:
    return cast(Source, import_module(f"{__name__}.{name}"))


def parse(readings: Iterable[Reading]) -> Sockets:
    """What listens, from all readings that tell of sockets; other readings are passed over."""
    parts = [source.parse(one) for one in readings if (source := source_of(one.kind))]
    if len(parts) == 1:
        return parts[0]
    listeners: tuple[Listener, ...] = ()
    for part in parts:
        listeners = _together(listeners, part.listeners)
    unowned = not all(one.processes for one in listeners)
    told = chain.from_iterable(part.notes for part in parts)
    notes = dict.fromkeys(one for one in told if unowned or one.code != _NO_OWNERS)
    return Sockets(tuple(sorted(listeners, key=lambda one: one.sort_key)), tuple(notes))


def _together(known: tuple[Listener, ...], more: tuple[Listener, ...]) -> tuple[Listener, ...]:
    """What two programs tell of one host. A socket that both list is one, with the owners that either names."""
    told = {_place(one): one for one in more}
    both = (_united(one, told[_place(one)]) if _place(one) in told else one for one in known)
    places = {_place(one) for one in known}
    return (*both, *(one for one in more if _place(one) not in places))


def _place(one: Listener) -> tuple[object, ...]:
    return one.kind, one.protocol, one.family, one.address, one.port, one.device


def _united(one: Listener, other: Listener) -> Listener:
    return replace(one, dual=one.dual or other.dual, processes=one.processes or other.processes)
