"""Readings of ipfw as rules: listings, files for `ipfw FILE`, scripts for the shell.

Theory
    What arrives is judged in `input`, what leaves in `output`, what passes through in both; the last rule of all, 65535, is
    the default of both. `fwd` to this host translates in `prerouting`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from portgate.backends.ipfw import GUARD, LIVE, MARK, shell
from portgate.backends.ipfw.chains import TRANSLATED, chains
from portgate.backends.ipfw.commands import Command, is_script, listed
from portgate.backends.ipfw.firewall import Firewall, Numbered
from portgate.backends.ipfw.rule import Context, Entry, entries
from portgate.backends.ipfw.tables import Tables
from portgate.backends.ipfw.words import ACCEPTING
from portgate.core.capture import Reading
from portgate.core.dataclasses import replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.net import Family
from portgate.core.ruleset import (
    ALWAYS,
    Accept,
    Chain,
    Container,
    Dnat,
    Drop,
    Hook,
    Origin,
    Rule,
    Ruleset,
    Unknown,
)

ENABLED = {Family.IPV4: "net.inet.ip.fw.enable", Family.IPV6: "net.inet6.ip6.fw.enable"}
_ELSEWHERE = Rule(TRANSLATED, Unknown("fwd to another host, which leaves the destination as it was"), comment="fwd")
_LISTED_RULE = re.compile(r"^[^\S\n]*(?:# DISABLED )?\d{1,5}\s|^--- table\(", re.M)


def parse(readings: tuple[Reading, ...]) -> Ruleset:
    """All rules in the readings. Errors: PG480 to PG483 for what is none of ipfw's, or ipfw would refuse."""
    return Ruleset(tuple(one for reading in readings for one in _containers(reading)))


def _containers(reading: Reading) -> Iterator[Container]:
    firewall = _read(reading)
    found = firewall.enabled()
    own = [one for one in found if _is_ours(one)]
    rest = [one for one in found if not _is_ours(one) and one.set != GUARD]
    if own and not rest and not firewall.unread:
        yield _container(own, firewall, "portgate", owned=True)
        return
    if own:
        whole = _container(own, firewall, "portgate", owned=True)
        # What decides is the list of all rules; ours are shown apart, but are not asked a second time.
        yield replace(whole, chains=tuple(replace(one, base=None) for one in whole.chains))
    if found or firewall.unread or firewall.ruled:
        yield _container(found, firewall, "ipfw", owned=False)


def _read(reading: Reading) -> Firewall:
    script = is_script(reading.text)
    firewall = Firewall()
    found = list(shell.commands(reading.text) if script else listed(reading.text))
    for command in found:
        firewall.apply(command)
    if (script or found) and not any(one.words or script for one in found):
        raise PortgateError(Diagnostic("PG480", f"{reading.source}: not one line is a rule or a command of ipfw"))
    if not script and not _LISTED_RULE.search(reading.text):
        firewall.mistakes += map(_mistake, firewall.unread)
    if firewall.mistakes:
        raise PortgateError(*firewall.mistakes)
    return firewall


def _mistake(command: Command) -> Diagnostic:
    return Diagnostic("PG481", f"line {command.line} is no command of ipfw: {command.text[:200]}")


def _is_ours(rule: Numbered) -> bool:
    """A listing without sets tells our rules by their comments alone."""
    words = rule.words
    comment = words[words.index("//") + 1 :] if "//" in words else ()
    return rule.set in (0, LIVE) and comment[:1] != () and comment[0].startswith(MARK) and comment[0] != f"{MARK}guard"


def _container(rules: list[Numbered], firewall: Firewall, name: str, *, owned: bool) -> Container:
    tables = Tables(firewall.tables)
    passing = firewall.settings.get("net.inet.ip.fw.one_pass")
    one_pass = None if passing is None else bool(passing)
    default = _default(firewall)
    unread = () if owned else tuple(map(_unread, firewall.unread))

    arriving = _entries(rules, Context(True, tables, one_pass))
    leaving = _entries(rules, Context(False, tables, one_pass))
    elsewhere = (_ELSEWHERE,) if any(map(_leads_away, arriving)) else ()

    def of(hook: Hook, found: list[Entry]) -> list[Chain]:
        made = list(chains(found, default, hook))
        first = (*unread, *(elsewhere if hook is Hook.OUTPUT else ()))
        return [replace(one, rules=(*first, *one.rules)) if one.base else one for one in made]

    made = of(Hook.PREROUTING, arriving) if any(isinstance(one.action, Dnat) for one in arriving) else []
    made += [*of(Hook.INPUT, arriving), *of(Hook.OUTPUT, leaving)]
    families = tuple(family for family in Family if firewall.settings.get(ENABLED[family], 1))
    return Container(name, families, tuple(made), tables.all(), store="ipfw", owned=owned, twice=True)


def _leads_away(one: Entry) -> bool:
    return isinstance(one.action, Dnat) and one.action.address is not None


def _entries(rules: Iterable[Numbered], context: Context) -> list[Entry]:
    return [one for rule in rules for one in entries(rule, context)]


def _default(firewall: Firewall) -> Accept | Drop:
    if firewall.default is not None:
        return Accept() if ACCEPTING & set(firewall.default.words[1:2]) else Drop()
    return Accept() if firewall.settings.get("net.inet.ip.fw.default_to_accept") else Drop()


def _unread(command: Command) -> Rule:
    return Rule(
        ALWAYS, Unknown(f"line {command.line}: {command.text[:200]}"), origin=Origin(command.text, command.line)
    )
