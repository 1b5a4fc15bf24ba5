"""Entries put into policy files of every style and taken out again: what they say changes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.policy import Grant, Policy
from portgate.language import load
from portgate.language.editing import CannotEditError, NewEntry, edited

TODAY = date(2026, 11, 21)
POLICIES = sorted((Path(__file__).parents[2] / "policies").glob("*.yaml"))
HEAD = "portgate: 1\nzones: {office: {sources: 10.0.0.0/8}}\n"
PORT = NewEntry("allow", {"port": ("9999/udp",)})
FROM = NewEntry("allow", {"port": ("9999/udp",), "from": ("office", "2001:db8::/32")})
BLOCK = NewEntry("block", {"port": ("9999/udp",)})


def policy(content: bytes, path: str = "policy.yaml") -> Policy:
    def read(name: str) -> bytes:
        return content if name == path else Path(name).read_bytes()

    loaded = load(path, read, TODAY)
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


def entries(one: Policy) -> list[Grant]:
    return [replace(grant, id="", span=None) for grant in (*one.inbound.block, *one.inbound.allow)]


def of_9999(one: Policy) -> Grant:
    (found,) = (grant for grant in (*one.inbound.block, *one.inbound.allow) if 9999 in [t.first for t in grant.traffic])
    return found


def put_in(text: str, entry: NewEntry = PORT) -> str:
    return edited((HEAD + text).encode(), "policy.yaml", [], [entry]).decode().removeprefix(HEAD)


STYLES = {
    "below the last entry": (
        "inbound:\n  allow:\n    - https   # web\n    # the end\n",
        "inbound:\n  allow:\n    - https   # web\n    - 9999/udp\n    # the end\n",
    ),
    "without indentation, and without an end of the last line": (
        "inbound:\n  allow:\n  - https",
        "inbound:\n  allow:\n  - https\n  - 9999/udp",
    ),
    "behind the last one in brackets": ("inbound: {allow: [https]}\n", "inbound: {allow: [https, 9999/udp]}\n"),
    "in empty brackets": ("inbound: {allow: []}\n", "inbound: {allow: [9999/udp]}\n"),
    "in brackets over several lines": (
        "inbound:\n  allow: [\n    https, # web\n    ssh  # shell\n  ]\n",
        "inbound:\n  allow: [\n    https, # web\n    ssh,  # shell\n    9999/udp\n  ]\n",
    ),
    "with the comma that the last line has": (
        "inbound:\n  allow: [\n    https,\n  ]\n",
        "inbound:\n  allow: [\n    https,\n    9999/udp,\n  ]\n",
    ),
    "in a list that is to be made": (
        "inbound:\n    default: drop # yes\nname: x\n",
        "inbound:\n    default: drop # yes\n    allow:\n      - 9999/udp\nname: x\n",
    ),
    "under a key without a value": (
        "inbound:\n  allow: # nobody\n  block:\n",
        "inbound:\n  allow: # nobody\n    - 9999/udp\n  block:\n",
    ),
    "beside a key without a value": ("inbound: {allow: , block: []}\n", "inbound: {allow: [9999/udp] , block: []}\n"),
    "where there is no inbound": (
        "description: |\n  two\n\n  lines\n\n# the end\n",
        "description: |\n  two\n\n  lines\n\ninbound:\n  allow:\n    - 9999/udp\n\n# the end\n",
    ),
    "before the end of the document": ("name: x\n...\n", "name: x\n\ninbound:\n  allow:\n    - 9999/udp\n...\n"),
    "with each key on a line, as the entries before": (
        "inbound:\n  allow:\n    - port: https\n      note: >\n        web\n\n  default: drop\n",
        "inbound:\n  allow:\n    - port: https\n      note: >\n        web\n    - port: 9999/udp\n\n  default: drop\n",
    ),
    "with a tab before a comment": (
        "inbound:\n  allow:\n    - https\t# web\n",
        "inbound:\n  allow:\n    - https\t# web\n    - 9999/udp\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), STYLES.values(), ids=STYLES)
def test_an_entry_takes_the_form_of_what_is_beside_it(before: str, after: str) -> None:
    assert put_in(before) == after


@pytest.mark.parametrize("before", [before for before, _ in STYLES.values()], ids=STYLES)
@pytest.mark.parametrize("entry", [PORT, FROM, BLOCK], ids=["port", "from", "block"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
def test_everything_else_is_left_to_the_byte(before: str, entry: NewEntry, newline: str, mark: str) -> None:
    content = (mark + HEAD + before).replace("\n", newline).encode()
    after = edited(content, "policy.yaml", [], [entry])
    assert (b"\n" in after.replace(b"\r\n", b"")) == (newline == "\n")
    left = iter(after.replace(b",", b""))
    assert all(byte in left for byte in content.replace(b",", b"")), "something was there and is gone"
    old, new = policy(content), policy(after)
    assert of_9999(new) in (new.inbound.block if entry.book == "block" else new.inbound.allow)
    assert [one for one in entries(new) if one != replace(of_9999(new), id="", span=None)] == entries(old)
    gone = edited(after, "policy.yaml", [place for place in [of_9999(new).span] if place], [])
    assert entries(policy(gone)) == entries(old)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_what_is_put_into_a_shipped_policy_and_taken_out_leaves_it_as_it_was(path: Path) -> None:
    content = path.read_bytes()
    after = edited(content, str(path), [], [FROM if b"\n  office:" in content else PORT])
    assert len(after.splitlines()) > len(content.splitlines())
    place = of_9999(policy(after, str(path))).span
    assert place is not None
    assert edited(after, str(path), [place], []) == content


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_any_entry_of_a_shipped_policy_can_be_taken_out(path: Path) -> None:
    content = path.read_bytes()
    whole = policy(content, str(path))
    for grant in (*whole.inbound.block, *whole.inbound.allow):
        if grant.span and grant.span.file == str(path):
            left = policy(edited(content, str(path), [grant.span], []), str(path))
            expected = entries(whole)
            expected.remove(replace(grant, id="", span=None))
            assert entries(left) == expected


BRACKETS = {
    "[https, ssh, http]": ["[ssh, http]", "[https, http]", "[https, ssh]"],
    "[https]": ["[]"],
    "[\n    https, # web\n    ssh # shell\n  ]": ["[\n    ssh # shell\n  ]", "[\n    https, # web\n  ]"],
    "[\n    https,\n    ssh,\n  ]": ["[\n    ssh,\n  ]", "[\n    https,\n  ]"],
}


@pytest.mark.parametrize(("listed", "expected"), BRACKETS.items())
def test_an_entry_in_brackets_goes_with_one_comma(listed: str, expected: list[str]) -> None:
    content = f"{HEAD}inbound:\n  allow: {listed}\n"
    grants = policy(content.encode()).inbound.allow
    for grant, left in zip(grants, expected, strict=True):
        assert grant.span is not None
        after = edited(content.encode(), "policy.yaml", [grant.span], [])
        assert entries(policy(after)) == [replace(one, id="", span=None) for one in grants if one is not grant]
        assert after.decode() == f"{HEAD}inbound:\n  allow: {left}\n"


def test_several_entries_go_at_once() -> None:
    content = f"{HEAD}inbound:\n  allow: [https, ssh]\n  block:\n    - smtp\n    -\n      port: telnet # old\n".encode()
    whole = policy(content)
    places = [one.span for one in (*whole.inbound.allow, *whole.inbound.block) if one.span]
    assert edited(content, "policy.yaml", places, []).decode() == f"{HEAD}inbound:\n  allow: []\n  block:\n"


def test_a_value_that_yaml_would_take_for_something_else_is_quoted() -> None:
    odd = NewEntry("allow", {"port": ("a: b",), "from": ('say "no"', "back\\slash", "2001:db8::1")})
    assert odd.flow() == '{port: "a: b", from: ["say \\"no\\"", "back\\\\slash", "2001:db8::1"]}'


@pytest.mark.parametrize(
    "text", ["", "- list\n", "portgate: 1\ninbound: word\n", "portgate: 1\ninbound: {allow: https}\n", "a: [\n", "\xff"]
)
def test_a_file_that_is_no_policy_is_not_edited(text: str) -> None:
    with pytest.raises(CannotEditError):
        edited(text.encode("latin-1"), "policy.yaml", [], [PORT])


LINES = st.lists(st.sampled_from(["", "  # a comment", "    # deeper", "# at the margin", "      "]), max_size=3)
ENTRIES = st.sampled_from(
    [
        "- https",
        "- {port: ssh, from: office}",
        "- port: http\n      from: office",
        '- "smtp"',
        "-   imaps # mail",
        "- port:\n        - ssh\n        - 81/tcp",
    ]
)


@given(
    st.lists(st.tuples(ENTRIES, LINES), max_size=6),
    LINES,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([PORT, FROM, BLOCK]),
)
def test_entries_and_comments_in_any_order_are_kept(
    rows: list[tuple[str, list[str]]], first: list[str], newline: str, entry: NewEntry
) -> None:
    body = "".join(f"    {row}\n" + "".join(f"{line}\n" for line in lines) for row, lines in rows)
    text = f"{HEAD}inbound:\n  default: drop\n  allow:\n" + "".join(f"{line}\n" for line in first) + body + "name: x\n"
    content = text.replace("\n", newline).encode()
    after = edited(content, "policy.yaml", [], [entry])
    new = policy(after)
    assert entries(policy(content)) == [one for one in entries(new) if one != replace(of_9999(new), id="", span=None)]
    kept = [line for line in after.split(newline.encode()) if b"9999" not in line and b"block:" not in line]
    assert content.split(newline.encode()) == [line for line in kept if b"2001:db8" not in line]
