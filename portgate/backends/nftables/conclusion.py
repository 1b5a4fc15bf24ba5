"""What is in a table of ours that nobody has changed since it was loaded: its listing without elements, and the elements that were loaded.

Theory
    The kernel counts the transactions of a network namespace. If the count is still the one after our last apply, which was proven, the sets hold what that
    apply put into them, but for what expires and what rules add. To list a million elements takes the kernel minutes, for it walks the whole
    set anew for each 32 KiB. So rules with their handles and counters are read, sets that change by themselves as well, and long lists are concluded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from portgate.backends.nftables import TABLE

_OWN = re.compile(rf"^table {TABLE} \{{.*?^\}}\n", re.MULTILINE | re.DOTALL)
_SET = re.compile(r"^\tset (\w+) \{.*\n((?:\t\t.*\n)*)\t\}\n", re.MULTILINE)
_CHANGING = re.compile(r"^\t\tflags .*\b(?:timeout|dynamic)\b", re.MULTILINE)


def own_table(outline: str) -> str | None:
    """Our table as a listing of several tables has it."""
    found = _OWN.search(outline)
    return found and found[0]


def completed(table: str, loaded: str, listed: Callable[[str], str]) -> str | None:
    """A table of ours that is listed without elements, with its elements; None where it can't have been made by the script `loaded`.

    `listed` gives the listing of one set.
    """
    found = list(_SET.finditer(table))
    blocks = [_completed(one, loaded, listed) for one in found]
    if not found or None in blocks:
        return None
    between = zip([0, *(one.end() for one in found)], [*(one.start() for one in found), len(table)], strict=True)
    parts = [table[start:end] for start, end in between]
    return parts[0] + "".join(f"{block}{rest}" for block, rest in zip(blocks, parts[1:], strict=True))


def _completed(found: re.Match[str], loaded: str, listed: Callable[[str], str]) -> str | None:
    name, body = found.groups()
    if _CHANGING.search(body):
        now = _SET.search(listed(name))
        return now and now[0]
    start = loaded.find(f"\n\tset {name} {{\n")
    end = loaded.find("\n\t}\n", start)
    if start < 0 or end < 0:
        return None
    elements = loaded.find("\n\t\telements = {\n", start, end)
    return found[0].removesuffix("\t}\n") + (loaded[elements + 1 : end + 1] if elements >= 0 else "") + "\t}\n"
