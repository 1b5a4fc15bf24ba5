"""What could not be read of somebody's rules, as rules: it may be any rule of any chain, and decide in any way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from portgate.core.dataclasses import replace
from portgate.core.net import Family
from portgate.core.ruleset import (
    ALWAYS,
    Base,
    Chain,
    Container,
    Hook,
    Opaque,
    Origin,
    Reject,
    Rule,
    Ruleset,
    Unknown,
)

_NAME = "unread"


def rules(texts: Sequence[str], line: int | None = None) -> tuple[Rule, ...]:
    """What the texts may stand for; the first of them is at `line`."""
    if not texts:
        return ()
    reason = f"{texts[0]} (and {len(texts) - 1} more)" if len(texts) > 1 else texts[0]
    origin = Origin(texts[0], line)
    return (
        Rule(ALWAYS, Unknown(reason), origin=origin),
        Rule(Opaque(f"{reason} rejects", reason), Reject(), origin=origin),
    )


def beginning_with(unread: tuple[Rule, ...], container: Container) -> Container:
    """The container, its base chains with these rules before all others.

    One of ours stays as it is: what cannot be read on a host is somebody else's, and must not keep ours from being proven.
    """
    if not unread or container.owned:
        return container
    chains = (replace(one, rules=(*unread, *one.rules)) if one.base else one for one in container.chains)
    return replace(container, chains=tuple(chains))


def container(families: tuple[Family, ...], source: str = "") -> Container:
    """Chains on every hook, to begin with such rules: they may be in chains of which nothing else is told."""
    hooks = (hook for hook in Hook if hook is not Hook.INGRESS)
    chains = tuple(Chain(f"{_NAME} {hook}", (), Base(hook, 0)) for hook in hooks)
    return Container(f"{_NAME} {source}".strip(), families, chains)


def reasons(observed: Ruleset) -> Iterator[str]:
    """What was not read, in the words of `rules`."""
    for one in observed.containers:
        if one.name.split()[0] == _NAME:
            yield from _unknown(rule for rule in one.chains[0].rules)


def _unknown(rules: Iterable[Rule]) -> Iterator[str]:
    return (one.verdict.text for one in rules if isinstance(one.verdict, Unknown))
