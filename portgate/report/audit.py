"""An audit as text: the listeners with where they can be reached from, then the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portgate.core.audit import Audit, Exposure, Finding
from portgate.core.diagnostics import Severity
from portgate.core.net import protocol_name
from portgate.core.packets import DPORT, DST, PROTOCOL, Cube
from portgate.core.provenance import Grants
from portgate.core.reach import Published, Reach
from portgate.core.ruleset import Ruleset
from portgate.core.semantics import Fate
from portgate.report import listeners
from portgate.report.text import Paint, Style, escape, plain, table

_HEADER = ("PROTO", "ADDRESS", "PROCESS", "REACHABLE", "DECIDED BY")
_STYLES = {Severity.ERROR: Style.BAD, Severity.WARNING: Style.WARNING, Severity.NOTE: Style.NOTE}
_IMPLIED = (PROTOCOL, DPORT, DST)  # what the listener's own columns say
_BUT_FROM = "but from "
_MOST_WORDS = 60


def lines(
    audit: Audit, ruleset: Ruleset, paint: Paint = plain, room: int | None = None, most: int | None = None
) -> Iterator[str]:
    """**Shape** `ruleset` are the rules that were audited; `most` is how many findings of one code are told, None for all."""
    rows = [row for exposure in audit.exposures for row in _rows(exposure, ruleset)]
    rows += [_published_row(one, ruleset) for one in audit.published]
    if rows:
        yield from table(_HEADER, rows, paint, room)
    else:
        yield "no listeners"
    if audit.findings:
        yield ""
        yield from _findings(audit.findings, paint, len(audit.findings) if most is None else most)


def _findings(found: Sequence[Finding], paint: Paint, most: int) -> Iterator[str]:
    counts: dict[str, int] = {}
    for one in found:
        counts[one.code] = counts.get(one.code, 0) + 1
        if counts[one.code] <= most:
            yield finding(one, paint)
    for code, count in counts.items():
        if count > most:
            yield f"and {code} {count - most} times more; `portgate audit POLICY` tells all"


def _rows(exposure: Exposure, ruleset: Ruleset) -> Iterator[tuple[str, ...]]:
    """A row for each way in which packets fare; the listener's own cells only in the first."""
    own = listeners.row(exposure.listener)[:3]
    fares = [("from this host only", "")] if exposure.local else list(_fares(exposure, ruleset))
    unasked = "" if exposure.listener.port is None else "no, the host has no address for it"
    for number, (fate, decided) in enumerate(fares or [(unasked, "")]):
        yield *(own if number == 0 else ("", "", "")), fate, decided


def _published_row(one: Published, ruleset: Ruleset) -> tuple[str, ...]:
    """`tcp  to 172.17.0.2:80  web  yes, through port 8080 from anywhere`"""
    who = one.name or "another host"
    told = _whether([one.reach]) + _told(list(_sources(one.reach)))
    return protocol_name(one.reach.packet.protocol), f"to {one.where}", who, told, _deciders([one.reach], ruleset)


def _fares(exposure: Exposure, ruleset: Ruleset) -> Iterator[tuple[str, str]]:
    """Who reaches the listener, in both families together; and who does not, where nobody else does."""
    for fate in (Fate.ACCEPT, Fate.DEPENDS):
        for reaches in _told_together([reach for reach in exposure.reaches if reach.fate is fate]):
            yield _whether(reaches) + _from(reaches, exposure), _deciders(reaches, ruleset)
    open_families = {reach.family for reach in exposure.reaches if reach.fate in (Fate.ACCEPT, Fate.DEPENDS)}
    closed = [reach for reach in exposure.reaches if reach.family not in open_families]
    if closed:
        yield "no" + _families(closed, exposure), _deciders(closed, ruleset)


def _told_together(reaches: Sequence[Reach]) -> Iterator[Sequence[Reach]]:
    """All, or a family each when only one of them is open to anybody."""
    families = list(dict.fromkeys(reach.family for reach in reaches))
    apart = [[reach for reach in reaches if reach.family is family] for family in families]
    anybody = {any("" in _sources(reach) for reach in part) for part in apart}
    yield from apart if len(anybody) > 1 else filter(None, [reaches])


def _whether(reaches: Sequence[Reach]) -> str:
    if reaches[0].fate is Fate.ACCEPT:
        return "yes,"
    reasons = dict.fromkeys(reason for reach in reaches for reason in reach.answer.reasons)
    return f"depends on {', '.join(reasons)},"


def _from(reaches: Sequence[Reach], exposure: Exposure) -> str:
    """`from anywhere`, `from 198.51.100.0/24, 2001:db8:42::/48`, `from anywhere but 203.0.113.66 (IPv4)`"""
    return _told([text for reach in reaches for text in _sources(reach)]) + _families(reaches, exposure)


def _told(sources: Sequence[str]) -> str:
    texts = list(dict.fromkeys(sources))
    if "" in texts:
        whole = " from anywhere"
    elif all(text.startswith(_BUT_FROM) for text in texts):
        whole = " from anywhere but " + ", ".join(text.removeprefix(_BUT_FROM) for text in texts)
    else:
        whole = " " + ", ".join(texts).replace(", from ", ", ")
    if len(whole) > _MOST_WORDS:
        whole = whole[:_MOST_WORDS].rsplit(",", 1)[0] + ", ..."
    return whole


def _families(reaches: Sequence[Reach], exposure: Exposure) -> str:
    families = dict.fromkeys(reach.family for reach in reaches)
    return "" if len(families) == len(exposure.listener.families) else f" (IPv{next(iter(families)).value})"


def _sources(reach: Reach) -> Iterator[str]:
    """What the cubes say beside the listener's own port; "" for everybody."""
    described = reach.described
    for one in described.cubes:
        told = Cube(one.family, {level: values for level, values in one.values.items() if level not in _IMPLIED})
        text = str(told).removeprefix("any protocol").strip()
        if reach.answer.landing is not None:
            text = f"through port {_arrival(one)} {text}".strip()
        yield f"but {text}" if described.but else text
    if not described.complete:
        yield "and more"


def _arrival(cube: Cube) -> str:
    ports = cube.values.get(DPORT, ())
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ports) or "any"


def _deciders(reaches: Sequence[Reach], ruleset: Ruleset) -> str:
    """The rule that decides; where there are several, one of them and their number."""
    places = {reach.answer.place: reach for reach in reaches if reach.answer.place is not None}
    grants = Grants(ruleset)
    names = list(dict.fromkeys(grants.decider(place, reach.packet) for place, reach in places.items()))
    return "".join(names[:1]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def finding(one: Finding, paint: Paint) -> str:
    """One line: the code, the place in the policy, what is the matter."""
    diagnostic = one.diagnostic
    at = f"{diagnostic.span}: " if diagnostic.span else ""
    return f"{paint(_STYLES[diagnostic.severity], one.code)} {escape(at + diagnostic.detail)}"
