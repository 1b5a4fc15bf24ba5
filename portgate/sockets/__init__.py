"""The contract of a source of sockets, and how sources are found.

A source is a file `portgate/sockets/NAME.py` with the two names of `Source`. It is pure: text in, listeners out.
Nothing else in portgate names a source, so adding one is adding a file. What reads a live host is in `live/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from itertools import chain
from pkgutil import iter_modules
from typing import Protocol, cast

from portgate.core.capture import Reading
from portgate.core.listener import Sockets


class Source(Protocol):
    """One format in which a host tells of its sockets."""

    KINDS: tuple[str, ...]

    def parse(self, reading: Reading) -> Sockets:
        """All listeners in it. Errors: PortgateError when portgate wrote the text and it was damaged since.

        Text that somebody else's program wrote never fails: what is not understood becomes a note.
        """


@cache
def sources() -> dict[str, Source]:
    """Every source, by the kinds of reading that it parses."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__) if not found.ispkg]
    return {kind: cast(Source, module) for module in modules for kind in module.KINDS}


def parse(readings: Iterable[Reading]) -> Sockets:
    """What listens, from all readings that tell of sockets; other readings are passed over."""
    parts = [sources()[one.kind].parse(one) for one in readings if one.kind in sources()]
    if len(parts) == 1:
        return parts[0]
    listeners = sorted(chain.from_iterable(part.listeners for part in parts), key=lambda one: one.sort_key)
    return Sockets(tuple(listeners), tuple(chain.from_iterable(part.notes for part in parts)))
