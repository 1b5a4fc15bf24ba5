"""How the rules of a host differ from those that were confirmed last.

Theory
    Ours are compared as rules and elements, for these somebody has added or removed. Other people's are compared by what
    they do: of all that they changed, only that matters which makes packets fare otherwise than the confirmed rules say.
    What is opened for a time is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from portgate.core.addresses import Host
from portgate.core.capture import Artifact
from portgate.core.diagnostics import Diagnostic
from portgate.core.openings import kept, timeless
from portgate.core.plan import Action, Words, rule_changes
from portgate.core.ports import foreign_decider
from portgate.core.ruleset import Chain, Ruleset
from portgate.core.semantics import Fate
from portgate.core.verify import Difference, against_policy

_MOST = 10


@dataclass(frozen=True, slots=True)
class Drifted:
    """A rule or element of ours that is there, or is not, and should not be so. `where` names its chain or set."""

    where: str
    text: str
    added: bool

    def __str__(self) -> str:
        return f"{self.where}: somebody {'added' if self.added else 'removed'} {self.text}"


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
    changed = [Drifted(one.where, one.text, one.action is Action.REMOVE) for one in rule_changes(before, after, words)]
    return (
        tuple(changed)
        or tuple(_defaults(before, after))
        or (Drifted("rules", "some, or put them in another order", True),)
    )


def _defaults(live: Ruleset, confirmed: Ruleset) -> Iterator[Drifted]:
    there = {chain.name: chain for container in live.owned().containers for chain in container.chains}
    for container in confirmed.owned().containers:
        for chain in container.chains:
            found = there.get(chain.name)
            if found is not None and found.base != chain.base:
                yield Drifted(f"chain {chain.name}", _base(found), True)


def _base(chain: Chain) -> str:
    if chain.base is None:
        return "it without a hook"
    default = type(chain.base.default).__name__.lower()
    return f"the hook {chain.base.hook} at {chain.base.priority} with the default {default}"


def of_theirs(live: Ruleset, confirmed: Ruleset, host: Host) -> tuple[Diagnostic, ...]:
    """Rules of others by which packets fare otherwise than the confirmed ones say."""
    found = against_policy(kept(confirmed, live), live, host)
    return tuple(islice(filter(None, (_voided(live, one, host) for one in found)), _MOST))


def _voided(live: Ruleset, one: Difference, host: Host) -> Diagnostic | None:
    accepted = one.after.fate is Fate.ACCEPT
    who = foreign_decider(live, one.packet, host, accepted=accepted)
    if who is None:
        return None
    if accepted:
        return Diagnostic("PG604", f"{one.packet} gets in, by {who}")
    return Diagnostic("PG605", f"{one.packet} is refused, by {who}")
