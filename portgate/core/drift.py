"""How the rules of a host differ from those that were confirmed last.

Theory
    Ours are compared as rules and elements, for these somebody has added or removed. Other people's are compared by what
    they do: of all that they changed, only that matters which makes packets fare otherwise than the confirmed rules say.
    What is opened for a time is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import product

from portgate.core.addresses import Host
from portgate.core.capture import Artifact
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic
from portgate.core.openings import kept, timeless
from portgate.core.plan import Action, Words, planned, rule_changes
from portgate.core.ruleset import Chain, Container, Jump, Rule, Ruleset
from portgate.core.semantics import Fate
from portgate.core.verify import against_policy
from portgate.core.words import rule_text

_MOST = 10


class How(StrEnum):
    """What somebody did."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Drifted:
    """What somebody did to a rule or element of ours, or to a whole chain. `where` names its chain or set."""

    where: str
    how: How
    text: str

    def __str__(self) -> str:
        return f"{self.where}: somebody {self.how} {self.text}"


@dataclass(frozen=True, slots=True)
class Drift:
    """How the rules of this host differ from the generation that was confirmed last.

    **Shape** `ours` is what somebody changed in our rules, `writers` who did as far as the machine keeps a log of it; `theirs`
    are rules of others that void ours.
    """

    revision: int
    policy: str
    ours: tuple[Drifted, ...] = ()
    writers: tuple[str, ...] = ()
    theirs: tuple[Diagnostic, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ours or self.theirs)


def of_ours(live: Ruleset, confirmed: Ruleset, words: Words, repair: Artifact | None) -> tuple[Drifted, ...]:
    """What somebody changed in our rules; `repair` is what would bring them back, None where nothing would."""
    if repair is None:
        return ()
    before, after = timeless(live), timeless(confirmed)
    hows = {Action.REMOVE: How.ADDED, Action.ADD: How.REMOVED}
    displaced = [one for container in after.owned().containers for one in _displaced(before, container)]
    inside = {where for one in displaced for where in (one.chain, one.caller)}
    changed = [
        Drifted(one.where, hows[one.action], one.text)
        for one in rule_changes(before, after, words)
        if one.where not in inside
    ]
    moved = [Drifted(*each) for one in displaced for each in one.told()]
    return (*changed, *moved, *_hooks(before, after)) or (Drifted("rules", How.CHANGED, "their order"),)


@dataclass(frozen=True, slots=True)
class _Displaced:
    """A chain of ours in a table of others that is not what portgate left there: a rule before the jump to it, or one of its own."""

    chain: str
    caller: str
    before: tuple[Rule, ...]

    def told(self) -> Iterator[tuple[str, How, str]]:
        for rule in self.before:
            yield self.caller, How.ADDED, f"{rule_text(rule)}, before the jump to our rules"
        if not self.before:
            yield self.chain, How.CHANGED, "its rules"


def _displaced(live: Ruleset, container: Container) -> Iterator[_Displaced]:
    for table in live.foreign().containers if container.inside else ():
        if not f"{table.name} ".startswith(f"{container.inside} "):
            continue
        for caller, chain in product(table.chains, container.chains):
            jumps = [index for index, rule in enumerate(caller.rules) if rule.verdict == Jump(chain.name)]
            if jumps and table.chain(chain.name):
                within = f" in {container.inside}"
                yield _Displaced(
                    f"chain {chain.name}{within}", f"chain {caller.name}{within}", caller.rules[: jumps[0]]
                )


def _hooks(live: Ruleset, confirmed: Ruleset) -> Iterator[Drifted]:
    there = {chain.name: chain for container in live.owned().containers for chain in container.chains}
    for container in confirmed.owned().containers:
        for chain in container.chains:
            found = there.get(chain.name)
            if found is not None and found.base != chain.base:
                yield Drifted(f"chain {chain.name}", How.CHANGED, f"it: {_hook(found)}")


def _hook(chain: Chain) -> str:
    if chain.base is None:
        return "no hook"
    default = type(chain.base.default).__name__.lower()
    return f"hook {chain.base.hook}, priority {chain.base.priority}, default {default}"


def of_theirs(live: Ruleset, confirmed: Ruleset, host: Host) -> tuple[Diagnostic, ...]:
    """Rules of others by which packets fare otherwise than the confirmed ones say, were these in force as they are; each rule once."""
    from portgate.core.provenance import foreign_decider

    wanted = kept(confirmed, live)
    repaired = planned(live, wanted)
    found: dict[tuple[str, str], Diagnostic] = {}
    for one in against_policy(wanted, repaired, host):
        accepted = one.after.fate is Fate.ACCEPT
        who = foreign_decider(repaired, one.packet, host, accepted=accepted)
        if who is not None:
            code, what = ("PG604", "gets in") if accepted else ("PG605", "is refused")
            found.setdefault((code, who), Diagnostic(code, f"{one.packet} {what}, by {who}"))
    return tuple(found.values())[:_MOST]
