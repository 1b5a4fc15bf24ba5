"""Expectations find mistakes: faults put into policies are caught by `only:` and by invariants of the right policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from portgate import language
from portgate.core.compile import compile as compiled
from portgate.core.decision import Diagram
from portgate.core.expect import check
from portgate.core.net import ICMP, ICMPV6, PORT_PROTOCOLS, AddressSet, Family, Interval
from portgate.core.policy import Grant, Peer, Policy, Traffic
from portgate.core.semantics import Analysis, Answer, Fate
from tests.expect.invariants import invariants
from tests.expect.reading import TODAY, policy
from tests.generate import policies as random_policies

ROOT = Path(__file__).parents[2]
OPEN = (Fate.ACCEPT, Fate.DEPENDS)
EXAMPLES = sorted(path.name for path in (ROOT / "policies").glob("*.yaml"))


def example(name: str) -> Policy:
    loaded = language.load(f"policies/{name}", lambda path: (ROOT / path).read_bytes(), TODAY)
    assert loaded.policy is not None
    return loaded.policy


def random_policy(seed: int) -> Policy:
    return policy(random_policies.policy(Random(seed)).replace("portgate: 1\n", ""))


# ------------------------------------------------------------------ faults


def shifted(grant: Grant) -> Grant | None:
    """Every port is one higher."""
    moved = tuple(
        Traffic(one.protocol, one.first + 1, one.last + 1)
        if one.protocol in PORT_PROTOCOLS and one.last < 0xFFFF
        else one
        for one in grant.traffic
    )
    return replace(grant, traffic=moved) if moved != grant.traffic else None


def widened(grant: Grant) -> Grant | None:
    """Every prefix is one bit shorter."""
    wide = tuple(
        peer if peer.addresses is None else Peer(peer.interfaces, doubled(peer.addresses), "") for peer in grant.sources
    )
    return replace(grant, sources=wide) if wide != grant.sources else None


def doubled(addresses: AddressSet) -> AddressSet:
    return AddressSet.gather(
        (family, wider(one, family.top)) for family in Family for one in addresses.of_family(family)
    )


def wider(interval: Interval, top: int) -> Interval:
    size = 2 * (interval[1] - interval[0] + 1)
    first = interval[0] - interval[0] % size
    return first, min(top, max(interval[1], first + size - 1))


def faults(right: Policy) -> Iterator[tuple[str, Policy]]:
    book = right.inbound

    def blocks(block: tuple[Grant, ...]) -> Policy:
        return replace(right, inbound=replace(book, block=block))

    def allows(allow: tuple[Grant, ...]) -> Policy:
        return replace(right, inbound=replace(book, allow=allow))

    yield from variants("block", book.block, blocks)
    yield from variants("grant", book.allow, allows)


def variants(
    name: str, grants: tuple[Grant, ...], policy_with: Callable[[tuple[Grant, ...]], Policy]
) -> Iterator[tuple[str, Policy]]:
    for at, grant in enumerate(grants):
        yield f"{name} dropped", policy_with(grants[:at] + grants[at + 1 :])
        for what, change in (("port shifted", shifted), ("prefix widened", widened)):
            if wrong := change(grant):
                yield f"{what} in a {name}", policy_with((*grants[:at], wrong, *grants[at + 1 :]))


def injected(right: Policy) -> Iterator[tuple[str, Policy]]:
    """The faults that matter: where exactly the same is open as before, nothing is wrong."""
    analyses = [Analysis(family) for family in Family]
    before = [is_open(analysis, right) for analysis in analyses]
    return ((name, wrong) for name, wrong in faults(right) if [is_open(one, wrong) for one in analyses] != before)


def is_open(analysis: Analysis, wanted: Policy) -> Diagram:
    """The packets that get in, at least up to a limit."""
    answers = analysis.settle(analysis.inbound(compiled(wanted, TODAY)))
    return analysis.space.where(answers, lambda answer: isinstance(answer, Answer) and answer.fate in OPEN)


def caught(wrong: Policy, right: Policy) -> bool:
    promised = replace(wrong, expectations=(*right.expectations, *invariants(right)))
    return not all(result.holds for result in check(promised, TODAY))


# ------------------------------------------------------------------ how many are caught


def share_caught(rights: list[Policy]) -> tuple[Counter[str], Counter[str]]:
    found, all_of_them = Counter[str](), Counter[str]()
    for right in rights:
        for name, wrong in injected(right):
            all_of_them[name] += 1
            found[name] += caught(wrong, right)
    return found, all_of_them


def test_what_the_right_policy_promises_holds() -> None:
    for right in [*map(example, EXAMPLES), *map(random_policy, range(60))]:
        promised = replace(right, expectations=tuple(invariants(right)))
        for result in check(promised, TODAY):
            assert result.holds, (right.name, result)


def test_nearly_all_faults_of_the_examples_are_caught() -> None:
    found, injected_faults = share_caught([example(name) for name in EXAMPLES])
    assert injected_faults.total() > 100
    assert found.total() >= 0.95 * injected_faults.total(), (found, injected_faults)


def test_nearly_all_faults_of_random_policies_are_caught() -> None:
    found, injected_faults = share_caught([random_policy(seed) for seed in range(40)])
    assert injected_faults.total() > 300
    assert found.total() >= 0.95 * injected_faults.total(), (found, injected_faults)


def test_icmp_has_no_ports_to_shift() -> None:
    assert shifted(Grant("ping", (Traffic(ICMP, 8, 8), Traffic(ICMPV6, 128, 128)))) is None
