"""Text of ipfw as the commands that would make it: listings, files for `ipfw FILE`, scripts of the shell.

Facts (ipfw of FreeBSD 12.1)
    A listing has a rule a line: number, with `show` two counters, with `-t` a date, with `-S` the set. Disabled rules are
    listed with `-S` as comments. `table all list` has a header for each table, `set show` one line. In a file `#` begins
    a comment anywhere, also in a rule's own comment, and there are no quotes; a blank after a comma counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from portgate.backends.ipfw.words import ACTIONS, COMMANDS, DEFAULT


class Command(NamedTuple):
    """Arguments of one call of ipfw. `words` is () for what is not understood.

    `maybe` is why it is not certain that a script runs it, "" when it is.
    """

    words: tuple[str, ...]
    line: int
    text: str
    maybe: str = ""


UNREAD: tuple[str, ...] = ()
_RULE = re.compile(r"\d{1,5}\s")
_TABLE = re.compile(r"--- table\(([^),]+)\), set\((\d+)\) ---")
_TYPE = re.compile(r"\btype: (\w+)")
_ABOUT_TABLE = re.compile(r"\s*(kindex|references|algorithm|items|valtype|IPv4|IPv6|size|ifindex).*:")
_SETTING = re.compile(r"(?:sysctl )?(net\.inet6?\.\w+(?:\.\w+)+)\s*[:=]\s*(-?\d+)")
_DYNAMIC = re.compile(r"\d{1,5}(\s+\d+\s+\d+)?(\s*\(\d+s\))?\s+(STATE|LIMIT|PARENT)\b")
_SCRIPT = re.compile(
    r"""\#!|\s*(?:\w+=|if\b|for\b|case\b|while\b|[A-Za-z_]\w*\s*\(\s*\)|
        (?:(?:sudo|doas|exec)\s+)?["']?(?:[\w./-]*/)?ipfw\b|["']?\$[\w{(])""",
    re.X,
)


def is_script(text: str) -> bool:
    """Whether a text is one for the shell: it names the program, or has variables."""
    return any(_SCRIPT.match(line) for line in text.splitlines())


def listed(text: str) -> Iterator[Command]:
    """The commands of a listing or a file."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        header = _TABLE.match(plain)
        if header:
            table = header[1]
            yield Command(("table", table, "listed"), number, plain)
        elif plain.startswith("#") or not plain:
            table = ""
        elif table and (_ABOUT_TABLE.match(line) or not _known(plain)):
            yield Command(_entry(table, plain), number, plain)
        else:
            table = ""
            yield from _line(plain, number)


def _known(line: str) -> bool:
    words = line.split()
    return words[0] in COMMANDS or len(words) > 2


def _entry(table: str, line: str) -> tuple[str, ...]:
    if _ABOUT_TABLE.match(line):
        kind = _TYPE.search(line)
        return ("table", table, "create", "type", kind[1]) if kind else ("table", table, "info")
    return ("table", table, "add", *line.split())


def _line(line: str, number: int) -> Iterator[Command]:
    setting = _SETTING.match(line)
    if setting:
        yield Command(("sysctl", setting[1], setting[2]), number, line)
    elif _RULE.match(line) and not _DYNAMIC.match(line):
        yield Command(_rule(line), number, line)
    elif not _DYNAMIC.match(line):
        yield from called(tuple(re.sub(r",\s+", ",", line.partition("#")[0]).split()), number, line)


def _rule(line: str) -> tuple[str, ...]:
    """A listed rule as it could be added, without its counters and its date."""
    number, *rest = line.split()
    if rest[:1] == ["add"]:
        return ("add", number, *rest[1:])
    start = next((index for index, word in enumerate(rest[:9]) if word in _STARTS), None)
    if start is None:
        return UNREAD
    return ("default", *rest[start:]) if int(number) == DEFAULT else ("add", number, *rest[start:])


_STARTS = ACTIONS | {"set", "prob", "//"}


def called(words: tuple[str, ...], line: int, text: str, maybe: str = "") -> Iterator[Command]:
    """A call of ipfw by its arguments, or nothing when it only asks."""
    while words and words[0].startswith("-"):
        if "n" in words[0]:
            return
        words = words[1:]
    if words and words[0].isdecimal() and words[1:2] == ("add",):
        words = ("add", words[0], *words[2:])
    if words and words[0] in ("enable", "disable") and words[-1].isdecimal():
        words = ("set", *words)  # what `ipfw set show` prints
    yield Command(words if words and words[0] in COMMANDS else UNREAD, line, text, maybe)
