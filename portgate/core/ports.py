"""What opening or closing a port asks of a policy, and what then still stands against it.

Theory
    A wish is traffic from some sources. Open means that none of it is refused but by a block; closed, that none of it is accepted.
    Whether that is so the engine decides: a grant is not added where a wider one opens the port already, and what a wider
    grant would still open is blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from portgate.core.addresses import Host
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError, Span
from portgate.core.expect import results
from portgate.core.focus import only_near, steady_fields
from portgate.core.named import packets_of
from portgate.core.net import Family
from portgate.core.policy import Default, Expectation, Grant, Outcome, Peer, Policy, Rulebook, Traffic
from portgate.core.provenance import foreign_decider
from portgate.core.ruleset import Field, Ruleset
from portgate.core.semantics import Analysis

RulesOf = Callable[[Policy], Ruleset]
"""The rules that a policy would give a host."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Some traffic from some sources; no sources is everybody. The entries of one policy file may be changed for it."""

    traffic: tuple[Traffic, ...]
    sources: tuple[Peer, ...]
    file: str

    def expectation(self, outcome: Outcome) -> Expectation:
        return Expectation(self.traffic, outcome, self.sources)


@dataclass(frozen=True, slots=True)
class Edit:
    """Entries of `inbound` that go, and one for the wish that comes: in "allow", in "block", or "" for none."""

    gone: tuple[Grant, ...] = ()
    book: str = ""

    @property
    def places(self) -> tuple[Span, ...]:
        return tuple(one.span for one in self.gone if one.span is not None)


def to_open(policy: Policy, wish: Wish, rules_of: RulesOf) -> Edit:
    """What makes a policy open a port. Errors: PG235 where a block takes all of it away again."""
    gone = tuple(one for one in policy.inbound.block if _in_file(one, wish) and _is(one, wish))
    edit = Edit(gone, "" if is_granted(policy, wish, rules_of) else "allow")
    require_open(carried_out(policy, edit, wish), wish, rules_of)
    return edit


def is_granted(policy: Policy, wish: Wish, rules_of: RulesOf) -> bool:
    """Whether nothing but a block keeps any of the wish out."""
    without_blocks = replace(policy, inbound=replace(policy.inbound, block=()))
    return policy.inbound.default is Default.ACCEPT or _holds(without_blocks, wish, Outcome.ACCEPTED, rules_of)


def require_open(policy: Policy, wish: Wish, rules_of: RulesOf) -> None:
    """That some of the wish is accepted. Errors: PG235 where a block takes all of it away."""
    if _holds(policy, wish, Outcome.BLOCKED, rules_of):
        raise PortgateError(_blocked(policy, wish, rules_of))


def to_close(policy: Policy, wish: Wish, rules_of: RulesOf) -> Edit:
    """What makes a policy close a port: without the grants of just that, and with a block where others still open it."""
    gone = tuple(one for one in policy.inbound.allow if _in_file(one, wish) and _is_within(one, wish))
    without = carried_out(policy, Edit(gone), wish)
    return Edit(gone, "" if _holds(without, wish, Outcome.BLOCKED, rules_of) else "block")


def carried_out(policy: Policy, edit: Edit, wish: Wish) -> Policy:
    """The policy as it is after the edit."""
    come = (Grant("", wish.traffic, wish.sources),)
    block, allow = (
        tuple(one for one in book if one not in edit.gone) for book in (policy.inbound.block, policy.inbound.allow)
    )
    book = Rulebook(
        policy.inbound.default,
        block + come if edit.book == "block" else block,
        allow + come if edit.book == "allow" else allow,
    )
    return replace(policy, inbound=book)


def says_the_same(one: Policy, other: Policy) -> bool:
    """Whether two policies have the same entries, whatever these are called, and in whatever order."""
    return _nameless(one) == _nameless(other)


def _nameless(policy: Policy) -> object:
    books = (policy.inbound.block, policy.inbound.allow)
    entries = [sorted(str(replace(grant, id="", span=None)) for grant in book) for book in books]
    return entries, replace(policy, inbound=Rulebook(policy.inbound.default))


def _in_file(grant: Grant, wish: Wish) -> bool:
    return grant.span is not None and grant.span.file == wish.file


def _is(grant: Grant, wish: Wish) -> bool:
    """Whether a grant is about exactly the wish."""
    whole = Grant("", wish.traffic, wish.sources)
    back = Wish(grant.traffic, grant.sources, wish.file)
    return _is_within(grant, wish) and not grant.destinations and not any(_more(one, whole, back) for one in Family)


def _is_within(grant: Grant, wish: Wish) -> bool:
    """Whether a grant is about nothing but the wish."""
    near = any(
        one.protocol == other.protocol and one.first <= other.first <= one.last
        for one in wish.traffic
        for other in grant.traffic[:1]
    )
    return near and not any(_more(family, grant, wish) for family in Family)


def _more(family: Family, grant: Grant, wish: Wish) -> bool:
    """Whether some packets of a grant are none of the wish."""
    space = Analysis(family).space
    granted = packets_of(space, family, grant.traffic, grant.sources, grant.destinations)
    wished = packets_of(space, family, wish.traffic, wish.sources)
    return space.both(granted, space.negation(wished)) is not space.false


def _holds(policy: Policy, wish: Wish, outcome: Outcome, rules_of: RulesOf) -> bool:
    return results(policy, _near(rules_of(policy), wish), [wish.expectation(outcome)])[0].holds


def _near(rules: Ruleset, wish: Wish) -> Ruleset:
    """Without the elements of sets that no packet of the wish can lie in."""
    if Field.DPORT not in steady_fields(rules):
        return rules
    sides = [{Field.PROTOCOL: (one.protocol, one.protocol), Field.DPORT: (one.first, one.last)} for one in wish.traffic]
    return only_near(rules, sides)


def _blocked(policy: Policy, wish: Wish, rules_of: RulesOf) -> Diagnostic:
    (result,) = results(policy, _near(rules_of(policy), wish), [wish.expectation(Outcome.ACCEPTED)])
    first = result.counterexamples[0]
    name = first.grant.id if first.grant else "the default"
    spans = [one.grant.span for one in result.counterexamples[1:] if one.grant and one.grant.span]
    return Diagnostic(
        "PG235",
        f"{first.packet} would be refused by {name} all the same",
        first.grant.span if first.grant else None,
        "remove or narrow what blocks it",
        tuple((span, "this blocks it, too") for span in spans),
    )


# ------------------------------------------------------------------ everybody's rules


def contradictions(policy: Policy, rules: Ruleset, host: Host, wish: Wish, outcome: Outcome) -> Iterator[Diagnostic]:
    """Which rules that are not ours leave a closed port open (PG604), or an open one closed (PG605)."""
    (result,) = results(policy, rules, [wish.expectation(outcome)], host)
    for one in result.counterexamples:
        who = foreign_decider(rules, one.packet, host, accepted=outcome is Outcome.BLOCKED)
        if who is not None:
            if outcome is Outcome.BLOCKED:
                yield Diagnostic("PG604", f"{one.packet} still gets in, by {who}")
            else:
                yield Diagnostic("PG605", f"{one.packet} is still refused, by {who}")
