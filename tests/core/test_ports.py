"""What opening or closing a port asks of a policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from portgate.core.compile import compile as compiled
from portgate.core.diagnostics import PortgateError
from portgate.core.policy import Policy
from portgate.core.ports import Edit, Wish, carried_out, says_the_same, to_close, to_open
from portgate.core.ruleset import Ruleset
from portgate.language import load

TODAY = date(2026, 11, 21)
ZONES = "office: {sources: 198.51.100.0/24}, desk: {sources: 198.51.100.7}, lan: {interfaces: eth1}"


def policy(inbound: str, more: str = "", included: str = "") -> Policy:
    files = {
        "main.yaml": f"{{portgate: 1, zones: {{{ZONES}}}, include: [more.yaml], inbound: {inbound}{more}}}",
        "more.yaml": included or "{name: x}",
    }
    loaded = load("main.yaml", lambda name: files[name].encode(), TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


def wish(port: str, source: str = "any") -> Wish:
    (one,) = policy("{}", f", expect: [{{port: [{port}], from: {source}, is: accepted}}]").expectations
    return Wish(one.traffic, one.sources, "main.yaml")


def rules(one: Policy) -> Ruleset:
    return compiled(one, TODAY)


Ask = Callable[[Policy, Wish, Callable[[Policy], Ruleset]], Edit]


def asked(ask: Ask, one: Policy, what: Wish) -> tuple[list[str], str]:
    """What goes, by its first word, and where something comes."""
    edit = ask(one, what, rules)
    after = carried_out(one, edit, what)
    assert ask(after, what, rules) == Edit(), "asked again, there is something left to do"
    return [grant.id.rpartition("-")[0] for grant in edit.gone], edit.book


@pytest.mark.parametrize(
    ("inbound", "port", "source", "expected"),
    [
        ("{}", "8080/tcp", "any", ([], "allow")),
        ("{allow: [8080/tcp]}", "8080/tcp", "any", ([], "")),
        ("{allow: [8000-8999/tcp]}", "8080/tcp", "office", ([], "")),
        ("{allow: [{port: 8080/tcp, from: desk}]}", "8080/tcp", "office", ([], "allow")),
        ("{allow: [{port: 8080/tcp, from: lan}]}", "8080/tcp", "office", ([], "allow")),
        ("{allow: [{port: 8080/tcp, limit: 3/minute}]}", "8080/tcp", "any", ([], "")),
        ("{allow: [8080/tcp], block: [8080/tcp]}", "8080/tcp", "any", (["block-8080-tcp"], "")),
        ("{block: [8080/tcp]}", "8080/tcp", "any", (["block-8080-tcp"], "allow")),
        ("{block: [{from: 203.0.113.9}]}", "8080/tcp", "any", ([], "allow")),
        ("{allow: [8080/tcp], block: [{port: 8080/tcp, from: desk}]}", "8080/tcp", "any", ([], "")),
        ("{default: accept}", "8080/tcp", "any", ([], "")),
        ("{default: accept, block: [8080/tcp]}", "8080/tcp", "any", (["block-8080-tcp"], "")),
        ("{allow: [{port: 8080/tcp, expires: 2020-01-01}]}", "8080/tcp", "any", ([], "allow")),
        ("{allow: [{proto: tcp}]}", "ssh", "any", ([], "")),
        ("{}", "ping", "any", ([], "allow")),
        ("{allow: [ping]}", "ping", "lan", ([], "")),
    ],
)  # fmt: skip
def test_opening_adds_a_grant_only_where_none_opens_it(
    inbound: str, port: str, source: str, expected: tuple[list[str], str]
) -> None:
    assert asked(to_open, policy(inbound), wish(port, source)) == expected


@pytest.mark.parametrize(
    ("inbound", "port", "source", "expected"),
    [
        ("{}", "8080/tcp", "any", ([], "")),
        ("{allow: [8080/tcp]}", "8080/tcp", "any", (["8080-tcp"], "")),
        ("{allow: [8080/tcp, {port: 8080/tcp, from: office, note: why}]}", "8080/tcp", "any", (["8080-tcp", "8080-tcp-from-office"], "")),
        ("{allow: [8000-8999/tcp]}", "8080/tcp", "any", ([], "block")),
        ("{allow: [{port: [8080/tcp, ssh]}]}", "8080/tcp", "any", ([], "block")),
        ("{allow: [8080/tcp]}", "8080/tcp", "office", ([], "block")),
        ("{allow: [{port: 8080/tcp, from: desk}]}", "8080/tcp", "office", (["8080-tcp-from-desk"], "")),
        ("{allow: [{port: 8080/tcp, to: 192.0.2.1}]}", "8080/tcp", "any", (["8080-tcp-to-192.0.2.1"], "")),
        ("{allow: [8080/tcp], block: [8080/tcp]}", "8080/tcp", "any", (["8080-tcp"], "")),
        ("{default: accept}", "8080/tcp", "any", ([], "block")),
        ("{allow: [{proto: tcp}]}", "ssh", "any", ([], "block")),
        ("{allow: [https]}", "8080/tcp", "any", ([], "")),
        ("{allow: [ping]}", "ping", "any", (["ping"], "")),
    ],
)  # fmt: skip
def test_closing_takes_away_what_is_about_just_this_and_blocks_the_rest(
    inbound: str, port: str, source: str, expected: tuple[list[str], str]
) -> None:
    assert asked(to_close, policy(inbound), wish(port, source)) == expected


def test_a_port_that_a_forward_opens_is_blocked() -> None:
    assert asked(to_close, policy("{}", ", forward: [{port: 80/tcp, to: 8080}]"), wish("80/tcp")) == ([], "block")


def test_an_entry_of_an_included_file_is_blocked_and_not_edited() -> None:
    one = policy("{}", included="{inbound: {allow: [8080/tcp]}}")
    assert asked(to_close, one, wish("8080/tcp")) == ([], "block")
    blocked = policy("{}", included="{inbound: {block: [8080/tcp]}}")
    with pytest.raises(PortgateError) as refused:
        to_open(blocked, wish("8080/tcp"), rules)
    assert [(error.code, error.span and error.span.file) for error in refused.value.diagnostics] == [
        ("PG235", "more.yaml")
    ]


@pytest.mark.parametrize("block", ["{port: [8080/tcp, 8081/tcp]}", "{proto: tcp}", "{from: any}", "8000-8999/tcp"])
def test_what_a_wider_block_takes_away_whole_is_refused(block: str) -> None:
    with pytest.raises(PortgateError, match="PG235"):
        to_open(policy(f"{{block: [{block}]}}"), wish("8080/tcp"), rules)


def test_policies_are_the_same_whatever_the_order_and_the_names_of_entries() -> None:
    one, other = policy("{allow: [https, {port: ssh, id: a}]}"), policy("{allow: [{port: ssh, id: b}, https]}")
    assert says_the_same(one, other)
    assert not says_the_same(one, policy("{allow: [https]}"))
    assert not says_the_same(one, policy("{allow: [https, ssh], block: [smtp]}"))
    assert not says_the_same(one, policy("{allow: [https, ssh]}", ", containers: enforce"))
