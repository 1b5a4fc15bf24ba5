"""The text of a restore program, carried out by python-iptables: for the legacy store, which is all that it sees.

Facts (python-iptables 1.2)
    A table is fetched whole, changed in memory, and committed whole; the kernel refuses the commit if somebody else has
    changed the table in between. It does not take the lock that the programs of iptables take. Its `easy` functions
    leave out what they do not understand, so rules are put together here, where that is an error. The kernel refuses some
    rate limits as it writes them (60,000 ms to be full again, not 59,999): the caller has the restore program for that.
"""

from __future__ import annotations

import fcntl
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from portgate.core.net import ICMPV6, PROTOCOLS

LOCK = "/run/xtables.lock"
LOCK_SECONDS = 5.0
_OF_RULE = {"-s": "src", "-d": "dst", "-i": "in_interface", "-o": "out_interface", "-p": "protocol"}
_TWO_VALUES = {"match-set"}  # options that take a name and a list of directions


class RefusedError(Exception):
    """What python-iptables or the kernel said, or why neither was asked."""


def is_here() -> bool:
    """Whether python-iptables is installed. It is imported when a table is changed: that takes 0.15 s."""
    return find_spec("iptc") is not None


def run(program: str, text: str) -> None:
    """Does what `iptables-restore --noflush` does with the text: every table in one commit. Errors: RefusedError."""
    import iptc  # noqa: PLC0415 - optional, and slow to import

    tables, rules = (iptc.Table6, iptc.Rule6) if program == "ip6tables" else (iptc.Table, iptc.Rule)
    line = ""
    with _alone():
        try:
            for line in filter(None, text.split("\n")):
                if line.startswith("*"):
                    table = tables(line[1:], autocommit=False)
                    table.refresh()
                elif line == "COMMIT":
                    table.commit()
                elif not line.startswith("#"):
                    _edit(iptc.Chain, table, rules, line)
        except (iptc.IPTCError, iptc.XTablesError, ValueError, AttributeError, TypeError) as error:
            raise RefusedError(f"{error}: {line}") from error


def _edit(chains: Any, table: Any, rules: Any, line: str) -> None:
    """One line of a table."""
    command, name, *words = shlex.split(line)
    if command.startswith(":"):
        name = command[1:]
        table.flush_entries(name) if table.is_chain(name) else table.create_chain(name)
    elif command == "-X":
        table.delete_chain(name)
    else:
        chain, rule = chains(table, name), _rule(rules, words)
        {"-A": chain.append_rule, "-I": chain.insert_rule, "-D": chain.delete_rule}[command](rule)


def _rule(rules: Any, words: list[str]) -> Any:
    """The rule that the words after its chain describe. Errors: ValueError, and those of python-iptables."""
    rule = rules()
    extension = None
    coming = iter(words)
    inverted = ""
    for word in coming:
        if word == "!":
            inverted = "!"
            continue
        value = _value(coming, word)
        if word in _OF_RULE:
            setattr(rule, _OF_RULE[word], inverted + (_protocol(value) if word == "-p" else value))
        elif word == "-m":
            extension = rule.create_match(value)
        elif word in ("-j", "-g"):
            extension = rule.create_target(value, goto=word == "-g")
        elif word.startswith("--") and extension is not None:
            option = word[2:]
            values = [value, _value(coming, word)] if option in _TWO_VALUES else [value]
            extension.set_parameter(option, [inverted, *values] if inverted else values)
        else:
            raise ValueError(f"{word} is not understood")
        inverted = ""
    return rule


def _value(words: Iterator[str], option: str) -> str:
    found = next(words, None)
    if found is None:
        raise ValueError(f"{option} without a value")
    return found


def _protocol(name: str) -> str:
    """By number: python-iptables knows few names."""
    return str({**PROTOCOLS, "ipv6-icmp": ICMPV6}.get(name, name))


@contextmanager
def _alone() -> Iterator[None]:
    """While no program of iptables changes a table. Errors: RefusedError."""
    try:
        with Path(LOCK).open("a", encoding="ascii") as lock:
            _wait_for(lock.fileno())
            yield
    except OSError as error:
        raise RefusedError(f"{LOCK}: {error.strerror}") from error


def _wait_for(lock: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise RefusedError(f"another program has held {LOCK} for {LOCK_SECONDS:.0f} seconds") from error
            time.sleep(0.05)
        else:
            return
