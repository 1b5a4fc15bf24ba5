"""An audit as text: the listeners with where they can be reached from, then the findings."""

from __future__ import annotations

from collections.abc import Iterator

from portgate.core.audit import Audit, Exposure, Finding, Reach
from portgate.core.diagnostics import Severity
from portgate.core.packets import DPORT, DST, PROTOCOL, Cube
from portgate.core.ruleset import Place, Ruleset
from portgate.core.semantics import Fate
from portgate.core.words import rule_text
from portgate.report import listeners
from portgate.report.text import Paint, Style, escape, plain, table

_HEADER = ("PROTO", "ADDRESS", "PROCESS", "FROM OUTSIDE", "DECIDED BY")
_STYLES = {Severity.ERROR: Style.BAD, Severity.WARNING: Style.WARNING, Severity.NOTE: Style.NOTE}
_WORDS = {Fate.ACCEPT: "reachable", Fate.DROP: "blocked", Fate.REJECT: "rejected", Fate.DEPENDS: "depends"}
_IMPLIED = (PROTOCOL, DPORT, DST)  # what the listener's own columns say
_MOST_WORDS = 60


def lines(audit: Audit, ruleset: Ruleset, paint: Paint = plain) -> Iterator[str]:
    """**Shape** `ruleset` are the rules that were audited."""
    rows = [row for exposure in audit.exposures for row in _rows(exposure, ruleset)]
    if rows:
        yield from table(_HEADER, rows, paint)
    else:
        yield "nothing listens, or the listeners are not known"
    if audit.findings:
        yield ""
        yield from (_finding(one, paint) for one in audit.findings)


def _rows(exposure: Exposure, ruleset: Ruleset) -> Iterator[tuple[str, ...]]:
    """A row for each way in which packets fare; the listener's own cells only in the first."""
    listener = exposure.listener
    own = listeners.row(listener)[:3]
    fares = [("local only", "")] if exposure.local else list(_fares(exposure, ruleset))
    for number, (fate, decider) in enumerate(fares or [("", "")]):
        yield *(own if number == 0 else ("", "", "")), fate, decider


def _fares(exposure: Exposure, ruleset: Ruleset) -> Iterator[tuple[str, str]]:
    """What becomes of packets, with its decider; families that fare alike share a line."""
    families: dict[tuple[str, str], list[str]] = {}
    for reach in exposure.reaches:
        fare = (f"{_WORDS[reach.fate]}{_sources(reach)}{_why(reach)}", decider(ruleset, reach.answer.place))
        families.setdefault(fare, []).append(f"IPv{reach.family.value}")
    for (text, rule), found in families.items():
        only = "" if len(found) == len(exposure.listener.families) else f" ({found[0]})"
        yield text + only, rule


def _sources(reach: Reach) -> str:
    cubes = [Cube(one.family, {k: v for k, v in one.values.items() if k not in _IMPLIED}) for one in reach.cubes]
    texts = list(dict.fromkeys(str(one).removeprefix("any protocol").strip() for one in cubes))
    if reach.answer.landing is not None:
        ports = ",".join(dict.fromkeys(_arrival(one) for one in reach.cubes))
        texts = [f"through port {ports}", *filter(None, texts)]
    if "" in texts:
        return ""
    joined = "; ".join(texts)
    if len(joined) > _MOST_WORDS or not reach.complete:
        joined = joined[:_MOST_WORDS] + "..."
    return " " + joined


def _arrival(cube: Cube) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in cube.values.get(DPORT, ()))


def _why(reach: Reach) -> str:
    return f" on {', '.join(reach.answer.reasons)}" if reach.answer.reasons else ""


def decider(ruleset: Ruleset, place: Place | None) -> str:
    """`portgate input: allow`, `filter INPUT rule 3: -j DROP`; "" where no rule was asked."""
    if place is None:
        return ""
    container = ruleset.containers[place.container]
    rule = ruleset.rule(place)
    if rule is None:
        return f"{container.name} {place.chain}: default"
    what = rule.comment if container.owned and rule.comment else rule_text(rule)
    return f"{container.name} {place.chain} rule {place.rule + 1}: {what}"


def _finding(one: Finding, paint: Paint) -> str:
    diagnostic = one.diagnostic
    at = f"{diagnostic.span}: " if diagnostic.span else ""
    return f"{paint(_STYLES[diagnostic.severity], one.code)} {escape(at + diagnostic.detail)}"
