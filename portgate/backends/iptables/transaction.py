"""The least text that turns our chains and sets into what is desired.

Theory
    A table is changed by one COMMIT, whole. Sets are not part of it. So a set that changes together with rules is filled
    under its other name, and the rules switch to that; the old one is destroyed at the end. Where one set is all
    that changes, its new contents are swapped in, and no rule is touched. At no moment is the host more open than before
    and after: a packet meets one family, and in each of its tables the old rules or the new ones.

Rules of this file
    A family without our rules comes first, for it is the looser one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from portgate.backends.iptables import HEADER
from portgate.backends.iptables.bundle import CHANGE, parts
from portgate.backends.iptables.emit import Names, NotOursError, jump, rule_text, set_lines
from portgate.backends.iptables.lower import lower
from portgate.backends.iptables.names import CHAIN_PREFIX, IP, PROGRAMS, TABLES, base_of, is_ours, set_names
from portgate.backends.iptables.own import is_jump_to_us, own_set
from portgate.core import words as core_words
from portgate.core.capture import Artifact, Reading
from portgate.core.dataclasses import dataclass
from portgate.core.net import Family
from portgate.core.ruleset import Chain, Container, NamedSet, Rule, Ruleset

_NOTHING: Names = {}


def transaction(observed: Ruleset, desired: Ruleset) -> Artifact | None:
    """None when our rules are that already. Errors: PG302."""
    lines = list(_Difference(observed, lower(desired)).lines())
    return Artifact("iptables", HEADER + CHANGE + "".join(f"{line}\n" for line in lines)) if lines else None


def restoring(own: Reading) -> Artifact:
    """What this listing holds of ours."""
    lines = (f"{line}\n" for program, text in parts(own.text) for line in _restoring(program, text))
    return Artifact("iptables", HEADER + _EMPTY.sub("", "".join(lines)))


def _restoring(program: str, text: str) -> Iterator[str]:
    if program == "ipset":
        yield from (f"#ipset {line}" for line in text.split("\n") if line)
    elif program:
        yield f"#: {program}"
        yield from (line for line in text.split("\n") if _OURS.match(line))


_EMPTY = re.compile(r"^\*\w+\nCOMMIT\n", re.MULTILINE)
_OURS = re.compile(rf"\*|COMMIT|:{CHAIN_PREFIX}|-A {CHAIN_PREFIX}|-A \w+ .*-j {CHAIN_PREFIX}\w+$")


def words(rule: Rule) -> str:
    """As emit writes it; for a rule that it would not write, what the host says."""
    return _text(rule, _NOTHING) or core_words.rule_text(rule)


def _text(rule: Rule, names: Names) -> str | None:
    try:
        return rule_text(rule, names)
    except NotOursError:
        return None


@dataclass(frozen=True, slots=True)
class _Table:
    """What of ours is in a table: chains, and the rules that lead to them, as written (`INPUT -j PORTGATE-INPUT`).

    `in_place`: the chains are whole and hooked as they should be.
    """

    chains: Mapping[str, Chain]
    jumps: tuple[str, ...] = ()
    in_place: bool = True

    def texts(self, name: str, names: Names) -> list[str | None] | None:
        chain = self.chains.get(name)
        return None if chain is None else [_text(rule, names) for rule in chain.rules]


Key = tuple[Family, str]


class _Difference:
    """Between our rules on a host and those that are desired."""

    def __init__(self, observed: Ruleset, desired: Ruleset) -> None:
        there = list(_of_one_store(observed.containers))
        self.old, self.new = dict(_tables(there)), dict(_tables(desired.containers))
        self.old_sets, self.new_sets = dict(_sets(there)), dict(_sets(desired.containers))
        self.changed = [name for name, one in self.new_sets.items() if not self._has(name, one)]

    def _has(self, name: str, wanted: NamedSet) -> bool:
        old = self.old_sets.get(name)
        return old is not None and (old.fields, old.elements) == (wanted.fields, wanted.elements)

    def lines(self) -> Iterator[str]:
        gone = [one for name, one in self.old_sets.items() if name not in self.new_sets]
        natives = {name: _native(one) for name, one in self.old_sets.items()}
        if len(self.changed) == 1 and self.changed[0] in natives and not any(self._all_tables(natives, natives)):
            yield from self._swapped(self.changed[0], natives)
        else:
            names = {**{name: set_names(name)[0] for name in self.new_sets}, **natives}
            names.update((name, _other(natives[name])) for name in self.changed if name in natives)
            for name in self.changed:
                yield from set_lines(self.new_sets[name], names[name])
            yield from self._all_tables(natives, names)
            yield from (f"#ipset destroy {natives[name]}" for name in self.changed if name in natives)
        yield from (f"#ipset destroy {_native(one)}" for one in gone)

    def _swapped(self, name: str, natives: Names) -> Iterator[str]:
        spare = _other(natives[name])
        yield from set_lines(self.new_sets[name], spare)
        yield f"#ipset swap {spare} {natives[name]}"
        yield f"#ipset destroy {spare}"

    def _all_tables(self, before: Names, after: Names) -> Iterator[str]:
        """**Shape** the names of the sets as they are, and as they will be."""
        owned = {family for family, _ in self.old}
        for family in sorted(Family, key=lambda one: (one in owned, -one)):
            lines = [line for table in TABLES for line in self._table((family, table), before, after)]
            yield from [f"#: {PROGRAMS[family]}", *lines] if lines else []

    def _table(self, key: Key, before: Names, after: Names) -> Iterator[str]:
        old, new = self.old.get(key, _Table({})), self.new.get(key, _Table({}))
        rewritten = [name for name in new.chains if new.texts(name, after) != old.texts(name, before)]
        gone = [name for name in old.chains if name not in new.chains]
        unhooked = [one for one in old.jumps if not old.in_place or one not in new.jumps]
        hooked = [one for one in new.jumps if not old.in_place or one not in old.jumps]
        if not (rewritten or gone or unhooked or hooked):
            return
        yield f"*{key[1]}"
        yield from (f":{name} - [0:0]" for name in (*rewritten, *gone))
        for name in rewritten:
            yield from (f"-A {name} {text}" for text in new.texts(name, after) or ())
        yield from (f"-D {one}" for one in unhooked)
        yield from (f"-I {one}" for one in hooked)
        yield from (f"-X {name}" for name in gone)
        yield "COMMIT"


def _of_one_store(containers: Iterable[Container]) -> Iterator[Container]:
    """Those that hold something of ours: in the legacy store, where that does, for then it is the one that is driven."""
    ours = [one for one in containers if one.inside or any(is_ours(chain.name) for chain in one.chains)]
    legacy = any(one.store == "legacy" for one in ours)
    return (one for one in ours if (one.store == "legacy") == legacy)


def _sets(containers: Iterable[Container]) -> Iterator[tuple[str, NamedSet]]:
    """Also those that chains of ours look up which are not in their place: they are in use."""
    for container in containers:
        found = container.sets if container.inside else map(own_set, filter(_is_native, container.sets))
        yield from ((one.name, one) for one in found)


def _is_native(one: NamedSet) -> bool:
    return bool(base_of(one.name))


def _native(one: NamedSet) -> str:
    return one.comment or set_names(one.name)[0]


def _other(native: str) -> str:
    first, second = set_names(native[:-2])
    return second if native == first else first


def _tables(containers: Iterable[Container]) -> Iterator[tuple[Key, _Table]]:
    for one in containers:
        key = _key(one)
        chains = {chain.name: chain for chain in one.chains if is_ours(chain.name)}
        if key is not None and (one.owned or chains):
            hooked = tuple(jump("", name).strip() for name, chain in chains.items() if chain.base)
            yield key, _Table(chains, hooked) if one.owned else _Table(chains, tuple(_stray_jumps(one)), in_place=False)


def _key(container: Container) -> Key | None:
    name = (container.inside or container.name).split()[:2]
    return next(
        (key for family in Family for table in TABLES if name == [IP[family], table] for key in [(family, table)]), None
    )


def _stray_jumps(container: Container) -> Iterator[str]:
    """As they were listed."""
    for chain in container.chains:
        if not is_ours(chain.name):
            yield from (rule.origin.text.removeprefix("-A ") for rule in chain.rules if is_jump_to_us(rule))
