"""From the observed table to the desired one, in the fewest changes: one nft script.

Theory
    What stays keeps its counters, its place and its contents. Rules are compared by their texts, sets by
    their elements. Rules that changed are deleted by handle and put in where they belong, next to rules that stay.
    Sources counted by a limit are not the policy's: they are left alone.
    What can't be changed in place (a set's type, a chain's hook) has a new name when the policy changes it. If it
    differs all the same, somebody edited the table, and the whole of it is replaced.

    In one transaction rules are in force before sets are (lower.py). Where what is blocked changes, new sets are therefore filled before,
    and what takes away from what is let through comes before what adds to it, each in a transaction of its own: what neither the old rules nor the
    new ones let through never passes. Else no set that lets through, old or new, holds such a packet.

    Where nothing but elements differs, the script says which come and go, and the kernel gets them without nft. With rules in the same script, nft has to make
    it: then sets are declared again with what they get, after a flush if something goes.

Facts
    A transaction that deletes something waits for a grace period of the kernel, 7 to 10 ms; one that only
    adds does not. Deleting a set or chain in use fails, so rules go first (Linux 6.18).
    For `add element` nft lists all long sets of the host, for each deleted one it goes through the whole set: 400 of 40,000 took 52 s. A set
    that is declared again gets the elements of the declaration without that (nft 1.0.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from portgate.backends.nftables import HEADER, TABLE
from portgate.backends.nftables.emit import (
    NotOursError,
    base_text,
    create,
    elements,
    emit,
    icmp_types,
    rule_text,
    set_type,
    sets_of,
)
from portgate.backends.nftables.lower import refuses
from portgate.core import words as core_words
from portgate.core.capture import Artifact, Reading
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.core.ruleset import Chain, Container, Element, NamedSet, Rule, Ruleset

THEN = "# then, once that is in force:\n"
"""Parts a script into transactions."""
OVER = "1ms"  # the shortest time left that there is


def transaction(observed: Ruleset, desired: Ruleset) -> Artifact | None:
    """The script that turns our table into what is desired; None when it is that already.

    Errors: PortgateError when the table of our name is somebody else's.
    """
    old, new = _table(observed), _table(desired)
    if old is not None and not old.owned:
        raise PortgateError(_NAMESAKE)
    text = _script(old, new)
    return Artifact("nftables", HEADER + text) if text else None


def restoring(own: Reading, elapsed: float = 0) -> Artifact:
    """The script that makes our table again what this listing of it says, so many seconds later."""
    listing = re.sub(_HANDLE, "", own.text)
    if elapsed >= 1:
        listing = re.sub(_EXPIRES, lambda found: _aged(found, int(elapsed)), listing)
    return Artifact("nftables", f"{HEADER}table {TABLE}\ndelete table {TABLE}\n{listing}")


_HANDLE = r"(?m) # handle \d+$"
_EXPIRES = r'"[^"\n]*"|(?<= expires )\S+?(?=[,\s])'
"""A time left; strings are skipped, so that none of them is taken for one."""


def _aged(found: re.Match[str], elapsed: int) -> str:
    if found[0].startswith('"'):
        return found[0]
    from portgate.backends.nftables.tokens import seconds

    left = seconds(found[0])
    return f"{left - elapsed}s" if left > elapsed else OVER


def same(observed: Ruleset, desired: Ruleset) -> bool:
    """Whether the two hold the same rules and sets of ours. When they do, they mean the same."""
    return transaction(observed.owned(), desired.owned()) is None


_NAMESAKE = Diagnostic(
    "PG530",
    "this host has a table `inet portgate` without portgate's mark; nothing was changed",
    remedy="look at it with `nft list table inet portgate`; if nobody needs it, `nft delete table inet portgate`",
)


def _table(ruleset: Ruleset) -> Container | None:
    found = (one for one in ruleset.containers if (one.owned and not one.inside) or one.name == TABLE)
    return next(found, None)


def _script(old: Container | None, new: Container | None) -> str:
    if old is None or new is None:
        return create(new) if new else f"delete table {TABLE}\n" if old else ""
    if not _in_place(old, new):
        return emit(Ruleset((new,))).text.removeprefix(HEADER)
    if _blocked(old) == _blocked(new):
        return _at_once("".join(_changed_structure(old, new)), new, list(_changed_sets(old, new)))
    added = tuple(one for one in new.sets if one.name not in old.sets_by_name())
    filled = replace(old, sets=(*old.sets, *added))
    closing, opening = _in_turn(filled, new)
    rules, blocking = "".join(_changed_structure(filled, new)), _looked_up(old, new, blocking=True)
    if not rules and all(one.new.name in blocking for one in (*closing, *opening)):
        return _elements_alone((*closing, *opening))
    sets = create(replace(new, sets=added, chains=()), new) if added else ""
    parts = (sets, _elements_alone(closing), _at_once(rules, new, opening))
    return THEN.join(part for part in parts if part)


def _at_once(rules: str, new: Container, changes: Sequence[_Change]) -> str:
    """Commands about rules, if any, with these changes of elements, in one transaction."""
    if rules:
        return rules + "".join(map(partial(_declared_anew, new), changes))
    return _elements_alone(changes)


def _elements_alone(changes: Iterable[_Change]) -> str:
    return "".join(text for one in changes for text in _changed_elements(one))


def _blocked(container: Container) -> tuple[list[tuple[str, str | None]], dict[str, tuple[Element, ...]]]:
    """The rules that refuse, by chain, and what is in the sets that they look up."""
    rules = [
        (chain.name, rule)
        for chain in sorted(container.chains, key=lambda one: one.name)
        for rule in chain.rules
        if refuses(rule)
    ]
    names = {name for _, rule in rules for name in sets_of(rule)}
    texts = [(chain, _text(rule)) for chain, rule in rules]
    return texts, {one.name: one.elements for one in container.sets if one.name in names}


def _in_place(old: Container, new: Container) -> bool:
    """Whether all that both have is declared alike, apart from what can be declared anew."""
    old_sets, old_types, new_types = old.sets_by_name(), icmp_types(old), icmp_types(new)
    sets_fit = all(
        (set_type(before, old_types), before.dynamic, before.timed)
        == (set_type(after, new_types), after.dynamic, after.timed)
        for after in new.sets
        if (before := old_sets.get(after.name)) is not None
    )
    return sets_fit and all(
        _hook(chain) == _hook(after) for after in new.chains if (chain := old.chain(after.name)) is not None
    )


def _hook(chain: Chain) -> object:
    return chain.base and (chain.base.hook, chain.base.priority, chain.base.kind)


def _changed_structure(old: Container, new: Container) -> Iterator[str]:
    """Commands, in an order in which each finds what it refers to."""
    yield from _added(old, new)
    for chain in old.chains:
        yield from _changed_rules(chain, new.chain(chain.name))
    yield from (f"delete chain {TABLE} {one.name}\n" for one in old.chains if new.chain(one.name) is None)
    kept = new.sets_by_name()
    yield from (f"delete set {TABLE} {one.name}\n" for one in old.sets if one.name not in kept)


def _added(old: Container, new: Container) -> Iterator[str]:
    """New sets, and new chains with their rules; chains whose default changed are declared anew."""
    known = old.sets_by_name()
    sets = tuple(one for one in new.sets if one.name not in known)
    chains = tuple(one for one in new.chains if old.chain(one.name) is None)
    if sets or chains:
        # Jumps between new chains need all of them declared before the first rule, which the block form does.
        yield create(replace(new, sets=sets, chains=chains), new)
    for chain in new.chains:
        before = old.chain(chain.name)
        if before and before.base and chain.base and before.base.default != chain.base.default:
            yield f"chain {TABLE} {chain.name} {{ {base_text(chain.base)} }}\n"


# ------------------------------------------------------------------ rules


def _changed_rules(old: Chain, new: Chain | None) -> Iterator[str]:
    if new is None:
        yield f"flush chain {TABLE} {old.name}\n"
        return
    before, after = [_text(rule) for rule in old.rules], [rule_text(rule) for rule in new.rules]
    if before == after:
        return
    if any(rule.origin.handle is None for rule in old.rules):
        yield f"flush chain {TABLE} {old.name}\n"
        yield from (f"add rule {TABLE} {old.name} {text}\n" for text in after)
        return
    from difflib import SequenceMatcher

    anchor: int | None = None
    for kind, start, end, new_start, new_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            anchor = old.rules[end - 1].origin.handle
            continue
        yield from _inserted(old.name, anchor, after[new_start:new_end])
        yield from (f"delete rule {TABLE} {old.name} handle {rule.origin.handle}\n" for rule in old.rules[start:end])


def _inserted(chain: str, anchor: int | None, texts: list[str]) -> Iterator[str]:
    """The rules behind the one that stays, or at the top; each goes before those already put there."""
    for text in reversed(texts):
        yield (
            f"insert rule {TABLE} {chain} {text}\n"
            if anchor is None
            else f"add rule {TABLE} {chain} handle {anchor} {text}\n"
        )


def _text(rule: Rule) -> str | None:
    try:
        return rule_text(rule)
    except NotOursError:
        return None


def words(rule: Rule) -> str:
    """As emit writes it; for a rule that it would not write, what the host says."""
    return _text(rule) or core_words.rule_text(rule)


# ------------------------------------------------------------------ elements


@dataclass(frozen=True, slots=True)
class _Change:
    """The elements that come into a set, and those that go; `new` is the set with all that it will have."""

    new: NamedSet
    come: Sequence[Element]
    gone: Sequence[Element]


def _changed_sets(old: Container, new: Container) -> Iterator[_Change]:
    wanted = new.sets_by_name()
    for one in old.sets:
        after = wanted.get(one.name)
        if after is not None and not after.dynamic and one.elements != after.elements:
            yield _difference(one, after)


def _in_turn(old: Container, new: Container) -> tuple[list[_Change], list[_Change]]:
    """What takes away from what is let through, and what adds to it. A set that does both, or is cut anew, is with the latter, blocks first."""
    blocking, letting = _looked_up(old, new, blocking=True), _looked_up(old, new, blocking=False)
    closing: list[_Change] = []
    opening: list[_Change] = []
    for one in _changed_sets(old, new):
        name = one.new.name
        if name not in blocking:
            closing += [replace(one, come=())] if one.gone else []
            opening += [replace(one, gone=())] if one.come else []
        else:
            closes = name not in letting and not one.gone
            (closing if closes else opening).append(one)
    return closing, sorted(opening, key=lambda one: one.new.name not in blocking)


def _looked_up(*containers: Container, blocking: bool) -> set[str]:
    """The sets by which rules block, or by which others decide."""
    return {
        name
        for container in containers
        for chain in container.chains
        if chain.base is None or chain.base.kind == "filter"
        for rule in chain.rules
        if refuses(rule) is blocking
        for name in sets_of(rule)
    }


def _difference(old: NamedSet, new: NamedSet) -> _Change:
    """Both are walked along side by side, for they are in order. Where one were not, more would go and come again."""
    before, after = iter(old.elements), iter(new.elements)
    come: list[Element] = []
    gone: list[Element] = []
    left, right = next(before, None), next(after, None)
    while left is not None and right is not None:
        if left == right:
            left, right = next(before, None), next(after, None)
        elif left.box <= right.box:
            gone.append(left)
            left = next(before, None)
        else:
            come.append(right)
            right = next(after, None)
    gone += [left, *before] if left is not None else []
    come += [right, *after] if right is not None else []
    return _Change(new, come, [one for one in gone if one.expires != 0])  # 0 is over by itself


def _changed_elements(change: _Change) -> Iterator[str]:
    """Commands for the kernel alone (batch.py)."""
    yield from _command("delete", change.new, [Element(one.box) for one in change.gone])
    yield from _command("add", change.new, change.come)


def _declared_anew(container: Container, change: _Change) -> str:
    """The same for nft, which goes through long sets for each command about elements, but not when it reads a declaration."""
    flush = f"flush set {TABLE} {change.new.name}\n" if change.gone else ""
    some = replace(change.new, elements=tuple(change.new.elements if flush else change.come))
    return flush + create(replace(container, sets=(some,), chains=()), container) if some.elements or flush else ""


def _command(verb: str, where: NamedSet, some: Sequence[Element]) -> Iterator[str]:
    if some:
        yield f"{verb} element {TABLE} {where.name} {{ {', '.join(elements(where.fields, some))} }}\n"
