"""The iptables listings of a live host: both stores, both families, and the sets that they look up.

Facts
    A host without these programs has no such rules that anybody could have made: that is no error. Legacy tables are those
    that /proc/net/ip_tables_names lists: asking a legacy program for others would load their modules.
    `iptables-nft-save` makes the standard chains of no table, and says of tables that it can't show only a comment (1.8.9).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from portgate.core.capture import Capture, Reading
from portgate.core.diagnostics import Diagnostic

FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin")
PATIENCE = 30  # seconds
_CHANGING = re.compile(r"^#.*\n|(?<=^:)(.+) \[\d+:\d+\]$", re.MULTILINE)


def capture() -> Capture:
    """Listings that are empty are left out; what could not be read is a note."""
    readings: list[Reading] = []
    notes: list[Diagnostic] = []
    for kind, argv in (*_saves(), *_command("ipset", "ipset", "save")):
        try:
            text = _run(argv)
        except (OSError, subprocess.SubprocessError) as error:
            notes.append(Diagnostic("PG421", f"{' '.join(argv)}: {_why(error)}"))
            continue
        if text.strip():
            readings.append(Reading(kind, text, " ".join(argv)))
    return Capture(tuple(readings), tuple(notes))


def _saves() -> Iterator[tuple[str, list[str]]]:
    for family in ("ip", "ip6"):
        if _has_legacy_tables(family):
            yield from _command(f"{family}tables-legacy-save", f"{family}tables-legacy-save")
        yield from _command(f"{family}tables-save", f"{family}tables-nft-save")


def _has_legacy_tables(family: str) -> bool:
    """Also when it can't be known: then the program may say why."""
    try:
        return bool(Path(f"/proc/thread-self/net/{family}_tables_names").read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _command(kind: str, program: str, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Nothing when the host does not have the program."""
    paths = (Path(folder, program) for folder in FOLDERS)
    yield from ((kind, [str(path), *arguments]) for path in islice(filter(Path.is_file, paths), 1))


def _run(argv: list[str]) -> str:
    """What the program prints, but for comments, which have dates, and counters."""
    path = ":".join(FOLDERS)
    done = subprocess.run(argv, capture_output=True, check=True, timeout=PATIENCE, env={"LC_ALL": "C", "PATH": path})
    return _CHANGING.sub(r"\1", done.stdout.decode("utf-8", "backslashreplace"))


def _why(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[0] if said else f"exit status {error.returncode}"
    return str(error.strerror) if isinstance(error, OSError) else f"no answer in {PATIENCE} seconds"
