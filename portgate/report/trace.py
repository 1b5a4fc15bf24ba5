"""A packet's way through the rules as text."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.core.provenance import Grants
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Fate
from portgate.core.trace import Decision, Step, Trace
from portgate.core.words import rule_text
from portgate.report.text import Paint, Style, escape, plain, table

_STYLES = {Fate.ACCEPT: Style.GOOD, Fate.DROP: Style.BAD, Fate.REJECT: Style.BAD, Fate.DEPENDS: Style.WARNING}


def lines(trace: Trace, ruleset: Ruleset, paint: Paint = plain, room: int | None = None) -> Iterator[str]:
    """The steps, then the verdict."""
    rows = [_row(step, ruleset) for step in trace.steps]
    if rows:
        yield from table(("HOOK", "TABLE", "CHAIN", "", "OUTCOME", "RULE"), rows, paint, room)
    yield verdict(trace.decision, Grants(ruleset), paint)


def verdict(decision: Decision, grants: Grants, paint: Paint = plain) -> str:
    """`tcp 198.51.100.7:40000 to port 22 in eth0: accept, by ...`"""
    answer = decision.answer
    by = grants.decider(answer.place, decision.packet)
    why = f" on {', '.join(answer.reasons)}" if answer.reasons else ""
    text = paint(_STYLES[answer.fate], answer.fate.value)
    return f"{escape(str(decision.packet))}: {text}{escape(why)}" + (f", by {escape(by)}" if by else "")


def _row(step: Step, ruleset: Ruleset) -> tuple[str, ...]:
    container = ruleset.containers[step.place.container]
    rule = ruleset.rule(step.place)
    number = "" if rule is None else str(step.place.rule + 1)
    text = "" if rule is None else rule_text(rule) + (f"   # {rule.comment}" if rule.comment else "")
    outcome = step.outcome + (f" ({', '.join(step.doubt)})" if step.doubt else "")
    return (step.hook.value, container.name, step.place.chain, number, outcome, text)
