"""A live host through pfctl, the one program that every system with pf has.

Rules of this file
    What is printed is read without DNS.

Facts
    `pfctl -a NAME -f -` replaces an anchor as a whole, or leaves it when there is an error. `-a '*' -sr` prints the
    rules of all anchors in their places. Rules in an anchor do nothing unless the main rules call it. FreeBSD and macOS
    keep translations apart, `-sn`. FreeBSD prints ports by their names unless `-P` is given; OpenBSD does with `-P`;
    macOS always does, and has no such option (manual pages of OpenBSD 7.6, FreeBSD 12.1 and of 2025, macOS 10.9 and later).
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator

from portgate import programs
from portgate.backends.pf import ANCHOR, MARK, NO_PF
from portgate.core.capture import Artifact, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.programs import Answer, Runner

_REMEDY = "run portgate as root on OpenBSD, FreeBSD or macOS; elsewhere `portgate compile --to pf` writes the rules"


def native_dialect() -> str:
    """The dialect of the system that this runs on; elsewhere OpenBSD's."""
    return {"darwin": "macos"}.get(sys.platform, "freebsd" if sys.platform.startswith("freebsd") else "openbsd")


def available() -> str | None:
    """None when this host has pf and lets us at it, else why not and what to do."""
    if programs.find("pfctl") is None:
        return NO_PF
    if not os.access("/dev/pf", os.R_OK | os.W_OK):
        return "/dev/pf can't be opened; run this command as root, and on FreeBSD load the module with `kldload pf`"
    return None


_SWITCH_ON = {
    "openbsd": "switch it on with `pfctl -e`, and let it be on after a new start: pf=YES in /etc/rc.conf.local",
    "freebsd": "switch it on with `service pf onestart`, and let it be on after a new start: `sysrc pf_enable=YES`",
    "macos": "switch it on with `pfctl -E`, and from a LaunchDaemon after a new start",
}


class PfSession:
    """See `portgate.backends.Session`."""

    def __init__(self, runner: Runner = programs.ask, dialect: str | None = None) -> None:
        self._run = runner
        self._dialect = dialect or native_dialect()

    def read(self) -> tuple[Reading, ...]:
        """The rules of all anchors in their places, with what is in tables, and interfaces that are not filtered."""
        if not self._filters():
            return (Reading("pf", "# pf is switched off, so no rule is in force.\n", "pfctl -si"),)
        anchored = ("-a", "*")
        parts = [self._skipped()]
        parts += [self._rules(*anchored, "-sn")] if self._translates_apart else []
        # Where a name is that of two tables, the one of our anchor is the one that its rules mean.
        parts += [*self._tables(), *self._tables("-a", ANCHOR), self._rules(*anchored, "-sr")]
        return (Reading("pf", "".join(parts), "pfctl -a '*' -sr"),)

    def check(self, artifact: Artifact) -> None:
        self._load(artifact, "-n")

    def load(self, artifact: Artifact) -> None:
        """Errors: PG561 when the main rules do not call our anchor, PG562 when pf is off, so that it would do nothing."""
        if not self._filters():
            raise PortgateError(Diagnostic("PG562", "", remedy=_SWITCH_ON[self._dialect]))
        self._require_anchor(translating="\nrdr " in artifact.text)
        self._load(artifact)

    def read_own(self) -> Reading:
        ours = ("-a", ANCHOR)
        rules = (self._rules(*ours, "-sn") if self._translates_apart else "") + self._rules(*ours, "-sr")
        text = "".join(self._tables(*ours)) + rules
        return Reading("pf", f"{MARK}\n{text}" if text else "", f"pfctl -a {ANCHOR} -sr")

    def generation(self) -> str | None:
        """pf counts no changes of its rules."""
        return None

    def outline_after(self, generation: str | None) -> Reading | None:
        """Without a count nothing can be concluded."""
        return None

    @property
    def _translates_apart(self) -> bool:
        return self._dialect != "openbsd"

    def _filters(self) -> bool:
        return not self._answer("-si").output.startswith("Status: Disabled")

    def _skipped(self) -> str:
        """What `set skip` is about, which no listing of rules shows. Of a group, its members are marked, too."""
        marked = [line.split()[0] for line in self._answer("-v", "-sI").output.splitlines() if line.endswith(" (skip)")]
        names = [name for name in marked if name[-1].isdecimal()]
        return f"set skip on {{ {', '.join(names)} }}\n" if names else ""

    def _rules(self, *words: str) -> str:
        """A listing of rules with ports as numbers."""
        if self._dialect == "freebsd":
            return self._says("-P", *words)
        listing = self._says(*words)
        return _NAMED_PORT.sub(_numbered, listing) if self._dialect == "macos" else listing

    def _tables(self, *where: str) -> Iterator[str]:
        for name in self._says(*where, "-sT").split():
            entries = self._says(*where, "-t", name, "-T", "show").split()
            yield f"table <{name}> {{ {', '.join(entries)} }}\n" if entries else f"table <{name}> persist\n"

    def _require_anchor(self, *, translating: bool) -> None:
        wanted = [("-sn", "rdr-anchor")] if translating else []
        for show, word in (*wanted, ("-sr", "anchor")):
            if not any(_calls(line, word) for line in self._says(show).splitlines()):
                remedy = f'write `{word} "{ANCHOR}"` into /etc/pf.conf, then `pfctl -f /etc/pf.conf`'
                raise PortgateError(Diagnostic("PG561", f'no line `{word} "{ANCHOR}"`', remedy=remedy))

    def _load(self, artifact: Artifact, *more: str) -> None:
        # The optimizer would put rules together that have grants of their own.
        answer = self._answer("-a", ANCHOR, "-o", "none", *more, "-f", "-", text=artifact.text)
        if answer.status != 0:
            raise PortgateError(*_refusals(answer.complaint, artifact.text))

    def _says(self, *words: str) -> str:
        answer = self._answer(*words)
        if answer.status != 0:
            detail = f"`pfctl {' '.join(words)}` failed: {answer.complaint.strip()[:300]}"
            raise PortgateError(Diagnostic("PG472", detail, remedy=_REMEDY))
        return answer.output

    def _answer(self, *words: str, text: str = "") -> Answer:
        try:
            return self._run(("pfctl", *words), text)
        except programs.ProgramError as error:
            raise PortgateError(Diagnostic("PG472", f"pfctl can't be run: {error}", remedy=_REMEDY)) from error


_NAMED_PORT = re.compile(r"( port !?= )(\S+)")


def _numbered(found: re.Match[str]) -> str:
    """The port that this host knows by the name; a name that it does not know stays, and is a doubt."""
    try:
        return found[1] + str(socket.getservbyname(found[2]))
    except OSError:
        return found[0]


def _calls(line: str, word: str) -> bool:
    words = line.split()
    return words[:1] == [word] and words[1:2] in ([f'"{ANCHOR}"'], [ANCHOR])


def _refusals(complaint: str, script: str) -> list[Diagnostic]:
    """Every complaint, with the line of the rules that it is about: `stdin:3: syntax error`."""
    lines = script.splitlines()
    found = []
    for text in complaint.splitlines():
        place, _, what = text.removeprefix("stdin:").partition(":")
        if text.startswith("stdin:") and place.isdecimal() and 0 < int(place) <= len(lines):
            found.append(Diagnostic("PG560", f"{what.strip()} (line {place}: {lines[int(place) - 1][:200]})"))
    return found or [Diagnostic("PG560", complaint.strip()[:500] or "pfctl gave no reason")]
