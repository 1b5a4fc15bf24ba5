"""Long lists of elements are read as short ones are, only quicker."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.backends.nftables import BACKEND, bulk
from portgate.core.capture import Reading
from portgate.core.ruleset import NamedSet

ADDRESSES4 = st.builds(str, st.integers(0, 2**32 - 1).map(IPv4Address))
ADDRESSES6 = st.builds(str, st.integers(0, 2**128 - 1).map(IPv6Address))
PORTS = st.integers(0, 65535).map(str)
COMMENTS = st.text(
    st.characters(codec="ascii", exclude_characters='"\\{}', min_codepoint=32, max_codepoint=126), max_size=9
)
TYPES = {
    "ipv4_addr": ADDRESSES4,
    "ipv6_addr": ADDRESSES6,
    "inet_service": PORTS,
    "inet_proto": st.sampled_from(["6", "17", "tcp", "udplite", "dccp"]),
}
BLOCK = "table inet t {{\n\tset s {{\n\t\ttype {types}\n\t\tflags interval\n\t\telements = {{ {elements} }}\n\t}}\n}}\n"


def read(text: str) -> NamedSet | None:
    sets = BACKEND.parse((Reading("nft", text, "test"),)).containers[0].sets
    return sets[0] if sets else None


def block(types: str, elements: list[str]) -> str:
    return BLOCK.format(types=types, elements=",\n\t\t\t     ".join(elements))


@st.composite
def listings(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from([*TYPES]), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(TYPES[name] for name in names)), min_size=bulk.LEAST, max_size=30, unique=True))
    comments = [draw(COMMENTS) for _ in rows]
    elements = [" . ".join(row) + (f' comment "{one}"' if one else "") for row, one in zip(rows, comments, strict=True)]
    return block(" . ".join(names), elements)


@given(listings())
def test_a_long_list_means_the_same_as_read_word_by_word(text: str) -> None:
    quick = read(text)
    assert bulk.fold(text)[1]
    with patch.object(bulk, "LEAST", 10**9):
        assert read(text) == quick


def test_a_list_without_elements_is_read_word_by_word() -> None:
    for text in ("elements = {\n}\n", block("ipv4_addr", []).replace("{  }", "{\n}")):
        assert not bulk.fold(text)[1]
    found = read(text)
    assert found is not None and found.elements == ()


HOSTS = [f"10.0.0.{i}" for i in range(bulk.LEAST)]


@pytest.mark.parametrize("word", ["10.0.0", "::1", "10.0.0.9/33", "10.0.0.1 . 22", "dead"])
def test_an_odd_one_out_makes_the_set_not_understood(word: str) -> None:
    assert read(block("ipv4_addr", HOSTS)) is not None
    assert read(block("ipv4_addr", [*HOSTS, word])) is None


@pytest.mark.parametrize(
    "text",
    [
        block("ipv4_addr", HOSTS[1:]),
        block("ipv4_addr", [*HOSTS, "@other"]),
        block("ipv4_addr", [*HOSTS, "10.1.0.1 timeout 3s"]),
        block("ipv4_addr", [*HOSTS, '10.1.0.1 comment "{"']),
        block("ipv4_addr", [*HOSTS, f'10.1.0.1 comment "{bulk.MARKER}0"']),
        block("ipv4_addr", HOSTS).replace(",", "", 1),
        block("ipv4_addr", HOSTS) + "delete element inet t s { 10.0.0.1 }\n",
        "define x = 1 \\\n" + block("ipv4_addr", HOSTS),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_grammar(text: str) -> None:
    assert bulk.fold(text) == (text, {})


def test_a_list_keeps_its_lines_so_that_rules_keep_their_places() -> None:
    text = block("ipv4_addr", HOSTS)
    assert bulk.fold(text)[0].count("\n") == text.count("\n")


def test_a_comment_that_looks_like_a_list_is_a_comment() -> None:
    line = f'chain c {{ comment "\telements = {{ {", ".join(HOSTS)} }}"\n}}'
    assert bulk.fold(line) == (line, {})
