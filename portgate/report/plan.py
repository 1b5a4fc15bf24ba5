"""A plan as text: traffic, then rules, then the listeners as they would be."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.core.packets import Description
from portgate.core.plan import Action, Plan, RuleChange
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Fate
from portgate.core.verify import Difference
from portgate.report import audit
from portgate.report.text import Paint, Style, escape, plain

_MOST_RULES = 20
_WORDS = {Fate.ACCEPT: "accepted", Fate.DROP: "dropped", Fate.REJECT: "rejected", Fate.DEPENDS: "doubtful"}


def lines(plan: Plan, planned: Ruleset, paint: Paint = plain) -> Iterator[str]:
    """**Shape** `planned` are the rules of the host as they would be."""
    yield paint(Style.HEADING, f"{escape(plan.policy)}, by {plan.backend}")
    if plan.empty:
        yield "Nothing changes: the rules of this host mean the policy already."
    else:
        yield from _traffic(plan, paint)
        yield from _rules(plan, paint)
    yield ""
    yield paint(Style.HEADING, "Listeners" if plan.empty else "Listeners under these rules")
    yield from audit.lines(plan.audit, planned, paint)


def _traffic(plan: Plan, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint(Style.HEADING, "Traffic: new connections")
    if not plan.traffic:
        yield "  no packet fares differently"
    for one in plan.traffic:
        yield from difference(one, paint)


def difference(one: Difference, paint: Paint = plain) -> Iterator[str]:
    """A group of packets whose fate changes, with one of them."""
    style, sign = (Style.GOOD, "+") if one.opens else (Style.BAD, "-")
    change = f"{_WORDS[one.before.fate]} -> {_WORDS[one.after.fate]}"
    yield "  " + paint(style, f"{sign} {one.scope.value}, IPv{one.family.value}: {change}") + _which(one.described)
    yield from (f"      {escape(str(cube))}" for cube in one.described.cubes if cube.values)
    if not one.described.complete:
        yield "      and more"
    yield f"    such as {escape(str(one.packet))}"


def _which(described: Description) -> str:
    if described.but:
        return ", everything but"
    return ", everything" if any(not cube.values for cube in described.cubes) else ""


def _rules(plan: Plan, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint(Style.HEADING, "Rules")
    yield from (_change(one, paint) for one in plan.rules[:_MOST_RULES])
    if len(plan.rules) > _MOST_RULES:
        yield f"  and {len(plan.rules) - _MOST_RULES} more"


def _change(one: RuleChange, paint: Paint) -> str:
    style, sign = (Style.GOOD, "+") if one.action is Action.ADD else (Style.BAD, "-")
    grant = f"   # {one.comment}" if one.comment else ""
    return "  " + paint(style, sign) + f" {escape(f'{one.where}: {one.text}{grant}')}"
