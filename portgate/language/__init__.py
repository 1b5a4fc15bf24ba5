"""The policy language: YAML text to a Policy, with every mistake at its place.

Rules of this package
    No file access: the caller injects `read`. Nothing raises on any input; what is wrong becomes a Diagnostic.
    The way of a policy: bytes -> text.py -> nodes.py (YAML with places) -> files.py (includes united) -> names.py (zones, address sets,
    services) -> entries.py (grants with all names resolved). grammar.py lists the keys, values.py knows the scalars.
"""

from __future__ import annotations

import gc
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from types import MappingProxyType

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, errors
from portgate.core.policy import Containers, Default, Policy
from portgate.language import grammar, values
from portgate.language.entries import Entries
from portgate.language.files import Files
from portgate.language.mistakes import Mistakes
from portgate.language.names import Names
from portgate.language.records import Records

MANY = 20_000  # objects that the collector would take more than a millisecond to walk


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a policy file.

    **Shape** `policy` is None when there are errors. `sources` are texts by file name, for showing diagnostics: all policy files,
    and the address files that have mistakes.
    """

    policy: Policy | None
    diagnostics: tuple[Diagnostic, ...]
    sources: Mapping[str, str]


def load(path: str, read: Callable[[str], bytes], today: date) -> Loaded:
    """Reads a policy with its includes and address files. Never raises.

    **Errors** `read` says with OSError that a file can't be read; that becomes a diagnostic.
    """
    mistakes = Mistakes()
    files = Files(read, mistakes)
    with _collector_off():
        policy = _policy(path, files, mistakes, today)
    found = mistakes.found(order=files.policies)
    return Loaded(None if errors(found) else policy, found, MappingProxyType(files.sources))


@contextmanager
def _collector_off() -> Iterator[None]:
    """While many small objects are built, the cyclic collector would walk all of them again and again, in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] > MANY:
                _call_them_old()
            gc.enable()


def _call_them_old() -> None:
    """Moves what was built past the young generations, lest the collector walk it at once: freezing and thawing does that.

    It also begins the count anew after which all generations are collected, so it is for large policies only: a process that loads
    small ones again and again would keep its garbage.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def _policy(path: str, files: Files, mistakes: Mistakes, today: date) -> Policy | None:
    """With gaps, if there were mistakes."""
    root = files.gather(path)
    if root is None:
        return None
    records = Records(mistakes)
    fields = records.fields(root, grammar.POLICY) or {}
    if "portgate" in fields:
        records.scalar(fields["portgate"][1], values.version)
    names = Names(root, files, records, mistakes)
    entries = Entries(names, records, mistakes, today)
    return Policy(
        name=records.optional(fields, "name", values.prose) or _stem(files.policies[0]),
        description=records.optional(fields, "description", values.prose) or "",
        inbound=entries.rulebook(fields.get("inbound"), grammar.INBOUND, Default.DROP),
        outbound=entries.rulebook(fields.get("outbound"), grammar.OUTBOUND, Default.ACCEPT),
        forwards=entries.forwards(fields.get("forward")),
        management=entries.management(fields.get("management")),
        containers=Containers(records.word(fields.get("containers"), tuple(Containers), Containers.IGNORE)),
        expectations=entries.expectations(fields.get("expect")),
        files=tuple(files.policies),
        zones=names.zones(),
    )


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
