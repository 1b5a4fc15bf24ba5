"""ipfw's own state, as commands change it: numbered rules in sets, tables, settings.

Facts (ipfw(8), kernel of FreeBSD 12.1)
    A rule without a number gets that of the last one plus 100. Rules of one number stand in the order in which they were
    added. Sets are disabled and swapped as a whole; 31 never. `flush` leaves set 31.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from portgate.backends.ipfw.commands import Command
from portgate.backends.ipfw.words import DEFAULT
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic

STEP = 100
NEVER_FLUSHED = 31


@dataclass(frozen=True, slots=True)
class Numbered:
    """A rule as it was added. **Shape** `words` begin with `prob` or the action."""

    number: int
    set: int
    words: tuple[str, ...]
    command: Command


@dataclass(slots=True)
class Table:
    """A lookup table. `kind` is "" until something tells it.

    `told`: nothing that is not known was added to it; `listed`: it was read from a host, so it may be empty.
    """

    kind: str = ""
    entries: dict[str, str] = field(default_factory=dict)
    told: bool = True
    listed: bool = False


class Firewall:
    """Applies commands, in order. `unread` are those that may have done anything, `mistakes` those that ipfw refuses."""

    def __init__(self) -> None:
        self.rules: list[Numbered] = []
        self.last: int | None = 0  # the highest number; None: to be looked for
        self.disabled: set[int] = set()
        self.tables: dict[str, Table] = {}
        self.settings: dict[str, int] = {}
        self.default: Command | None = None
        self.unread: list[Command] = []
        self.mistakes: list[Diagnostic] = []
        self.ruled = False  # whether anything was said about rules

    def apply(self, command: Command) -> None:
        self.ruled = self.ruled or command.words[:1] not in (("table",), ("sysctl",))
        act = _COMMANDS.get(command.words[0]) if command.words else Firewall._not_understood
        if act is not None:
            act(self, command)

    def enabled(self) -> list[Numbered]:
        """The rules in force, in the order in which they are asked."""
        found = [one for one in self.rules if one.set not in self.disabled or one.set == NEVER_FLUSHED]
        return sorted(found, key=lambda one: one.number)

    def _not_understood(self, command: Command) -> None:
        self.unread.append(command)

    # -------------------------------------------------------------- rules

    def _add(self, command: Command) -> None:
        words = list(command.words[1:])
        text = words.pop(0) if words and words[0][:1].isdigit() else "0"
        chosen = 0
        if words[:1] == ["set"] and len(words) > 1 and words[1].isdecimal():
            chosen = _number(words[1])
            del words[:2]
        if not text.isdecimal() or not words or words[0].startswith(("$", "`")):
            self.unread.append(command)
            return
        number = _number(text) or self._next_number()
        if number >= DEFAULT or chosen > NEVER_FLUSHED:
            detail = f"line {command.line}: there is no rule {number} in a set {chosen}: {command.text[:200]}"
            self.mistakes.append(Diagnostic("PG481", detail))
            return
        self.rules.append(Numbered(number, chosen, tuple(words), command))
        self.last = None if self.last is None else max(self.last, number)

    def _default(self, command: Command) -> None:
        self.default = command

    def _next_number(self) -> int:
        if self.last is None:
            self.last = max((one.number for one in self.rules), default=0)
        return self.last + STEP if self.last + STEP < DEFAULT else self.last

    def _delete(self, command: Command) -> None:
        words = command.words[1:]
        of_set = words[:1] == ("set",)
        for word in words[of_set:]:
            first, _, last = word.partition("-")
            if not first.isdecimal() or (last and not last.isdecimal()):
                self.unread.append(command)
                return
            self._keep(command, _outside(range(_number(first), _number(last or first) + 1), of_set=of_set))

    def _flush(self, command: Command) -> None:
        self._keep(command, lambda one: one.set == NEVER_FLUSHED)

    def _keep(self, command: Command, wanted: Callable[[Numbered], bool]) -> None:
        """What a script deletes only perhaps, may be there or not."""
        if not command.maybe:
            self.rules = [one for one in self.rules if wanted(one)]
            self.last = None
            return
        doubt = command.maybe
        self.rules = [
            one if wanted(one) else replace(one, command=one.command._replace(maybe=one.command.maybe or doubt))
            for one in self.rules
        ]

    # -------------------------------------------------------------- sets

    def _set(self, command: Command) -> None:
        match command.words[1:]:
            case ["show", *_]:
                return
            case ["swap", first, second] if _all_numbers(command, first, second):
                self._renumber({_number(first): _number(second), _number(second): _number(first)})
            case ["move", "rule", number, "to", target] if _all_numbers(command, number, target):
                self.rules = [
                    replace(one, set=_number(target)) if one.number == _number(number) else one for one in self.rules
                ]
            case ["move", first, "to", second] if _all_numbers(command, first, second):
                self._renumber({_number(first): _number(second)})
            case ["enable" | "disable", *_] if not command.maybe:
                self._switch(command)
            case [chosen, "flush"] if chosen.isdecimal():
                self._keep(command, lambda one: one.set != _number(chosen))
            case [chosen, "delete", *numbers] if _all_numbers(command, chosen, *numbers):
                gone = {_number(one) for one in numbers}
                self._keep(command, lambda one: one.set != _number(chosen) or one.number not in gone)
            case _:
                self.unread.append(command)

    def _renumber(self, sets: Mapping[int, int]) -> None:
        self.rules = [replace(one, set=sets.get(one.set, one.set)) for one in self.rules]

    def _switch(self, command: Command) -> None:
        word = ""
        for one in command.words[1:]:
            if one in ("enable", "disable"):
                word = one
            elif not one.isdecimal():
                self.unread.append(command)
            elif word == "disable":
                self.disabled.add(_number(one))
            else:
                self.disabled.discard(_number(one))

    # -------------------------------------------------------------- tables and settings

    def _table(self, command: Command) -> None:
        name, verb, *rest = (*command.words[1:3], "", "")[:2] + tuple(command.words[3:])
        if verb == "atomic" and rest:
            verb, *rest = rest
        if name == "all":
            if verb in ("flush", "destroy"):
                self.tables.clear()
            return
        table = self.tables.setdefault(name, Table())
        table.told = table.told and not command.maybe
        match verb:
            case "listed":
                table.listed = True
            case "create":
                self._created(name, table, rest)
            case "add":
                found = _pairs(rest)
                table.told = table.told and not any(key.startswith(("$", "`")) for key in found)
                table.entries.update((key, value) for key, value in found.items() if not key.startswith(("$", "`")))
            case "delete":
                for key in rest:
                    table.entries.pop(key, None)
            case "flush":
                table.entries.clear()
            case "destroy":
                self.tables.pop(name)
            case "swap" if rest:
                self.tables[name], self.tables[rest[0]] = self.tables.get(rest[0], Table()), table
            case "list" | "info" | "detail" | "lookup" | "lock" | "unlock" | "modify":
                return
            case _:
                table.told = False

    def _created(self, name: str, table: Table, options: list[str]) -> None:
        if "type" in options[:-1]:
            table.kind = options[options.index("type") + 1].partition(":")[0]
        if "or-flush" in options:
            table.entries.clear()

    def _sysctl(self, command: Command) -> None:
        self.settings[command.words[1]] = int(command.words[2])

    def _enable(self, command: Command) -> None:
        """`enable firewall`, `disable one_pass`."""
        names = {"firewall": "net.inet.ip.fw.enable", "one_pass": "net.inet.ip.fw.one_pass"}
        for word in command.words[1:]:
            if word in names:
                self.settings[names[word]] = int(command.words[0] == "enable")


def _outside(span: range, *, of_set: bool) -> Callable[[Numbered], bool]:
    return lambda one: (one.set if of_set else one.number) not in span


def _all_numbers(command: Command, *words: str) -> bool:
    return not command.maybe and all(one.isdecimal() for one in words)


def _number(text: str) -> int:
    """Of any length: what is longer is out of every range as well."""
    return int(text[:9])


def _pairs(words: list[str]) -> dict[str, str]:
    """Keys with their values; a value may be left out where there is one key."""
    return {words[at]: words[at + 1] if at + 1 < len(words) else "0" for at in range(0, len(words), 2)}


_COMMANDS: Mapping[str, Callable[[Firewall, Command], None]] = {
    "add": Firewall._add, "default": Firewall._default, "delete": Firewall._delete, "flush": Firewall._flush, "set": Firewall._set,
    "table": Firewall._table, "sysctl": Firewall._sysctl, "enable": Firewall._enable, "disable": Firewall._enable,
}  # fmt: skip
