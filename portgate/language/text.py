"""Bytes to text that is safe to read: size, encoding, line ends, characters that deceive."""

from __future__ import annotations

import re
from codecs import BOM_UTF8

from portgate.core.diagnostics import Span
from portgate.language.mistakes import Mistakes

POLICY_BYTES = 16 << 20
ADDRESS_FILE_BYTES = 64 << 20
DECEIVING_SHOWN = 20

_DECEIVING = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_DECEIVING_ASCII = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_TAB_INDENT = r"(?m:^ *\t[ \t]*(?=[^\s#]))"


def decode(data: bytes, file: str, limit: int, mistakes: Mistakes) -> str | None:
    """The text, each line ended by `\\n`, without a byte order mark. None when there is nothing to go on with."""
    if len(data) > limit:
        start = Span(file, 1, 1, 1, 1)
        mistakes.add("PG102", f"the file has {len(data):,} bytes, the limit is {limit:,}", start)
        return None
    if _looks_like_utf16(data):
        mistakes.add("PG103", "the file looks like UTF-16", Span(file, 1, 1, 1, 1), "save the file as UTF-8")
        mistakes.damaged = True
        return None
    data = data.removeprefix(BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data.decode(errors="replace")
        _report_encoding(data, error, file, mistakes)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"  # else the parser puts the end of the file on a line that is not there
    pattern = _DECEIVING_ASCII if text.isascii() else _DECEIVING
    return _without_deceiving(text, pattern, file, mistakes) if re.search(pattern, text) else text


def _looks_like_utf16(data: bytes) -> bool:
    """By its byte order mark, or by a first character that has a zero byte."""
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(data) > 1 and (data[0] == 0) != (data[1] == 0))


def _report_encoding(data: bytes, error: UnicodeDecodeError, file: str, mistakes: Mistakes) -> None:
    before = data[: error.start].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    place = _span(before + "?", len(before), 1, file)
    detail = f"the byte 0x{data[error.start]:02x} is not UTF-8"
    mistakes.add("PG103", detail, place, "save the file as UTF-8")
    mistakes.damaged = True


def _without_deceiving(text: str, pattern: str, file: str, mistakes: Mistakes) -> str:
    for count, match in enumerate(re.finditer(pattern, text)):
        if count == DECEIVING_SHOWN:
            break
        detail = f"the character U+{ord(match.group()):04X} does not show as what it does"
        mistakes.add("PG112", detail, _span(text, match.start(), 1, file), "remove it")
    return re.sub(pattern, " ", text)


def without_tabs(text: str, file: str, mistakes: Mistakes) -> str:
    """Lines indented by tabs, reported once for each run of them, and left out."""
    if "\t" not in text:
        return text
    last_line = -1
    bad = [(text.count("\n", 0, match.start()), match) for match in re.finditer(_TAB_INDENT, text)]
    for line, match in bad:
        if line != last_line + 1 or last_line < 0:
            tab = match.group().index("\t")
            place = Span(file, line + 1, tab + 1, line + 1, len(match.group()) + 1)
            mistakes.add("PG105", "the line is indented with a tab", place, "indent with spaces")
        last_line = line
    if not bad:
        return text
    mistakes.damaged = True
    lines = text.split("\n")
    for line, _ in bad:
        lines[line] = ""
    return "\n".join(lines)


def _span(text: str, index: int, length: int, file: str) -> Span:
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return Span(file, line, column, line, column + length)
