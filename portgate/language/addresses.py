"""Address files: one address, prefix or range a line, up to millions of them.

Theory
    Nearly all lines of a long list are addresses or prefixes. A block of lines that holds nothing else is read column by
    column; a block with a comment, a range or a mistake is read again line by line.
"""

from __future__ import annotations

import re

from portgate.core.diagnostics import Span
from portgate.core.net import AddressSet, Family, Interval, normalize, parse_prefix, plain_intervals
from portgate.language import values
from portgate.language.mistakes import Mistakes

BLOCK = 1024
SHOWN = 20
_COMMENT = re.compile(r"[#;].*")


def read_lines(text: str, file: str, mistakes: Mistakes) -> AddressSet:
    """The union of all lines; `#` and `;` begin a comment."""
    lines = text.split("\n")
    wrong: list[int] = []
    v4: list[Interval] = []
    v6: list[Interval] = []
    for start in range(0, len(lines), BLOCK):
        block = lines[start : start + BLOCK]
        try:
            _plain_lines(block, v4, v6)
        except (OSError, ValueError, KeyError):
            wrong += (start + offset for offset in _any_lines(block, v4, v6))
    _report(wrong, lines, file, mistakes)
    return AddressSet(normalize(v4), normalize(v6))


def _plain_lines(lines: list[str], v4: list[Interval], v6: list[Interval]) -> None:
    """Appends all, or nothing. Errors: OSError, ValueError or KeyError for what is no address or prefix."""
    found4 = plain_intervals(Family.IPV4, [one for one in lines if ":" not in one])
    found6 = plain_intervals(Family.IPV6, [one for one in lines if ":" in one])
    if any(map(values.is_mapped, found6)):
        raise ValueError
    v6 += found6
    v4 += found4


def _any_lines(lines: list[str], v4: list[Interval], v6: list[Interval]) -> list[int]:
    """Appends what is right, and returns the offsets of the lines that are wrong."""
    wrong: list[int] = []
    for offset, line in enumerate(lines):
        entry = _COMMENT.sub("", line).strip()
        if not entry:
            continue
        try:
            family, interval = parse_prefix(entry)
        except ValueError:
            wrong.append(offset)
            continue
        if family is Family.IPV4:
            v4.append(interval)
        elif values.is_mapped(interval):
            wrong.append(offset)
        else:
            v6.append(interval)
    return wrong


def _report(wrong: list[int], lines: list[str], file: str, mistakes: Mistakes) -> None:
    for index in wrong[:SHOWN]:
        entry = _COMMENT.sub("", lines[index]).strip()
        column = lines[index].index(entry) + 1
        error = values.no_address(entry)
        place = Span(file, index + 1, column, index + 1, column + len(entry))
        mistakes.add(error.code, error.detail, place, error.remedy)
    if len(wrong) > SHOWN:
        place = Span(file, wrong[SHOWN] + 1, 1, wrong[SHOWN] + 1, len(lines[wrong[SHOWN]]) + 1)
        mistakes.add("PG206", f"{len(wrong) - SHOWN:,} more lines of this file are not addresses", place)
