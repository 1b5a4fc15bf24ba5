"""A live host through ipfw, as FreeBSD has it.

Rules of this file
    Commands are lists of words, never a shell's line. What they print is read with a fixed locale and without names.

Facts (ipfw of FreeBSD 12.1)
    `ipfw FILE` reads one command after the other and stops at the first that fails; what came before stays. With `-n` it
    reads them and does nothing. `-q` answers no questions. A table that a rule names, also a disabled one, can't be destroyed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from portgate import programs
from portgate.backends.ipfw import GUARD, GUARD_NUMBER, LIVE, MARK, NO_IPFW, SPARE, TABLES
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.programs import Answer, Runner

SECONDS = 120  # that a command may take
SETTINGS = ("net.inet.ip.fw.enable", "net.inet6.ip6.fw.enable", "net.inet.ip.fw.one_pass")
_REMEDY = "run portgate as root on FreeBSD; elsewhere `portgate compile --to ipfw` writes the rules"
_LISTED = re.compile(r"(?:# DISABLED )?(\d{5}) set (\d+) (.*)")
_HEADER = re.compile(r"--- table\(([^),]+)\)")


def available(runner: Runner = programs.ask) -> str | None:
    """None when this host filters with ipfw and lets us at it, else why not and what to do."""
    if programs.find("ipfw") is None:
        return NO_IPFW
    if os.geteuid() != 0:
        return "only root may ask ipfw; run this command as root"
    if runner(("sysctl", "-n", SETTINGS[0]), "").status != 0:
        return "the module of ipfw is not loaded; see `portgate explain PG482` before you load it"
    return None


class IpfwSession:
    """See `portgate.backends.Session`."""

    def __init__(self, runner: Runner = programs.ask) -> None:
        self._run = runner

    def read(self) -> tuple[Reading, ...]:
        """Settings, the rules with their sets, the tables."""
        return (Reading("ipfw", self._settings() + self._rules() + self._tables(), "ipfw -S list"),)

    def read_own(self) -> Reading:
        ours = [line for line in self._rules().splitlines(keepends=True) if _is_ours(line)]
        text = "".join([*ours, *self._own_tables()]) if any(_set_of(line) == LIVE for line in ours) else ""
        return Reading("ipfw", text, "ipfw -S list")

    def check(self, artifact: Artifact) -> None:
        self._load(artifact, "-n")

    def load(self, artifact: Artifact) -> None:
        """Errors: PG570 when a command is refused, PG571 when our sets hold rules of somebody else."""
        self._require_own_sets()
        try:
            self._load(artifact)
        except PortgateError:
            self._answer("ipfw", "-q", "delete", "set", str(SPARE))
            raise
        self._tidy()

    def generation(self) -> str | None:
        """ipfw counts no changes of its rules."""
        return None

    def outline_after(self, generation: str | None) -> Reading | None:
        """Without a count nothing can be concluded."""
        return None

    # -------------------------------------------------------------- readings

    def _settings(self) -> str:
        """Those that this kernel has: there may be no IPv6."""
        answer = self._answer("sysctl", "-i", *SETTINGS)
        return answer.output if answer.status == 0 else ""

    def _rules(self) -> str:
        return self._says("ipfw", "-S", "list")

    def _tables(self) -> str:
        return self._says("ipfw", "table", "all", "list")

    def _own_tables(self) -> Iterator[str]:
        mine = False
        for line in self._tables().splitlines(keepends=True):
            header = _HEADER.match(line)
            mine = header[1].startswith(TABLES) if header else mine
            if mine:
                yield line

    # -------------------------------------------------------------- loading

    def _require_own_sets(self) -> None:
        foreign = [
            line for line in self._rules().splitlines() if _set_of(line) in (LIVE, SPARE) and not _is_marked(line)
        ]
        if foreign:
            remedy = f"move them: ipfw set move {_set_of(foreign[0])} to 1"
            raise PortgateError(Diagnostic("PG571", f"{len(foreign)} rules, the first: {foreign[0]}", remedy=remedy))

    def _load(self, artifact: Artifact, *more: str) -> None:
        answer = self._answer("ipfw", "-q", *more, "/dev/stdin", text=artifact.text)
        if answer.status != 0:
            raise PortgateError(_refusal(answer, artifact.text))

    def _tidy(self) -> None:
        """Tables that no rule names any more; ipfw keeps those that one does."""
        rules = self._rules()
        for line in self._tables().splitlines():
            header = _HEADER.match(line)
            if header and header[1].startswith(TABLES) and f"table({header[1]})" not in rules:
                self._answer("ipfw", "-q", "table", header[1], "destroy")

    def _says(self, *command: str) -> str:
        answer = self._answer(*command)
        if answer.status != 0:
            detail = f"`{' '.join(command)}` failed: {answer.complaint.strip()[:300]}"
            raise PortgateError(Diagnostic("PG482", detail, remedy=_REMEDY))
        return answer.output

    def _answer(self, *command: str, text: str = "") -> Answer:
        try:
            return self._run(command, text)
        except programs.ProgramError as error:
            raise PortgateError(Diagnostic("PG482", f"{command[0]} can't be run: {error}", remedy=_REMEDY)) from error


def _set_of(line: str) -> int | None:
    found = _LISTED.match(line)
    return int(found[2]) if found else None


def _is_marked(line: str) -> bool:
    return f" // {MARK}" in line


def _is_ours(line: str) -> bool:
    """A rule of ours in force, or the guard."""
    guard = _set_of(line) == GUARD and line.startswith(f"{GUARD_NUMBER:05} ")
    return _is_marked(line) and (guard or (_set_of(line) == LIVE and not line.startswith("#")))


def _refusal(answer: Answer, script: str) -> Diagnostic:
    """What ipfw says, with the line that it says it of: `Line 7: bad command`."""
    said = (answer.complaint.strip() or answer.output.strip())[:500] or "ipfw gave no reason"
    found = re.match(r"Line (\d+):", said)
    lines = script.splitlines()
    if found and 0 < int(found[1]) <= len(lines):
        said += f" ({lines[int(found[1]) - 1][:200]})"
    return Diagnostic("PG570", said)
