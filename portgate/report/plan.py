"""A plan as text: traffic, then rules, then the listeners as they would be."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.core.drift import Drift
from portgate.core.net import Family
from portgate.core.packets import Description, endpoint
from portgate.core.plan import Action, Plan, RuleChange
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Answer, Fate, Landing
from portgate.core.verify import Difference
from portgate.report import audit
from portgate.report.text import Paint, Style, escape, plain

_MOST_RULES = 20
_MOST_FINDINGS = 20
_WORDS = {Fate.ACCEPT: "accepted", Fate.DROP: "dropped", Fate.REJECT: "rejected", Fate.DEPENDS: "depends"}


def lines(plan: Plan, planned: Ruleset, paint: Paint = plain, room: int | None = None) -> Iterator[str]:
    """**Shape** `planned` are the rules of the host as they would be."""
    yield paint(Style.HEADING, f"{escape(plan.policy)}, by {plan.backend}")
    if plan.empty:
        yield "Nothing changes: the rules of this host mean the policy already."
    else:
        yield from _traffic(plan, paint)
        yield from _rules(plan, paint)
    yield from _objections(plan, paint)
    yield ""
    yield paint(Style.HEADING, "Listeners" if plan.empty else "Listeners under these rules")
    yield from audit.lines(plan.audit, planned, paint, room, _MOST_FINDINGS)


def drift(one: Drift, paint: Paint = plain) -> Iterator[str]:
    """What somebody changed since the last apply; nothing where nobody did."""
    if one.ours:
        yield paint(Style.HEADING, f"Changed since revision {one.revision}")
        yield from (f"  {escape(str(each))}" for each in one.ours[:_MOST_RULES])
        if len(one.ours) > _MOST_RULES:
            yield f"  and {len(one.ours) - _MOST_RULES} more"
        yield from (f"  by {escape(each)}" for each in one.writers)
        yield ""


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
    change = f"{_end(one.before, one.family)} -> {_end(one.after, one.family)}"
    yield "  " + paint(style, f"{sign} {one.scope.value}, IPv{one.family.value}: {change}") + _which(one.described)
    yield from (f"      {escape(str(cube))}" for cube in one.described.cubes if cube.values)
    if not one.described.complete:
        yield "      and more"
    yield f"    such as {escape(str(one.packet))}"


def _end(answer: Answer, family: Family) -> str:
    """`accepted`, `accepted at 10.0.0.7:22`, `accepted at port 8080`, `depends on rate limit`"""
    why = f" on {', '.join(answer.reasons)}" if answer.reasons else ""
    return _WORDS[answer.fate] + escape(why) + _at(answer.landing, family)


def _at(landing: Landing | None, family: Family) -> str:
    if landing is None:
        return ""
    first, last = landing.addresses[0][0], landing.addresses[-1][1]
    if first != last:
        return f" at port {landing.port}" if landing.port is not None else " elsewhere"
    return f" at {endpoint(family, first, landing.port)}"


def _which(described: Description) -> str:
    if described.but:
        return ", everything but"
    return ", everything" if any(not cube.values for cube in described.cubes) else ""


def _objections(plan: Plan, paint: Paint) -> Iterator[str]:
    """What is wrong with the plan, although the policy is not."""
    if plan.objections:
        yield ""
        yield paint(Style.HEADING, "Objections")
    for one in plan.objections:
        yield "  " + audit.finding(one, paint)
        if one.diagnostic.remedy:
            yield f"    {escape(one.diagnostic.remedy)}"


def _rules(plan: Plan, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint(Style.HEADING, "Rules")
    yield from (_change(one, paint) for one in plan.rules[:_MOST_RULES])
    if len(plan.rules) > _MOST_RULES:
        yield f"  and {len(plan.rules) - _MOST_RULES} more"


def _change(one: RuleChange, paint: Paint) -> str:
    style, sign = (Style.GOOD, "+") if one.action is Action.ADD else (Style.BAD, "-")
    grant = f"   # {one.comment}" if one.comment and one.comment not in one.text else ""
    return "  " + paint(style, sign) + f" {escape(f'{one.where}: {one.text}{grant}')}"
