"""The iptables listings of a live host: both stores, both families, and the sets that they look up.

Facts
    Legacy tables are those that /proc/net/ip_tables_names lists: asking a legacy program for others would load their modules.
    They can be there although the host has no legacy program: a container that shares its network made them.
    `iptables-nft-save` makes the standard chains of no table, and says of tables that it can't show only a comment (1.8.9).
    Its rules stand in tables of their own names, which nft lists, too; sets of ipset are looked up by rules of iptables only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from portgate import programs
from portgate.core.capture import Capture, Reading
from portgate.core.diagnostics import Diagnostic

_LIBRARY = os.path.join(os.path.dirname(__file__), "library.py")
_REMEDY = (
    "install iptables-legacy-save (`apt install iptables`), or python-iptables (`pip install 'portgate[iptables]'`)"
)
_NAMES = "(?:filter|nat|mangle|raw|security)"
_TABLES = re.compile(rf'"name":\s*"{_NAMES}"|^table ip6? {_NAMES}\b', re.MULTILINE)
_SETS = re.compile(r"^-A .* --(?:match|add|del|map)-set ", re.MULTILINE)
_CHANGING = re.compile(r"^#.*\n|(?<=^:)(.+) \[\d+:\d+\]$", re.MULTILINE)


def capture(others: Sequence[Reading] = ()) -> Capture:
    """Listings that are empty are left out, and what no rule needs; what could not be read is a note. For `others` see `Reader`."""
    found, notes = _listed(_saves(others))
    if any(_SETS.search(one.text) for one in found):
        sets, more = _listed(_command("ipset", "ipset", "save"))
        found, notes = [*found, *sets], [*notes, *more]
    return Capture(tuple(found), tuple(notes))


def _listed(commands: Iterable[tuple[str, list[str]]]) -> tuple[list[Reading], list[Diagnostic]]:
    readings: list[Reading] = []
    notes: list[Diagnostic] = []
    for kind, argv in commands:
        if not argv:
            notes.append(
                Diagnostic("PG421", "there are legacy rules of iptables, and nothing that lists them", remedy=_REMEDY)
            )
            continue
        try:
            text = steady(programs.run(argv))
        except programs.ProgramError as error:
            notes.append(Diagnostic("PG421", f"{' '.join(argv)}: {error}"))
            continue
        readings.append(Reading(kind, text, " ".join(argv)))
    return [one for one in readings if one.text.strip()], notes


def _saves(others: Sequence[Reading]) -> Iterator[tuple[str, list[str]]]:
    listings = [one.text for one in others if one.kind.startswith("nft")]
    in_nft = not listings or any(map(_TABLES.search, listings))
    for family in ("ip", "ip6"):
        if has_legacy_tables(family):
            yield f"{family}tables-legacy-save", _legacy(family)
        if in_nft:
            yield from _command(f"{family}tables-save", f"{family}tables-nft-save")


def _legacy(family: str) -> list[str]:
    """What lists the legacy tables of a family; nothing when the host has neither the program nor python-iptables."""
    if path := programs.find(f"{family}tables-legacy-save"):
        return [path]
    from importlib.util import find_spec

    return [sys.executable, "-I", _LIBRARY, family] if find_spec("iptc") else []


def has_legacy_tables(family: str) -> bool:
    """Also when it can't be known: then the program may say why."""
    try:
        with open(f"/proc/thread-self/net/{family}_tables_names") as names:
            return bool(names.read().strip())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _command(kind: str, program: str, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Nothing when the host does not have the program."""
    if path := programs.find(program):
        yield kind, [path, *arguments]


def steady(listing: str) -> str:
    """Without comments, which have dates, and counters."""
    return _CHANGING.sub(r"\1", listing)
