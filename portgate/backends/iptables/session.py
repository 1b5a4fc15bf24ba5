"""A live host through the restore and save programs of one store, and ipset.

Theory
    A text is run part by part, each a transaction of its own. So it is tried before in a network namespace that holds
    nothing but our rules as they are; and if a part is refused all the same, what was done is taken back, as the
    difference between what is there then and what was there before.

Facts
    `iptables-restore --test` takes a jump to a chain that does not exist (1.8.9). A set that a rule of nf_tables looked
    up is in use for a moment after the rule is gone. `iptables-nft-save` ends with 0 where it can't show a table.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from portgate import programs
from portgate.backends.iptables import live
from portgate.backends.iptables.bundle import CHANGE, KIND, Part, parts
from portgate.backends.iptables.live.store import available, default_store, said
from portgate.backends.iptables.names import CHAIN_PREFIX, PROGRAMS, SET_PREFIX, TABLES
from portgate.backends.iptables.parse import parse
from portgate.backends.iptables.parse_options import each_line
from portgate.backends.iptables.transaction import restoring, transaction
from portgate.core.capture import Artifact, Reading, Step
from portgate.core.diagnostics import Diagnostic, PortgateError

CLONE_NEWNET = 0x40000000
LOCK_PATIENCE = "5"  # seconds, for another program that changes legacy tables
_DESTROY_TRIES = 50
_HASHING = re.compile(r" (?:hashsize|bucketsize|initval) \S+")  # of a set's order, not of its members
_LINE = re.compile(r"line:? (\d+)")


def starting(closed: str, text: str, store: str = "") -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The programs that load one complete text and then change it into the other, in the store that this host uses."""
    store = store or default_store()
    first, second = (parse((Reading(KIND, one, "the history"),)) for one in (closed, text))
    change = transaction(first, second)
    return tuple(_steps(closed, store)), tuple(_steps(change.text if change else "", store))


def _steps(text: str, store: str) -> Iterator[Step]:
    for index, (program, part) in enumerate(parts(text)):
        if program == "ipset":
            making = "".join(line for line in each_line(part) if not _is_destruction(line))
            if making:  # what is in use for a moment longer shall not end the start
                yield Step(("ipset", "-exist", "restore", "-file"), f"{index}.ipset", making)
        elif program:
            yield Step((f"{program}-{store}-restore", "--noflush", "-w", LOCK_PATIENCE), f"{index}.{program}", part)


class IptablesSession:
    """See `portgate.backends.Session`."""

    def __init__(self, store: str = "") -> None:
        self.store = store or default_store()
        if reason := available(self.store):
            raise PortgateError(Diagnostic("PG463", reason))

    def read(self) -> tuple[Reading, ...]:
        capture = live.capture()
        if capture.notes:
            raise PortgateError(*capture.notes)
        nothing = Reading(KIND, "", "the programs of iptables")  # no rules are not unknown rules
        return (*capture.readings, nothing)

    def read_own(self) -> Reading:
        text = "".join([*self._own_sets(), *self._listings()])
        ours = CHAIN_PREFIX in text or "#ipset " in text
        return Reading(KIND, text if ours else "", f"iptables-{self.store}-save and its siblings")

    def check(self, artifact: Artifact) -> None:
        self._change(artifact, self.read_own())

    def load(self, artifact: Artifact) -> None:
        before = self.read_own()
        change = self._change(artifact, before)
        if change is None:
            return
        try:
            self._run(change)
        except PortgateError:
            back = transaction(parse((self.read_own(),)), parse((before,)))
            if back is not None:
                self._run(back)
            raise

    def generation(self) -> str | None:
        """Of what is listed: the legacy store counts nothing."""
        capture = live.capture()
        text = "\0".join(one.text for one in capture.readings)
        return None if capture.notes else hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]

    def outline_after(self, generation: str | None) -> Reading | None:
        """A checksum counts nothing, so nothing can be concluded from it."""
        return None

    # -------------------------------------------------------------- reading

    def _listings(self) -> Iterator[str]:
        """The tables in which our chains can stand, whole: whether they are in their place depends on other rules."""
        for name in PROGRAMS.values():
            listing = said([str(programs.find(f"{name}-{self.store}-save"))])
            if found := re.search(rf"^# Table `({'|'.join(TABLES)})' is incompatible", listing, re.MULTILINE):
                raise PortgateError(Diagnostic("PG464", f"the table {found[1]} of {name}"))
            yield f"#: {name}\n" + "".join(_tables(live.steady(listing)))

    def _own_sets(self) -> Iterator[str]:
        ipset = programs.find("ipset")
        if ipset and f"\n{SET_PREFIX}" in "\n" + said([ipset, "list", "-name"]):
            lines = _HASHING.sub("", said([ipset, "save"])).split("\n")
            ours = [line for line in lines if line.partition(" ")[2].startswith(SET_PREFIX)]
            yield from (f"#ipset {line}\n" for line in sorted(ours, key=lambda line: (line.startswith("add "), line)))

    # -------------------------------------------------------------- changing

    def _change(self, artifact: Artifact, before: Reading) -> Artifact | None:
        """What must be run on this host, tried. Errors: PortgateError when it is refused."""
        change: Artifact | None = artifact
        if CHANGE not in artifact.text:
            _in_scratch(partial(self._run, artifact))
            change = transaction(parse((before,)), parse((Reading(KIND, artifact.text, "what is to be loaded"),)))
        if change is not None:
            _in_scratch(partial(self._run, restoring(before), change))
        return change

    def _run(self, *artifacts: Artifact) -> None:
        for artifact in artifacts:
            for part in parts(artifact.text):
                self._run_part(part)

    def _run_part(self, part: Part) -> None:
        if part.program == "ipset":
            _change_sets(part.text)
        elif part.program in PROGRAMS.values():
            program = programs.find(f"{part.program}-{self.store}-restore")
            _told([str(program), "--noflush", "-w", LOCK_PATIENCE], part.text)
        elif any(line.strip() and not line.startswith("#") for line in each_line(part.text)):
            raise PortgateError(Diagnostic("PG533", f"a part for {part.program!r}, which is not known"))


def _tables(listing: str) -> Iterator[str]:
    """The lines of the tables that matter."""
    table = ""
    for line in each_line(listing):
        table = line[1:].strip() if line.startswith("*") else table
        if table in TABLES:
            yield line


def _change_sets(text: str) -> None:
    ipset = programs.find("ipset")
    if ipset is None:
        remedy = "install it: `apt install ipset` on Debian and Ubuntu, `dnf install ipset` on Fedora"
        raise PortgateError(Diagnostic("PG533", "long lists need ipset, which is not here", remedy=remedy))
    lines = each_line(text)
    _told([ipset, "-exist", "restore"], "".join(line for line in lines if not _is_destruction(line)))
    for line in filter(_is_destruction, lines):
        _destroy([ipset, *line.split()])


def _is_destruction(line: str) -> bool:
    return line.startswith("destroy ")


def _destroy(argv: list[str]) -> None:
    """A set may be in use for a moment longer."""
    for left in reversed(range(_DESTROY_TRIES)):
        try:
            programs.run(argv)
        except programs.ProgramError as error:
            if left == 0:
                raise PortgateError(Diagnostic("PG533", f"{' '.join(argv)}: {error}")) from error
            time.sleep(0.1)
        else:
            return


def _told(argv: list[str], text: str) -> None:
    try:
        programs.run(argv, text)
    except programs.ProgramError as error:
        complaint = str(error)
        raise PortgateError(Diagnostic("PG533", f"{' '.join(argv)}: {complaint}{_quoted(complaint, text)}")) from error


def _quoted(complaint: str, text: str) -> str:
    """The line that a complaint is about."""
    lines = text.split("\n")
    found = _LINE.search(complaint)
    return f": {lines[int(found[1]) - 1]}" if found and 0 < int(found[1]) <= len(lines) else ""


# ------------------------------------------------------------------ a namespace to try in


def _in_scratch(function: Callable[[], object]) -> None:
    """Runs it in a network namespace of its own; where none is to be had, not at all.

    A thread can leave the namespace of its process, and programs are started in that of the thread.
    """
    with ThreadPoolExecutor(1) as thread:
        if thread.submit(_leave).result():
            thread.submit(function).result()


def _leave() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(CLONE_NEWNET) == 0)
