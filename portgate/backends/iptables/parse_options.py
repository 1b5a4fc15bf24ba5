"""One rule of an iptables listing, cut into its options and those into sections: text -> `Section`s.

Facts
    `iptables-restore` knows double quotes, and backslashes inside of them; a single quote is a letter (iptables 1.8.9,
    xshared.c). An option belongs to the match, the target or the protocol that knows it, wherever it stands after that:
    `-m state -j ACCEPT --state NEW`. No target has an option that the protocols have. `--dport=22` is taken, and so is the
    beginning of a name that is no other's (`--destination-po`); `-mtcp` is a match, `-ieth0` is the interface `-ieth0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BLANK = r" \t\r\f\v\n"  # of the C locale: other white space is a letter
_WORD = re.compile(rf'(?:[^{_BLANK}"]|"(?:\\.|[^"\\])*"?)+')
_PLAIN_WORD = re.compile(rf"[^{_BLANK}]+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"?')
_ESCAPED = re.compile(r"\\(.)")

# Short names and other spellings of the options that every rule can have.
_GENERAL = {
    "-s": "-s", "--source": "-s", "--src": "-s", "-d": "-d", "--destination": "-d", "--dst": "-d",
    "-i": "-i", "--in-interface": "-i", "-o": "-o", "--out-interface": "-o",
    "-p": "-p", "--protocol": "-p", "--proto": "-p", "-f": "-f", "--fragment": "-f", "-c": "-c", "--set-counters": "-c",
    "-4": "-4", "--ipv4": "-4", "-6": "-6", "--ipv6": "-6", "-t": "-t", "--table": "-t", "-w": "-w", "--wait": "-w",
}  # fmt: skip
_STARTS = {"-m": "-m", "--match": "-m", "-j": "-j", "--jump": "-j", "-g": "-g", "--goto": "-g"}
# Options of the protocol (`-p`).
TRANSPORT = {
    "--sport": "--sport", "--source-port": "--sport", "--dport": "--dport", "--destination-port": "--dport",
    "--tcp-flags": "--tcp-flags", "--syn": "--syn", "--tcp-option": "--tcp-option", "--icmp-type": "--icmp-type",
    "--icmpv6-type": "--icmp-type", "--chunk-types": "--chunk-types", "--dccp-types": "--dccp-types",
    "--dccp-option": "--dccp-option",
}  # fmt: skip
# Options of matches without which these would hold for every packet: (option, the matches that know it).
_OF_MATCHES = {
    **dict.fromkeys(("--state", "--ctstate"), ("state", "conntrack")),
    **dict.fromkeys(("--ctproto", "--ctorigsrc", "--ctorigdst", "--ctorigsrcport", "--ctorigdstport", "--ctreplsrc",
                     "--ctrepldst", "--ctreplsrcport", "--ctrepldstport", "--ctstatus", "--ctexpire", "--ctdir"), ("conntrack",)),
    **dict.fromkeys(("--sports", "--source-ports", "--dports", "--destination-ports", "--ports"), ("multiport", "mport")),
    **dict.fromkeys(("--src-range", "--dst-range"), ("iprange",)),
    **dict.fromkeys(("--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"), ("addrtype",)),
    "--mark": ("mark", "connmark"),
    "--match-set": ("set",),
    "--comment": ("comment",),
}  # fmt: skip
_TEXTS = frozenset(
    {
        "--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--prefix", "--string", "--hex-string",
        "--bytecode", "--label", "--name", "--hashlimit-name", "--helper", "--genre", "--set-xmark", "--type", "--led-trigger-id",
    }
)  # fmt: skip

_INTERFACES = frozenset({"-i", "--in-interface", "-o", "--out-interface"})  # a name may begin with a dash


_COMMON = _GENERAL | _STARTS
_NAMES = frozenset({*_COMMON, *TRANSPORT, *_OF_MATCHES, *_TEXTS})


class Option(NamedTuple):
    """`! --dport 22:80`."""

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False

    @property
    def value(self) -> str:
        return self.values[0] if self.values else ""

    def text(self) -> str:
        return " ".join((self.name, *self.values))

    def __str__(self) -> str:
        return f"! {self.text()}" if self.negated else self.text()


class Section(NamedTuple):
    """What belongs to one `-m NAME`, `-j NAME` or `-g NAME`; `kind` is that word, "" for the rule's own options."""

    kind: str
    name: str
    options: list[Option]

    def text(self) -> str:
        return " ".join((self.name, *map(str, self.options)))

    def get(self, *names: str) -> Option | None:
        return next((one for one in self.options if one.name in names), None)


def each_line(text: str) -> list[str]:
    """The lines of a text, with their ends, as programs of C read them."""
    return _LINE.findall(text)


def words(line: str) -> list[str]:
    """The words of a line, without their quotes."""
    if '"' not in line:
        return _PLAIN_WORD.findall(line)
    return [_QUOTED.sub(_unquoted, word) for word in _WORD.findall(line)]


def _unquoted(found: re.Match[str]) -> str:
    return _ESCAPED.sub(r"\1", found[1])


def sections(line: Sequence[str]) -> list[Section]:
    """The rule's own options first, then those of the protocol, then each match and target as written."""
    general, transport = Section("", "", []), Section("", "transport", [])
    found = [general, transport]
    current = general
    for option in _options(line):
        start = _STARTS.get(option.name)
        if start:
            current = Section(start, option.value, [])
            found.append(current)
        elif option.name in _GENERAL:
            general.options.append(option._replace(name=_GENERAL[option.name]))
        elif option.name in TRANSPORT:
            transport.options.append(option._replace(name=TRANSPORT[option.name]))
        else:
            _owner(option.name, current, found).options.append(option)
    return found


def _owner(option: str, current: Section, found: Sequence[Section]) -> Section:
    """The section that an option belongs to: the one in which it stands, unless a match before that knows it and this does not."""
    known = _OF_MATCHES.get(option, ())
    if current.kind == "-m" and current.name in known:
        return current
    return next((one for one in reversed(found) if one.kind == "-m" and one.name in known), current)


def _options(line: Sequence[str]) -> Iterator[Option]:
    """**Shape** `! --name value ...`, and as written long ago `--name ! value`."""
    at, end = 0, len(line)
    while at < end:
        negated = line[at] == "!" and at + 1 < end
        at += negated
        name, glued = _parted(line[at])
        at += 1
        start = at
        if name in _TEXTS or (name in _INTERFACES and line[at : at + 1] != ["!"]):
            at += at < end and not glued
        else:
            while at < end and not _begins_option(line, at):
                at += 1
        values = (*glued, *line[start:at])
        if len(values) > 1 and values[0] == "!":
            negated, values = not negated, values[1:]
        yield Option(name, values, negated)


def _parted(word: str) -> tuple[str, tuple[str, ...]]:
    """The name of an option, in full, and its value where it is a part of the word."""
    if word.startswith("--"):
        name, sign, value = word.partition("=")
        return _in_full(name), (value,) if sign else ()
    if word[:2] in ("-i", "-o", "-m") and len(word) > 2:
        return word[:2], (word[2:] if word[1] == "m" else word,)
    return word, ()


def _in_full(name: str) -> str:
    if name in _NAMES or len(name) < 3:
        return name
    for known in (_COMMON, TRANSPORT):
        meant = {
            full for one, full in known.items() if one.startswith(name) and name != "--set"
        }  # that is one of `recent`
        if len(meant) == 1:
            return meant.pop()
    return name


def _begins_option(line: Sequence[str], at: int) -> bool:
    word = line[at]
    if word == "!":
        return at + 1 < len(line) and line[at + 1].startswith("-")
    return word.startswith("-") and len(word) > 1 and (not word[1].isdigit() or word in ("-4", "-6"))
