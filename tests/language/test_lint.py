"""The index behind the lints finds what comparing each with each would find, and is not quadratic."""

from __future__ import annotations

import gc
import time
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.policy import Grant, Policy
from portgate.language import load
from portgate.language.lint import _covers, _keeps, lint

TODAY = date(2026, 6, 1)
HEAD = (
    "portgate: 1\nzones: {lan: {interfaces: [eth1, 'wg*']}, office: {interfaces: [wg0], sources: [10.1.0.0/16]}}\n"
    "addresses: {many: [" + ", ".join(f"10.{number}.0.0/24" for number in range(0, 250, 2)) + "]}\n"
)

ports = st.sampled_from(["22/tcp", "20-30/tcp", "53/udp", "[22/tcp, 53/udp]", "1-65535/tcp", "ping"])
peers = st.sampled_from(
    ["any", "10.0.0.0/8", "10.2.0.0/24", "10.2.0.7", "10.1.9.9", "'2001:db8::/32'", "lan", "office", "many", "[many, lan]",
     "[10.2.0.7, '2001:db8::7']", "{any: any, except: 10.0.0.0/8}", "10.0.0.1-10.0.0.9"]
)  # fmt: skip
extras = st.sampled_from(
    ["", "", "", ", limit: 3/minute", ", log: true", ", expires: 2027-01-01", ", expires: 2020-01-01"]
)
entries = st.builds("{{port: {}, from: {}{}}}".format, ports, peers, extras) | st.builds("{{from: {}}}".format, peers)
targets = st.builds(
    "{{port: {}, to: {}}}".format, ports, st.sampled_from(["10.2.0.7", "10.2.0.0/24", "'2001:db8::/32'"])
)


def policy(block: list[str], allow: list[str]) -> Policy:
    lists = f"inbound:\n  block: [{', '.join(block)}]\n  allow: [{', '.join(allow)}]\n"
    loaded = load("policy.yaml", lambda path: (HEAD + lists).encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


def alive(grants: tuple[Grant, ...]) -> list[Grant]:
    return [grant for grant in grants if not grant.expired(TODAY)]


@settings(max_examples=150, deadline=None)
@given(st.lists(entries | targets, max_size=4), st.lists(entries | targets, max_size=8))
def test_the_index_finds_what_comparing_each_with_each_finds(block: list[str], allow: list[str]) -> None:
    found = policy([entry.replace(", limit: 3/minute", "") for entry in block], allow)
    allowed, blocked = alive(found.inbound.allow), alive(found.inbound.block)
    shadowed = {grant.id for grant in allowed if any(_covers(by, grant) for by in blocked)}
    open_ = [grant for grant in allowed if grant.id not in shadowed]
    order = {grant.id: number for number, grant in enumerate(open_)}
    redundant = {
        grant.id
        for grant in open_
        if any(other is not grant and _covers(other, grant) and _keeps(other, grant, order) for other in open_)
    }
    spans = {grant.span: grant.id for grant in allowed}
    told = lint(found, TODAY)

    assert {spans[one.span] for one in told if one.code == "PG232"} == shadowed
    assert {spans[one.span] for one in told if one.code == "PG231"} == redundant


def seconds(allow: list[str], block: list[str]) -> float:
    """The quickest of three, without the collector, which walks all that the other tests have left."""
    found = policy(block, allow)
    times = []
    gc.disable()
    try:
        for _ in range(3):
            start = time.process_time()
            lint(found, TODAY)
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(times)


def test_ten_times_the_grants_take_about_ten_times_as_long() -> None:
    """Each with each would take a hundred times as long."""
    for form in ("{{port: 22/tcp, from: 10.{}.{}.0/24}}", "{{port: 22/tcp, to: 10.{}.{}.0/24}}", "ssh"):
        few, many = ([form.format(number // 250, number % 250) for number in range(count)] for count in (400, 4_000))

        assert seconds(many, many[:100]) < 40 * max(seconds(few, few[:100]), 0.004)
