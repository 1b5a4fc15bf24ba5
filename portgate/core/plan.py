"""What applying a policy would change: traffic first, then rules, then the native text.

Theory
    A plan is data. It is made of the policy and one capture of the host, and it holds for that capture only: the
    fingerprint says for which. To find what traffic changes, only the elements of sets that can matter are
    compared (`focus`), so that one grant more costs the same in a policy of ten as in one of ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from portgate.core.addresses import Host
from portgate.core.audit import Audit, Finding
from portgate.core.capture import Artifact
from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic
from portgate.core.focus import Near, only_near, steady_fields
from portgate.core.ruleset import OWNER, Rule, Ruleset
from portgate.core.verify import Difference, differences
from portgate.core.words import element_text

_MOST_FOCUS = 64  # changed elements; with more of them a whole comparison is cheaper


Words = Callable[[Rule], str]
"""How a backend writes a rule: rules of the same words are the same rule."""


class Action(StrEnum):
    """What happens to a rule or an element."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule or set element that comes or goes. `where` names its chain or set, `comment` leads to the grant."""

    action: Action
    where: str
    text: str
    comment: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would do. `artifact` None: nothing; then `traffic`, `rules` and `objections` are empty.

    Of the `objections`, those that are errors stop an apply. `readings` are the native rules that it was made for.
    """

    policy: str
    backend: str
    readings: tuple[str, ...]
    artifact: Artifact | None
    traffic: tuple[Difference, ...]
    rules: tuple[RuleChange, ...]
    audit: Audit
    warnings: tuple[Diagnostic, ...] = ()
    objections: tuple[Finding, ...] = ()

    @property
    def empty(self) -> bool:
        return self.artifact is None

    @property
    def fingerprint(self) -> str:
        """Tells whether the rules of a host have changed since. Counters of packets do not count."""
        from hashlib import sha256

        return sha256("\0".join(self.readings).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def planned(live: Ruleset, ours: Ruleset) -> Ruleset:
    """The rules of the host once these are loaded: everybody else's, and ours replaced."""
    return Ruleset((*live.foreign().containers, *ours.containers))


def traffic(live: Ruleset, after: Ruleset, host: Host, words: Words) -> tuple[Difference, ...]:
    """The new connections whose fate changes when a host gets the planned rules."""
    before, after = focus(planned(live, live.owned()), after, words)
    return differences(before, after, host, most_cubes=12)


# ------------------------------------------------------------------ rules


def rule_changes(live: Ruleset, desired: Ruleset, words: Words) -> tuple[RuleChange, ...]:
    """Every rule and element of ours that comes or goes."""
    before, after = _contents(live.owned(), words), _contents(desired, words)
    return tuple(
        RuleChange(action, where, text, comment)
        for where in sorted({*before, *after})
        for action, items in (
            (Action.REMOVE, _missing(before.get(where, {}), after.get(where, {}))),
            (Action.ADD, _missing(after.get(where, {}), before.get(where, {}))),
        )
        for text, comment in items
    )


_Items = Mapping[object, tuple[str, str]]


def _contents(ruleset: Ruleset, words: Words) -> dict[str, dict[object, tuple[str, str]]]:
    """What each chain and set holds: a key that makes it what it is, its text and comment."""
    result: dict[str, dict[object, tuple[str, str]]] = {}
    for container in ruleset.containers:
        within = f" in {container.inside}" if container.inside else ""
        for chain in container.chains:
            result[f"chain {chain.name}{within}"] = {words(rule): (words(rule), rule.comment) for rule in chain.rules}
            if chain.base and within:
                leading = f"jump to {chain.name}"
                result[f"chain {chain.base.hook.upper()}{within}"] = {leading: (leading, OWNER)}
        for one in container.sets:
            if not one.dynamic:
                result[f"set {one.name}"] = {
                    element.box: (element_text(one.fields, element), element.comment) for element in one.elements
                }
    return result


def _missing(there: _Items, here: _Items) -> Iterator[tuple[str, str]]:
    return (text for key, text in there.items() if key not in here)


# ------------------------------------------------------------------ focus


def focus(before: Ruleset, after: Ruleset, words: Words) -> tuple[Ruleset, Ruleset]:
    """Both rulesets, less the set elements that can't matter for any difference between them.

    When the same rules look up the same sets, packets that lie in no changed element are treated alike.
    """
    if _skeleton(before, words) != _skeleton(after, words):
        return before, after
    changed = list(_changed_elements(before, after))
    if len(changed) > _MOST_FOCUS:
        return before, after
    return only_near(before, changed), only_near(after, changed)


def _skeleton(ruleset: Ruleset, words: Words) -> object:
    """Everything but what sets hold, and how a backend calls what is ours."""
    return [
        (
            "" if one.owned else one.name,
            [(chain.name, chain.base, [words(rule) for rule in chain.rules]) for chain in one.chains],
            [(each.name, each.fields, each.dynamic) for each in one.sets],
        )
        for one in ruleset.containers
    ]


def _changed_elements(before: Ruleset, after: Ruleset) -> Iterator[Near]:
    steady = steady_fields(before) & steady_fields(after)
    for old, new in zip(before.containers, after.containers, strict=True):
        for left, right in zip(old.sets, new.sets, strict=True):
            if left.elements != right.elements:
                for box in {one.box for one in left.elements} ^ {one.box for one in right.elements}:
                    yield {field: part for field, part in zip(left.fields, box, strict=True) if field in steady}
