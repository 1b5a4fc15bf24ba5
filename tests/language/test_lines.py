"""Folding simple entries, and reading them in one go, changes nothing but the time that it takes."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portgate.core.diagnostics import Span
from portgate.language import Loaded, lines, load, parse
from portgate.language.entries import Entries
from portgate.language.lines import MARKER, fold
from portgate.language.nodes import Entry, Folded, Point, Sequence

TODAY = date(2026, 6, 1)
HEAD = "portgate: 1\nzones: {office: {sources: [192.0.2.0/24]}, lan: {interfaces: [eth1]}}\n"

contexts = st.sampled_from(
    ["inbound:\n  allow:\n", "inbound:\n  block:\n", "outbound:\n  allow:\n", "outbound:\n  block:\n", "expect:\n", "forward:\n",
     "inbound:\n  allow:\n    - ssh\n", "description: |\n", 'description: "\n', "description: >\n  text\n", "inbound:\n  allow: [\n",
     "inbound:\n  allow:\n    - foo\n  ", "addresses:\n  a:\n", "services:\n  s:\n", "inbound:\n  allow:\n    - {port: [\n",
     "expect:\n  - only:\n", "inbound:\n  allow:\n    - port:\n", "inbound:\n  allow:\n    -\n", "# ", "", "inbound:\n  allow:\n    - from:\n"]
)  # fmt: skip
entries = st.sampled_from(
    ["{port: ssh, from: office}", "{port: 80/tcp, from: 10.0.0.0/8}",
     "{port: 80/tcp, from: 10.0.0.5-10.0.0.9}", "{port: 80/tcp, from: 10.0.0.0/33}", "{port: 80/tcp, from: 192.0.2.77, to: 10.1.0.0/16}", "{port: ssh, from: ofice}", "{from: lan, port: 443/tcp}",
     "{port: 8080, from: any}", "{port: ssh, port: http}", "{prot: ssh}", "{port: ssh, from: 10.0.0.1/8} # a } b: c",
     "{port: ssh, from: any, expires: 2020-01-01}", "{port: ping, from: 10.0.0.0/8}", "{proto: gre}", "{port: 80/tcp, to: 8080}",
     "{port: ssh, from: office, is: accepted}", "{file: list}", "{any: office, except: 192.0.2.1}", "{port: ssh, to: lan}",
     "{port: ssh, from: office, limit: 3/minute, note: x}", "{from: office}", "{port: 99999/tcp, from: office}",
     '{port: ssh, from: "2001:db8::/48"}', "{ port:  'ssh' , from: '192.0.2.1' }", "{port: ssh, note: 'it''s'}", '{port: ssh, note: "a\\tb"}',
     "{port: ssh, note: a (b) - c! é  d;, owner: x:y}", "{port: ssh, from: 2001:db8::1, to: ::1}", "{port: ssh, note: a b#c}",
     "{port: ssh, note: a? b}", "{port: ssh, note: 'a # b, c: d}'}", '{port: ssh, note: " a  b "}', "{port: ssh, id: twin, log: true}",
     "{port: ssh, log: yes}", "{port: icmp, to: 10.0.0.1, from: '::1'}", "{port: ssh, note: a:}", "{port: ssh,from: office}", "{port: ''}",
     "{port: [ssh, http]}", "{port: ssh, from: {any: any, except: 10.0.0.1}}", "{port: &a ssh}", "{port: ssh, note: *a}", "ssh", "'80/tcp'",
     "80/tcp", "8000-8010/udp # why", "ssh\n  and", "ssh:", "10.0.0.0/8", "2001:db8::/32", "a, b [c]", "ssh: # x", "list", "4242/tcp#x",
     "port: ssh\nfrom: office", "port: ssh  # a: b\nfrom: office", "port: ssh\nfrom: office # c: d", 'port: "ssh"\nnote: \'a: b\'\nlog: true',
     "port: ssh\nnote: a, b [c] {d} e? f\nexpires: 2020-01-01", "port: ssh\nport: http", "port: ssh\n\nfrom: office", "port: ssh\n# c\nfrom: office",
     "port: ssh\nnote: a\n  b: c", "port: ssh\nnote: a\n  b c", "port: ssh\nnote: |\n  from: office", "port:\n  - ssh\n  - http", "port: ssh\nfrom:",
     "port: ssh\n from: office", "port: ssh\nfrom: 2001:db8::/32", "port: ssh\nfrom: ::1", "port: ssh\nnote: a: b", "{port: ssh}\n  x", "? port\n: ssh"]
)  # fmt: skip
between = st.sampled_from(["", "", "", "\n", "# c: d\n", "      # deep\n", "   \n\n", "- ssh\n", "\u00a0\n"])
tails = st.sampled_from(
    ["", "more\n", "      deeper: x\n", "  - ssh\n", "inbound: {}\n", '"\n', "]\n", "]}\n", "- {port: ssh\n", "\t- x\n"]
)


def unfolded(text: str, file: str) -> Folded:
    return Folded(text, {})


def places(loaded: Loaded) -> list[Span | None]:
    return [grant.span for grant in loaded.policy.grants()] if loaded.policy else []


def load_text(text: str) -> Loaded:
    return load("policy.yaml", lambda path: b"192.0.2.1\n" if path == "list" else text.encode(), TODAY)


def both_ways(text: str) -> tuple[Loaded, Loaded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse, "MANY", 0)
        folded = load_text(text)
        patch.setattr(lines, "fold", unfolded)
        patch.setattr(Entries, "_plain_grant", lambda *_: None)
        return folded, load_text(text)


@settings(max_examples=400, deadline=None)
@given(contexts, st.integers(0, 6), st.lists(st.tuples(entries, between), min_size=1, max_size=6), tails)
def test_it_does_not_matter_whether_entries_are_folded(
    context: str, indent: int, some: list[tuple[str, str]], tail: str
) -> None:
    deeper = "\n" + " " * (indent + 2)
    run = "".join(f"{' ' * indent}- {entry.replace(chr(10), deeper)}\n{gap}" for entry, gap in some)
    folded, plain = both_ways(HEAD + context + run + tail)

    assert folded == plain
    assert places(folded) == places(plain)


@settings(max_examples=400, deadline=None)
@given(
    contexts,
    st.integers(0, 6),
    st.lists(st.tuples(entries, between, st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(0, 3),
    tails,
)
def test_it_does_not_matter_whether_entries_of_one_form_are_read_together(
    context: str, indent: int, some: list[tuple[str, str, int]], forms: int, tail: str
) -> None:
    deeper = "\n" + " " * (indent + 2)
    repeated = [(entry, gap) for entry, gap, times in some for _ in range(times)]
    run = "".join(f"{' ' * indent}- {entry.replace(chr(10), deeper)}\n{gap}" for entry, gap in repeated)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "FORMS", forms)
        folded, plain = both_ways(HEAD + context + run + tail)

    assert folded == plain
    assert places(folded) == places(plain)


def test_runs_of_simple_entries_are_folded_and_their_neighbours_are_not() -> None:
    run = "".join(f"    - {{port: {port}/tcp, from: 'office'}}\n" for port in range(1, 101))
    block = '    # more\n\n    - port: ssh\n      note: "a: b"   # why\n'
    found = fold("a:\n" + run + block + "    - {port: [ssh]}\n" + run, "x")
    first, second = (
        [*Sequence(Point("x", 0, 0), Point("x", 0, 0), [*one]).entries] for one in found.stretches.values()
    )

    assert (len(first), len(second)) == (101, 100)
    assert isinstance(first[4], Entry) and isinstance(first[100], Entry)
    assert found.text.count("\n") == 206
    assert found.text.startswith(f'a:\n    - "{MARKER}0"\n\n')
    assert (first[4].words, first[4].span) == ({"port": "5/tcp", "from": "office"}, Span("x", 6, 7, 6, 36))
    assert (first[100].words, first[100].span) == ({"port": "ssh", "note": "a: b"}, Span("x", 104, 7, 105, 19))


def test_a_text_that_holds_the_marker_is_not_folded() -> None:
    text = f"# {MARKER}\n" + "- {port: ssh}\n" * 50

    assert fold(text, "x") == Folded(text, {})


def test_a_marker_that_is_written_as_an_escape_stands_for_nothing() -> None:
    run = "".join(f"    - {{port: {port}/tcp, from: 10.0.0.1}}\n" for port in range(1, 31))
    for escape in ('"\\uE0000"', '"\\uE0001"', '"\\uE000x"'):
        folded, plain = both_ways(f"{HEAD}inbound:\n  block:\n    - {escape}\n  allow:\n{run}")
        assert folded == plain


def test_entries_of_two_files_are_united_whether_folded_or_not() -> None:
    run = "".join(f"    - {{port: {port}/tcp, from: 10.0.0.1}}\n" for port in range(1, 31))
    files = {
        "policy.yaml": "portgate: 1\ninclude: [b.yaml]\ninbound:\n  allow:\n    - {port: ssh, from: '::1'}\n",
        "b.yaml": "inbound:\n  allow:\n" + run,
    }
    policy = load("policy.yaml", lambda path: files[path].encode(), TODAY).policy

    assert policy is not None
    assert [grant.span.file for grant in policy.inbound.allow if grant.span] == ["policy.yaml"] + ["b.yaml"] * 30
