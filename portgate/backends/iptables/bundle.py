"""The text of an artifact: parts for several programs, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from portgate.backends.iptables.parse_options import each_line
from portgate.core.capture import Reading

KIND = "iptables"
PART, SETS = "#: ", "#ipset "
CHANGE = "# This is a change of what was there.\n"
_SAVED = {"iptables": "iptables-save", "ip6tables": "ip6tables-save"}


class Part(NamedTuple):
    """The input of `iptables`, `ip6tables` or `ipset`; "" is what stands before the first of them."""

    program: str
    text: str


def parts(text: str) -> list[Part]:
    """In order; neighbouring lines for one program are one part."""
    found: list[tuple[str, list[str]]] = [("", [])]
    program = ""
    for line in each_line(text):
        if line.startswith(PART):
            program = line.removeprefix(PART).strip()
            found.append((program, []))
            continue
        wanted, plain = ("ipset", line.removeprefix(SETS)) if line.startswith(SETS) else (program, line)
        if wanted != found[-1][0]:
            found.append((wanted, []))
        found[-1][1].append(plain)
    return [Part(name, "".join(lines)) for name, lines in found if lines]


def readings(reading: Reading) -> Iterator[Reading]:
    """What its parts make, as listings. A text without parts is for both families."""
    for program, text in parts(reading.text):
        if program == "ipset":
            yield Reading("ipset", text, reading.source)
        else:
            for name in _SAVED.values() if program == "" else [_SAVED.get(program, "iptables-save")]:
                yield Reading(name, text, reading.source)
