"""The JSON shapes of results, for programs. docs/json.md describes them; change them only with the schema number."""

from __future__ import annotations

from collections.abc import Iterable

from portgate.core.audit import Audit, Exposure, Finding
from portgate.core.broken import title
from portgate.core.diagnostics import Diagnostic
from portgate.core.drift import Drift
from portgate.core.expect import Result
from portgate.core.net import AddressSet, Family
from portgate.core.packets import Description, Packet
from portgate.core.plan import Plan
from portgate.core.provenance import Grants
from portgate.core.reach import Published, Reach
from portgate.core.ruleset import Place, Ruleset
from portgate.core.semantics import Landing
from portgate.core.trace import Decision, Trace
from portgate.core.verify import Difference
from portgate.core.words import rule_text
from portgate.report import listeners
from portgate.report.diagnostics import as_dict

Json = dict[str, object]


def rule(
    ruleset: Ruleset, place: Place | None, packet: Packet | None = None, grants: Grants | None = None
) -> Json | None:
    """A rule, or a chain's default where `index` is null. `index` counts from 0. `grants` are those of the ruleset."""
    if place is None:
        return None
    grants = grants or Grants(ruleset)
    container = ruleset.containers[place.container]
    found = ruleset.rule(place)
    return {
        "name": grants.decider(place, packet),
        "store": container.store,
        "table": container.name,
        "owned": container.owned,
        "chain": place.chain,
        "index": None if found is None else place.rule,
        "text": "default" if found is None else rule_text(found),
        "comment": "" if found is None else found.comment,
        "grant": None if packet is None else grants.behind(place, packet),
    }


def decision(ruleset: Ruleset, one: Decision, grants: Grants | None = None) -> Json:
    """The packet's fields, its verdict, and the deciding rule. `grants` of the ruleset, kept, make many of them quick."""
    return {
        **one.packet.fields(),
        "verdict": one.answer.fate.value,
        "rule": rule(ruleset, one.place, one.packet, grants),
        "reasons": list(one.answer.reasons),
        "landing": landing(one.packet.family, one.answer.landing),
    }


def landing(family: Family, one: Landing | None) -> Json | None:
    """Where a packet goes whose destination was translated."""
    if one is None:
        return None
    addresses = AddressSet(v4=one.addresses) if family is Family.IPV4 else AddressSet(v6=one.addresses)
    return {"addresses": list(addresses.texts()), "port": one.port}


def expectation(
    result: Result, broken: Diagnostic | None, sent: int | None = None, surprises: Iterable[Diagnostic] = ()
) -> Json:
    """An expectation, and what breaks it. `surprises` are packets that the kernel treated otherwise than the engine says."""
    return {
        "text": title(result.expectation),
        "holds": result.holds,
        "diagnostic": None if broken is None else as_dict(broken),
        "sent": sent,
        "surprises": [as_dict(one) for one in surprises],
        "counterexamples": [
            {"packet": one.packet.fields(), "verdict": one.fate.value, "grant": one.grant.id if one.grant else None}
            for one in result.counterexamples
        ],
    }


def trace(ruleset: Ruleset, one: Trace) -> Json:
    """The decision, and every step that led to it."""
    steps = [
        {
            "hook": step.hook.value,
            "rule": rule(ruleset, step.place),
            "outcome": step.outcome,
            "reasons": list(step.doubt),
        }
        for step in one.steps
    ]
    return {**decision(ruleset, one.decision), "steps": steps}


def difference(one: Difference) -> Json:
    """Packets whose fate differs between two rulesets."""
    return {
        "scope": one.scope.value,
        "family": one.family.value,
        "before": one.before.fate.value,
        "after": one.after.fate.value,
        "opens": one.opens,
        **description(one.described),
        "witness": one.packet.fields(),
        "reasons": sorted({*one.before.reasons, *one.after.reasons}),
    }


def description(one: Description) -> Json:
    """A set of packets: `packets`, or all but them."""
    return {"all_but": one.but, "packets": [str(cube) for cube in one.cubes], "complete": one.complete}


def exposure(ruleset: Ruleset, one: Exposure) -> Json:
    """A listener, and what becomes of packets that ask for it."""
    return {
        "listener": listeners.fields(one.listener),
        "local": one.local,
        "verdict": None if one.fate is None else one.fate.value,
        "reaches": [_reach(ruleset, reach) for reach in one.reaches],
    }


def _reach(ruleset: Ruleset, one: Reach) -> Json:
    return {
        "family": one.family.value,
        "verdict": one.fate.value,
        **description(one.described),
        "witness": one.packet.fields(),
        "rule": rule(ruleset, one.answer.place, one.packet),
        "reasons": list(one.answer.reasons),
    }


def finding(ruleset: Ruleset, one: Finding) -> Json:
    return {
        **as_dict(one.diagnostic),
        "listener": None if one.listener is None else one.listener.where,
        "witness": None if one.packet is None else one.packet.fields(),
        "rule": rule(ruleset, one.place, one.packet),
    }


def audit(ruleset: Ruleset, one: Audit) -> Json:
    """`portgate audit --format json`."""
    return {
        "listeners": [exposure(ruleset, each) for each in one.exposures],
        "published": [_published(ruleset, each) for each in one.published],
        "findings": [finding(ruleset, each) for each in one.findings],
    }


def drift(one: Drift) -> Json:
    """How a host differs from the generation that was confirmed last."""
    return {
        "revision": one.revision,
        "policy": one.policy,
        "ours": [{"where": each.where, "how": each.how.value, "text": each.text} for each in one.ours],
        "writers": list(one.writers),
        "theirs": [as_dict(each) for each in one.theirs],
    }


def _published(ruleset: Ruleset, one: Published) -> Json:
    """A port of this host that leads to another one, a container perhaps."""
    return {"to": one.where, "name": one.name or None, "reach": _reach(ruleset, one.reach)}


def plan(one: Plan, planned: Ruleset) -> Json:
    """`portgate plan --format json`. `planned` are the rules of the host as they would be."""
    return {
        "policy": one.policy,
        "backend": one.backend,
        "fingerprint": one.fingerprint,
        "changes": not one.empty,
        "traffic": [difference(each) for each in one.traffic],
        "rules": [
            {"action": each.action.value, "where": each.where, "text": each.text, "grant": each.comment}
            for each in one.rules
        ],
        "objections": [finding(planned, each) for each in one.objections],
        "audit": audit(planned, one.audit),
        "warnings": [as_dict(each) for each in one.warnings],
        "native": None if one.artifact is None else one.artifact.text,
    }
