"""Text for people: what a terminal may be shown, columns, colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import zip_longest
from unicodedata import combining, east_asian_width


def escape(text: str) -> str:
    """The text with everything visible: `\\n`, `\\x1b` and `\\u202e` in place of what a terminal would obey or hide."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


class Style(Enum):
    """What a piece of text is for; the values are the parameters of the terminal's SGR sequence."""

    HEADING = "1"
    GOOD = "32"
    BAD = "1;31"
    WARNING = "33"
    NOTE = "36"
    FAINT = "2"


Paint = Callable[[Style, str], str]


def plain(style: Style, text: str) -> str:
    """A `Paint` for files, pipes and NO_COLOR."""
    return text


def coloured(style: Style, text: str) -> str:
    """A `Paint` for terminals."""
    return f"\x1b[{style.value}m{text}\x1b[0m" if text else text


def width(text: str) -> int:
    """**Units** terminal cells."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint = plain, room: int | None = None
) -> Iterator[str]:
    """Lines of aligned columns. Cells are escaped here; a column that is empty in every row is left out.

    **Units** `room` is that of the terminal, in cells; long texts are continued below to fit into it.
    """
    columns = [tuple(map(escape, column)) for column in zip(header, *rows, strict=True) if any(column[1:])]
    natural = [max(map(width, column)) for column in columns]
    widths = natural if room is None else _narrowed(natural, room)
    lines = _aligned if widths == natural else _stacked
    yield from (paint(Style.HEADING, line) for line in lines([column[:1] for column in columns], widths))
    yield from lines([column[1:] for column in columns], widths)


_GAP = "  "
_LEAST_WIDTH = 8


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Takes from the widest columns what is too much."""
    widths = list(widths)
    while sum(widths) + len(_GAP) * (len(widths) - 1) > room and max(widths) > _LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
    return widths


def _stacked(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """The rows of a table, each as several lines where a cell is too long for its column."""
    for row in zip(*columns, strict=True):
        parts = zip_longest(*map(_parts, row, widths), fillvalue="")
        yield from _aligned(list(zip(*parts, strict=True)), widths)


def _aligned(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """The rows of a table whose cells fit."""
    padded = [
        [cell + " " * (room - width(cell)) for cell in column] for column, room in zip(columns, widths, strict=True)
    ]
    return map(str.rstrip, map(_GAP.join, zip(*padded, strict=True)))


def _parts(cell: str, room: int) -> list[str]:
    if width(cell) <= room:
        return [cell]
    from textwrap import wrap  # noqa: PLC0415 - few commands need it, and all of them start quicker

    return wrap(cell, room, break_on_hyphens=False)


def folded(line: str, room: int) -> list[str]:
    """The line, continued below with a deeper indent where it is longer than a terminal has room for."""
    if width(line) <= room:
        return [line]
    from textwrap import TextWrapper  # noqa: PLC0415 - few commands need it, and all of them start quicker

    indent = " " * (len(line) - len(line.lstrip()))
    wrapper = TextWrapper(room, indent, indent + "    ", break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(line.strip())


def duration(seconds: int) -> str:
    """`2 days 3 hours`, `59 minutes`: the two largest units."""
    parts = [
        (seconds // 86400, "day"),
        (seconds // 3600 % 24, "hour"),
        (seconds // 60 % 60, "minute"),
        (seconds % 60, "second"),
    ]
    told = [f"{count} {unit}{'s' if count > 1 else ''}" for count, unit in parts if count]
    return " ".join(told[:2]) or "less than a second"
