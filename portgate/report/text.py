"""Text for people: what a terminal may be shown, columns, colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
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


def table(header: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint = plain) -> Iterator[str]:
    """Lines of aligned columns. Cells are escaped here; a column that is empty in every row is left out."""
    used = [index for index in range(len(header)) if any(row[index] for row in rows)]
    lines = [[escape(row[index]) for index in used] for row in (header, *rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(used))]
    for number, line in enumerate(lines):
        padded = (cell + " " * (room - width(cell)) for cell, room in zip(line, widths, strict=True))
        text = "  ".join(padded).rstrip()
        yield paint(Style.HEADING, text) if number == 0 else text
